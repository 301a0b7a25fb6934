"""Keys of a pool: numbers of rows, reset, fork, drop, snapshots, records, eviction, memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

sys.path.insert(0, str(Path(__file__).parent))  # for the cases, which are not test modules

from pool_cases import Beside, DictStore, same

from aaren import Forecaster
from aaren.data import Scaler, Schema, SeriesSet
from aaren.errors import DataError, ModelFileError
from aaren.models import Preprocessing
from aaren.streaming import RowStatus, StreamPool

Rows = list[dict[str, Any]]


@pytest.fixture
def rows(etth1: SeriesSet, rows_of: Callable[..., Rows]) -> Rows:
    """Forty real rows."""
    return rows_of(etth1, 100, 140)


@pytest.fixture
def pool(model: Forecaster, rows: Rows) -> StreamPool:
    """Streams "a" of six rows and "b" of three."""
    pool = model.pool(10)
    pool.update(["a"] * 6 + ["b"] * 3, rows[:6] + rows[:3]).raise_first()
    return pool


def test_numbers_tell_duplicates_and_holes(pool: StreamPool, rows: Rows) -> None:
    """A row that was counted is not applied again; one too far is refused with what was expected."""
    before = pool.record("a")
    result = pool.update(["a", "b", "c"], [rows[5], rows[5], rows[0]], numbers=[6, 6, 1])
    assert result.status.tolist() == [RowStatus.DUPLICATE, RowStatus.REFUSED, RowStatus.TAKEN]
    assert result.rows.tolist() == [6, 3, 1]
    assert pool.record("a") == before
    assert result[0] is None
    assert "stream 'b', line 6: expected row number 4, received 6" in str(result.errors[1])
    again = pool.update(["a"] * 3, rows[5:8], numbers=[6, 7, 8])
    assert again.status.tolist() == [RowStatus.DUPLICATE, RowStatus.TAKEN, RowStatus.TAKEN]
    with pytest.raises(ValueError, match="whole numbers from 1"):
        pool.update(["a"], rows[8:9], numbers=[0])


def test_reset_goes_on_counting(pool: StreamPool, model: Forecaster, rows: Rows) -> None:
    """After a reset a stream says what a new one says, and its rows are counted on."""
    pool.reset("a")
    said = pool.update(["a"], [rows[0]])[0]
    expected = model.stream().update(rows[0])
    assert said.row == 7
    np.testing.assert_allclose(said.mean, expected.mean, atol=1e-4)


def test_drop_forgets(pool: StreamPool, rows: Rows) -> None:
    """A key that was dropped has no stream; its next row is the first of a new one."""
    pool.drop("a")
    pool.drop("never there")
    assert "a" not in pool
    assert pool.keys() == ["b"]
    for verb in (pool.rows, pool.record, pool.reset):
        with pytest.raises(DataError, match="stream 'a': expected a key that has a stream"):
            verb("a")
    assert pool.update(["a"], [rows[0]]).rows.tolist() == [1]


def test_fork_goes_both_ways(pool: StreamPool, rows: Rows) -> None:
    """A fork goes on as its origin does, and neither knows of the other."""
    pool.fork("a", "a2")
    assert pool.record("a2") == pool.record("a")
    result = pool.update(["a", "a2"], [rows[6], rows[6]])
    same(result[0], result[1])
    pool.update(["a"], [rows[7]])
    assert (pool.rows("a"), pool.rows("a2")) == (8, 7)
    with pytest.raises(DataError, match="stream 'b': expected a key without a stream"):
        pool.fork("a", "b")


def test_snapshots_go_both_ways(pool: StreamPool, model: Forecaster, rows: Rows, tmp_path: Path) -> None:
    """A stream goes on from a pool's snapshot, a pool from a stream's, bit for bit."""
    pool.save_state("a", tmp_path / "a.state")
    stream = model.stream(tmp_path / "a.state")
    same(pool.update(["a"], [rows[6]])[0], stream.update(rows[6]))
    stream.save(tmp_path / "back.state")
    pool.load_state("from stream", tmp_path / "back.state")
    assert pool.rows("from stream") == 7
    said = pool.update(["from stream", "a"], [rows[7], rows[7]])
    same(said[0], stream.update(rows[7]))
    same(said[0], said[1])
    with pytest.raises(ModelFileError, match="not a state snapshot"):
        pool.load_state("a", tmp_path / "missing.state")


def test_records_are_checked(pool: StreamPool) -> None:
    """A record of another size, with impossible counts or numbers, is refused, and its key has what it had."""
    record, before = pool.record("a"), pool.record("b")
    pool.set_record("copy", record)
    assert pool.record("copy") == record
    assert len(record) == pool.record_bytes
    counts = np.frombuffer(record, dtype=np.int64).copy()
    counts[0] = -1
    many = counts.copy()
    many[0] = 2**63 - 1
    numbers = np.frombuffer(record, dtype=np.float64).copy()
    place = next(f.offset for f in pool.layout.fields if f.name.endswith("encoder[0].normalizer")) // 8
    numbers[place] = np.nan
    wrongs = {"bytes": record[:-1], "rows=-1": counts.tobytes(), "rows=9223372036854775807": many.tobytes()}
    for message, wrong in {**wrongs, "finite numbers": numbers.tobytes()}.items():
        with pytest.raises(DataError, match=message):
            pool.set_record("b", wrong)
        assert pool.record("b") == before


def test_records_of_many_go_both_ways(pool: StreamPool, model: Forecaster, rows: Rows) -> None:
    """Records of many streams are those of each; another pool goes on from them; all are taken or none."""
    found = pool.records(["b", "a"])
    assert [record.tobytes() for record in found] == [pool.record("b"), pool.record("a")]
    other = model.pool(3)
    other.set_records(["b", "a"], found)
    same(other.update(["a"], rows[6:7])[0], pool.update(["a"], rows[6:7])[0])
    other.set_records([], found[:0])
    with pytest.raises(DataError, match=r"stream 'x'.*without"):
        pool.records(["a", "x"])
    with pytest.raises(DataError, match="the pool is full"):
        other.set_records(["c", "d"], found)
    with pytest.raises(ValueError, match="each key once"):
        other.set_records(["c", "c"], found)
    with pytest.raises(ValueError, match="expected uint8 of shape"):
        other.set_records(["c"], found)
    found[1, :8] = 255  # rows: -1
    with pytest.raises(DataError, match=r"stream 'd'.*damaged"):
        model.pool(9).set_records(["c", "d"], found)
    assert other.keys() == ["b", "a"]


@pytest.mark.parametrize("hold_back", [True, False])
def test_a_refused_row_holds_back_those_after_it_or_not(pool: StreamPool, rows: Rows, hold_back: bool) -> None:
    """Without holding back, rows in one call are taken as in a call each."""
    bad = rows[6] | {"OT": "x"}
    result = pool.update(["a"] * 3, [bad, rows[6], rows[7]], hold_back=hold_back)
    after = RowStatus.REFUSED if hold_back else RowStatus.TAKEN
    assert result.status.tolist() == [RowStatus.REFUSED, after, after]
    assert pool.rows("a") == (6 if hold_back else 8)


def test_the_layout_is_plain_data(pool: StreamPool) -> None:
    """Who reads the layout as JSON finds every number of a record."""
    layout = json.loads(json.dumps(pool.layout.to_dict()))
    fields = {field["name"]: field for field in layout["fields"]}
    record = pool.record("a")
    assert layout["record_bytes"] == len(record)
    assert np.frombuffer(record, np.int64, 1, fields["rows"]["offset"])[0] == 6
    assert all(field["offset"] % 8 == 0 for field in layout["fields"])


def test_full_without_a_store_refuses_and_loses_nothing(model: Forecaster, rows: Rows) -> None:
    """The rows of one key too many are refused with the remedy; those of the others are taken."""
    pool = model.pool(2)
    result = pool.update(["a", "b", "c"], rows[:3])
    assert result.status.tolist() == [RowStatus.TAKEN, RowStatus.TAKEN, RowStatus.REFUSED]
    assert "capacity = 2 streams, received one more: the pool is full; drop streams" in str(result.errors[2])
    assert pool.keys() == ["a", "b"]
    with pytest.raises(DataError, match="the pool is full"):
        pool.fork("a", "c")


def test_evicted_equals_never_evicted(model: Forecaster, rows: Rows) -> None:
    """A pool of three slots and a store keeps twenty streams as a large pool does; flush writes the rest."""
    store = DictStore()
    small, large = model.pool(3, store=store), model.pool(100)
    generator, place = np.random.default_rng(2), dict.fromkeys(map(str, range(20)), 0)
    for _ in range(25):
        keys = generator.choice(20, generator.integers(1, 8), replace=False).astype(str).tolist()
        given = [rows[place[key]] for key in keys]
        for key in keys:
            place[key] += 1
        one, other = small.update(keys, given), large.update(keys, given)
        assert not one.errors
        np.testing.assert_allclose(one.arrays["mean"], other.arrays["mean"], atol=1e-4)
        assert len(small) <= 3
    small.flush()
    writes = store.writes
    small.flush()
    assert store.writes == writes, "nothing has changed since"
    for key in list(place):
        assert key in small
        assert small.rows(key) == large.rows(key) == place[key]
    small.drop("0")
    assert "0" not in small


def test_the_oldest_goes_first(model: Forecaster, rows: Rows) -> None:
    """The stream that was not used for the longest time makes room."""
    pool = model.pool(3, store=DictStore())
    for key in ("a", "b", "c", "a"):
        pool.update([key], [rows[pool.rows(key) if key in pool else 0]])
    pool.update(["d"], [rows[0]])
    assert set(pool.keys()) == {"a", "c", "d"}
    pool.update(["e"], [rows[0]])
    assert set(pool.keys()) == {"a", "d", "e"}


def test_a_store_that_fails_loses_nothing(model: Forecaster, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the store raises, so does the call, and the streams in memory are what they were."""
    store = DictStore()
    pool = model.pool(2, store=store)
    pool.update(["a", "b"], rows[:2])

    def fail(records: Any) -> None:
        raise OSError("disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", fail)
        with pytest.raises(OSError, match="disk"):
            pool.update(["c"], [rows[0]])
    assert set(pool.keys()) == {"a", "b"}
    pool.update(["c"], [rows[0]]).raise_first()
    assert pool.keys() == ["b", "c"] or pool.keys() == ["a", "c"]
    assert all(key in pool for key in "abc")


def test_whole_numbers_are_their_text(model: Forecaster, rows: Rows) -> None:
    """7, numpy's 7 and "7" are one key."""
    pool = model.pool(4)
    pool.update(np.array([7, 8]), [rows[0], rows[0]]).raise_first()
    result = pool.update([7, "7"], rows[1:3])
    assert result.rows.tolist() == [2, 3]
    assert pool.rows("7") == pool.rows(7) == 3


@pytest.mark.usefixtures("without_shape_checks")
def test_calls_that_cannot_be(model: Forecaster, rows: Rows) -> None:
    """An empty call is one; other lengths and types are refused, and nothing is applied."""
    pool = model.pool(4)
    assert len(pool.update([], [])) == 0
    assert len(pool.update([], {"date": [], "OT": [], "HUFL": [], "MUFL": []})) == 0
    for keys, given, error in (
        (["a", "b"], rows[:1], ValueError),
        (["a"], {"date": [1], "OT": [1, 2]}, ValueError),
        ("a", rows[:1], TypeError),
        ([1.5], rows[:1], TypeError),
        ([True], rows[:1], TypeError),
        (["a"], 7, TypeError),
        (["a"], {"OT": 1.0}, TypeError),
        (["\ud800"], rows[:1], ValueError),
    ):
        with pytest.raises(error, match="expected"):
            pool.update(keys, given)
    assert len(pool) == 0
    for numbers in ([0], [1.0], [True], [2**63], [2**64], [None]):
        with pytest.raises(ValueError, match="numbers: expected whole numbers from 1"):
            pool.update(["a"], rows[:1], numbers)
    assert len(pool) == 0
    for capacity in (0, "many"):
        with pytest.raises(ValueError, match="capacity"):
            model.pool(capacity)
    result = pool.update(["a"], {"OT": [1.0]})
    assert "no such column" in str(result.errors[0])


def test_the_name_of_a_series_is_the_key(prepared: Any, build: Callable[..., Forecaster], rows: Rows) -> None:
    """A row that names its series must name the one of its key."""
    model = build(prepared)
    known = model.preprocessing
    schema = Schema(known.schema.targets, known.schema.covariates, known.schema.time, series_id="meter")
    named = Preprocessing(schema, known.scaler, known.calendar, known.interval)
    model = Forecaster(model.config, preprocessing=named).eval()
    pool = model.pool(4)
    given = [{**rows[0], "meter": "a"}, {**rows[0], "meter": "x"}, rows[0]]
    result = pool.update(["a", "b", "c"], given)
    assert result.status.tolist() == [RowStatus.TAKEN, RowStatus.REFUSED, RowStatus.TAKEN]
    assert "expected rows of series 'b', received 'x'" in str(result.errors[1])


@pytest.mark.usefixtures("without_shape_checks")
def test_ten_thousand_keys(model: Forecaster, rows: Rows) -> None:
    """Ten thousand streams: each counts its rows, and a stream has the bytes of a record and little more."""
    pool = model.pool(20_000)
    keys = [f"meter {index}" for index in range(10_000)]
    for row in rows[:2]:
        columns = {name: [cell] * len(keys) for name, cell in row.items()}
        result = pool.update(keys, columns)
        assert not result.errors
    assert (len(pool), pool.rows("meter 9999")) == (10_000, 2)
    assert np.ptp(result.arrays["mean"], 0).max() < 1e-4
    assert pool.record_bytes < pool.stream_bytes < pool.record_bytes + 250
    assert pool.nbytes() == pytest.approx(10_000 * pool.stream_bytes)


def _tiny() -> Forecaster:
    names = ("x",)
    between = Preprocessing(Schema(names), Scaler(names, np.zeros(1), np.ones(1)))
    sizes = {"d_model": 4, "nhead": 1, "num_layers": 1, "dim_feedforward": 4, "look_back": 4, "horizon": 1}
    return Forecaster(preprocessing=between, inputs=1, targets=1, **sizes).eval()


class Machine(RuleBasedStateMachine):
    """A pool of three slots and a store, beside a dictionary of streams."""

    def __init__(self) -> None:
        super().__init__()
        model = _tiny()
        self.beside = Beside(model, model.pool(3, store=DictStore(), on_bad_row="skip"), on_bad_row="skip")

    keys = st.sampled_from("abcdef")
    cells = st.one_of(st.floats(-5, 5), st.none(), st.sampled_from(["x", "NA", float("nan"), 1e300]))

    @rule(calls=st.lists(st.tuples(keys, cells), min_size=1, max_size=8))
    def update(self, calls: list[tuple[str, Any]]) -> None:
        """Rows of some keys."""
        self.beside.update([key for key, _ in calls], [{"x": cell} for _, cell in calls])

    @rule(key=keys)
    def drop(self, key: str) -> None:
        """Forget a stream."""
        self.beside.pool.drop(key)
        self.beside.streams.pop(key, None)

    @rule(key=keys)
    def flush(self, key: str) -> None:
        """Write all."""
        self.beside.pool.flush()

    @invariant()
    def counts_agree(self) -> None:
        """Every key has as many rows as its stream."""
        assert len(self.beside.pool) <= 3
        for key, stream in self.beside.streams.items():
            assert (self.beside.pool.rows(key) if key in self.beside.pool else 0) == stream.rows


@pytest.mark.usefixtures("without_shape_checks")
def test_any_sequence_of_calls() -> None:
    """Whatever is called in whatever order, the pool is as a dictionary of streams."""
    quick = settings(max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Machine, settings=quick)


@pytest.mark.usefixtures("without_shape_checks")
def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The example of docs/pool.md runs as it stands and prints what it says."""
    page = (Path(__file__).parents[2] / "docs" / "pool.md").read_text(encoding="utf-8")
    exec(compile(page.split("```python\n")[1].split("```")[0], "docs/pool.md", "exec"), {})
    said = capsys.readouterr().out
    assert said.startswith("(2, 3, 1)")
    assert "[2 0]\nstream 'boiler-7', line 2, column 'load': expected a number, received 'x'" in said
