"""Arguments that cannot be: every public constructor says which, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aaren import Forecaster
from aaren.streaming import AnomalyStream, DurableStreams, StreamingTail, StreamPool

NO_COUNT = (True, 2.5, -1, "7", math.nan, [1])
NO_NUMBER = (True, -1, "7", math.nan, math.inf, [1])
CASES: dict[str, tuple[Callable[[Forecaster, Path, Any], Any], tuple[Any, ...]]] = {
    "capacity": (lambda model, _, value: StreamPool(model, value), (*NO_COUNT, None, 0, 10**30)),
    "max_gap": (lambda model, _, value: model.stream(max_gap=value), (*NO_COUNT, None)),
    "warmup": (lambda model, _, value: StreamPool(model, 1, warmup=value), NO_COUNT),
    "on_bad_row": (lambda model, _, value: model.stream(on_bad_row=value), (True, None, "guess", [])),
    "risk": (lambda model, _, value: AnomalyStream(model, risk=value), (*NO_NUMBER, None, 0, 1)),
    "half_life": (lambda _, __, value: StreamingTail(half_life=value), (*NO_NUMBER, None, 0)),
    "warm_up": (lambda _, __, value: StreamingTail(warm_up=value), (*NO_COUNT, None, 39)),
    "tail": (lambda _, __, value: StreamingTail(tail=value), (*NO_NUMBER, None, 0, 0.5)),
    "checkpoint_rows": (lambda model, at, value: DurableStreams(model, at, checkpoint_rows=value), (*NO_COUNT, 0)),
    "checkpoint_keys": (lambda model, at, value: DurableStreams(model, at, checkpoint_keys=value), (*NO_COUNT, 0)),
    "checkpoint_seconds": (lambda model, at, value: DurableStreams(model, at, checkpoint_seconds=value), NO_NUMBER),
}


@pytest.mark.parametrize("name", CASES)
def test_numbers_that_cannot_be(name: str, model: Forecaster, tmp_path: Path) -> None:
    """A bool, text, fraction, NaN or number out of range is refused by the argument's name; nothing is left behind."""
    make, values = CASES[name]
    for value in values:
        with pytest.raises(ValueError, match=rf"^{name}: expected .*received "):
            make(model, tmp_path / "store", value)
    assert not list(tmp_path.iterdir())


def test_things_that_are_something_else(model: Forecaster) -> None:
    """What is no model or no store is refused by its type."""
    anything: Any = "model/"
    with pytest.raises(TypeError, match="model: expected a trained model, received str"):
        StreamPool(anything)
    with pytest.raises(TypeError, match=r"store: expected a StateStore.*DurableStreams"):
        StreamPool(model, 3, store=anything)
