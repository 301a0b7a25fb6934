"""What a file of offline reinforcement learning becomes: episodes of observations, actions and rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aaren.data._scale import Scaler
from aaren.errors import DataError


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode of T steps.

    Args:
        observations: float32 of shape (T, observations), what was seen before each action.
        actions: float32 of shape (T, actions).
        rewards: float32 of shape (T,), of each action.
        terminated: whether the task ended it, as a robot's fall does.
        truncated: whether a limit of time ended it. If neither did, the recording stopped inside it.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    terminated: bool
    truncated: bool

    @property
    def steps(self) -> int:
        """T."""
        return len(self.rewards)

    @property
    def complete(self) -> bool:
        """Whether the recording has its end; the return of a part of an episode says nothing."""
        return self.terminated or self.truncated

    @property
    def total_return(self) -> float:
        """Sum of the rewards, not discounted."""
        return float(self.rewards.sum(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class EpisodeSet:
    """All episodes of one file, or of several that were joined.

    Args:
        episodes: in the order of the files.
        source: name of the file; of several, their names with " + " between them.
        sha256: digest of the file's bytes as stored; of several, with " + " between them.
        environment: the id of the environment, where a file says it.
    """

    episodes: tuple[Episode, ...]
    source: str
    sha256: str
    environment: str | None = None

    @property
    def observations(self) -> int:
        """Numbers in an observation."""
        return self.episodes[0].observations.shape[1]

    @property
    def actions(self) -> int:
        """Numbers in an action."""
        return self.episodes[0].actions.shape[1]

    @property
    def steps(self) -> int:
        """Steps of all episodes."""
        return sum(episode.steps for episode in self.episodes)

    def returns(self) -> NDArray[np.float64]:
        """Returns of the complete episodes, shape (complete episodes,)."""
        return np.array([episode.total_return for episode in self.episodes if episode.complete])

    def complete(self) -> EpisodeSet:
        """The same without the episodes inside which the recording stopped.

        Raises:
            DataError: no other is left.
        """
        kept = tuple(episode for episode in self.episodes if episode.complete)
        if not kept:
            raise DataError(
                f"expected at least one episode with its end, received {len(self.episodes)} without; their returns "
                "are not known, so that nothing can be learned from them",
                source=self.source,
            )
        return EpisodeSet(kept, self.source, self.sha256, self.environment)

    def describe(self) -> str:
        """Say in two lines what was read: sizes and returns."""
        returns = self.returns()
        told = "no complete episode"
        if returns.size:
            told = f"mean {returns.mean():.1f}, deviation {returns.std():.1f}, best {returns.max():.1f}"
        return (
            f"{self.source}: {len(self.episodes)} episodes, {self.steps} steps, {self.observations} observations, "
            f"{self.actions} actions\nreturns of the {returns.size} complete episodes: {told}"
        )


def observation_names(observations: int) -> tuple[str, ...]:
    """Names of the numbers of an observation: observation_0, observation_1, ...

    Example:
        >>> observation_names(2)
        ('observation_0', 'observation_1')
    """
    return tuple(f"observation_{index}" for index in range(observations))


def observation_scaler(episodes: Sequence[Episode]) -> Scaler:
    """Mean and deviation of every number of the observations, over all steps of the episodes.

    Args:
        episodes: of the training part; at least one.

    Returns:
        The scaler; a number that never changes has deviation 1.
    """
    return Scaler.fit(
        [np.asarray(episode.observations, dtype=np.float64) for episode in episodes],
        observation_names(episodes[0].observations.shape[1]),
    )


def returns_to_go(rewards: ArrayLike) -> NDArray[np.float64]:
    r"""What is still to come at every step, its own reward included, not discounted.

    .. math:: \hat R_t = \sum_{t' = t}^{T} r_{t'}

    Args:
        rewards: shape (T,).

    Returns:
        float64 of shape (T,).

    Source: arXiv 2106.01345 (Decision Transformer), section 3.

    Example:
        >>> returns_to_go([1.0, 0.0, 2.0])
        array([3., 2., 2.])
    """
    return np.asarray(rewards, dtype=np.float64)[::-1].cumsum()[::-1].copy()
