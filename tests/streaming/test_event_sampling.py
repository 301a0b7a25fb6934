"""Events that a stream draws: in the user's unit, as the model draws them, and without a trace in the stream."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for `event_stream_cases`, which is not a test module

import event_stream_cases as cases
from torch.utils import _pytree as pytree

from aaren.data import EventSet, read_events
from aaren.models import EventModel
from aaren.streaming import EventPath, EventStream

HOUR = 3600.0


@pytest.fixture(scope="module")
def events() -> EventSet:
    """Real sequences."""
    return cases.stack_overflow()


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> EventStream:
    """A stream of dates that ended on 1 February 2020 at noon."""
    rows = [f"{name},2020-01-{day:02d} 12:00,{'ab'[day % 2]}" for name in "xy" for day in range(1, 20)]
    path = tmp_path_factory.mktemp("dates") / "e.csv"
    path.write_text("\n".join(["sequence,time,mark", *rows]) + "\n")
    stream = cases.model_of(read_events(path)).stream()
    stream.update({"sequence": "x", "time": "2020-01-31 12:00", "mark": "a"})
    stream.update({"sequence": "x", "time": "2020-02-01 12:00", "mark": "b"})
    return stream


def seeded(seed: int = 0) -> torch.Generator:
    """A generator."""
    return torch.Generator().manual_seed(seed)


def after(events: EventSet, count: int = 12, **fields: Any) -> EventStream:
    """A stream that has taken the first events of the first sequence."""
    stream = cases.model_of(events, **fields).stream()
    for row in cases.rows_of(events.sequences[0], events.marks)[:count]:
        stream.update(row)
    return stream


def in_seconds(events: EventSet) -> EventSet:
    """The same events with times in another unit, 3600 of which are one of before."""
    moved = [
        dataclasses.replace(one, times=HOUR * one.times, start=HOUR * one.start, end=HOUR * one.end)
        for one in events.sequences
    ]
    return dataclasses.replace(events, sequences=tuple(moved))


@pytest.mark.parametrize("kind", cases.KINDS)
def test_samples_are_the_models_own(kind: str, events: EventSet) -> None:
    """With the same draws a stream says what its model says from its state, in the user's unit and with names."""
    stream = after(events, **cases.KINDS[kind])
    model, last = stream.model, events.sequences[0].times[11]
    state = pytree.tree_map(lambda leaf: torch.cat([leaf] * 7), stream.state)
    drawn = model.sample(state, 6, generator=seeded())
    paths = stream.sample(6, paths=7, generator=seeded())
    assert len(paths) == 7
    for path, times, marks in zip(paths, drawn.times, drawn.marks, strict=True):
        start = events.sequences[0].times[0]
        assert path.times == pytest.approx(start + model.preprocessing.unit * times.numpy(), rel=1e-9)
        assert path.marks == tuple(events.marks[mark] for mark in marks)
        assert (np.diff(path.times, prepend=last) > 0).all()
        assert path.to_dict() == {"times": path.times.tolist(), "marks": list(path.marks)}


def test_samples_follow_what_the_stream_says(events: EventSet) -> None:
    """Of many paths, the next event comes before each quantile, and has each mark, as often as was predicted."""
    stream = after(events, 11)
    said = stream.update(cases.rows_of(events.sequences[0], events.marks)[11])
    paths = stream.sample(1, paths=4000, generator=seeded())
    times = np.array([path.times[0] for path in paths])
    allowed = 4 * math.sqrt(0.25 / len(paths))
    for level, quantile in {**said.quantiles, 0.5: said.median}.items():
        assert (times <= quantile).mean() == pytest.approx(level, abs=allowed)
    for name, chance in said.marks.items():
        assert sum(path.marks == (name,) for path in paths) / len(paths) == pytest.approx(chance, abs=allowed)


def test_another_unit_scales_the_samples(events: EventSet) -> None:
    """Of the same events in seconds for hours, the sampled times are 3600 times as long, and so is the horizon."""
    hours, seconds = after(events), after(in_seconds(events))
    until = events.sequences[0].times[11] + 3 * hours.model.preprocessing.unit
    for few, many in (({"count": 9}, {"count": 9}), ({"until": until}, {"until": HOUR * until})):
        left = hours.sample(**few, paths=20, generator=seeded())
        right = seconds.sample(**many, paths=20, generator=seeded())
        assert sum(len(path.times) for path in left) > 20
        for short, long in zip(left, right, strict=True):
            assert long.times == pytest.approx(HOUR * short.times, rel=1e-5)
            assert long.marks == short.marks


@pytest.mark.parametrize("kind", cases.KINDS)
def test_the_stream_stays_as_it_was(kind: str, events: EventSet) -> None:
    """After sampling, state, counts, the next answers and the model's mode are those of a stream that did not."""
    asked, other = after(events, **cases.KINDS[kind]), after(events, **cases.KINDS[kind])
    asked.sample(20, paths=3)
    asked.sample(20)
    assert asked.header() == other.header()
    assert not asked.model.training
    for row in [None, *cases.rows_of(events.sequences[0], events.marks)[12:20]]:
        if row is not None:
            assert asked.update(row) == other.update(row)
        for left, right in zip(*(pytree.tree_leaves(one.state) for one in (asked, other)), strict=True):
            assert torch.equal(left, right)


def test_the_seed_decides(events: EventSet) -> None:
    """The same generator draws the same paths, another one others; the paths of one call differ."""
    stream = after(events)
    first, again, other = (stream.sample(5, paths=2, generator=seeded(seed)) for seed in (1, 1, 2))
    assert [path.to_dict() for path in first] == [path.to_dict() for path in again]
    assert first[0].to_dict() not in (other[0].to_dict(), first[1].to_dict())


def test_count_and_until(events: EventSet) -> None:
    """Paths end before `until` and after `count` events, whichever comes first; nothing may be before it."""
    stream = after(events)
    last = float(events.sequences[0].times[11])
    until = last + 4 * stream.model.preprocessing.unit
    free = stream.sample(until=until, paths=50, generator=seeded())
    both = stream.sample(3, until=until, paths=50, generator=seeded())
    assert {len(path.times) for path in both} == {0, 1, 2, 3}
    assert max(len(path.times) for path in free) > 3
    for path in (*free, *both):
        assert (path.times <= until).all()
        assert len(path.marks) == len(path.times)
    (nothing,) = stream.sample(until=last)
    assert nothing.to_dict() == {"times": [], "marks": []}


def test_dates(dated: EventStream) -> None:
    """Dated streams take a date in every form that rows have, or seconds since 1970, and tell dates."""
    noon = dt.datetime(2020, 2, 4, 12)
    seconds = noon.replace(tzinfo=dt.UTC).timestamp()
    ends = ("2020-02-04 12:00", "2020-02-04T13:00+01:00", noon, np.datetime64("2020-02-04T12:00"), seconds)
    found = [dated.sample(until=end, paths=9, generator=seeded()) for end in ends]
    told = [[path.to_dict() for path in paths] for paths in found]
    assert all(one == told[0] for one in told)
    times = [time for path in told[0] for time in path["times"]]
    assert len(times) > 9
    assert all("2020-02-01T12:00:00" < time <= "2020-02-04T12:00:00" for time in times)
    assert {mark for path in told[0] for mark in path["marks"]} == {"a", "b"}
    path = found[0][0]
    assert np.datetime64(path.to_dict()["times"][0]) == np.datetime64(round(path.times[0] * 1e6), "us")
    assert EventPath(np.array([1e15]), None, True).to_dict() == {"times": [None]}


def test_events_without_marks(events: EventSet) -> None:
    """Paths of a model without marks have none."""
    bare = tuple(dataclasses.replace(one, marks=None) for one in events.sequences)
    (path,) = after(dataclasses.replace(events, sequences=bare, marks=())).sample(4)
    assert path.marks is None
    assert list(path.to_dict()) == ["times"]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({}, "expected count, until, or both, received neither"),
    "no events": ({"count": 0}, "count: expected a whole number of events, at least 1, received 0"),
    "half an event": ({"count": 2.5}, "count: expected a whole number"),
    "no paths": ({"count": 1, "paths": 0}, "paths: expected a whole number of at least 1, received 0"),
    "before the last event": ({"until": -1.0}, "until: expected a time of at least that of the last event, .*-1.0"),
    "beyond float64": ({"until": 10**400}, "until: expected a time of at least that of the last event"),
    "without an end": ({"until": math.inf}, "until: expected a time of at least .* received inf"),
    "text": ({"until": "soon"}, "until: expected a time of at least .* received 'soon'"),
    "truth": ({"until": True}, "until: expected a time of at least .* received True"),
}


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("case", BAD)
def test_arguments_out_of_range(case: str, events: EventSet) -> None:
    """What is missing, not a number or too early is refused by name."""
    arguments, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        after(events).sample(**arguments)


def test_what_cannot_be_sampled(events: EventSet, dated: EventStream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream without events, with its start or not, text that is no date, and endless paths are refused."""
    model = cases.model_of(events)
    for stream in (model.stream(), model.stream(start=0.0)):
        with pytest.raises(ValueError, match="expected a stream with an event, received a new one"):
            stream.sample(3)
    with pytest.raises(ValueError, match="until: expected a time stamp that starts with the year, received 'soon'"):
        dated.sample(until="soon")
    with pytest.raises(ValueError, match="until: expected a time of at least that of the last event"):
        dated.sample(until="2020-02-01 11:59")
    monkeypatch.setattr("aaren.models._event_model._LARGEST_SAMPLE", 20)
    with pytest.raises(ValueError, match="until: expected at most 20 events"):
        after(events).sample(until=1e9)
    assert len(after(events).sample(30)[0].times) == 30


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python blocks of docs/events.md run as they stand, one after the other."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{name},{2 * step + name / 9},{('buy', 'sell')[step % 2]}" for name in range(10) for step in range(6)]
    Path("events.csv").write_text("\n".join(["sequence,time,mark", *rows]) + "\n")
    page = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
    space: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/events.md", "exec"), space)
    assert isinstance(space["result"].model, EventModel)
    assert len(space["paths"]) == 100
