"""A pool says what one stream for each key says, for every kind of model, on real rows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for the cases, which are not test modules

from event_stream_cases import model_of, stack_overflow
from event_stream_cases import rows_of as event_rows
from pool_cases import Beside, same

from aaren import Classifier, Forecaster, Policy
from aaren.data import Scaler, SeriesSet, find_parts, read_cases
from aaren.evaluation import prepare_classes
from aaren.models import PolicyPreprocessing
from aaren.streaming import RowStatus

Rows = Callable[..., list[dict[str, Any]]]
KEYS = ("a", "b", "c", "d")


def interleaved(sources: dict[str, list[Any]], calls: int, seed: int = 0) -> list[tuple[list[str], list[Any]]]:
    """Calls with rows of random keys, some of them several of one key; the rows of each key in order."""
    generator, place = np.random.default_rng(seed), dict.fromkeys(sources, 0)
    found = []
    for _ in range(calls):
        keys = generator.choice(list(sources), generator.integers(1, 13)).tolist()
        rows = []
        for key in keys:
            rows.append(sources[key][place[key] % len(sources[key])])
            place[key] += 1
        found.append((keys, rows))
    return found


@pytest.fixture
def etth1_rows(etth1: SeriesSet, rows_of: Rows) -> dict[str, list[dict[str, Any]]]:
    """Real rows of four times of the series."""
    return {key: rows_of(etth1, 700 * index, 700 * index + 60) for index, key in enumerate(KEYS)}


@pytest.mark.parametrize("encoder", ["aaren", "gru", "mingru"])
def test_forecaster(encoder: str, prepared: Any, build: Callable[..., Forecaster], etth1_rows: Any) -> None:
    """Random interleavings of real rows, several of a key in a call, give the forecasts of single streams."""
    model = build(prepared, encoder=encoder)
    beside = Beside(model, model.pool(10))
    for keys, rows in interleaved(etth1_rows, 12):
        assert not beside.update(keys, rows).errors
    for key in KEYS:
        assert beside.pool.rows(key) == beside.streams[key].rows


def test_gaps_missing_and_refused_times(model: Forecaster, etth1_rows: Any) -> None:
    """Rows after a gap, with missing cells, at times that repeat or go back: as single streams, messages included."""
    generator = np.random.default_rng(5)
    rows = {}
    for key, all_rows in etth1_rows.items():
        kept = [row for row in all_rows if generator.random() > 0.2]
        rows[key] = [{**row, "OT": None} if generator.random() < 0.2 else row for row in kept]
        rows[key].insert(6, rows[key][5])
        rows[key].insert(9, rows[key][2])
    beside = Beside(model, model.pool(10))
    results = [beside.update(*call) for call in interleaved(rows, 12)]
    assert any(result.errors for result in results)


@pytest.mark.parametrize("policy", ["error", "skip", "impute"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300, "word", True])
def test_bad_rows(policy: str, bad: Any, model: Forecaster, etth1_rows: Any) -> None:
    """A bad cell is refused, left out or taken as missing, as by a single stream; rows of other keys go on."""
    beside = Beside(model, model.pool(10, on_bad_row=policy), on_bad_row=policy)
    for turn in range(4):
        rows = [etth1_rows[key][turn] for key in KEYS]
        if turn == 2:
            rows[1] = {**rows[1], "HUFL": bad}
        result = beside.update(KEYS, rows)
        assert result.status[[0, 2, 3]].tolist() == [RowStatus.TAKEN] * 3


def test_a_refused_row_changes_nothing(model: Forecaster, etth1_rows: Any) -> None:
    """The record of its key is what it was, byte for byte; later rows of the key in the call wait for it."""
    pool = model.pool(10)
    pool.update(KEYS, [etth1_rows[key][0] for key in KEYS])
    before = {key: pool.record(key) for key in KEYS}
    good, bad = etth1_rows["a"][1], {**etth1_rows["a"][1], "OT": "x"}
    result = pool.update(["a", "b", "a", "new"], [bad, etth1_rows["b"][1], good, bad])
    assert result.status.tolist() == [RowStatus.REFUSED, RowStatus.TAKEN, RowStatus.REFUSED, RowStatus.REFUSED]
    assert pool.record("a") == before["a"]
    assert pool.record("b") != before["b"]
    assert "new" not in pool
    assert "stream 'a', line 2, column 'OT': expected a number, received 'x'" in str(result.errors[0])
    assert "after a refused row" in str(result.errors[2])
    assert result[0] is None
    with pytest.raises(ValueError, match="column 'OT'"):
        result.raise_first()


def test_rows_in_any_form_are_one(model: Forecaster, etth1: SeriesSet, etth1_rows: Any) -> None:
    """Mappings, sequences, columns of lists and columns of arrays give the same bits."""
    rows = [etth1_rows[key][0] for key in KEYS]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    arrays = {name: np.array(column) for name, column in columns.items()}
    arrays["date"] = arrays["date"].astype("datetime64[s]")
    forms = [rows, [list(row.values()) for row in rows], columns, arrays]
    assert list(rows[0]) == [*etth1.schema.time, *etth1.schema.inputs]
    said = [model.pool(10).update(KEYS, form).arrays["mean"].tobytes() for form in forms]
    assert len(set(said)) == 1


def test_classifier() -> None:
    """Rows of real utterances, missing values among them, give the probabilities of single streams."""
    cases = read_cases(find_parts("JapaneseVowels")["test"]).select(range(0, 360, 90))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Classifier(
            preprocessing=prepare_classes(cases), channels=12, classes=9, d_model=16, nhead=2, dim_feedforward=16
        ).eval()
    cases.cases[1][3, 4] = np.nan
    beside = Beside(model, model.pool(10, on_bad_row="impute"), on_bad_row="impute")
    for keys, rows in interleaved(dict(zip(KEYS, map(list, cases.cases), strict=True)), 10):
        beside.update(keys, [row.tolist() for row in rows], np.array(rows))


def test_events() -> None:
    """Events of real users, equal times and unknown marks among them, give what single streams say."""
    events = stack_overflow()
    model = model_of(events)
    sources = {key: event_rows(events.sequences[index], events.marks) for index, key in enumerate(KEYS)}
    sources["b"].insert(4, {"time": sources["b"][3]["time"], "mark": "no such mark"})
    sources["c"].insert(5, {"time": 0.0, "mark": sources["c"][0]["mark"]})
    sources["d"].insert(2, {"time": None, "mark": "1"})
    beside = Beside(model, model.pool(10, quantiles=(0.25,)), quantiles=(0.25,))
    results = [beside.update(*call) for call in interleaved(sources, 12)]
    assert any(result.errors for result in results)
    columns = {name: [sources[key][8][name] for key in KEYS] for name in ("time", "mark")}
    fresh = model.pool(10, start=0.0)
    result = fresh.update(KEYS, columns)
    for place, key in enumerate(KEYS):
        same(result[place], model.stream(start=0.0).update(sources[key][8]))


@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_policy(on_bad_row: Any) -> None:
    """A policy acts in many episodes, each as its own stream would, rewards and bad rows included."""
    scaler = Scaler(("x", "y", "z"), np.zeros(3), np.ones(3))
    preprocessing = PolicyPreprocessing("Tiny-v0", scaler, (-2.0, -1.0), (2.0, 1.0), 10.0, 5.0)
    model = Policy(observations=3, actions=2, max_episode_steps=20, d_model=16, nhead=2, preprocessing=preprocessing)
    model.eval()
    beside = Beside(model, model.pool(10, on_bad_row=on_bad_row), on_bad_row=on_bad_row)
    generator = np.random.default_rng(0)
    for turn in range(4):
        rows = [[*generator.standard_normal(3).tolist(), None if turn == 0 else 0.5] for _ in KEYS]
        if turn == 2:
            rows[1][0] = np.nan
        if turn == 0 and on_bad_row == "skip":
            rows[2][1] = np.nan
        beside.update(KEYS, rows)


def test_models_that_grow_are_refused(prepared: Any, build: Callable[..., Forecaster]) -> None:
    """A Transformer's cache grows with its rows, so that it has no record of a fixed size."""
    with pytest.raises(ValueError, match="constant size, received encoder='transformer'"):
        build(prepared, encoder="transformer").pool(10)
