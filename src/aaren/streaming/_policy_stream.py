"""One live episode of a policy: an observation in, an action out, then its reward."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from aaren._arguments import real_number
from aaren.data import (
    LARGEST_SCALED,
    Schema,
    checked_observation,
    checked_reward,
    is_sound_reward,
    largest_return,
    parse_row,
    readable_number,
    require_room,
    unknown_reward,
)
from aaren.errors import DataError
from aaren.models import (
    ActingMode,
    ActingState,
    Policy,
    PolicyPreprocessing,
    begin_episodes,
    choose_actions,
    observe_rewards,
)
from aaren.streaming._base import ModelStream
from aaren.streaming._base import Policy as BadRowPolicy


@dataclass(frozen=True, eq=False)
class PolicyAction:
    """What a policy says to a row.

    Args:
        row: number of the row in its stream, from 1.
        action: in the user's units, shape (actions,).
        return_to_go: what it still asks for, in the user's units.
    """

    row: int
    action: NDArray[np.float32]
    return_to_go: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: row, action, return_to_go."""
        action = [float(f"{value:.7g}") for value in self.action.tolist()]
        return {"row": self.row, "action": action, "return_to_go": float(f"{self.return_to_go:.7g}")}


class PolicyStream(ModelStream[Policy, PolicyAction]):
    """A live episode. `act` and `observe` take turns; or `update` takes rows of observation and reward.

    Args:
        model: a trained policy.
        state_file: go on from this snapshot if the file is there; None or no such file begins an episode.
        on_bad_row: what becomes of a row with a number that is missing or not finite: "error" raises, "skip" leaves
            the row out but for its reward (see `skip`), "impute" takes the training mean for an observation and 0 for
            a reward.
        mode: "streamed": constant time and memory, all of the episode kept; "windowed": the last K steps read again
            before each action, as in training.
        target_return: the return to ask for, in the user's units; None for that of the snapshot, or of the
            preprocessing in a new stream. A snapshot is in the middle of an episode: another one than its own is
            refused; `reset` takes it for the next episode.

    Raises:
        ValueError: the model has no preprocessing, an argument is not one of its choices, or the snapshot asks for
            another return.
        ModelFileError: the snapshot is damaged, of another model, or of the other mode.

    Example:
        agent = aaren.load("model/").stream()
        action = agent.act(observation)  # (actions,), in the units of the environment
        observation, reward, terminated, truncated, _ = environment.step(action)
        agent.observe(reward)
        agent.reset()  # where the episode has ended
    """

    _state: ActingState
    record_fields: ClassVar[Mapping[str, str]] = {"awaits_reward": "int64"}
    row_options: ClassVar[Sequence[str]] = ("on_bad_row", "mode", "target_return")

    def __init__(
        self,
        model: Policy,
        state_file: str | Path | None = None,
        *,
        on_bad_row: BadRowPolicy = "error",
        mode: ActingMode = "streamed",
        target_return: float | None = None,
    ) -> None:
        super().__init__(model, on_bad_row)
        assert model.preprocessing is not None, "the base has refused it"
        self._preprocessing: PolicyPreprocessing = model.preprocessing
        self.mode: ActingMode = mode
        if target_return is not None:
            target_return = real_number("target_return", target_return, "a finite number")
        self._target = target_return
        self._state = begin_episodes(model, 1, mode, target_return)
        self._awaits_reward = False
        self._restore(state_file)
        asked = self._preprocessing.target_return if self._target is None else self._target
        if target_return is not None and target_return != asked:
            raise ValueError(
                f"target_return: expected {asked:g}, for which the snapshot asks, received {target_return:g}; leave it "
                "out, or begin an episode with another state file"
            )

    @property
    def schema(self) -> Schema:
        """The columns of a row: the observation's numbers, and the reward of the step before."""
        return Schema(self._preprocessing.scaler.names, ("reward",))

    @property
    def return_to_go(self) -> float:
        """What is still to come of the return that was asked for."""
        return float(self._state.return_to_go)

    def act(self, observation: ArrayLike) -> NDArray[np.float32]:
        """The action for an observation, shape (observations,); shape (actions,), within its bounds.

        Raises:
            DataError: a number is missing, none or not finite, or the episode is longer than any that the policy knows.
            ValueError: the reward of the action before was not observed, or the shape is another.
        """
        if self._awaits_reward:
            raise ValueError("act: expected the reward of the action before; call observe(reward) first")
        values = _numbers("an observation", observation)
        number = self._rows + 1
        names = self._preprocessing.scaler.names
        if values.shape == (27,) and len(names) == 111:  # what an Ant's simulator gives; see `choose_actions`
            values = np.concatenate([values, np.zeros(84)])
        if values.shape == (len(names),):
            values = self._checked(values, number)
        self._require_room(number)
        action = self._act(values, number)
        self._rows = self._last_taken = number
        return action

    def observe(self, reward: float, action: ArrayLike | None = None) -> None:
        """Tell what the action brought.

        Args:
            reward: in the user's units.
            action: what was really done, shape (actions,), if it was something else.

        Raises:
            DataError: the reward or the action is not finite, or no number.
            ValueError: there was no action since the last reward, or its shape is another.
        """
        if not self._awaits_reward:
            raise ValueError("observe: expected a call of act before, received a reward without an action")
        earned = _numbers("a reward", reward)
        if earned.size != 1:
            raise ValueError(f"reward: expected one number, received shape {earned.shape}")
        done = None if action is None else _numbers("an action", action)
        if done is not None and done.shape != (self.model.config.actions,):
            raise ValueError(f"action: expected shape ({self.model.config.actions},), received {done.shape}")
        with np.errstate(over="ignore", invalid="ignore"):
            sound = done is None or (np.abs(self._preprocessing.scaled_actions(done)) <= LARGEST_SCALED).all()
        if not is_sound_reward(earned.item(), self.return_to_go, self._preprocessing.return_scale) or not sound:
            raise DataError(
                f"expected a finite reward and action and a return-to-go within "
                f"{largest_return(self._preprocessing.return_scale):g} after them, received {reward} and {done}",
                source="stream",
            )
        self._observe(earned.item(), done)
        self._last_taken = self._rows

    def reset(self, target_return: float | None = None) -> None:
        """Begin a new episode.

        Args:
            target_return: the return to ask for; None for that of the stream.
        """
        target = self._target if target_return is None else target_return
        self._state = begin_episodes(self.model, 1, self.mode, target)
        self._awaits_reward = False
        self._last_taken = self._rows

    def skip(self, row: Any = None) -> str:
        """Count a row that was left out; its reward was earned, so the return-to-go falls by it all the same.

        The policy sees nothing of such a row: the next reward goes with the same action.

        Args:
            row: as `update` was given it; None if there was nothing to be read.

        Returns:
            That the reward is lost, where there should be one and it is no number that the policy can be told.
        """
        due, possible = self._awaits_reward, self._after_skipped
        super().skip(row)
        reward = readable_number(self.schema, row, "reward")
        sound = reward is not None and is_sound_reward(reward, self.return_to_go, self._preprocessing.return_scale)
        if reward is not None and sound and (due or possible):
            self._count(reward)
        elif due:
            return unknown_reward(self.return_to_go)
        return ""

    def _check(self, row: Any, number: int) -> tuple[NDArray[np.float64], float | None]:
        """The observation, and the reward of the step before; None at the start of an episode.

        A row is a mapping by column, or the numbers of the observation and then the reward.
        """
        parsed = parse_row(self.schema, row, row=number, source="stream")
        reward = checked_reward(
            float(parsed.values[-1]),
            number,
            first=not (self._awaits_reward or (self._after_skipped and not math.isnan(parsed.values[-1]))),
            infinite=bool(parsed.nonfinite[-1]),
            to_go=self.return_to_go,
            scale=self._preprocessing.return_scale,
            impute=self.on_bad_row == "impute",
        )
        self._require_room(number)
        return self._checked(parsed.values[:-1], number), reward

    def _apply(self, checked: tuple[NDArray[np.float64], float | None], number: int) -> PolicyAction:
        observation, reward = checked
        before = self._state, self._awaits_reward
        if reward is not None and self._awaits_reward:
            self._observe(reward, None)
        elif reward is not None:  # of a step for which there was no action, since its row was left out
            self._count(reward)
        try:
            action = self._act(observation, number)
        except DataError:
            self._state, self._awaits_reward = before
            raise
        return PolicyAction(number, action, self.return_to_go)

    def _own_header(self) -> dict[str, Any]:
        return {"mode": self.mode, "awaits_reward": self._awaits_reward, "target_return": self._target}

    def _restore_own(self, header: Mapping[str, Any]) -> None:
        if header["mode"] != self.mode:
            raise ValueError(f"it is of the mode {header['mode']!r}, this stream is {self.mode!r}")
        target = header["target_return"]
        self._awaits_reward = bool(header["awaits_reward"])
        self._target = None if target is None else float(target)

    def _checked(self, values: NDArray[np.float64], number: int | None) -> NDArray[np.float64]:
        scaler = self._preprocessing.scaler
        return checked_observation(scaler, values, number, impute=self.on_bad_row == "impute")

    def _require_room(self, number: int | None) -> None:
        step = int(self._state.memory.timestep) + self._awaits_reward
        require_room(step, self.model.config.max_episode_steps, number)

    def _act(self, observation: NDArray[np.float64], number: int) -> NDArray[np.float32]:
        actions, state = choose_actions(self.model, observation[None], self._state)
        self._require_finite(torch.from_numpy(actions), number)
        self._state = state
        self._monitor.add(self._preprocessing.scaler.transform(observation))
        self._awaits_reward = True
        return actions[0]

    @property
    def _after_skipped(self) -> bool:
        """Whether the row before was left out, so that a reward may come though no action awaits one.

        `observe` and `reset` draw a line under the rows before them.
        """
        return self._rows > self._last_taken

    def _count(self, reward: float) -> None:
        """A reward that goes with no action."""
        self._state = self._state._replace(return_to_go=self._state.return_to_go - reward)

    def _observe(self, reward: float, action: NDArray[np.float64] | None) -> None:
        done = None if action is None else action[None]
        self._state = observe_rewards(self.model, [reward], self._state, done)
        self._awaits_reward = False


def _numbers(what: str, given: ArrayLike) -> NDArray[np.float64]:
    """An array of what was given, or a refusal in our words."""
    try:
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise DataError(
            f"expected {what} in numbers, received {reprlib.repr(given)}; give it as the environment does",
            source="stream",
        ) from None
