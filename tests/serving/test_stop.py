"""Stops, kills and restarts: what was answered is kept, what was not is sent again."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `serving_cases`, which is not a test module

from serving_cases import JSON, Process, keyed, slow, within

from aaren.errors import ModelFileError
from aaren.serving import new_token
from aaren.streaming import DurableStreams


def feed(service, key, rows, answered):
    """Send rows in small requests until the service is gone; note the number of the last one that was answered."""
    while answered[key] < len(rows):
        first = answered[key]
        try:
            answers = service.send(keyed(key, rows[first : first + 4], first=first + 1), query="?predictions=false")
        except (OSError, AssertionError, ValueError):  # refused, or the connection broke: it was not answered
            return
        assert {one["status"] for one in answers} <= {"taken", "duplicate"}
        answered[key] = answers[-1]["number"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_is_lost(number, model, rows, tmp_path):
    """After a stop under load, with exit code 0, or SIGKILL, every answered row is there, and is there once."""
    model.save(tmp_path / "model")
    keys = ["a", "b", "c"]
    answered = dict.fromkeys(keys, 0)
    for first in (True, False):
        service = Process(tmp_path / "model", "--store", tmp_path / "store")
        if not first:
            for key in keys:
                there = service.ask("GET", f"/v1/stream?key={key}")[1]["rows"]
                assert answered[key] <= there <= answered[key] + 4
        threads = [threading.Thread(target=feed, args=(service, key, rows[:200], answered)) for key in keys]
        for thread in threads:
            thread.start()
        while first and min(answered.values()) < 20:
            time.sleep(0.01)
        if not first:
            for thread in threads:
                thread.join()
        code, said = service.end(number if first else signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert (code, "Traceback" in said) == (0 if not first or number != signal.SIGKILL else -9, False), said
    assert answered == dict.fromkeys(keys, 200)
    service = Process(tmp_path / "model", "--store", tmp_path / "store")
    said = service.send(keyed("a", rows[200:201], first=201))[0]["prediction"]["forecast"]["OT"]["mean"]
    stream = model.stream()
    for row in rows[:200]:
        stream.update(row)
    assert said == pytest.approx(stream.update(rows[200]).to_dict()["forecast"]["OT"]["mean"], rel=1e-4)
    assert service.end(signal.SIGTERM)[0] == 0


def test_open_requests_are_answered(served, rows):
    """A request that waits when the stop begins is answered; one that comes later is not taken."""
    service = served(wrap=slow)
    found = {}

    def send(key):
        found[key] = service.send(keyed(key, rows[:2]))

    threads = [threading.Thread(target=send, args=(f"key {index}",)) for index in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    service.begin_stop()
    for thread in threads:
        thread.join()
    assert [[one["number"] for one in answers] for answers in found.values()] == [[1, 2]] * 6
    service.stop()
    with pytest.raises(ConnectionError):
        service.ask("GET", "/health")


def test_a_full_queue_pushes_back(served, rows):
    """When the queue is full, JSON gets 429 with Retry-After, lines wait; readiness says so, nothing is lost."""
    service = served(wrap=slow, queue_rows=4, max_batch=2)
    statuses, waits = [], []

    def send(index):
        body = json.dumps({"rows": keyed(str(index), rows[:1])})
        status, _, headers = service.ask("POST", "/v1/rows", body, content_type=JSON)
        statuses.append(status)
        waits.append(headers.get("retry-after"))

    def send_lines():
        line = b'{"key": "lines", "row": ["2016-07-01 00:00:00", 1]}\n'
        statuses.append(service.lines(line)[0]["status"])

    threads = [threading.Thread(target=send, args=(index,)) for index in range(20)]
    for thread in threads:
        thread.start()
    lines = threading.Thread(target=send_lines)
    lines.start()
    for thread in (*threads, lines):
        thread.join()
    assert statuses.count(429) >= 8
    assert statuses.count(200) == 20 - statuses.count(429) >= 4
    assert "taken" in statuses
    assert set(waits) == {None, "1"}
    assert service.ask("GET", "/ready")[0] == 200
    assert len(service.service.batcher.streams.pool) == statuses.count(200) + 1


def test_a_short_queue_takes_a_long_request(served, rows):
    """A request of more rows than the queue has room for is taken while nobody waits: it would never fit."""
    service = served(queue_rows=4)
    assert {one["status"] for one in service.send([{"key": key, "row": rows[0]} for key in range(10)])} == {"taken"}
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in keyed("lines", rows[:10]))
    assert [one["number"] for one in service.lines(lines)] == list(range(1, 11))


def test_too_many_bytes_push_back(served):
    """Bodies that are being read count too: beyond the limit of bytes there is 429."""
    service = served(queue_bytes=1000)
    assert service.ask("POST", "/v1/rows", b" " * 2000, content_type=JSON)[0] == 429
    assert service.ask("POST", "/v1/rows", b'{"rows": []}', content_type=JSON)[0] == 200
    assert within(5, lambda: service.service.budget.used == 0)


def test_a_store_that_cannot_be_written(served, rows, tmp_path):
    """If a row cannot be made durable the request gets 503 and nothing is taken; later it is."""
    service = served(store=tmp_path / "store")
    service.send(keyed("a", rows[:1]))
    durable = service.service.batcher.streams.streams
    append = durable.store.append

    def full(*entries, records):
        raise ModelFileError("/somewhere/streams.sqlite: cannot be written: no space left on device")

    durable.store.append = full
    body = json.dumps({"rows": keyed("a", rows[1:2])})
    status, data, headers = service.ask("POST", "/v1/rows", body, content_type=JSON)
    assert (status, headers["retry-after"]) == (503, "10")
    assert "/somewhere" not in data["error"]["message"]
    durable.store.append = append
    assert service.send(keyed("a", rows[1:2]))[0]["number"] == 2


def test_calls_are_durable(served, rows, tmp_path):
    """Fork, reset, drop and a state that was put are there after a restart."""
    service = served(store=tmp_path / "store")
    service.send([*keyed("a", rows[:3]), *keyed("b", rows[:2])])
    service.ask("POST", "/v1/stream/fork?key=a&new_key=c")
    service.ask("POST", "/v1/stream/reset?key=a")
    service.ask("DELETE", "/v1/stream?key=b")
    snapshot = service.ask("GET", "/v1/stream/state?key=c")[1]
    service.ask("PUT", "/v1/stream/state?key=d", snapshot, content_type="application/octet-stream")
    state = service.ask("GET", "/v1/stream/state?key=a")[1]
    service.stop()
    again = served(store=tmp_path / "store")
    assert again.ask("GET", "/v1/live")[1]["streams"] == 3
    assert again.ask("GET", "/v1/stream/state?key=a")[1] == state
    assert again.ask("GET", "/v1/stream/state?key=d")[1] == snapshot
    assert again.ask("GET", "/v1/stream?key=b")[0] == 404


def test_a_damaged_record_stops_nobody_else(served, rows, tmp_path):
    """Rows of a key whose record is damaged are refused; others go on, no path is told, it can be dropped."""
    service = served(store=tmp_path / "store")
    service.send([{"key": key, "row": rows[0]} for key in "abc"])
    service.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "store" / "store.sqlite")) as db:
        db.execute("UPDATE records SET record = zeroblob(length(record)) WHERE id = 2")
        db.commit()
    service = served(store=tmp_path / "store")
    answers = service.send([{"key": "a", "row": rows[1], "number": 2}, *({"key": key, "row": rows[1]} for key in "bc")])
    assert [one["status"] for one in answers] == ["taken", "refused", "taken"]
    said = answers[1]["error"]["message"]
    assert "damaged" in said
    assert str(tmp_path) not in said
    status, data, _ = service.ask("GET", "/v1/stream?key=b")
    assert status == 409
    assert str(tmp_path) not in data["error"]["message"]
    assert service.ask("DELETE", "/v1/stream?key=b")[0] == 200
    assert service.send(keyed("b", rows[:1]))[0]["number"] == 1


def test_streams_that_no_token_sees_are_told(model, rows, tmp_path):
    """At its start a service with tokens says how many streams of its store are of none of their names."""
    model.save(tmp_path / "model")
    with DurableStreams(model, tmp_path / "store") as streams:
        streams.update(["pump 7", "north/pump"], [rows[0]] * 2).raise_first()
    new_token(tmp_path / "tokens", "north")
    service = Process(tmp_path / "model", "--store", tmp_path / "store", "--tokens", tmp_path / "tokens")
    code, said = service.end(signal.SIGTERM)
    assert code == 0
    assert f"aaren: 1 streams of {tmp_path / 'store'} are of no name in" in said
