"""The front of a policy: an observation, and the reward of the action before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._checked_observation import LARGEST, checked_observation, checked_reward, require_room
from aaren.data._rows import parse_row
from aaren.data._scale import Scaler
from aaren.data._series import Schema
from aaren.export.runner._front import Arrays, Front, number_of

Checked = tuple[NDArray[np.float64], float | None]


class PolicyFront(Front):
    """As `aaren.streaming.PolicyStream` in the mode "streamed"; takes `target_return`."""

    options = ("target_return",)

    def prepare(self, preprocessing: Mapping[str, Any]) -> None:
        """Scales, and the return that is asked for."""
        self.scaler = Scaler.from_dict(preprocessing["scaler"])
        self.schema = Schema(self.scaler.names, ("reward",))
        self.return_scale = float(preprocessing["return_scale"])
        self.target = float(preprocessing["target_return"])
        self.longest = int(self.config["max_episode_steps"])

    def choose(self, target_return: float | None = None, **_: Any) -> None:
        """Another return to ask for."""
        self.target = self.target if target_return is None else float(target_return)
        if not abs(self.target / self.return_scale) <= LARGEST:
            raise ValueError(f"target_return: expected a finite number that float32 can hold, received {target_return}")

    @property
    def columns(self) -> tuple[str, ...]:
        """The observation's numbers and "reward", which is empty in the first row of an episode."""
        return self.schema.inputs

    def reset(self) -> None:
        """A new episode."""
        self.to_go, self.steps = self.target, 0

    def first(self, state: Arrays) -> Arrays:
        """Asks for the return that was asked for."""
        return {**state, "return_to_go": np.array(self.target)}

    def check(self, row: Any, number: int) -> Checked:
        """The observation, and the reward of the step before; None at the start of an episode."""
        parsed = parse_row(self.schema, row, row=number, source="stream")
        impute = self.on_bad_row == "impute"
        reward = checked_reward(
            float(parsed.values[-1]),
            number,
            first=not self.steps,
            infinite=bool(parsed.nonfinite[-1]),
            to_go=self.to_go,
            scale=self.return_scale,
            impute=impute,
        )
        require_room(self.steps, self.longest, number)
        return checked_observation(self.scaler, parsed.values[:-1], number, impute=impute), reward

    def tokens(self, checked: Checked) -> list[Arrays]:
        """Observation and reward."""
        observation, reward = checked
        return [{"observation": observation, "reward": np.array(math.nan if reward is None else reward)}]

    def take(self, checked: Checked) -> None:
        """Count the step and the reward."""
        self.steps, self.to_go = self.steps + 1, self.to_go - (checked[1] or 0.0)

    def line(self, number: int, said: Arrays) -> dict[str, Any]:
        """As `aaren stream` writes it: row, action, return_to_go."""
        action = [float(f"{value:.7g}") for value in said["action"].tolist()]
        return {"row": number, "action": action, "return_to_go": float(f"{float(said['return_to_go']):.7g}")}

    def state(self) -> Arrays:
        """Steps of the episode, and what is still to come of the return."""
        return {"steps": np.array(self.steps, dtype=np.int64), "return_to_go": np.array(self.to_go)}

    def set_state(self, state: Mapping[str, NDArray[Any]], step: Mapping[str, NDArray[Any]]) -> None:
        """Take them back."""
        steps, to_go = number_of(state["steps"], "int64"), number_of(state["return_to_go"], "float64")
        if not 0 <= steps <= self.longest or not math.isfinite(to_go):
            raise ValueError(f"expected steps of an episode and a finite return, received {steps} and {to_go}")
        if (max(steps - 1, 0), to_go) != (int(step["memory.timestep"]), float(step["return_to_go"])):
            raise ValueError(f"{steps} steps and a return of {to_go} to come are not what the model was told")
        self.steps, self.to_go = steps, to_go
