"""A small event model of StackOverflow with random weights, and its rows."""

from __future__ import annotations

from typing import Any

import torch

from aaren.data import EventSequence, EventSet, find_parts, read_events
from aaren.models import EventModel, EventPreprocessing

KINDS: dict[str, dict[str, Any]] = {
    "aaren": {},
    "aaren, time decay": {"decay": "time"},
    "transformer": {"encoder": "transformer"},
    "gru": {"encoder": "gru"},
    "mingru": {"encoder": "mingru"},
}


def stack_overflow() -> EventSet:
    """The first sequences of the validation part; some of their times are equal."""
    return read_events(find_parts("StackOverflow-EasyTPP")["validation"], duplicates="keep").take(range(12))


def model_of(events: EventSet, **fields: Any) -> EventModel:
    """A model whose outputs all differ."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(4)
        sizes = {"d_model": 16, "nhead": 2, "dim_feedforward": 16, "components": 3}
        model = EventModel(marks=len(events.marks), preprocessing=EventPreprocessing.fit(events), **{**sizes, **fields})
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def rows_of(one: EventSequence, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The events of a sequence as a user feeds them."""
    marks = [None] * len(one.times) if one.marks is None else [names[mark] for mark in one.marks]
    return [{"time": time, "mark": mark} for time, mark in zip(one.times.tolist(), marks, strict=True)]
