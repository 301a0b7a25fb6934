"""Drift of many streams: from their records alone, what the running statistics of each stream say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aaren import Classifier, Forecaster
from aaren.data import Scaler, SeriesSet
from aaren.models import ClassifierPreprocessing
from aaren.streaming import DurableStreams, FleetDrift, StreamPool

Rows = list[dict[str, Any]]


@pytest.fixture
def rows(etth1: SeriesSet, rows_of: Any) -> Rows:
    """Two hundred hours."""
    found: Rows = rows_of(etth1, 0, 200)
    return found


def moved(rows: Rows, by: float) -> Rows:
    """The same with another level of HUFL."""
    return [{**row, "HUFL": row["HUFL"] + by} for row in rows]


def test_what_has_moved_is_found(model: Forecaster, rows: Rows) -> None:
    """Counts and order are those of each stream's own weighted mean and variance, computed here from its rows."""
    pool = model.pool(100)
    scaler = model.preprocessing.scaler  # type: ignore[union-attr]
    half_life, prior = model.norm.half_life, model.norm.prior
    expected = {}
    fleet = {f"key {n}": moved(rows, by) for n, by in enumerate((0.0, 60.0, -25.0, 8.0, 300.0))}
    pool.update(list(fleet) * len(rows), [given[k] for k in range(len(rows)) for given in fleet.values()]).raise_first()
    for key, given in fleet.items():
        values = scaler.transform(np.array([[row[name] for name in scaler.names] for row in given]))
        weights = 0.5 ** (np.arange(len(given))[::-1] / half_life)
        first = prior * 0.5 ** (len(given) / half_life)
        total = weights.sum() + first
        mean = (weights[:, None] * values).sum(0) / total
        variance = ((weights[:, None] * values**2).sum(0) + first) / total - mean**2
        stability = (variance + mean**2 + (1 + mean**2) / variance) / 2 - 1
        expected[key] = (scaler.names[stability.argmax()], mean[stability.argmax()], stability.max())
    bound = float(np.median([one[2] for one in expected.values()]))
    report = pool.drift(bound=bound, most=4)
    assert (report.streams, report.beyond, report.unreadable) == (5, 3, 0)
    order = sorted(expected, key=lambda key: -expected[key][2])
    assert [one.key for one in report.worst] == order[:4]
    for one in report.worst:
        column, shift, stability = expected[one.key]
        assert (one.column, one.rows) == (column, 200)
        assert (one.shift, one.stability) == pytest.approx((shift, stability), rel=1e-4)
    assert json.loads(json.dumps(report.to_dict()))["worst"][0]["key"] == order[0]
    assert str(report).splitlines()[0] == f"3 of 5 streams moved by {bound:g} or more (stability index)"


def test_streams_of_the_store_count(model: Forecaster, rows: Rows, tmp_path: Path) -> None:
    """Of durable streams those in the store are in the report, and no stream moves into memory for it."""
    with DurableStreams(model, tmp_path / "store", 2) as streams:
        for n in range(5):
            streams.update([f"key {n}"] * 20, moved(rows[:20], 100.0 * n)).raise_first()
        before = streams.pool.keys()
        report = streams.drift(most=1)
        assert (report.streams, [one.key for one in report.worst]) == (5, ["key 4"])
        assert streams.pool.keys() == before
        report.add(["gone"])
        assert report.streams == 5


def test_what_has_no_report(model: Forecaster) -> None:
    """Another kind of model, and numbers that cannot be, are refused; an empty pool has a report of nothing."""
    assert model.pool(3).drift().to_dict()["streams"] == 0
    for options in ({"bound": 0}, {"bound": True}, {"most": 0}, {"most": 2.5}):
        with pytest.raises(ValueError, match=rf"^{next(iter(options))}: expected"):
            FleetDrift(StreamPool(model, 3), **options)  # type: ignore[arg-type]
    between = ClassifierPreprocessing(("calm", "storm"), Scaler(("u", "v"), np.zeros(2), np.ones(2)))
    sizes = {"d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 8}
    classifier = Classifier(channels=2, classes=2, preprocessing=between, **sizes).eval()
    with pytest.raises(ValueError, match=r"expected a forecaster.*received a classifier"):
        StreamPool(classifier, 3).drift()
