"""Requests as HTTP has them, odd ones and broken ones: each has the answer that it should, and the next is served."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `serving_cases`, which is not a test module

from serving_cases import Running, untrained

from aaren.serving import Limits, Service, open_streams

HOST = b"Host: localhost\r\n"
ROW = b'{"rows": [{"key": "%d", "row": {"date": "2016-07-01 00:00:00", "OT": 1}}]}'
POST = b"POST /v1/rows HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
GET = b"GET /health HTTP/1.1\r\n" + HOST
ODD = {
    "two hosts": (b"GET /health HTTP/1.1\r\nHost: evil.example\r\n" + HOST + b"\r\n", 400),
    "two origins": (GET + b"Origin: http://evil.example\r\nOrigin: http://localhost\r\n\r\n", 400),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", 403),
    "a long header": (GET + b"X: " + b"x" * 100_000 + b"\r\n\r\n", 431),
    "a long header at once": (GET + b"X: " + b"x" * 65_450 + b"\r\nY: " + b"y" * 200 + b"\r\n\r\n", 431),
    "many headers": (GET + b"".join(b"X%d: 1\r\n" % n for n in range(12_000)) + b"\r\n", 431),
    "a long path": (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "a length that is too long": (POST + b"Content-Length: 500\r\n\r\n" + ROW % 1, 408),
    "a length that is too short": (POST + b"Content-Length: 5\r\n\r\n" + ROW % 2, 400),
    "a length that is none": (POST + b"Content-Length: many\r\n\r\n" + ROW % 3, 400),
    "a negative length": (POST + b"Content-Length: -5\r\n\r\n" + ROW % 4, 400),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + ROW % 5, 400),
    "length and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + ROW % 6, 400),
    "a chunk without a size": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + ROW % 7, 400),
    "a chunk without an end": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n", 400),
    "another encoding": (POST + b"Transfer-Encoding: gzip\r\n\r\n" + ROW % 8, 400),
    "a method that is none": (b"FOO /health HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a tunnel": (b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "another method": (b"TRACE /health HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "a method for another path": (b"OPTIONS /v1/rows HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "no path": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "bytes that are no text": (b"GET /%ff%00 HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "a path beyond ASCII": (b"GET /\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a zero in a header": (GET + b"X: a\x00b\r\n\r\n", 400),
    "a folded header": (GET + b"X: a\r\n b\r\n\r\n", 400),
    "no carriage return": (b"GET /health HTTP/1.1\nHost: localhost\n\n", 400),
    "an upgrade": (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
    "an absolute path": (b"GET http://evil.example/health HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    "the version before": (b"GET /health HTTP/1.0\r\n" + HOST + b"\r\n", 200),
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(ROW % 9) + ROW % 9 + b"\r\n0\r\n\r\n", 200),
    "a body that was not asked for": (GET + b"Content-Length: 3\r\n\r\nabc", 200),
}


@pytest.fixture(scope="module")
def service():
    """One service for all of them: none may leave it worse."""
    model = untrained()
    limits = Limits(body_seconds=0.5, header_seconds=2.0)
    running = Running(lambda: Service(model, lambda: open_streams(model, 100), limits=limits))
    yield running
    running.stop()


def answer(connection):
    """Status, head and body of the next answer on a connection."""
    found = b""
    while b"\r\n\r\n" not in found:
        piece = connection.recv(65_536)
        assert piece, found
        found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
    while len(body) < int(fields.get(b"content-length", 0)):
        body += connection.recv(65_536)
    return int(head.split()[1]), fields, body


@pytest.mark.parametrize("name", ODD)
def test_odd_requests(name, service):
    """A request that cannot be is refused with the status that says why, in JSON, and the next client is served."""
    data, status = ODD[name]
    with service.socket() as connection:
        with contextlib.suppress(ConnectionError):  # the rest of a header that is too long
            connection.sendall(data)
        found, _, body = answer(connection)
    assert found == status
    if status >= 400:
        assert "expected" in json.loads(body)["error"]["message"]
    assert service.ask("GET", "/health")[0] == 200


PATHS = ["/", "/live.js", "/live.css", "/chart.js", "/icon.svg", "/openapi.json", "/health", "/ready", "/metrics"]
PATHS += ["/v1/model", "/v1/live", "/v1/stream?key=a", "/v1/stream/state?key=a", "/v1/stream?key=none", "/v1/feed"]
PATHS += ["/nothing", "/v1/rows"]


def test_head(service):
    """HEAD on every path is answered as GET is, with the same head and no body, and the connection goes on."""
    service.send([{"key": "a", "row": ["2016-07-01 00:00:00", 1.0]}])
    with service.socket() as connection:
        for path in PATHS:
            connection.sendall(b"HEAD %s HTTP/1.1\r\n" % path.encode() + HOST + b"\r\n")
            found = b""
            while not found.endswith(b"\r\n\r\n"):
                found += connection.recv(1)
            lines = found.decode().lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines[1:] if line)
            if path == "/v1/feed":  # a GET of it has no end
                assert (lines[0].split()[1], fields["content-type"]) == ("200", "text/event-stream; charset=utf-8")
                continue
            status, _, headers = service.ask("GET", path)
            assert int(lines[0].split()[1]) == status, path
            same = ["content-type", "x-content-type-options"]
            same += [] if path in ("/metrics", "/v1/live") else ["content-length"]  # whose numbers change
            assert [fields[name] for name in same] == [headers[name] for name in same], path
        connection.sendall(GET + b"\r\n")
        assert answer(connection)[2] == b'{"status":"alive"}'
