"""The cost of a row is flat: after thousands of rows it is the same work, and nothing but the state is kept of them."""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable
from types import FrameType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from aaren import Classifier, EventModel, Forecaster, Policy
from aaren.data import EventSequence, EventSet, Scaler, Schema, observation_names
from aaren.models import ClassifierPreprocessing, EventPreprocessing, PolicyPreprocessing, Preprocessing
from aaren.streaming import ModelStream

EARLY, LATE = 100, 2000
SIZES = {"d_model": 4, "nhead": 2, "num_layers": 1, "dim_feedforward": 4}
HOUR = np.timedelta64(1, "h")
NAMES = ("a", "b")


def forecasts(**options: Any) -> ModelStream[Any, Any]:
    """A stream of hourly rows with calendar features."""
    scaler = Scaler(NAMES, np.zeros(2), np.ones(2))
    between = Preprocessing(Schema(NAMES, time=("date",)), scaler, ("hour_of_day",), HOUR.astype("timedelta64[us]"))
    sizes = {"look_back": 8, "horizon": 2, "calendar": 2, **SIZES}
    return Forecaster(preprocessing=between, inputs=2, targets=2, **sizes, **options).stream()


def classes(**options: Any) -> ModelStream[Any, Any]:
    """A stream of a classifier."""
    between = ClassifierPreprocessing(("x", "y"), Scaler(NAMES, np.zeros(2), np.ones(2)))
    return Classifier(preprocessing=between, channels=2, classes=2, **SIZES, **options).stream()


def happenings(**options: Any) -> ModelStream[Any, Any]:
    """A stream of marked events."""
    one = EventSequence("s", np.array([0.0, 1.0, 3.0]), np.array([0, 1, 0]), 0.0, 3.0)
    between = EventPreprocessing.fit(EventSet((one,), NAMES, "made", None))
    return EventModel(preprocessing=between, marks=2, components=2, **SIZES, **options).stream(quantiles=())


def actions(mode: str, **options: Any) -> ModelStream[Any, Any]:
    """A live episode of a policy that knows as many steps."""
    scaler = Scaler(observation_names(2), np.zeros(2), np.ones(2))
    between = PolicyPreprocessing("Tiny-v0", scaler, (-1.0,), (1.0,), 1.0, 5.0)
    sizes = {"observations": 2, "actions": 1, "context": 4, "max_episode_steps": LATE + 4, **SIZES}
    return Policy(preprocessing=between, **sizes, **options).stream(mode=mode)


STREAMS: dict[str, Callable[..., ModelStream[Any, Any]]] = {
    "forecaster": forecasts,
    "classifier": classes,
    "events": happenings,
    "policy, streamed": lambda **options: actions("streamed", **options),
    "policy, windowed": lambda **options: actions("windowed", **options),
}


def row_of(number: int) -> dict[str, Any]:
    """A row that any of these streams takes; all have the same numbers, so that none costs more to read."""
    return {
        "date": str(np.datetime64("2020-01-01T00:00:00") + number * HOUR),
        **dict.fromkeys((*NAMES, *observation_names(2)), 0.5),
        "time": float(number),
        "mark": "a",
        "reward": 0.25 if number else None,
    }


class Work(NamedTuple):
    """What a call does: lines of Python, calls of built-in functions, operations of torch and their elements."""

    lines: int
    calls: int
    operations: int
    elements: int


class Operations(TorchDispatchMode):
    """Counts operations and the elements of all tensors that they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one."""
        result = function(*args, **(kwargs or {}))
        self.operations += 1
        tensors = pytree.tree_leaves((args, kwargs, result))
        self.elements += sum(leaf.numel() for leaf in tensors if isinstance(leaf, Tensor))
        return result


def python_work(call: Callable[[], Any]) -> tuple[int, int]:
    """Lines of Python that a call executes, and built-in functions that it calls."""
    lines = calls = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "c_call"

    before = sys.gettrace(), sys.getprofile()
    gc.disable()  # a collection in between would call others
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before[1])
        sys.settrace(before[0])
        gc.enable()
    return lines, calls


def work(stream: ModelStream[Any, Any], number: int) -> Work:
    """What the next two rows cost: one counted in Python, one in torch, since counting in torch is itself Python."""
    first, second = row_of(number), row_of(number + 1)
    lines, calls = python_work(lambda: stream.update(first))
    with Operations() as counted:
        stream.update(second)
    return Work(lines, calls, counted.operations, counted.elements)


def bytes_of(stream: ModelStream[Any, Any]) -> int:
    """Bytes of all that can be reached from a stream, tensors with the whole memory that they hold."""
    gc.collect()
    known: dict[int, Any] = {}
    open_ones, total = [stream], 0
    while open_ones:
        one = open_ones.pop()
        if id(one) in known or isinstance(one, type | ModuleType | FunctionType):
            continue
        known[id(one)] = one
        total += one.untyped_storage().nbytes() if isinstance(one, Tensor) else sys.getsizeof(one)
        open_ones += gc.get_referents(one)
    return total


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("kind", STREAMS)
def test_a_row_costs_the_same_after_thousands(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 2,000 rows a row takes the same lines, calls and operations as after 100, and the stream no more memory."""
    monkeypatch.setattr("aaren.models._event_distribution._HALVINGS", 2)  # most of the time, and the same for each row
    stream = STREAMS[kind]()
    for number in range(EARLY):
        stream.update(row_of(number))
    early, held, blocks = work(stream, EARLY), bytes_of(stream), sys.getallocatedblocks()
    for number in range(EARLY + 2, LATE):
        stream.update(row_of(number))
    late_held, late_blocks = bytes_of(stream), sys.getallocatedblocks()
    assert work(stream, LATE) == early
    assert min(early) > 0
    assert late_held - held < LATE / 4
    assert late_blocks - blocks < LATE / 2  # not even a number for each row; Python's own caches still fill a little


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("kind", ["forecaster", "classifier", "events", "policy, streamed"])
def test_a_growing_cost_is_seen(kind: str) -> None:
    """What is counted above grows with a history that is kept and walked, and with a cache of keys and values."""
    stream = STREAMS[kind](encoder="transformer")
    stream.history = []
    update = stream.update

    def walked(row: Any) -> Any:
        stream.history.append(dict(row))
        for one in stream.history:
            len(one)
        return update(row)

    stream.update = walked
    for number in range(30):  # after which no cache is moved for a while
        stream.update(row_of(number))
    found = [(work(stream, number), bytes_of(stream)) for number in (30, 32, 34)]
    for (early, held), (late, late_held) in itertools.pairwise(found):
        assert late.lines > early.lines
        assert late.calls > early.calls
        assert late.elements > early.elements
        assert late_held > held + 100
