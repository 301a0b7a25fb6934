"""Rows of a bucket with its state as bytes: the same as a pool that goes on, whatever the calls."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from aaren.engines._bucket import read_bucket
from aaren.engines._step import BucketStep
from aaren.errors import DataError, ModelFileError
from aaren.streaming import RowStatus


def columns_of(rows):
    """The cells of rows by column."""
    return {name: np.array([row[name] for row in rows], dtype=object) for name in ("date", "PM2.5", "wind")}


def take(step, rows, state, cuts, numbers=True):
    """All rows in calls that end at the cuts; outcomes one after another, and the last state."""
    outcomes = []
    for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        part = rows[start:stop]
        given = np.array([row["number"] for row in part]) if numbers else None
        result, state = step.take([row["key"] for row in part], columns_of(part), given, state)
        told = [str(result.errors.get(place, "")) for place in range(len(part))]
        outcomes += list(zip(result.status.tolist(), result.rows.tolist(), result.arrays["mean"], told, strict=True))
    return outcomes, state


def same(left, right):
    """Two runs said the same."""
    assert [(a, b, d) for a, b, _, d in left] == [(a, b, d) for a, b, _, d in right]
    np.testing.assert_allclose([c for _, _, c, _ in left], [c for _, _, c, _ in right], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cuts", [[], [1], [10, 11, 30]])
def test_a_state_of_bytes_goes_on_as_a_pool_does(forecaster, sensor_rows, cuts):
    """Calls with the state handed from one to the next say what one pool says to all rows."""
    model, rows = forecaster(0), sensor_rows(7, 6)
    outcomes, state = take(BucketStep(model, 4), rows, None, cuts)
    pool = model.pool(100)
    expected = pool.update([row["key"] for row in rows], columns_of(rows), [row["number"] for row in rows])
    assert all(status == RowStatus.TAKEN for status, *_ in outcomes)
    np.testing.assert_allclose([mean for _, _, mean, _ in outcomes], expected.arrays["mean"], rtol=1e-5, atol=1e-6)
    bucket = read_bucket(state, BucketStep(model, 4).stamp, pool.record_bytes)
    assert bucket.known(pool.keys()) == pool.keys()
    assert (pool.layout.column(torch.from_numpy(bucket.of(pool.keys())), "rows") == 6).all()


@pytest.mark.parametrize("numbers", [True, False])
@pytest.mark.parametrize("policy", ["error", "skip", "impute"])
def test_nothing_depends_on_how_rows_are_put_into_calls(forecaster, sensor_rows, numbers, policy):
    """With bad rows, rows again and a row left out among them, one call for all is one call for each row."""
    rows = sensor_rows(3, 6)
    rows[4]["PM2.5"], rows[7]["wind"], rows[8]["date"] = "x", float("nan"), "yesterday"
    rows.insert(12, rows[11])
    del rows[15]
    step = BucketStep(forecaster(0), 4, on_bad_row=policy)
    together, state = take(step, rows, None, [], numbers)
    alone, state_alone = take(step, rows, None, list(range(1, len(rows))), numbers)
    same(together, alone)
    assert {status for status, *_ in together} > {RowStatus.TAKEN}
    keys = ["sensor 0", "sensor 1", "sensor 2"]
    size = len(step._pool.layout.initial)
    before, after = (read_bucket(data, step.stamp, size).of(keys) for data in (state_alone, state))
    rows_of = [step._pool.layout.column(torch.from_numpy(found), "rows").tolist() for found in (before, after)]
    assert rows_of[0] == rows_of[1]


def test_a_stream_without_a_row_is_not_kept(forecaster, sensor_rows):
    """A key whose only row was refused leaves nothing in the state."""
    rows = sensor_rows(2, 1)
    rows[1]["PM2.5"] = "x"
    step = BucketStep(forecaster(0), 1)
    _, state = take(step, rows[1:], None, [])
    assert not read_bucket(state, step.stamp, len(step._pool.layout.initial)).places
    _, state = take(step, rows, state, [])
    assert list(read_bucket(state, step.stamp, len(step._pool.layout.initial)).places) == ["sensor 0"]


def test_more_keys_than_the_pool_had_room_for(forecaster, sensor_rows):
    """A call of many keys makes room, and the calls after it go on."""
    rows = sensor_rows(1500, 2)
    outcomes, _ = take(BucketStep(forecaster(0), 1), rows, None, [1500])
    assert [count for _, count, _, _ in outcomes] == [1] * 1500 + [2] * 1500


@pytest.mark.parametrize(
    ("seed", "buckets", "message"), [(1, 4, "expected model"), (0, 8, "expected buckets 8, received")]
)
def test_another_state_is_refused(forecaster, sensor_rows, seed, buckets, message):
    """The state of another model, or of another number of buckets, is refused in words."""
    rows = sensor_rows(2, 2)
    _, state = take(BucketStep(forecaster(0), 4), rows, None, [])
    with pytest.raises(ModelFileError, match=message):
        take(BucketStep(forecaster(seed), buckets), rows, state, [])


def test_another_layout_is_refused(forecaster, sensor_rows):
    """A stamp whose layout differs says so, and what to do."""
    step = BucketStep(forecaster(0), 4)
    _, state = take(step, sensor_rows(1, 1), None, [])
    other = json.dumps(json.loads(step.stamp) | {"layout": "0"})
    with pytest.raises(ModelFileError, match=r"layout '0', received layout .*same versions and options"):
        read_bucket(state, other, len(step._pool.layout.initial))


def test_damage_is_refused(forecaster, sensor_rows):
    """A cut state, bytes of something else, and a number that cannot be are named; nothing goes on from them."""
    step, rows = BucketStep(forecaster(0), 4), sensor_rows(2, 2)
    _, state = take(step, rows, None, [])
    for data in (state[:-1], state[:20], b"", b"\xff" * 100, b"\x02" + bytes(7) + b"{}"):
        with pytest.raises(ModelFileError, match="damaged"):
            take(step, rows, data, [])
    size = len(step._pool.layout.initial)
    bucket = read_bucket(state, step.stamp, size)
    bucket.records[0, :8] = 255  # rows: -1
    with pytest.raises(DataError, match=r"sensor 0.*damaged"):
        take(step, rows, bucket.to_bytes(step.stamp), [])
    short = read_bucket(state, step.stamp, size)
    short.records = short.records[:, :-8].copy()
    with pytest.raises(ModelFileError, match=f"records of {size} bytes"):
        take(step, rows, short.to_bytes(step.stamp), [])
    assert take(step, rows, state, [])[0][0][0] == RowStatus.DUPLICATE
