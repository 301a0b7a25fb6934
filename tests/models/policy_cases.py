"""Small policies of every kind, with parameters that hide nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from aaren.data import Scaler, observation_names
from aaren.models import Policy, PolicyPreprocessing

SMALL: dict[str, Any] = {
    "observations": 3,
    "actions": 2,
    "context": 4,
    "max_episode_steps": 12,
    "d_model": 8,
    "nhead": 2,
    "num_layers": 2,
    "dim_feedforward": 16,
}
ENCODERS: list[dict[str, Any]] = [
    {"encoder": "aaren"},
    {"encoder": "aaren", "decay": "learned", "norm_first": False},
    {"encoder": "transformer"},
    {"encoder": "gru"},
    {"encoder": "mingru"},
]


def name(case: dict[str, Any]) -> str:
    """A short name of a case, for the test's id."""
    return "-".join(str(value) for value in case.values())


def preprocessing(observations: int = 3, actions: int = 2) -> PolicyPreprocessing:
    """Scales of their own for every number; actions from -2 to 1, from -2 to 2, ..."""
    scaler = Scaler(observation_names(observations), np.arange(observations) / 3, 1 + np.arange(observations) / 7)
    return PolicyPreprocessing("Tiny-v0", scaler, (-2.0,) * actions, tuple(1.0 + i for i in range(actions)), 10.0, 5.0)


def policy(**fields: Any) -> Policy:
    """A small policy in evaluation mode, always the same; its parameters random, since zeros hide mistakes."""
    sizes = {**SMALL, **fields}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(7)
        between = preprocessing(sizes["observations"], sizes["actions"])
        model = Policy(preprocessing=between, **sizes).eval()
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


def steps(batch: int = 2, count: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Returns-to-go, observations and actions of some episodes."""
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(batch, count, generator=generator),
        torch.randn(batch, count, SMALL["observations"], generator=generator),
        torch.rand(batch, count, SMALL["actions"], generator=generator) * 2 - 1,
    )
