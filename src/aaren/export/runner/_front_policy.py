"""The front of a policy: an observation, and the reward of the action before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._checked_observation import (
    checked_observation,
    checked_reward,
    is_sound_reward,
    largest_return,
    require_room,
    unknown_reward,
)
from aaren.data._rows import parse_row, readable_number
from aaren.data._scale import Scaler
from aaren.data._series import Schema
from aaren.export.runner._front import Arrays, Front, number_of

Checked = tuple[NDArray[np.float64], float | None]


class PolicyFront(Front):
    """As `aaren.streaming.PolicyStream` in the mode "streamed"; takes `target_return`."""

    options = ("target_return",)
    finite = "action"

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
        largest = largest_return(self.return_scale)
        if not abs(self.target) <= largest:
            raise ValueError(f"target_return: expected a finite number within {largest:g}, received {target_return}")

    @property
    def columns(self) -> tuple[str, ...]:
        """The observation's numbers and "reward", which is empty in the first row of an episode."""
        return self.schema.inputs

    def reset(self) -> None:
        """A new episode."""
        self.to_go, self.steps, self.left_out = self.target, 0, False

    def first(self, state: Arrays) -> Arrays:
        """Asks for the return that was asked for."""
        return {**state, "return_to_go": np.array(self.target)}

    def check(self, row: Any, number: int) -> Checked:
        """The observation, and the reward of the step before; None at the start of an episode."""
        parsed = parse_row(self.schema, row, row=number, source="stream")
        impute, cell = self.on_bad_row == "impute", float(parsed.values[-1])
        reward = checked_reward(
            cell,
            number,
            first=not (self.steps or (self.left_out and not math.isnan(cell))),
            infinite=bool(parsed.nonfinite[-1]),
            to_go=self.to_go,
            scale=self.return_scale,
            impute=impute,
        )
        require_room(self.steps, self.longest, number)
        return checked_observation(self.scaler, parsed.values[:-1], number, impute=impute), reward

    def tokens(self, checked: Checked) -> list[Arrays]:
        """Observation, and the reward of the action before if there was one."""
        observation, reward = checked
        return [{"observation": observation, "reward": np.array(reward if self.steps else math.nan)}]

    def earned(self, checked: Checked) -> float:
        """The reward of a step for which there was no action, since the first rows were left out."""
        return math.nan if self.steps or checked[1] is None else checked[1]

    def take(self, checked: Checked) -> None:
        """Count the step and the reward."""
        self.steps, self.to_go, self.left_out = self.steps + 1, self.to_go - (checked[1] or 0.0), False

    def skip(self, row: Any) -> tuple[float, str]:
        """The reward of a row that was left out counts, but in the first row, where there can be none."""
        due, possible = self.steps > 0, self.left_out
        self.left_out = not due
        reward = readable_number(self.schema, row, "reward")
        if reward is None or not is_sound_reward(reward, self.to_go, self.return_scale):
            return math.nan, unknown_reward(self.to_go) if due else ""
        if not (due or possible):
            return math.nan, ""
        self.to_go -= reward
        return reward, ""

    def line(self, number: int, said: Arrays) -> dict[str, Any]:
        """As `aaren stream` writes it: row, action, return_to_go."""
        action = [float(f"{value:.7g}") for value in said["action"].tolist()]
        return {"row": number, "action": action, "return_to_go": float(f"{float(said['return_to_go']):.7g}")}

    def state(self) -> Arrays:
        """Steps of the episode, and whether rows were left out before the first."""
        return {"steps": np.array(self.steps, dtype=np.int64), "left_out": np.array(self.left_out, dtype=np.int64)}

    def set_state(self, state: Mapping[str, NDArray[Any]], step: Mapping[str, NDArray[Any]]) -> None:
        """Take them back."""
        steps, left_out = number_of(state["steps"], "int64"), number_of(state["left_out"], "int64")
        to_go = float(step["return_to_go"])
        if not 0 <= steps <= self.longest or max(steps - 1, 0) != int(step["memory.timestep"]):
            raise ValueError(f"{steps} steps are not what the model has seen of an episode")
        if left_out not in (0, steps == 0):
            raise ValueError(f"expected whether rows were left out before the first step, received {left_out}")
        if not abs(to_go) <= largest_return(self.return_scale):
            raise ValueError(f"expected a return within {largest_return(self.return_scale):g}, received {to_go}")
        self.steps, self.to_go, self.left_out = steps, to_go, bool(left_out)
