"""Simulated environments of Gymnasium, by id; imported when they are used."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from aaren.data._episodes import EpisodeSet
from aaren.data._optional import optional
from aaren.data._scores import environment_name
from aaren.errors import DataError

_NEEDED = ("gymnasium", "mujoco", "imageio", "packaging")  # Gymnasium imports the last three and installs none

_Sizes = tuple[tuple[int, int], ...]
_ROBOTS: Mapping[str, _Sizes] = MappingProxyType(
    {
        "Ant": ((27, 8), (105, 8), (111, 8)),  # without contact forces, with those of version 5, with D4RL's
        "HalfCheetah": ((17, 6),),
        "Hopper": ((11, 3),),
        "Walker2d": ((17, 6),),
    }
)


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


def environment_sizes(environment: Any) -> _Sizes:
    """Numbers of an observation and of an action that data of an environment may have.

    Args:
        environment: a `gymnasium.Env`, or an id.

    Returns:
        Pairs (observations, actions): of Ant several, since its 27 are the first of the 111 that D4RL has. None at all
        for an id that is not of Ant, HalfCheetah, Hopper or Walker2d, and where observations or actions are not flat.
    """
    if isinstance(environment, str):
        return _ROBOTS.get(environment_name(environment), ())
    seen, done = environment.observation_space.shape or (), environment.action_space.shape or ()
    if len(seen) != 1 or len(done) != 1:
        return ()
    return ((*seen, *done), (111, *done)) if seen == (27,) else ((*seen, *done),)


def named_environment(environment: Any) -> str:
    """The id of a `gymnasium.Env`, or the name of its class where it has none."""
    return environment.spec.id if environment.spec else type(environment.unwrapped).__name__


def require_robot(environment: Any, episodes: EpisodeSet) -> None:
    """Refuse episodes of another robot: by what their file says, by the numbers of an observation and of an action.

    Args:
        environment: as for `environment_sizes`; one of which nothing is known takes all episodes.
        episodes: of a file.

    Raises:
        DataError: with both sizes, and the robots that the episodes may be of.
    """
    sizes, received = environment_sizes(environment), (episodes.observations, episodes.actions)
    name = environment if isinstance(environment, str) else named_environment(environment)
    robots = [environment_name(one) for one in (name, episodes.environment or name)]
    if robots[0] != robots[1] and all(one in _ROBOTS for one in robots):
        raise DataError(
            f"expected episodes of {name}, received those of {episodes.environment}, as the file says; give the "
            "environment that they are from",
            source=episodes.source,
        )
    if not sizes or received in sizes:
        return
    fitting = " or ".join(robot for robot, own in _ROBOTS.items() if received in own and robot not in name)
    raise DataError(
        f"expected episodes of {name}, with {' or '.join(str(seen) for seen, _ in sizes)} observations and "
        f"{sizes[0][1]} actions, received {received[0]} and {received[1]}; give the environment that they are from"
        f"{fitting and f' ({fitting} has these sizes)'}",
        source=episodes.source,
    )


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
