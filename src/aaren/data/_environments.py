"""Simulated environments of Gymnasium, by id; imported when they are used."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aaren.data._optional import optional
from aaren.errors import DataError

_NEEDED = ("gymnasium", "mujoco", "imageio", "packaging")  # Gymnasium imports the last three and installs none


def make_environment(environment: str) -> Any:
    """Make an environment of Gymnasium.

    Args:
        environment: id such as "HalfCheetah-v4". Version 4 is the closest to D4RL's data.

    Returns:
        A `gymnasium.Env`, whose observations are flat and whose actions are bounded boxes.

    Raises:
        DataError: Gymnasium does not know the id, cannot make it, or its spaces are of another kind.
        MissingDependencyError: Gymnasium, MuJoCo or what they need is not installed.
    """
    if ":" in environment:  # Gymnasium would import the module before it, and the id may come from a file
        raise DataError(f"expected the id of an environment without a module, received {environment!r}")
    gymnasium, mujoco, *_ = (optional(package, "acting in an environment", "rl") for package in _NEEDED)
    try:
        with _without_advice(mujoco):
            made = gymnasium.make(environment)
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"expected an environment of Gymnasium, received {environment!r}: {reason}") from None
    box = gymnasium.spaces.Box
    seen, done = made.observation_space, made.action_space
    if not (isinstance(seen, box) and isinstance(done, box) and len(seen.shape) == 1 and len(done.shape) == 1):
        made.close()
        raise DataError(
            f"expected flat boxes of observations and actions, received {seen} and {done} of {environment!r}"
        )
    return made


@contextmanager
def _without_advice(mujoco: Any) -> Iterator[None]:
    """Drop advice on versions (4 is old, and fits the data); MuJoCo would write it to a file where the user stands."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        mujoco.set_mju_user_warning(before)
