"""Sets like D4RL's, recorded anew: trained policies act in simulated environments, and what they do is written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aaren.data._behaviour import Behaviour
from aaren.data._environments import make_environment
from aaren.data._episodes import Episode
from aaren.data._optional import optional
from aaren.data._scores import REFERENCE_RETURNS, environment_name
from aaren.errors import DataError

Level = Literal["medium", "medium-replay", "expert"]


@dataclass(frozen=True)
class _Recipe:
    """Who acts.

    Args:
        policy: name of the algorithm that it was trained with.
        noise: factor on the policy's own noise.
        extra: deviation of further noise, in actions.
    """

    policy: str
    noise: float = 1.0
    extra: float = 0.0


_BEHAVIOURS: Mapping[str, Mapping[str, _Recipe]] = MappingProxyType(
    {
        "Ant": {"weak": _Recipe("ppo"), "medium": _Recipe("ars", extra=0.1), "expert": _Recipe("trpo")},
        "HalfCheetah": {"weak": _Recipe("a2c"), "medium": _Recipe("ppo"), "expert": _Recipe("tqc")},
        "Hopper": {"weak": _Recipe("a2c"), "medium": _Recipe("sac"), "expert": _Recipe("tqc")},
        "Walker2d": {"weak": _Recipe("a2c"), "medium": _Recipe("ppo"), "expert": _Recipe("trpo", noise=0.3)},
    }
)
"""The policies of each environment: "weak" and "medium" make medium-replay, "medium" and "expert" their own sets."""


def regenerate(
    environment: str,
    level: Level,
    policies: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    steps: int = 30_000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Record episodes of trained policies in D4RL's layout.

    "medium" and "expert" are one policy each, with its own noise: Walker2d's expert with 0.3 of it; Ant's medium one
    has none, and gets noise of deviation 0.1. "medium-replay" stands for the memory of a training: of its steps, a
    share that falls from 0.6 to 0 over the first half is uniformly random; the rest is of a weak policy in the first
    fifth and of the medium one after it, with noise that falls from 0.3 to 0.

    Args:
        environment: "Ant-v4", "HalfCheetah-v4", "Hopper-v4" or "Walker2d-v4".
        level: "medium", "medium-replay" or "expert".
        policies: folder with `HalfCheetah-ppo.npz` and so on.
        output: HDF5 file to write; an existing one is replaced as a whole.
        steps: at least so many; the last episode is played to its end.
        seed: decides all draws; the same seed writes the same bytes.

    Returns:
        Returns of the episodes.

    Raises:
        DataError: environment, level, policy or output is not to be had.
        MissingDependencyError: Gymnasium, MuJoCo or h5py is not installed.
    """
    name = environment_name(environment)
    known = [f"{one}-v4" for one in _BEHAVIOURS]  # later versions observe and reward otherwise
    if environment not in known:
        raise DataError(f"expected an environment among {', '.join(known)}, received {environment!r}")
    if level not in ("medium", "medium-replay", "expert"):
        raise DataError(f"expected the level medium, medium-replay or expert, received {level!r}")
    if steps < 1:
        raise DataError(f"expected at least 1 step, received {steps}")
    roles = ("weak", "medium") if level == "medium-replay" else (level,)
    actors = [
        (Behaviour.read(Path(policies, f"{name}-{_BEHAVIOURS[name][role].policy}.npz")), _BEHAVIOURS[name][role])
        for role in roles
    ]
    optional("h5py", "writing episodes", "rl")
    simulator = make_environment(environment)
    try:
        episodes = _Recorder(simulator, actors, steps, seed).record()
    finally:
        simulator.close()
    returns = np.array([episode.total_return for episode in episodes])
    attributes: dict[str, Any] = {
        "env_id": environment,
        "level": level,
        "behaviour": ", ".join(behaviour.name for behaviour, _ in actors),
        "seed": seed,
        "episodes": len(episodes),
        "mean_return": returns.mean(),
        "ref_min_score": REFERENCE_RETURNS[name][0],
        "ref_max_score": REFERENCE_RETURNS[name][1],
        **{package: metadata.version(package) for package in ("gymnasium", "mujoco", "numpy")},
    }
    _write(Path(output), episodes, attributes)
    return returns


class _Recorder:
    """One pass through an environment.

    Args:
        simulator: the environment.
        actors: the policy, or the weak one and the better one that follows it.
        steps: to record.
        seed: of environment and policies.
    """

    def __init__(self, simulator: Any, actors: list[tuple[Behaviour, _Recipe]], steps: int, seed: int) -> None:
        self.simulator, self.actors, self.steps = simulator, actors, steps
        self.generator = np.random.default_rng(seed)
        self.simulator.reset(seed=seed)
        self.done = 0

    def record(self) -> list[Episode]:
        """Whole episodes, until there are enough steps."""
        episodes = []
        while self.done < self.steps:
            episodes.append(self._episode())
        return episodes

    def _episode(self) -> Episode:
        observation, _ = self.simulator.reset()
        observations: list[NDArray[np.float32]] = []
        actions: list[NDArray[np.float32]] = []
        rewards: list[float] = []
        terminated = truncated = False
        while not (terminated or truncated):
            action = self._action(observation, len(rewards)).astype(np.float32)
            observations.append(np.asarray(observation, dtype=np.float32))
            actions.append(action)
            observation, reward, terminated, truncated, _ = self.simulator.step(action)
            rewards.append(float(reward))
            self.done += 1
        return Episode(
            np.stack(observations),
            np.stack(actions),
            np.array(rewards, dtype=np.float32),
            bool(terminated),
            bool(truncated),
        )

    def _action(self, observation: NDArray[np.float64], step: int) -> NDArray[np.float64]:
        progress = min(self.done / self.steps, 1.0)
        replay = len(self.actors) == 2
        if replay and self.generator.random() < 0.6 * max(0.0, 1 - 2 * progress):
            return self.generator.uniform(-1, 1, self.simulator.action_space.shape)
        behaviour, recipe = self.actors[0 if progress < 0.2 else -1]
        action = behaviour.act(observation, step, self.generator, recipe.noise)
        extra = recipe.extra + (0.3 * (1 - progress) if replay else 0.0)
        if extra:
            action = np.clip(action + extra * self.generator.standard_normal(len(action)), -1, 1)
        return action


def _write(path: Path, episodes: list[Episode], attributes: Mapping[str, Any]) -> None:
    """Write D4RL's flat arrays to a temporary file that then takes the name."""
    h5py = optional("h5py", "writing episodes", "rl")
    ends = np.cumsum([episode.steps for episode in episodes]) - 1
    terminals, timeouts = np.zeros((2, ends[-1] + 1), dtype=np.bool_)
    terminals[ends] = [episode.terminated for episode in episodes]
    timeouts[ends] = [episode.truncated and not episode.terminated for episode in episodes]
    arrays = {
        "observations": np.concatenate([episode.observations for episode in episodes]),
        "actions": np.concatenate([episode.actions for episode in episodes]),
        "rewards": np.concatenate([episode.rewards for episode in episodes]),
        "terminals": terminals,
        "timeouts": timeouts,
    }
    temporary = path.with_name(f".{path.name}.writing")
    try:
        try:
            with h5py.File(temporary, "w") as file:
                for name, array in arrays.items():
                    file.create_dataset(name, data=array, compression="gzip", compression_opts=9)
                for name, value in attributes.items():
                    file.attrs[name] = value
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DataError(f"the file cannot be written ({error.strerror or error})", source=str(path)) from None
