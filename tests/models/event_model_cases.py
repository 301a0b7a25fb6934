"""A small event model with random weights, sequences for it, and its preprocessing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from aaren.data import EventSequence, EventSet
from aaren.models import EventModel, EventPreprocessing

MARKS = 3


def event_set(sequences: int = 6, marks: int = MARKS, seed: int = 0) -> EventSet:
    """Sequences of random events; some are short."""
    random = np.random.default_rng(seed)
    found = []
    for index in range(sequences):
        times = np.cumsum(random.exponential(2.0, 3 + 2 * index)) + index
        kinds = random.integers(0, marks, len(times)) if marks else None
        found.append(EventSequence(str(index), times, kinds, float(times[0]), float(times[-1]) + 1.5))
    return EventSet(tuple(found), tuple(f"m{mark}" for mark in range(marks)), "made", None)


def event_model(marks: int = MARKS, **fields: Any) -> EventModel:
    """A model whose outputs all differ."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(11)
        sizes = {"d_model": 16, "nhead": 2, "dim_feedforward": 16, "components": 3}
        preprocessing = EventPreprocessing.fit(event_set(marks=marks))
        model = EventModel(marks=marks, preprocessing=preprocessing, **{**sizes, **fields})
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def events(batch: int = 2, tokens: int = 9, marks: int = MARKS) -> tuple[Tensor, Tensor | None]:
    """Times in units, and marks."""
    generator = torch.Generator().manual_seed(2)
    gaps = torch.rand(batch, tokens, generator=generator, dtype=torch.float64) * 2
    kinds = torch.randint(0, marks, (batch, tokens), generator=generator) if marks else None
    return gaps.cumsum(1), kinds
