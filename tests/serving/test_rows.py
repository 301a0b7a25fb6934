"""Rows in, predictions out."""

from __future__ import annotations

import http.client
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `serving_cases`, which is not a test module

from serving_cases import LINES, keyed

from aaren.serving._answers import Answer, line


def expected(model, rows):
    """What a stream of its own says of rows."""
    stream = model.stream()
    return [{name: x for name, x in stream.update(row).to_dict().items() if name != "row"} for row in rows]


def close(said, wanted):
    """The same times, and numbers within the rounding of float32."""
    assert said["time"] == wanted["time"]
    assert said["times"] == wanted["times"]
    assert said["forecast"].keys() == wanted["forecast"].keys()
    for name, entry in wanted["forecast"].items():
        for level, numbers in entry.items():
            assert said["forecast"][name][level] == pytest.approx(numbers, rel=1e-4, abs=1e-4)


def test_json_rows_are_answered_as_by_a_stream(served, model, rows):
    """Rows of two keys in one request get the numbers and predictions that streams of their own give."""
    service = served()
    mixed = [one for pair in zip(keyed("a", rows[:20]), keyed("b/ü", rows[100:120]), strict=True) for one in pair]
    answers = service.send(mixed)
    assert [one["key"] for one in answers] == ["a", "b/ü"] * 20
    for key, given in (("a", rows[:20]), ("b/ü", rows[100:120])):
        own = [one for one in answers if one["key"] == key]
        assert [(one["number"], one["status"]) for one in own] == [(n, "taken") for n in range(1, 21)]
        for one, wanted in zip(own, expected(model, given), strict=True):
            close(one["prediction"], wanted)


def test_lines_are_answered_in_order(served, model, rows):
    """NDJSON of any length gives a line for each row, in their order; a bad line is refused and stops nobody else."""
    service = served()
    sent = [json.dumps(one) for one in keyed("a", rows)]
    sent[7:7] = ["", "{bad", "3", '{"key": "b", "row": {"date": "2016-07-01 00:00:00", "OT": NaN}}']
    answers = service.lines("\n".join(sent).encode(), "?predictions=false")
    assert [one["status"] for one in answers[7:10]] == ["refused"] * 3
    taken = [one for one in answers if one["status"] == "taken"]
    assert [one["number"] for one in taken] == list(range(1, 401))
    assert all("prediction" not in one for one in taken)


def test_lines_are_answered_before_the_body_ends(served, rows):
    """A client that keeps its body open has the answer to a line before it sends the next."""
    service = served()
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.putrequest("POST", "/v1/rows")
    connection.putheader("content-type", LINES)
    connection.putheader("transfer-encoding", "chunked")
    connection.endheaders()

    def send(one):
        line = json.dumps(one).encode() + b"\n"
        connection.send(b"%x\r\n%s\r\n" % (len(line), line))

    send(keyed("a", rows[:1])[0])
    reader = connection.sock.makefile("rb")
    while reader.readline().strip():
        pass
    for number, one in enumerate(keyed("a", rows[1:4]), 1):
        size = int(reader.readline(), 16)
        assert json.loads(reader.read(size + 2))["number"] == number
        send(one)
    reader.close()
    connection.close()


def test_refused_rows_stop_their_key_only(served, rows):
    """After a refused row no later row of its key is taken from the same request; other keys and requests go on."""
    service = served()
    bad = {**rows[1], "OT": "warm"}
    answers = service.send([*keyed("a", [rows[0], bad, rows[1]]), *keyed("b", rows[:1])])
    assert [one["status"] for one in answers] == ["taken", "refused", "refused", "taken"]
    assert "'warm'" in answers[1]["error"]["message"]
    assert answers[1]["error"]["column"] == "OT"
    assert service.send(keyed("a", rows[1:2]))[0]["number"] == 2
    nested = [{"key": "c", "row": {**rows[0], "OT": [1]}}, *keyed("c", rows[:1])]
    assert [one["status"] for one in service.send(nested)] == ["refused", "refused"]
    lines = [json.dumps(one) for one in keyed("d", [bad, rows[0]])]
    assert [one["status"] for one in service.lines("\n".join(lines).encode())] == ["refused", "refused"]


def test_numbered_rows_are_taken_once(served, rows):
    """A number that was counted is a duplicate, one too far is refused; numbered and unnumbered rows may be mixed."""
    service = served()
    service.send(keyed("a", rows[:3], first=1))
    again = service.send([*keyed("a", rows[1:5], first=2), *keyed("a", rows[5:6]), *keyed("b", rows[:1])])
    assert [one["status"] for one in again] == ["duplicate", "duplicate", "taken", "taken", "taken", "taken"]
    assert [one["number"] for one in again] == [2, 3, 4, 5, 6, 1]
    (far,) = service.send(keyed("a", rows[9:10], first=9))
    assert far["status"] == "refused"
    assert "7" in far["error"]["message"]


def test_a_row_without_a_number_is_no_duplicate(served, rows):
    """A row without a number is the next one of its stream, also behind a duplicate in the same request."""
    service = served()
    service.send(keyed("a", rows[:3], first=1))
    mixed = [*keyed("a", rows[1:2], first=2), *keyed("a", rows[3:5]), *keyed("a", rows[5:6], first=6)]
    answers = service.send([*mixed, *keyed("a", rows[6:7])])
    assert [one["status"] for one in answers] == ["duplicate", "taken", "taken", "taken", "taken"]
    assert [one["number"] for one in answers] == [2, 4, 5, 6, 7]


def test_many_clients_at_once(served, model, rows):
    """Clients that send at the same time are computed together, and each has the answers of its own stream."""
    service = served()
    keys = [f"client {index}" for index in range(12)]
    barrier = threading.Barrier(len(keys))

    def feed(key):
        barrier.wait()
        return [service.send(keyed(key, rows[first : first + 5]))[-1] for first in range(0, 30, 5)]

    with ThreadPoolExecutor(len(keys)) as workers:
        found = list(workers.map(feed, keys))
    wanted = expected(model, rows[:30])
    for key, answers in zip(keys, found, strict=True):
        assert [one["number"] for one in answers] == [5, 10, 15, 20, 25, 30]
        assert {one["key"] for one in answers} == {key}
        close(answers[-1]["prediction"], wanted[-1])


def test_clients_of_one_key_do_not_stop_each_other(served, rows):
    """A refused row of one request does not refuse the row that another request has for the same key."""
    service = served()
    bad = {**rows[0], "OT": "warm"}

    def send(row):
        return service.send([{"key": "a", "row": row}])[0]["status"]

    with ThreadPoolExecutor(8) as workers:
        bads = [workers.submit(send, bad) for _ in range(20)]
        goods = [workers.submit(send, [row["date"], row["OT"]]) for row in rows[:1]]
        assert {one.result() for one in bads} == {"refused"}
        assert [one.result() for one in goods] == ["taken"]


@pytest.mark.parametrize("key", ["a", 'q"\\ü\u2028', "\U0001f600", "7"])
def test_short_lines_are_json(key):
    """A line without a prediction, which is written without an encoder, is what an encoder makes of it."""
    answer = Answer(key, 12, "taken", prediction=object())
    assert json.loads(line(answer, prediction=False)) == answer.to_dict(prediction=False)


@pytest.mark.parametrize("durable", [False, True])
def test_columns_that_are_not_read(durable, served, rows, tmp_path):
    """What the model does not read may be anything; what it reads must be a number, text or null."""
    service = served(store=tmp_path / "store" if durable else None)
    odd = [{"meta": {"a": [1, {"b": None}]}}, {"meta": 10**400}, {"meta": [[]], "more": "x" * 10_000}]
    answers = service.send([{"key": "a", "row": {**row, **more}} for row, more in zip(rows, odd, strict=False)])
    assert [one["number"] for one in answers] == [1, 2, 3]
    (refused,) = service.send([{"key": "a", "row": {**rows[3], "OT": [1], "meta": {}}}])
    assert "column 'OT'" in refused["error"]["message"]
