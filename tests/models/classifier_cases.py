"""Small classifiers of every kind, with parameters that hide nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from aaren.data import Scaler
from aaren.models import Classifier, ClassifierPreprocessing

KINDS: list[dict[str, Any]] = [
    {"encoder": "aaren"},
    {"encoder": "aaren", "decay": "learned", "positions": "sinusoidal", "norm_first": True},
    {"encoder": "transformer", "positions": "sinusoidal"},
    {"encoder": "gru"},
    {"encoder": "mingru"},
]


def classifier(**fields: Any) -> Classifier:
    """A small classifier in evaluation mode, always the same; its parameters random, since zeros hide mistakes."""
    sizes = {
        "channels": 3,
        "classes": 4,
        "d_model": 8,
        "nhead": 2,
        "num_layers": 2,
        "dim_feedforward": 16,
        "positions": None,
    }
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(7)
        model = Classifier(**{**sizes, **fields}).eval()
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


TEMPERATURES = ((1, 2.5), (3, 1.5), (7, 0.1 + 0.2))


def described(
    channels: int = 3, classes: int = 4, temperatures: tuple[tuple[int, float], ...] = TEMPERATURES
) -> ClassifierPreprocessing:
    """Names and scales."""
    names = tuple(f"u{index}" for index in range(channels))
    scaler = Scaler(names, np.arange(channels) / 3, 1 + np.arange(channels) / 7)
    return ClassifierPreprocessing(tuple("abcdefgh"[:classes]), scaler, temperatures)


def series(batch: int = 3, tokens: int = 10, missing: float = 0.2) -> Tensor:
    """Values, of which a share is missing."""
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(batch, tokens, 3, generator=generator)
    values[torch.rand(values.shape, generator=generator) < missing] = torch.nan
    return values
