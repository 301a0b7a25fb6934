"""Clients that do not read their answers: what waits for them is counted and bounded, and they keep nobody out."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `serving_cases`, which is not a test module

from serving_cases import JSON, LINES, untrained, within

from aaren.serving._budget import Budget

LIMIT = 3_000_000


@pytest.fixture(scope="module")
def talkative():
    """A model whose predictions are long: about 8 kB for a row of 60 bytes."""
    return untrained(horizon=120)


def deaf(service, rows, requests, name="deaf", kind=JSON):
    """A connection that sends requests of 100 rows, one after the other, and never reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", service.port))
    connection.settimeout(30)
    head = b"POST /v1/rows HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    data = b""
    for row in rows[:requests]:
        many = [{"key": f"{name} {index}", "row": row} for index in range(100)]
        lines = b"".join(json.dumps(one).encode() + b"\n" for one in many)
        body = json.dumps({"rows": many}).encode() if kind == JSON else lines
        data += head % (kind.encode(), len(body)) + body

    def send():
        with contextlib.suppress(OSError):  # cut off
            connection.sendall(data)

    threading.Thread(target=send, daemon=True).start()
    return connection


def stays(number):
    """Whether a number is the same for half a second."""
    before = number()
    time.sleep(0.5)
    return number() == before


@pytest.mark.parametrize("kind", [JSON, LINES])
def test_answers_that_nobody_reads_are_counted(kind, served, rows, talkative):
    """An answer is in the budget of bytes until it is read, also when the request is long done; then it is out."""
    service = served(of=talkative, body_seconds=60.0)
    budget = service.service.budget
    least = 500_000 if kind == JSON else 20_000  # of lines, as many are answered at once as have come
    with contextlib.closing(deaf(service, rows, requests=20, kind=kind)):
        assert within(20, lambda: budget.used > least)
        assert within(20, lambda: stays(lambda: budget.used))  # nothing is computed any more
        assert budget.used > least  # and it still waits
    assert within(20, lambda: budget.used == 0)


def test_deaf_clients_do_not_fill_the_memory(served, rows, talkative):
    """What waits for many clients that read nothing stays below the limit; when others need room some are cut off."""
    service = served(of=talkative, body_seconds=60.0, queue_bytes=LIMIT, body_bytes=500_000)
    budget, most = service.service.budget, []

    class Watched(Budget):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            most.append(self.used)

    budget.__class__ = Watched
    connections = []
    while budget.used < LIMIT - 1_000_000:  # until there is no room for what follows
        before = budget.used
        connections.append(deaf(service, rows, 20, name=f"deaf {len(connections)}"))
        assert within(20, lambda before=before: budget.used > before + 200_000)
        time.sleep(0.3)
    body = json.dumps({"rows": [{"key": f"mine {index}", "row": rows[0]} for index in range(150)]})
    # who reads is served, though the others would have a minute
    assert within(20, lambda: service.ask("POST", "/v1/rows", body, content_type=JSON)[0] == 200)
    assert max(most) <= LIMIT
    cut_off = 0
    for connection in connections:
        try:
            connection.settimeout(0.05)
            while connection.recv(1 << 20):
                pass
        except TimeoutError:  # it is still answered
            pass
        except ConnectionError:
            cut_off += 1
        connection.close()
    assert cut_off > 0
    assert within(20, lambda: budget.used == 0)


def test_a_slow_reader_gets_all(served, rows, talkative):
    """A client that reads slowly, but reads, gets its whole answer."""
    service = served(of=talkative)
    connection = deaf(service, rows, requests=1)
    found = b""
    while b"\r\n\r\n" not in found:
        found += connection.recv(1024)
    head, _, body = found.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split()[0])
    while len(body) < length:
        body += connection.recv(20_000)
        time.sleep(0.002)
    assert len(json.loads(body)["rows"]) == 100
    connection.close()


def test_an_answer_that_cannot_fit(served, rows, talkative):
    """Rows whose predictions would fill the whole memory are refused before they are taken, with the way out."""
    service = served(of=talkative, queue_bytes=1_000_000, body_bytes=500_000)
    many = json.dumps({"rows": [{"key": f"key {index}", "row": rows[0]} for index in range(200)]})
    status, data, _ = service.ask("POST", "/v1/rows", many, content_type=JSON)
    assert status == 413
    assert "predictions=false" in data["error"]["message"]
    assert len(service.service.batcher.streams.pool) == 0
    assert service.ask("POST", "/v1/rows?predictions=false", many, content_type=JSON)[0] == 200
    lines = b"".join(json.dumps({"key": f"line {index}", "row": rows[0]}).encode() + b"\n" for index in range(200))
    assert {one["status"] for one in service.lines(lines)} == {"taken"}


def test_a_feed_that_nobody_reads(served, rows, talkative):
    """What waits for a feed is counted too; its reader is dropped before it takes the room of others."""
    service = served(of=talkative, queue_bytes=1_000_000, body_bytes=100_000, body_seconds=1.0)
    budget = service.service.budget
    lines = b"".join(json.dumps({"key": str(index), "row": rows[0]}).encode() + b"\n" for index in range(990))
    with service.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /v1/feed HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in connection.recv(4096)
        assert {one["status"] for one in service.lines(lines, "?predictions=false")} == {"taken"}
        assert budget.used <= 1_000_000
        assert within(20, lambda: budget.used == 0 and len(service.service.feeds) == 0)
