"""`StreamPool.update_at_once`: what `update` says, if that is one step of the model, and else nothing at all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `pool_cases`, which is not a test module

from pool_cases import DictStore

from aaren import Forecaster, StreamPool
from aaren.data import SeriesSet
from aaren.streaming import RowStatus

KEYS = ["a", "b", "c"]


@pytest.fixture
def given(etth1: SeriesSet, rows_of: Callable[..., list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Real rows."""
    return rows_of(etth1, 0, 20)


def bytes_of(pool: StreamPool) -> dict[str, bytes]:
    """All records."""
    keys = pool.keys()
    return {key: pool.record(key) for key in keys}


def test_it_is_an_update(model: Forecaster, given: list[dict[str, Any]]) -> None:
    """Statuses, numbers, forecasts and records are those of `update`; duplicates and rows too far are told too."""
    pool, other = model.pool(10), model.pool(10)
    for number, row in enumerate(given[:5], start=1):
        said = pool.update_at_once(KEYS, [row] * 3, [number] * 3)
        expected = other.update(KEYS, [row] * 3, [number] * 3)
        assert said is not None
        assert said.arrays["mean"].tobytes() == expected.arrays["mean"].tobytes()
    said = pool.update_at_once(KEYS, given[5:6] * 3, [6, 5, 9])
    expected = other.update(KEYS, given[5:6] * 3, [6, 5, 9])
    assert said is not None
    assert said.status.tolist() == [RowStatus.TAKEN, RowStatus.DUPLICATE, RowStatus.REFUSED]
    assert said.status.tolist() == expected.status.tolist()
    assert said.rows.tolist() == expected.rows.tolist() == [6, 5, 5]
    assert said.errors[2].message == expected.errors[2].message
    assert bytes_of(pool) == bytes_of(other)


@pytest.mark.parametrize("what", ["gap", "bad", "twice", "more keys", "store"])
def test_nothing_is_done_otherwise(what: str, model: Forecaster, given: list[dict[str, Any]]) -> None:
    """A gap, a bad row, two rows of one key, more keys than fit, or a store: all rows are left to `update`."""
    pool = model.pool(3 if what == "more keys" else 10, store=DictStore() if what == "store" else None)
    pool.update(KEYS, given[:1] * 3)
    keys, rows = [*KEYS, "new"], [given[1]] * 4
    if what == "gap":
        rows[1] = given[3]
    elif what == "bad":
        rows[1] = {**given[1], "OT": "x"}
    elif what == "twice":
        keys, rows[3] = [*KEYS, "a"], given[2]
    before = bytes_of(pool)
    assert pool.update_at_once(keys, rows) is None
    assert bytes_of(pool) == before
    result = pool.update(keys, rows)
    assert len(result.errors) == (what in ("bad", "more keys"))
    assert pool.rows("a") == (3 if what == "twice" else 2)


def test_a_full_pool_refuses_as_ever(model: Forecaster, given: list[dict[str, Any]]) -> None:
    """A row of one key too many is refused, the others are taken."""
    pool = model.pool(2)
    pool.update(KEYS[:1], given[:1])
    said = pool.update_at_once(KEYS[1:], given[:1] * 2)
    assert said is not None
    assert said.status.tolist() == [RowStatus.TAKEN, RowStatus.REFUSED]
    assert "the pool is full" in said.errors[1].message
    assert np.isnan(said.arrays["mean"][1]).all()
