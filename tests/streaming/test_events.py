"""Event streams: equal to one parallel pass over real data, of constant size, unharmed by bad events."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for `event_stream_cases`, which is not a test module

import event_stream_cases as cases
from torch.utils import _pytree as pytree

from aaren.data import EventSet, read_events
from aaren.errors import DataError, ModelFileError
from aaren.models import EventModel
from aaren.streaming import EventStream, events_after


@pytest.fixture(scope="module")
def events() -> EventSet:
    """Real sequences."""
    return cases.stack_overflow()


@pytest.fixture(scope="module")
def model(events: EventSet) -> EventModel:
    """A model of them."""
    return cases.model_of(events)


def bits(stream: EventStream) -> list[bytes]:
    """All tensors of the state, bit by bit."""
    return [leaf.numpy().tobytes() for leaf in pytree.tree_leaves(stream.state)]


@pytest.mark.parametrize("kind", cases.KINDS)
def test_streamed_equals_parallel(kind: str, events: EventSet) -> None:
    """Event by event, a stream says of a real sequence what one pass over it says: times, marks and likelihood."""
    model = cases.model_of(events, **cases.KINDS[kind])
    unit, longest = model.preprocessing.unit, model.preprocessing.longest
    for one in events.sequences[:1]:
        times, marks = torch.from_numpy((one.times - one.start) / unit)[None], torch.from_numpy(one.marks)[None]
        with torch.no_grad():
            said, _ = model(times, marks)
            scored, _ = model.log_likelihood(times, marks)
        likelihood = (scored.time + scored.mark)[0] - math.log(unit)
        stream = model.stream()
        for index, row in enumerate(cases.rows_of(one, events.marks)):
            found = stream.update(row)
            assert (found.row, found.time, found.mark) == (index + 1, row["time"], row["mark"])
            assert found.mean == pytest.approx(row["time"] + unit * float(said.mean(longest)[0, index]), rel=1e-4)
            assert found.median == pytest.approx(row["time"] + unit * float(said.quantile(0.5)[0, index]), rel=1e-4)
            chances = said.mark_logits[0, index].softmax(-1)
            assert list(found.marks.values()) == pytest.approx(chances.topk(5).values.tolist(), abs=1e-5)
            if index:
                assert found.log_likelihood == pytest.approx(float(likelihood[index]), abs=1e-3)
            else:
                assert found.log_likelihood is None
        after = events_after(model, events.take([int(one.name)]))[one.name]
        assert after.mean == pytest.approx(found.mean, rel=1e-5)
        assert list(after.marks) == list(found.marks)


@pytest.mark.usefixtures("without_shape_checks")
def test_the_state_stays_as_small_as_it_was(model: EventModel) -> None:
    """Hundreds of events later, the state has the bytes that it had after the first."""
    stream = model.stream()
    stream.update({"time": 0.0, "mark": "3"})
    first = stream.nbytes()
    for index in range(1, 300):
        stream.update({"time": 0.7 * index, "mark": str(index % 22)})
    assert stream.nbytes() == first


def test_snapshots_go_on_bit_for_bit(model: EventModel, events: EventSet, tmp_path: Path) -> None:
    """Saved and restored at any event, a stream says and holds the same as one that never stopped."""
    rows = cases.rows_of(events.sequences[0], events.marks)[:20]
    whole = model.stream(start=-1.0)
    expected = [whole.update(row).to_dict() for row in rows]
    for stop in (0, 1, 7):
        first = model.stream(start=-1.0)
        for row in rows[:stop]:
            first.update(row)
        first.save(tmp_path / "state")
        second = model.stream(tmp_path / "state")
        assert (second.rows, second.time) == (stop, None)  # equal times are taken: a time does not tell rows apart
        assert [second.update(row).to_dict() for row in rows[stop:]] == expected[stop:]
        assert bits(second) == bits(whole)


def test_snapshots_that_do_not_belong(model: EventModel, events: EventSet, tmp_path: Path) -> None:
    """A snapshot of another model, or one that is cut short, is refused."""
    stream = model.stream()
    stream.update({"time": 1.0, "mark": "2"})
    stream.save(tmp_path / "state")
    other = cases.model_of(events, decay="time")
    with pytest.raises(ModelFileError, match="of another model"):
        other.stream(tmp_path / "state")
    (tmp_path / "state").write_bytes((tmp_path / "state").read_bytes()[:-3])
    with pytest.raises(ModelFileError, match="damaged"):
        model.stream(tmp_path / "state")


BAD = {
    "an earlier time": ({"time": 4.0, "mark": "1"}, "column 'time': expected a time of at least 5.0, received 4.0"),
    "NaN": ({"time": math.nan, "mark": "1"}, "column 'time': expected a finite number as a time, received nan"),
    "infinity": ({"time": "inf", "mark": "1"}, "finite number"),
    "text": ({"time": "soon", "mark": "1"}, "received 'soon'"),
    "nothing": ({"time": None, "mark": "1"}, "received None"),
    "a truth": ({"time": True, "mark": "1"}, "received True"),
    "beyond numbers": ({"time": 10**400, "mark": "1"}, "finite number"),
    "beyond sense": ({"time": 1e300, "mark": "1"}, "within 1e.15 mean intervals"),
    "an unknown mark": ({"time": 6.0, "mark": "22"}, "column 'mark': expected one of the marks of training .*'22'"),
    "no mark": ({"time": 6.0, "mark": None}, "received a missing cell"),
    "no column": ({"time": 6.0}, "expected the columns time, mark, received time"),
    "too few cells": ([6.0], "a row of 2 cells"),
    "text as row": ("6,1", "a row of 2 cells"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_event_changes_nothing(case: str, model: EventModel) -> None:
    """An event that cannot be is refused with its number and column, or left out; the state is as before."""
    row, words = BAD[case]
    for policy in ("error", "skip"):
        stream = model.stream(on_bad_row=policy)
        stream.update({"time": 5.0, "mark": 4})
        before, told = bits(stream), stream.update({"time": 5.5, "mark": "4"}).to_dict()
        stream = model.stream(on_bad_row=policy)
        stream.update({"time": 5.0, "mark": 4})
        if policy == "error":
            with pytest.raises(DataError, match=rf"stream, line 2.*{words}"):
                stream.update(row)
        else:
            assert stream.update(row) is None
            assert stream.skipped == 1
        assert bits(stream) == before
        assert {**stream.update([5.5, "4"]).to_dict(), "row": 2} == told


def test_equal_times_follow_the_training_part(events: EventSet) -> None:
    """Trained with duplicates="keep" a stream takes equal times, else it refuses them and can tell rows by time."""
    kept = cases.model_of(events).stream()
    kept.update((1.0, "1"))
    assert kept.update((1.0, "1")).log_likelihood is not None
    strict_set = EventSet(events.sequences, events.marks, "made", None, "error")
    strict = cases.model_of(strict_set).stream()
    strict.update((1.0, "1"))
    assert strict.time == 1.0
    assert strict.time_of({"time": "2.5"}) == 2.5
    with pytest.raises(DataError, match=r"expected a time after 1.0, received the same one"):
        strict.update((1.0, "1"))


def test_dates_and_sequences(tmp_path: Path) -> None:
    """A model of dates takes dates and answers in dates; a stream is of one sequence."""
    rows = [f"{name},2020-01-{day:02d} 12:00,{'ab'[day % 2]}" for name in "xy" for day in range(1, 20)]
    (tmp_path / "e.csv").write_text("\n".join(["sequence,time,mark", *rows]) + "\n")
    events = read_events(tmp_path / "e.csv")
    stream = cases.model_of(events).stream()
    stream.update({"sequence": "x", "time": "2020-02-01T12:00", "mark": "a"})
    told = stream.update({"sequence": "x", "time": "2020-02-02 12:00", "mark": "b"}).to_dict()
    assert told["time"] == "2020-02-02T12:00:00"
    assert np.datetime64(told["next"]["median"]) > np.datetime64("2020-02-02T12:00")
    assert set(told["next"]["marks"]) == {"a", "b"}
    with pytest.raises(DataError, match="expected events of sequence 'x', received 'y'; use one stream for each"):
        stream.update({"sequence": "y", "time": "2020-02-03", "mark": "b"})
    with pytest.raises(DataError, match="expected a time stamp, received the bare number"):
        stream.update({"sequence": "x", "time": "7", "mark": "b"})
    assert list(events_after(cases.model_of(events), events)) == ["x", "y"]


def test_events_without_marks(events: EventSet) -> None:
    """A model without marks takes times alone and tells no marks."""
    bare = [type(one)(one.name, one.times, None, one.start, one.end) for one in events.sequences]
    stream = cases.model_of(EventSet(tuple(bare), (), "made", None, "keep")).stream(quantiles=(0.25,))
    assert stream.schema.inputs == ("time",)
    told = stream.update({"time": 3}).to_dict()
    assert "mark" not in told
    assert list(told["next"]) == ["mean", "median", "q0.25"]
    assert told["next"]["q0.25"] < told["next"]["median"]


def test_arguments_out_of_range(model: EventModel) -> None:
    """Imputing, levels outside of 0 to 1, and a start that is no number are refused; an event before it, too."""
    for arguments, words in (
        ({"on_bad_row": "impute"}, "cannot be guessed"),
        ({"quantiles": (1.0,)}, "levels between 0 and 1"),
        ({"start": math.inf}, "start: expected"),
    ):
        with pytest.raises(ValueError, match=words):
            EventStream(model, **arguments)
    with pytest.raises(DataError, match=r"at least 3.0"):
        model.stream(start=3.0).update((2.0, "1"))


@pytest.mark.parametrize("origin", [1.7e12, 1.7e9])
def test_times_since_1970_are_told_in_full(origin: float, events: EventSet) -> None:
    """Times of ten digits and more, as milliseconds and seconds since 1970 have, come out as they are."""
    moved = [dataclasses.replace(one, times=origin + one.times * 1e3 + 0.25) for one in events.sequences[:2]]
    moved = [dataclasses.replace(one, start=float(one.times[0]), end=float(one.times[-1])) for one in moved]
    far = dataclasses.replace(events, sequences=tuple(moved))
    model = cases.model_of(far)
    stream = model.stream()
    for row in cases.rows_of(moved[0], far.marks)[:5]:
        found = stream.update(row)
        said = json.loads(json.dumps(found.to_dict()))
        assert said["time"] == row["time"]
        assert (said["next"]["mean"], said["next"]["median"]) == (found.mean, found.median)
        assert said["next"]["q0.1"] == found.quantiles[0.1] > row["time"]
