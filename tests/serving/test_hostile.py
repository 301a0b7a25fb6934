"""What clients must not be able to do."""

from __future__ import annotations

import dataclasses
import json
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `serving_cases`, which is not a test module

from serving_cases import JSON, LINES, keyed, slow, within

from aaren.serving import Limits

BINARY = "application/octet-stream"
HEAD = b"POST /v1/rows HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"


def refusal(answer, status):
    """The message of a request that was refused with this status."""
    found, data, _ = answer
    assert found == status, data
    assert set(data) == {"error"}
    message = data["error"]["message"]
    assert "Traceback" not in message
    assert "/site-packages" not in message
    return message


BAD_BODIES = {
    "truncated": b'{"rows": [{"key": "a", "row"',
    "not utf-8": b'{"rows": "\xff\xfe"}',
    "not an object": b"[1, 2]",
    "no rows": b"{}",
    "rows are text": b'{"rows": "abc"}',
    "too deep": b"[" * 100_000,
    "endless number": b'{"rows": [' + b"9" * 10_000 + b"]}",
    "empty": b"",
    "NaN": b'{"rows": [{"key": "a", "row": {"OT": NaN}}]}',
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_bodies(name, served):
    """A body that is not what was asked for gives 400 with what was expected, and no stream."""
    service = served()
    message = refusal(service.ask("POST", "/v1/rows", BAD_BODIES[name], content_type=JSON), 400)
    assert message.startswith("body: expected")
    assert len(service.service.batcher.streams.pool) == 0


def test_bad_rows(served, rows):
    """Rows that are no rows are refused one by one, those beside them are taken."""
    service = served()
    odd = [
        None,
        [],
        {},
        {"key": "", "row": {}},
        {"key": "a" * 257, "row": {}},
        {"key": "a\nb", "row": {}},
        {"key": "\ud800", "row": {}},
        {"key": True, "row": {}},
        {"key": 10**30, "row": {}},
        {"key": "n", "number": 0, "row": rows[0]},
        {"key": "n2", "number": True, "row": rows[0]},
        {"key": "n3", "number": 10**30, "row": rows[0]},
        {"key": "c", "row": None},
        {"key": "c2", "row": "text"},
        {"key": "c3", "row": {**rows[0], "OT": {"x": 1}}},
        {"key": "c4", "row": {**rows[0], "OT": 10**400}},
        {"key": "c5", "row": {**rows[0], "OT": 1e308}},
        {"key": "c6", "row": {**rows[0], "date": "\ud800"}},
        {"key": "c7", "row": {"OT": 1.0}},
        {"key": "c8", "row": [1, 2, 3, 4]},
        {"key": "c9", "row": {**rows[0], "OT": "nan"}},
    ]
    answers = service.send([*odd, {"key": 7, "row": rows[0]}])
    last = answers.pop()
    assert (last["key"], last["status"]) == ("7", "taken")
    assert [one["status"] for one in answers[:-1]] == ["refused"] * (len(odd) - 1)
    assert all(one["error"]["message"] for one in answers[:-1])


def test_sizes_are_counted_while_they_are_read(served, rows):
    """A body, a line, a row count or a header beyond its limit is refused, whether it says its length or not."""
    service = served(body_bytes=10_000, line_bytes=1000, request_rows=5)
    assert "10000 bytes" in refusal(service.ask("POST", "/v1/rows", b" " * 20_000, content_type=JSON), 413)
    pieces = iter([b" " * 8000] * 3)
    chunked = service.ask("POST", "/v1/rows", pieces, content_type=JSON)
    assert "10000 bytes" in refusal(chunked, 413)
    assert "at most 5" in refusal(
        service.ask("POST", "/v1/rows", json.dumps({"rows": [None] * 6}), content_type=JSON), 413
    )
    assert "at most 1000 bytes" in refusal(service.ask("POST", "/v1/rows", b"x" * 2000, content_type=LINES), 413)
    assert "10000 bytes" in refusal(
        service.ask("PUT", "/v1/stream/state?key=a", b"x" * 20_000, content_type=BINARY), 413
    )
    assert b" 431 " in exchange(service, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000)
    assert within(5, lambda: service.service.budget.used == 0)


def exchange(service, data):
    """What comes back for bytes until the connection ends, even if it ended while they were being sent."""
    found = b""
    with service.socket() as connection:
        with suppress(ConnectionError):  # the rest of what was sent met a closed connection
            for first in range(0, len(data), 10_000):
                connection.sendall(data[first : first + 10_000])
        with suppress(ConnectionError):
            while piece := connection.recv(65_536):
                found += piece
    return found


def test_slow_clients(served):
    """A header, a body or a line that does not come in time ends the connection, and holds up nobody."""
    service = served(body_seconds=0.4, header_seconds=0.4)
    assert b" 408 " in exchange(service, b"")
    assert b" 408 " in exchange(service, b"GET /hea")
    assert b" 408 " in exchange(service, HEAD % (JSON.encode(), 100) + b"{")
    assert b" 408 " in exchange(service, HEAD % (LINES.encode(), 100) + b"{")
    assert service.ask("GET", "/health")[0] == 200
    assert within(5, lambda: service.service.budget.used == 0)


def test_empty_lines_are_no_request(served):
    """A connection on which only empty lines follow an answer is closed as one on which nothing comes."""
    service = served(header_seconds=0.4)
    with service.socket() as connection:
        connection.settimeout(20)
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        found = b""
        while not found.endswith(b"}"):
            found += connection.recv(4096)
        connection.sendall(b"\r\n")
        assert b" 408 " in connection.recv(4096)
    assert service.ask("GET", "/health")[0] == 200


def test_a_line_at_a_time_is_no_reason_to_wait_forever(served):
    """A client that sends a byte now and then, but no whole line, is cut off."""
    service = served(body_seconds=0.5)
    head = HEAD % (LINES.encode(), 999)
    with service.socket() as connection:
        connection.sendall(head)
        found = b""
        connection.settimeout(0.1)
        for _ in range(100):
            try:
                connection.sendall(b" ")
                found += connection.recv(4096)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if b" 408 " in found:
                break
    assert b" 408 " in found


def test_readers_that_do_not_read(served, rows):
    """A client that sends lines and reads no answer is cut off; it does not fill the memory."""
    service = served(body_seconds=0.5)
    line = b"".join(json.dumps(one).encode() + b"\n" for one in keyed("a", rows[:1] * 5000))
    head = HEAD % (LINES.encode(), 99_999_999)
    with service.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        with pytest.raises((ConnectionError, TimeoutError)):
            connection.sendall(head + 200 * line)
    assert within(20, lambda: service.service.budget.used == 0)
    assert service.ask("GET", "/ready")[0] == 200


def test_gaps_are_counted(served, rows):
    """Rows that are missing count with those that came: beyond the limit of a request a row is refused."""
    service = served(request_rows=100, queue_rows=200)
    keys = [str(index) for index in range(8)]
    assert {one["status"] for one in service.send([{"key": key, "row": rows[0]} for key in keys])} == {"taken"}
    answers = service.send([{"key": key, "row": rows[31]} for key in keys])  # 30 rows are missing before each
    assert [one["status"] for one in answers] == ["taken"] * 3 + ["refused"] * 5
    message = answers[3]["error"]["message"]
    assert "at most 92 missing rows before all rows of a request, received 120" in message
    again = service.send([{"key": key, "row": rows[31]} for key in keys[3:5]])
    assert [one["number"] for one in again] == [2, 2]
    alone = service.send([{"key": "0", "row": rows[350]}])  # one gap is a matter of --max-gap
    assert alone[0]["status"] == "taken"


def test_gaps_of_many_requests_are_counted_together(served, rows):
    """Requests that are computed together pass through a limited number of missing rows; the others come again."""
    service = served(wrap=slow, queue_rows=50)
    for key in ("x", "a", "b", "c"):
        service.send([{"key": key, "row": rows[0]}])
    found = {}

    def send(key, row):
        found[key] = service.send([{"key": key, "row": row}])[0]

    threads = [threading.Thread(target=send, args=("x", rows[1]))]
    threads += [threading.Thread(target=send, args=(key, rows[40])) for key in ("a", "b", "c")]
    for thread in threads:
        thread.start()
        time.sleep(0.05)  # those behind the first wait for it, and are computed together
    for thread in threads:
        thread.join()
    refused = {key: one["error"]["message"] for key, one in found.items() if one["status"] == "refused"}
    assert len(refused) == 2
    assert all("send this row again later" in message for message in refused.values())
    assert service.send([{"key": next(iter(refused)), "row": rows[40]}])[0]["status"] == "taken"


def test_content_types(served):
    """Only types that a page of another site cannot send unasked are taken."""
    service = served()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"):
        assert "content-type" in refusal(service.ask("POST", "/v1/rows", b'{"rows": []}', content_type=kind), 415)
    assert service.ask("POST", "/v1/rows", b'{"rows": []}', content_type="Application/JSON; charset=utf-8")[0] == 200


def test_compressed_bodies(served):
    """A compressed body is refused as such, not as bad JSON."""
    service = served()
    for kind in (JSON, LINES):
        sent = service.ask("POST", "/v1/rows", b"\x1f\x8b\x08", content_type=kind, content_encoding="gzip")
        assert "content-encoding: expected none, received gzip" in refusal(sent, 415)
    plain = service.ask("POST", "/v1/rows", b'{"rows": []}', content_type=JSON, content_encoding="identity")
    assert plain[0] == 200


def test_names_of_other_sites(served):
    """Without tokens the service answers to its own name alone, and to no page of another site."""
    service = served()
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"):
        refusal(service.ask("GET", "/v1/live", host=host), 403)
    refusal(service.ask("GET", "/v1/live", origin="http://evil.example"), 403)
    refusal(service.ask("GET", "/v1/live", origin="null"), 403)
    assert service.ask("GET", "/v1/live", host=f"localhost:{service.port}")[0] == 200
    own = f"http://127.0.0.1:{service.port}"
    assert service.ask("GET", "/v1/live", origin=own)[0] == 200


def test_paths_and_methods(served):
    """Unknown paths, other methods and missing or bad parameters are refused in the same form."""
    service = served()
    refusal(service.ask("GET", "/nothing"), 404)
    refusal(service.ask("GET", "/../../etc/passwd"), 404)
    refusal(service.ask("DELETE", "/v1/rows"), 405)
    refusal(service.ask("GET", "/v1/stream"), 422)
    refusal(service.ask("GET", "/v1/stream?key=" + "a" * 300), 422)
    refusal(service.ask("GET", "/v1/stream?key=%00"), 422)
    refusal(service.ask("POST", "/v1/rows?predictions=perhaps", b"{}", content_type=JSON), 422)
    refusal(service.ask("GET", "/v1/stream?key=a"), 404)


def test_nonsense_is_not_http(served):
    """Bytes that are no request get 400, and the next client is served."""
    service = served()
    assert b" 400 " in exchange(service, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")
    assert service.ask("GET", "/health")[0] == 200


def test_idle_connections(served):
    """A thousand connections that send nothing keep nobody out, and are closed in time; one too many is refused."""
    service = served(connections=1010, header_seconds=3.0)
    idle = [service.socket() for _ in range(1000)]
    assert service.ask("GET", "/health")[0] == 200
    more = [service.socket() for _ in range(11)]
    assert b" 503 " in more[-1].recv(4096)
    for connection in (*idle, *more):
        connection.settimeout(20)
        while connection.recv(4096):
            pass
        connection.close()
    assert service.ask("GET", "/health")[0] == 200


@pytest.mark.parametrize("where", ["event loop", "worker"])
def test_a_fault_inside_shows_nothing(where, served, rows, caplog):
    """An error of our own is 500 without a traceback, and the event loop and the worker go on."""

    def broken(streams):
        streams.update = lambda *_: 1 / 0
        streams.update_at_once = streams.update if where == "event loop" else lambda *_: None
        return streams

    service = served(wrap=broken)
    body = json.dumps({"rows": keyed("a", rows[:1])})
    message = refusal(service.ask("POST", "/v1/rows", body, content_type=JSON), 500)
    assert "division" not in message
    assert service.ask("GET", "/ready")[0] == 200
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("value", [True, -1, "7", None, float("nan"), float("inf"), [1]])
def test_limits_that_cannot_be(value):
    """Every limit refuses by its name what is no positive number, and those that count refuse fractions."""
    for field in dataclasses.fields(Limits):
        with pytest.raises(ValueError, match=rf"^{field.name}: expected a .*number .*at least .*, received "):
            Limits(**{field.name: value})
        if isinstance(field.default, int):
            with pytest.raises(ValueError, match=field.name):
                Limits(**{field.name: 2.5})
