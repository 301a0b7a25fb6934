"""Observation and reward of a step of an episode, as a live policy takes them; streams and exports share this."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from aaren.data._scale import LARGEST_SCALED, Scaler
from aaren.errors import DataError


def checked_observation(
    scaler: Scaler, values: NDArray[np.float64], number: int | None, *, impute: bool
) -> NDArray[np.float64]:
    """The observation, all of it finite and not too far from the mean of the training.

    Args:
        scaler: of the training data, observations being its columns.
        values: shape (observations,).
        number: of the row, if there is one.
        impute: whether the training mean takes the place of a number that cannot be.

    Raises:
        DataError: a number cannot be.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        bad = ~(np.abs(scaler.transform(values)) <= LARGEST_SCALED)
    if bad.any() and not impute:
        index = int(bad.argmax())
        raise DataError(
            f"expected a finite number within {LARGEST_SCALED:g} training deviations of the mean, received "
            f"{values[index]}; a policy needs all of its observation; choose on_bad_row='skip' or 'impute'",
            source="stream",
            line=number,
            column=scaler.names[index],
        )
    return np.where(bad, scaler.mean, values)


def checked_reward(
    reward: float, number: int, *, first: bool, infinite: bool, to_go: float, scale: float, impute: bool
) -> float | None:
    """The reward of the action before; None before the first action.

    Args:
        reward: NaN where the cell is empty.
        number: of the row.
        first: whether no action awaits its reward.
        infinite: whether the cell held a number that is not finite.
        to_go: what was still to come of the return.
        scale: of returns.
        impute: whether 0 takes the place of a reward that cannot be.

    Raises:
        DataError: there is a reward where none can be, or none that can be where one must be.
    """
    if first:
        if not math.isnan(reward) or infinite:
            raise DataError(
                f"expected no reward before the first action, received {reward}; leave it empty",
                source="stream",
                line=number,
                column="reward",
            )
        return None
    if is_sound_reward(reward, to_go, scale):
        return reward
    if not impute:
        raise DataError(
            f"expected the reward of the action before, which leaves a return-to-go within {largest_return(scale):g}, "
            f"received {reward}; give it, or choose on_bad_row='skip' or 'impute'",
            source="stream",
            line=number,
            column="reward",
        )
    return 0.0


def is_sound_reward(reward: float, to_go: float, scale: float) -> bool:
    """Whether what is still to come, after this reward, is a number that the model can be told."""
    return bool(abs(to_go - reward) <= largest_return(scale))


def largest_return(scale: float) -> float:
    """The largest return-to-go, in the user's units."""
    return LARGEST_SCALED * min(scale, 1.0)


def unknown_reward(to_go: float) -> str:
    """What is lost with a row that was left out, where its reward is no number that the policy can be told."""
    return f"its reward is not known and counts as 0: the return-to-go stays {to_go:.7g}"


def require_room(step: int, longest: int, number: int | None) -> None:
    """Refuse a step beyond the table of time steps.

    Raises:
        DataError: the episode has as many steps already.
    """
    if step >= longest:
        raise DataError(
            f"expected at most max_episode_steps = {longest} steps in an episode, received one more; call reset(), or "
            "train with a larger max_episode_steps",
            source="stream",
            line=number,
        )
