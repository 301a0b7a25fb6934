"""Drift: what a stream says of its input against the training data, kept in constant memory and in snapshots."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `event_stream_cases`, which is not a test module

import event_stream_cases as cases

from aaren import Forecaster
from aaren.data import SeriesSet, cases_from_arrays
from aaren.errors import DataError, ModelFileError
from aaren.evaluation import PreparedData, prepare_classes
from aaren.models import Classifier
from aaren.streaming import Stream
from aaren.streaming._drift import DriftMonitor, Reference
from aaren.streaming._snapshot import read_snapshot, write_snapshot

Rows = Callable[..., list[dict[str, Any]]]


def monitor(columns: int, half_life: float, marks: int = 0) -> DriftMonitor:
    """Columns whose training mean is 10 and deviation 2, and marks that were equally frequent."""
    names = tuple("abcdef"[:columns])
    reference = Reference(names, np.full(columns, 10.0), np.full(columns, 2.0), {"a": 0.25}, dict.fromkeys("xyz", 4))
    if not marks:
        reference = Reference(names, reference.mean, reference.deviation, reference.missing, {})
    return DriftMonitor(reference, half_life)


@pytest.mark.parametrize("half_life", [3.0, 1000.0])
def test_the_numbers_are_their_formulas(half_life: float) -> None:
    """Mean, deviation, missing share, z and stability are those of all rows at once, with weights that halve."""
    random = np.random.default_rng(0)
    z = random.normal(0.5, 1.5, (40, 2))
    z[random.random((40, 2)) < 0.3] = np.nan
    absent = random.integers(0, 3, 40)
    found = monitor(2, half_life)
    whole = []
    for row, gap in zip(z, absent.tolist(), strict=True):
        found.add(row, absent=gap)
        whole += [np.full(2, np.nan)] * gap + [row]
    every = np.array(whole)
    weights = 0.5 ** (np.arange(len(every))[::-1] / half_life)
    report = found.report(40)
    for index, column in enumerate(report.columns):
        known = np.isfinite(every[:, index])
        w, x = weights[known], every[known, index]
        mean = np.average(x, weights=w)
        variance = np.average((x - mean) ** 2, weights=w)
        assert column.missing == pytest.approx(1 - w.sum() / weights.sum())
        assert column.mean == pytest.approx(10 + 2 * mean)
        assert column.deviation == pytest.approx(2 * math.sqrt(variance))
        assert column.shift == pytest.approx(mean)
        assert column.z == pytest.approx(mean * w.sum() / math.sqrt((w**2).sum()))
        divergence = 0.5 * (variance + mean**2 - 1 - np.log(variance))
        back = 0.5 * ((1 + mean**2) / variance - 1 + np.log(variance))
        assert column.stability == pytest.approx(divergence + back)
    assert report.columns[0].training_missing == 0.25
    assert report.columns[1].training_missing is None


def test_what_is_not_known_is_none() -> None:
    """Before a value there is no mean, of one value no deviation, and all of it goes into JSON and a table."""
    found = monitor(2, 10.0)
    empty = found.report(0)
    assert empty.worst is None
    assert empty.columns[0].mean is empty.columns[0].missing is None
    found.add(np.array([1.0, np.nan]))
    one = found.report(1)
    assert (one.columns[0].mean, one.columns[0].deviation, one.columns[0].stability) == (12.0, None, None)
    assert (one.columns[1].mean, one.columns[1].missing) == (None, 1.0)
    found.add(np.array([1.0, np.nan]))
    still = found.report(2).columns[0]
    assert still.deviation == 0.0
    assert still.stability is not None
    assert still.stability > 1e5  # a sensor that stands still
    for report in (empty, one, found.report(2)):
        assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["rows"] == report.rows
        assert f"drift after {report.rows} rows" in str(report)


@pytest.mark.parametrize("rows", [300_000, 540_000, 1_000_000, 2_000_000])
def test_a_column_that_died_long_ago(rows: int) -> None:
    """A column without values for half a million rows and more has a report still, at any age."""
    found = monitor(2, 1000.0)
    found.add(np.array([1.0, 1.0]))
    found.add(np.array([np.nan, 1.0]), absent=rows)
    dead, alive = found.report(2).columns
    assert (dead.name, dead.missing) == ("a", 1.0)
    assert alive.mean == 12.0
    json.dumps(found.report(2).to_dict(), allow_nan=False)


def test_marks() -> None:
    """Shares of marks are told beside those of training; the stability index is 0 where they agree."""
    found = monitor(1, 1e9, marks=3)
    for mark in (0, 1, 2) * 20:
        found.add(None, mark)
    assert found.report(60).mark_stability == pytest.approx(0.0, abs=1e-9)
    for _ in range(60):
        found.add(None, 0)
    report = found.report(120)
    assert [one.share for one in report.marks] == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    assert report.mark_stability is not None
    assert report.mark_stability > 0.25
    assert "marks (in training): x 66.7% (33.3%)" in str(report)


def test_a_stream_tells_what_moved(model: Forecaster, etth1: SeriesSet, rows_of: Rows) -> None:
    """The column that was moved by three deviations is the worst, with that shift; the others are as without it."""
    rows = rows_of(etth1, 4000, 4300)
    plain, moved = model.stream(), model.stream()
    assert model.preprocessing is not None
    deviation = dict(zip(etth1.schema.inputs, model.preprocessing.scaler.deviation.tolist(), strict=True))
    for row in rows:
        plain.update(row)
        moved.update({**row, "HUFL": row["HUFL"] + 3 * deviation["HUFL"]})
    before, after = plain.drift(), moved.drift()
    assert after.rows == 300
    assert after.worst.name == "HUFL"
    assert str(after).splitlines()[2].startswith("HUFL ")
    by_name = [{one.name: one for one in report.columns} for report in (before, after)]
    assert by_name[1]["HUFL"].shift == pytest.approx(by_name[0]["HUFL"].shift + 3)
    for name in ("OT", "MUFL"):
        assert by_name[1][name] == by_name[0][name]


def test_the_drift_of_the_training_part_is_that_of_its_mean(prepared: PreparedData, model: Forecaster) -> None:
    """Over rows with the training mean and deviation, nothing has moved."""
    values = prepared.values[:8640].astype(np.float64)
    found = DriftMonitor(model.stream()._monitor.reference, 1e9)
    for row in values:
        found.add(row)
    for column in found.report(8640).columns:
        assert column.shift == pytest.approx(0, abs=1e-4)
        assert column.stability == pytest.approx(0, abs=1e-4)


def test_a_refused_row_changes_nothing(model: Forecaster, etth1: SeriesSet, rows_of: Rows) -> None:
    """What is said of drift is of the rows that were taken alone, and an imputed cell counts as missing."""
    rows = rows_of(etth1, 0, 5)
    live, clean = model.stream(), model.stream()
    for row in rows:
        with pytest.raises(DataError):
            live.update({**row, "OT": math.inf})
        live.update(row)
        clean.update(row)
    assert live.drift() == clean.drift()
    imputing = model.stream(on_bad_row="impute")
    for row in rows:
        imputing.update({**row, "OT": math.inf})
    assert imputing.drift().columns[0].missing == 1.0


def test_a_restored_stream_goes_on(model: Forecaster, etth1: SeriesSet, rows_of: Rows, tmp_path: Path) -> None:
    """Saved and restored anywhere, the report is the same to the bit, and a snapshot does not grow."""
    rows = rows_of(etth1, 0, 60)
    rows[30]["OT"] = None
    whole = model.stream()
    for row in rows:
        whole.update(row)
    sizes = set()
    for cut in (0, 1, 25, 59):
        live = model.stream()
        for row in rows[:cut]:
            live.update(row)
        live.save(tmp_path / "state")
        sizes.add((tmp_path / "state").stat().st_size // 1000)
        again = model.stream(tmp_path / "state")
        for row in rows[cut:]:
            again.update(row)
        assert again.drift() == whole.drift()
    assert max(sizes) - min(sizes) <= 1


def _rewritten(live: Stream, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The snapshot of a stream with a changed header, and the right checksum for it."""
    live.save(path)
    tensors, header = read_snapshot(path, live.model.fingerprint())
    change(header)
    write_snapshot(path, tensors, header)
    return path


def test_snapshots_of_before_there_was_drift(
    model: Forecaster, etth1: SeriesSet, rows_of: Rows, tmp_path: Path
) -> None:
    """A snapshot without sums is read; the state goes on as it was, the report begins with the next row."""
    rows = rows_of(etth1, 0, 12)
    live = model.stream()
    for row in rows[:10]:
        live.update(row)
    old = model.stream(_rewritten(live, tmp_path / "state", lambda header: header.pop("drift")))
    assert old.rows == 10
    assert old.drift().columns[0].mean is None
    assert old.update(rows[10]).to_dict() == live.update(rows[10]).to_dict()
    assert old.drift().columns[0].mean == pytest.approx(rows[10]["OT"])


@pytest.mark.parametrize(
    "change",
    [
        {"half_life": 0},
        {"half_life": math.inf},
        {"sums": ""},
        {"sums": np.zeros(12).tobytes().hex()},
        {"sums": np.full(13, -1.0).tobytes().hex()},
        {"sums": np.full(13, math.nan).tobytes().hex()},
        {"sums": "much"},
        {"sums": [0.0] * 13},
        {"half_life": None},
    ],
    ids=range(9),
)
def test_crafted_sums_are_refused(change: dict[str, Any], model: Forecaster, tmp_path: Path) -> None:
    """Sums of another shape, negative or not finite are refused with the file's name."""
    path = _rewritten(model.stream(), tmp_path / "state", lambda header: header["drift"].update(change))
    with pytest.raises(ModelFileError, match="not a state snapshot, or damaged"):
        model.stream(path)


def test_events(tmp_path: Path) -> None:
    """An event stream tells the mean log-interval and the shares of marks; the first event has no interval."""
    events = cases.stack_overflow()
    model = cases.model_of(events)
    one = events.sequences[0]
    rows = cases.rows_of(one, events.marks)
    assert model.preprocessing is not None
    live = model.stream()
    for row in rows[:20]:
        live.update(row)
    live.save(tmp_path / "state")
    live = model.stream(tmp_path / "state")
    for row in rows[20:]:
        live.update(row)
    report = live.drift()
    (column,) = report.columns
    weights = 0.5 ** (np.arange(len(rows) - 1)[::-1] / report.half_life)
    floor = model.preprocessing.floor * model.preprocessing.unit
    logs = np.log(np.maximum(np.diff(one.times), floor))
    assert column.name == "log interval"
    assert column.missing == 0.0
    assert column.mean == pytest.approx(np.average(logs, weights=weights))
    assert column.training_deviation == model.preprocessing.log_deviation
    assert sum(mark.share for mark in report.marks) == pytest.approx(1)
    assert sum(mark.training_share for mark in report.marks) == pytest.approx(1)
    assert report.mark_stability > 0


def test_a_classifier_goes_on_over_a_reset() -> None:
    """Channels are compared with those of training, over all series of a stream; missing cells are counted."""
    random = np.random.default_rng(0)
    train = cases_from_arrays(list(random.normal(5, 2, (6, 20, 2))), ["a", "b"] * 3)
    model = Classifier(channels=2, classes=2, d_model=8, nhead=2, num_layers=1, preprocessing=prepare_classes(train))
    assert model.preprocessing is not None
    model.metadata["data"] = {"missing": {"channel_2": 0.125, "channel_1": "many"}}
    live = model.stream()
    for case in train.cases:
        for row in case:
            live.update({"channel_1": row[0] + 8, "channel_2": None if row[1] > 5 else row[1]})
        live.reset()
    first, second = live.drift().columns
    assert first.shift == pytest.approx(8 / model.preprocessing.scaler.deviation[0], abs=0.1)
    assert second.missing == pytest.approx(0.5, abs=0.1)
    assert (first.training_missing, second.training_missing) == (None, 0.125)


def test_a_model_without_its_means_cannot_stream() -> None:
    """A model without preprocessing has nothing to compare with, and is refused as before."""
    with pytest.raises(ValueError, match="model: expected preprocessing"):
        Classifier(channels=2, classes=2, d_model=8, nhead=2).stream()


def test_many_columns_are_cut_in_the_table() -> None:
    """The table shows the twenty columns that moved most, and says how many it leaves out."""
    names = tuple(f"c{index}" for index in range(25))
    found = DriftMonitor(Reference(names, np.zeros(25), np.ones(25), {}, {}), 100.0)
    for sign in (-1.0, 1.0):
        found.add(np.arange(25.0) + sign)
    lines = str(found.report(2)).splitlines()
    assert len(lines) == 23
    assert lines[2].startswith("c24 ")
    assert lines[-1] == "... and 5 columns that moved less"
