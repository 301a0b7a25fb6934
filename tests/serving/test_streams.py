"""One stream by its key: count, state, reset, fork, drop."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `serving_cases`, which is not a test module

from serving_cases import keyed, untrained

from aaren.data import find, read_series

BINARY = "application/octet-stream"


def test_a_snapshot_goes_on_elsewhere(served, model, rows, tmp_path):
    """A state that was fetched is opened by `model.stream`, and put under another key it goes on there."""
    service = served()
    service.send(keyed("a", rows[:10]))
    status, snapshot, headers = service.ask("GET", "/v1/stream/state?key=a")
    assert (status, headers["content-type"]) == (200, BINARY)
    (tmp_path / "state").write_bytes(snapshot)
    stream = model.stream(tmp_path / "state")
    assert stream.rows == 10
    put = service.ask("PUT", "/v1/stream/state?key=b", snapshot, content_type=BINARY)
    assert put[:2] == (200, {"key": "b", "rows": 10})
    said, wanted = service.send(keyed("b", rows[10:11]))[0], stream.update(rows[10]).to_dict()
    assert said["number"] == 11
    assert said["prediction"]["forecast"]["OT"]["mean"] == pytest.approx(wanted["forecast"]["OT"]["mean"], rel=1e-5)


def test_bad_snapshots(served, rows):
    """A damaged or foreign snapshot gives 400 without a path of this machine; the stream is as before."""
    service = served()
    service.send(keyed("a", rows[:2]))
    good = service.ask("GET", "/v1/stream/state?key=a")[1]
    for bad in (b"", b"x", good[:-1], good[: len(good) // 2], good[:-8] + b"12345678", b"\xff" * 100):
        status, data, _ = service.ask("PUT", "/v1/stream/state?key=a", bad, content_type=BINARY)
        assert status == 400, data
        assert "/tmp" not in data["error"]["message"]
        assert service.ask("GET", "/v1/stream/state?key=a")[1] == good


def test_reset_fork_and_drop(served, model, rows):
    """A fork goes its own way, a reset stream has no past but its count, a dropped one is gone."""
    service = served()
    service.send(keyed("a", rows[:5]))
    assert service.ask("POST", "/v1/stream/fork?key=a&new_key=b")[1] == {"key": "b", "rows": 5}
    status, data, _ = service.ask("POST", "/v1/stream/fork?key=a&new_key=b")
    assert status == 409
    assert "drop it first" in data["error"]["message"]
    assert service.ask("GET", "/v1/live")[1]["streams"] == 2
    assert service.ask("POST", "/v1/stream/reset?key=a")[1] == {"key": "a", "rows": 5}
    fresh = service.send(keyed("a", rows[:1]))[0]
    wanted = model.stream().update(rows[0]).to_dict()["forecast"]["OT"]["mean"]
    assert fresh["number"] == 6
    assert fresh["prediction"]["forecast"]["OT"]["mean"] == pytest.approx(wanted, rel=1e-5)
    assert service.ask("DELETE", "/v1/stream?key=b")[1] == {"key": "b", "rows": 0}
    assert service.ask("GET", "/v1/stream?key=b")[0] == 404
    assert service.ask("DELETE", "/v1/stream?key=b")[0] == 404
    assert service.send(keyed("b", rows[:1]))[0]["number"] == 1


def test_the_series_of_a_row_is_its_key(served, tmp_path):
    """Where the model has a column of series, a row may name its key in it and nothing else."""
    with gzip.open(find("ETTh1"), "rt") as file:
        lines = [file.readline().strip().split(",") for _ in range(201)]
    path = tmp_path / "series.csv"
    cells = [f"{row[0]},{row[7]},s{n // 100}" for n, row in enumerate(lines[1:])]
    path.write_text("\n".join(["date,OT,name", *cells]) + "\n")
    model = untrained(read_series(path, targets=["OT"], covariates=[], series_id="name"))
    service = served(of=model)
    row = {"date": "2020-01-01 00:00:00", "OT": 1.0}
    good, bad = service.send([{"key": "s1", "row": {**row, "name": "s1"}}, {"key": "s2", "row": {**row, "name": "s1"}}])
    assert (good["status"], bad["status"]) == ("taken", "refused")
    assert "'s2'" in bad["error"]["message"]
    (tmp_path / "state").write_bytes(service.ask("GET", "/v1/stream/state?key=s1")[1])
    stream = model.stream(tmp_path / "state")
    assert stream.update({**row, "date": "2020-01-01 02:00:00", "name": "s1"}).row == 2


def test_drift_of_all_streams(served, rows, tmp_path):
    """It is told how many streams have moved, and which ones the most; what is asked has bounds."""
    service = served(store=tmp_path / "store")
    far = [{**row, "OT": row["OT"] + 500} for row in rows[:30]]
    service.send([*keyed("near", rows[:30]), *keyed("far", far)])
    status, found, _ = service.ask("GET", "/v1/drift?bound=5&most=1")
    assert status == 200
    assert (found["streams"], found["beyond"], found["bound"]) == (2, 1, 5)
    assert [(one["key"], one["column"], one["rows"]) for one in found["worst"]] == [("far", "OT", 30)]
    for query in ("bound=0", "bound=nan", "bound=x", "most=0", "most=1001"):
        assert service.ask("GET", f"/v1/drift?{query}")[0] == 422
