"""Anomalies in live streams: scores by hand, spikes in real series, missing cells, units, snapshots, silence."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `event_stream_cases`, which is not a test module

import event_stream_cases as cases

from aaren import Classifier, EventModel, Forecaster, Stream
from aaren.data import EventSet, Scaler, SeriesSet
from aaren.errors import DataError, ModelFileError
from aaren.evaluation import PreparedData
from aaren.models import ClassifierPreprocessing
from aaren.streaming import Anomaly, AnomalyStream, StreamingTail, StreamPool
from aaren.streaming._snapshot import read_snapshot, write_snapshot

pytestmark = pytest.mark.usefixtures("without_shape_checks")  # many rows
Rows = Callable[..., list[dict[str, Any]]]
BRIEF: dict[str, Any] = {"warm_up": 60, "half_life": 300.0}


def said(stream: AnomalyStream, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a stream says to each row, as plain data."""
    return [found.to_dict() for found in map(stream.update, rows) if found is not None]


def numbers(found: list[Anomaly | None]) -> list[float]:
    """The scores, NaN for none."""
    return [math.nan if one is None or one.score is None else one.score for one in found]


def by_hand(model: Forecaster, rows: list[dict[str, Any]], steps: list[int]) -> list[float]:
    """Scores from the forecasts of a plain stream, NaN for none; `steps`: the horizon step that was for each row."""
    stream, levels = Stream(model), model.config.quantiles
    tails = {name: StreamingTail(**BRIEF) for name in stream.schema.targets}
    deviation = dict(zip(stream.schema.inputs, model.preprocessing.scaler.deviation.tolist(), strict=True))
    scores: list[float] = []
    last = None
    for row, step in zip(rows, steps, strict=True):
        distances = {}
        for index, name in enumerate(tails):
            if last is None or row[name] is None or step >= model.config.horizon:
                continue
            if levels:
                low, centre, high = last.quantiles[step, index].tolist()
            else:
                centre = float(last.mean[step, index])
                low, high = centre - deviation[name], centre + deviation[name]
            width = high - centre if row[name] >= centre else centre - low
            distances[name] = abs(row[name] - centre) / max(width, 0.01 * deviation[name])
        chances = [tails[name].probability(distance) for name, distance in distances.items()]
        known = [chance for chance in chances if chance is not None]
        scores.append(-math.log10(min(1.0, len(known) * min(known))) if known else math.nan)
        for name, distance in distances.items():
            tails[name].update(distance)
        last = stream.update(row)
    return scores


@pytest.mark.parametrize("quantiles", [(0.1, 0.5, 0.9), ()])
def test_scores_are_those_of_a_loop_over_forecasts(
    quantiles: tuple[float, ...], prepared: PreparedData, build: Any, etth1: SeriesSet, rows_of: Rows
) -> None:
    """A score is the tail probability of the distance from what a plain stream had forecast, with missing cells too.

    After missing rows the horizon step for the row's time counts. The prediction is that of the plain stream.
    """
    model = build(prepared, quantiles=quantiles)
    rows = rows_of(etth1, 0, 200)
    rows[100]["OT"] = None
    rows[120]["OT"] = rows[120]["HUFL"] = None
    del rows[140:142], rows[150:160]
    steps = [0] * len(rows)
    steps[140], steps[150] = 2, 10
    stream, plain = AnomalyStream(model, **BRIEF), Stream(model)
    found = [stream.update(row) for row in rows]
    assert numbers(found) == pytest.approx(by_hand(model, rows, steps), rel=1e-9, nan_ok=True)
    for row, one in zip(rows, found, strict=True):
        expected = plain.update(row)
        assert one is not None
        assert expected is not None
        assert one.prediction.to_dict() == expected.to_dict()
        assert (one.row, one.time) == (expected.row, expected.time)
    assert [one.score for one in found[:61] if one] == [None] * 61  # nothing is forecast before the first row
    assert found[61] is not None
    assert found[61].score is not None
    assert found[100] is not None
    assert found[100].column == "HUFL"
    assert [one.score for one in (found[120], found[150]) if one] == [None, None]


def test_a_spike_is_flagged_and_ordinary_rows_are_not(
    prepared: PreparedData, build: Any, etth1: SeriesSet, rows_of: Rows
) -> None:
    """In 600 rows of a real series at most 2 are flagged; a spike put into it is flagged, in its column."""
    model, rows = build(prepared, quantiles=()), rows_of(etth1, 0, 600)
    plain = [found for found in map(AnomalyStream(model, risk=1e-3).update, rows) if found]
    assert sum(found.is_anomaly for found in plain) <= 2
    rows[450]["HUFL"] += 200.0
    spiked = [found for found in map(AnomalyStream(model, risk=1e-3).update, rows) if found]
    assert [found.score for found in spiked[:450]] == [found.score for found in plain[:450]]
    assert (spiked[450].is_anomaly, spiked[450].column) == (True, "HUFL")
    assert (spiked[450].score or 0) > 4 > (plain[450].score or 0)
    assert spiked[450].threshold == pytest.approx(3)
    flagged = [found.row for found in spiked[:440] + spiked[500:] if found.is_anomaly]
    assert len(flagged) <= 2


def test_units_do_not_matter(model: Forecaster, etth1: SeriesSet, rows_of: Rows) -> None:
    """The same model in other units gives the same scores: a factor and a shift of its own for each column."""
    assert model.preprocessing is not None
    scaler, rows = model.preprocessing.scaler, rows_of(etth1, 0, 150)
    factor, shift = np.array([1000.0, 1e-2, 3.0]), np.array([5.0, -7.0, 100.0])
    other = Forecaster(
        model.config,
        preprocessing=dataclasses.replace(
            model.preprocessing, scaler=Scaler(scaler.names, factor * scaler.mean + shift, factor * scaler.deviation)
        ),
    )
    other.load_state_dict(model.state_dict())
    changed = [
        {**row, **{name: factor[i] * row[name] + shift[i] for i, name in enumerate(scaler.names)}} for row in rows
    ]
    scores = [
        numbers([stream.update(row) for row in given])
        for stream, given in ((AnomalyStream(model, **BRIEF), rows), (AnomalyStream(other, **BRIEF), changed))
    ]
    assert scores[1] == pytest.approx(scores[0], rel=1e-3, abs=1e-3, nan_ok=True)


def test_bad_rows(model: Forecaster, etth1: SeriesSet, rows_of: Rows) -> None:
    """A row with infinity raises and changes nothing, or is left out, or has no score for that cell, by the policy."""
    rows = rows_of(etth1, 0, 80)
    bad = {**rows[79], "OT": math.inf, "HUFL": math.nan}
    for policy in ("error", "skip", "impute"):
        stream = AnomalyStream(model, on_bad_row=policy, **BRIEF)
        said(stream, rows[:79])
        before = stream._own_header()
        if policy == "error":
            with pytest.raises(DataError, match="line 80"):
                stream.update(bad)
        elif policy == "skip":
            assert stream.update(bad) is None
            assert stream.skipped == 1
        else:
            found = stream.update(bad)
            assert found is not None
            assert (found.score, found.is_anomaly, found.column) == (None, False, None)
        assert (stream._own_header() == before) == (policy != "impute")


@pytest.mark.parametrize("cut", [0, 1, 30, 61, 100])
def test_saved_it_goes_on_exactly(cut: int, model: Forecaster, etth1: SeriesSet, rows_of: Rows, tmp_path: Path) -> None:
    """Saved before, in and after the warm-up, a stream says what it would have said."""
    rows, path = rows_of(etth1, 0, 140), tmp_path / "state"
    whole = AnomalyStream(model, **BRIEF)
    said(whole, rows[:cut])
    whole.save(path)
    restored = AnomalyStream(model, path, **BRIEF)
    assert (restored.rows, restored.time, restored.last_taken) == (whole.rows, whole.time, whole.last_taken)
    assert said(restored, rows[cut:]) == said(whole, rows[cut:])


def test_snapshots_that_are_refused(
    model: Forecaster, prepared: PreparedData, build: Any, etth1: SeriesSet, rows_of: Rows, tmp_path: Path
) -> None:
    """Those of another model, of a plain stream, with another warm-up, and with what no stream would write."""
    path, stream = tmp_path / "state", AnomalyStream(model, **BRIEF)
    said(stream, rows_of(etth1, 0, 10))
    stream.save(path)
    with pytest.raises(ModelFileError, match="another model"):
        AnomalyStream(build(prepared), path, **BRIEF)
    tensors, header = read_snapshot(path, model.fingerprint())
    anomaly = header["anomaly"]
    for wrong in (
        {**anomaly, "tails": {}},
        {**anomaly, "tails": None},
        {**anomaly, "surprise": {"forecast": [[1.0]]}},
        {**anomaly, "surprise": {"forecast": np.zeros((3, 4, 2)).tolist()}},
        {**anomaly, "surprise": {}},
        [],
    ):
        write_snapshot(path, tensors, {**header, "anomaly": wrong})
        with pytest.raises(ModelFileError, match="not a state snapshot"):
            AnomalyStream(model, path, **BRIEF)
    Stream(model).save(path)
    with pytest.raises(
        ModelFileError, match="expected the state of an AnomalyStream, received that of a stream without"
    ):
        AnomalyStream(model, path)
    AnomalyStream(model).save(path)
    for take in (model.stream, partial(StreamPool(model, 1).load_state, "key")):
        with pytest.raises(ModelFileError, match=r"expected the state of a stream without .* that of an AnomalyStream"):
            take(path)


def test_size_does_not_grow(model: Forecaster, etth1: SeriesSet, rows_of: Rows, tmp_path: Path) -> None:
    """After the warm-up the snapshot has the same size, but for the digits of its numbers."""
    stream, sizes = AnomalyStream(model, **BRIEF), []
    rows = rows_of(etth1, 0, 400)
    for first in (0, 200):
        said(stream, rows[first : first + 200])
        stream.save(tmp_path / "state")
        sizes.append((tmp_path / "state").stat().st_size)
    assert abs(sizes[1] - sizes[0]) < 200
    assert stream.nbytes() == Stream(model).nbytes()


@pytest.fixture(scope="module")
def events() -> EventSet:
    """Real sequences."""
    return cases.stack_overflow()


@pytest.fixture(scope="module")
def event_model(events: EventSet) -> EventModel:
    """A model of them."""
    return cases.model_of(events)


def long_rows(events: EventSet) -> list[dict[str, Any]]:
    """The events of a long sequence."""
    return cases.rows_of(max(events.sequences, key=lambda one: len(one.times)), events.marks)


def test_events_are_scored_by_their_likelihood(event_model: EventModel, events: EventSet, tmp_path: Path) -> None:
    """The score is the tail probability of minus the log-likelihood; a snapshot goes on exactly."""
    options: dict[str, Any] = {"warm_up": 40}
    rows = long_rows(events)
    assert len(rows) > 60
    stream, tail = AnomalyStream(event_model, **options), StreamingTail(**options)
    plain = event_model.stream()
    for index, row in enumerate(rows):
        found, expected = stream.update(row), plain.update(row)
        assert found.prediction.to_dict() == expected.to_dict()
        chance = None if index == 0 else tail.probability(-expected.log_likelihood)
        assert found.score == (None if chance is None else pytest.approx(-math.log10(chance)))
        if index:
            tail.update(-expected.log_likelihood)
        if index == 50:
            stream.save(tmp_path / "state")
            stream = AnomalyStream(event_model, tmp_path / "state", **options)


def test_silence_becomes_an_anomaly(event_model: EventModel, events: EventSet) -> None:
    """Asked between events, the score rises with the time since the last one until it is flagged; nothing changes."""
    stream = AnomalyStream(event_model, warm_up=40)
    first = stream.silence(0.0)
    assert (first.score, first.to_dict()["row"]) == (None, 0)
    rows = long_rows(events)
    said(stream, rows)
    last, before = rows[-1]["time"], stream._own_header()
    waits: list[Anomaly] = [stream.silence(last + event_model.preprocessing.unit * w) for w in (0, 1, 10, 1e3, 1e6)]
    scores = [one.score or 0.0 for one in waits]
    assert scores == sorted(scores)
    assert not waits[0].is_anomaly
    assert waits[-1].is_anomaly
    assert waits[-1].to_dict()["anomaly"]["column"] == "silence"
    assert stream._own_header() == before
    with pytest.raises(ValueError, match="at least that of the last event"):
        stream.silence(last - 1)


def test_what_is_refused(model: Forecaster) -> None:
    """A risk out of range, silence of a forecaster, and a model that does not say what comes next."""
    with pytest.raises(ValueError, match="risk"):
        AnomalyStream(model, risk=0.1)
    with pytest.raises(ValueError, match="rows have no silence"):
        AnomalyStream(model).silence(0.0)
    scaler = Scaler(("a",), np.zeros(1), np.ones(1))
    classifier = Classifier(
        channels=1, classes=2, d_model=8, nhead=2, preprocessing=ClassifierPreprocessing(("x", "y"), scaler)
    )
    with pytest.raises(ValueError, match="received a classifier"):
        AnomalyStream(classifier)


def test_drift_and_warm_up_are_those_of_the_stream_itself(model: Forecaster, etth1: SeriesSet, rows_of: Rows) -> None:
    """A stream that scores rows tells the same drift, and marks the same forecasts, as one that does not."""
    scored = AnomalyStream(model, on_bad_row="skip", warmup=4)
    plain = model.stream(on_bad_row="skip", warmup=4)
    rows = rows_of(etth1, 0, 8)
    rows[1] = {**rows[1], "OT": math.inf}
    for row in rows:
        found, said = scored.update(row), plain.update(row)
        assert (found is None) == (said is None)
        if found is not None and said is not None:
            assert found.prediction.to_dict() == said.to_dict()
    assert scored.drift().to_dict() == plain.drift().to_dict()
    assert (scored.rows, scored.skipped) == (8, 1)
