"""Returns of a policy in a real environment: what offline reinforcement learning is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils import _pytree as pytree

from aaren.data import (
    REFERENCE_RETURNS,
    environment_name,
    environment_sizes,
    make_environment,
    named_environment,
    normalized_score,
)
from aaren.errors import DataError
from aaren.models import ActingMode, Policy, begin_episodes, choose_actions, observe_rewards


@dataclass(frozen=True, eq=False)
class EpisodeReturns:
    """What episodes brought.

    Args:
        environment: its id.
        mode: "streamed" or "windowed".
        target_return: what was asked for.
        returns: of each episode, shape (episodes,), not discounted.
        steps: of each episode, shape (episodes,).
    """

    environment: str
    mode: ActingMode
    target_return: float
    returns: NDArray[np.float64]
    steps: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def deviation(self) -> float:
        """Standard deviation of the returns (the population's)."""
        return float(self.returns.std())

    @property
    def score(self) -> float | None:
        """D4RL's normalised score of the mean, or None where there are no published references."""
        if environment_name(self.environment) not in REFERENCE_RETURNS:
            return None
        return normalized_score(self.environment, self.mean)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "environment": self.environment,
            "mode": self.mode,
            "target_return": self.target_return,
            "episodes": len(self.returns),
            "mean": self.mean,
            "deviation": self.deviation,
            "score": self.score,
            "returns": self.returns.tolist(),
            "steps": self.steps.tolist(),
        }


def run_episodes(
    model: Policy,
    environment: Any = None,
    *,
    episodes: int = 10,
    seed: int = 0,
    mode: ActingMode = "streamed",
    target_return: float | None = None,
) -> EpisodeReturns:
    """Let a policy act.

    Args:
        model: a trained policy.
        environment: id for Gymnasium, of which as many copies run side by side as there are episodes; or a
            `gymnasium.Env`, which plays them one after another; None for the one of the training data.
        episodes: how many.
        seed: episode i starts from seed + i.
        mode: "streamed" or "windowed"; see `aaren.models.begin_episodes`.
        target_return: the return to ask for; None for that of the preprocessing.

    Returns:
        The returns.

    Raises:
        DataError: there is no such environment, or its observations or actions are of another size.
        ValueError: an argument is out of range, or an episode is longer than the policy's table of time steps.
        MissingDependencyError: Gymnasium or MuJoCo is not installed.
    """
    if episodes < 1:
        raise ValueError(f"episodes: expected at least 1, received {episodes}")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, received {seed}")
    model.eval()
    asked = float(begin_episodes(model, 1, mode, target_return).return_to_go)
    assert model.preprocessing is not None, "refused by the line above"
    environment = model.preprocessing.environment if environment is None else environment
    seeds = [seed + index for index in range(episodes)]
    if not isinstance(environment, str):
        name = named_environment(environment)
        played = [_play(model, [environment], [one], mode, asked) for one in seeds]
        returns, steps = (np.concatenate(parts) for parts in zip(*played, strict=True))
        return EpisodeReturns(name, mode, asked, returns, steps)
    copies: list[Any] = []
    try:
        copies.extend(make_environment(environment) for _ in seeds)
        returns, steps = _play(model, copies, seeds, mode, asked)
    finally:
        for copy in copies:
            copy.close()
    return EpisodeReturns(environment, mode, asked, returns, steps)


def _play(
    model: Policy, copies: list[Any], seeds: list[int], mode: ActingMode, asked: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Play one episode in each environment, side by side; those that have ended leave the batch."""
    _require_sizes(model, copies[0])
    returns, steps = np.zeros(len(copies)), np.zeros(len(copies), dtype=np.int64)
    running = np.arange(len(copies))
    observations = np.stack([copy.reset(seed=seed)[0] for copy, seed in zip(copies, seeds, strict=True)])
    state = begin_episodes(model, len(copies), mode, asked)
    while running.size:
        actions, state = choose_actions(model, observations, state)
        results = [copies[index].step(action) for index, action in zip(running, actions, strict=True)]
        rewards = np.array([float(result[1]) for result in results])
        returns[running] += rewards
        steps[running] += 1
        going = np.array([not (result[2] or result[3]) for result in results])
        running = running[going]
        if running.size:
            state = observe_rewards(model, rewards, state)
            observations = np.stack([result[0] for result in results])[going]
            if not going.all():
                kept = going.nonzero()[0]
                state = pytree.tree_map(lambda leaf: leaf[kept], state)  # noqa: B023 (used within this turn)
    return returns, steps


def _require_sizes(model: Policy, environment: Any) -> None:
    """Refuse an environment that is not the policy's."""
    config = model.config
    if (config.observations, config.actions) not in environment_sizes(environment):
        received = (environment.observation_space.shape, environment.action_space.shape)
        raise DataError(
            f"expected an environment with observations of shape ({config.observations},) and actions of shape "
            f"({config.actions},), received {received[0]} and {received[1]}; give the one of the training data"
        )
