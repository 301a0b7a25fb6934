"""An environment whose best policy is known, and a policy that plays it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch

from aaren.data import Scaler, observation_names
from aaren.models import Policy, PolicyPreprocessing

LENGTH = 8


class Follow(gymnasium.Env[Any, Any]):
    """A number is shown; an action equal to it brings 1, any other less by the distance.

    Args:
        length: steps of an episode; None draws 2 to 8 of them.
    """

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, length: int | None = LENGTH) -> None:
        self.length = length

    def _seen(self) -> np.ndarray:
        self.number = self.np_random.uniform(-0.9, 0.9)
        return np.array([self.number, 0.5])

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Show the first number."""
        super().reset(seed=seed)
        self.step_number, self.last = 0, self.length or int(self.np_random.integers(2, LENGTH + 1))
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Reward the action, and show the next number."""
        reward = 1 - abs(float(action[0]) - self.number)
        self.step_number += 1
        return self._seen(), reward, self.step_number == self.last, False, {}


def follower(**fields: Any) -> Policy:
    """A policy whose weights are random."""
    sizes = {"d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 16, "max_episode_steps": 16, "context": 4}
    scaler = Scaler(observation_names(2), np.zeros(2), np.ones(2))
    between = PolicyPreprocessing("Follow-v0", scaler, (-1.0,), (1.0,), 10.0, 8.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Policy(preprocessing=between, observations=2, actions=1, **{**sizes, **fields}).eval()
