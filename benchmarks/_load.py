"""A load for a service: requests made beforehand, sent over some connections at once or by a clock.

The sender is a loop around `select` with sockets that do not block and requests that are bytes already, so that it
leaves the processor, which it shares with the service, to the service as far as Python can.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Sequence

import numpy as np

HOUR, START = np.timedelta64(3600, "s"), np.datetime64("2026-01-01T00", "s")
HEAD = (
    "POST /v1/rows?predictions=false HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    "content-length: {}\r\n\r\n"
)
Rows = list[tuple[str, dict[str, object]]]


class Client:
    """One connection with keys of its own, whose rows come in their order.

    Args:
        name: what its keys begin with.
        keys: how many.
        columns: of numbers in a row; there is a time in the column "date" too.
    """

    def __init__(self, name: str, keys: int, columns: Sequence[str]) -> None:
        self._keys, self._columns = [f"{name}-{index}" for index in range(keys)], columns
        self._rows, self._next = [0] * keys, 0
        self._random = np.random.default_rng(len(name))

    def rows(self, count: int) -> Rows:
        """The next rows, of one key after another."""
        found: Rows = []
        numbers = self._random.standard_normal((count, len(self._columns))).round(4).tolist()
        for cells in numbers:
            key, self._next = self._next, (self._next + 1) % len(self._keys)
            date = str(START + self._rows[key] * HOUR).replace("T", " ")
            self._rows[key] += 1
            found.append((self._keys[key], {"date": date, **dict(zip(self._columns, cells, strict=True))}))
        return found

    def requests(self, number: int, count: int) -> list[bytes]:
        """The next requests of `count` rows each, ready to be sent."""
        found = []
        for _ in range(number):
            body = json.dumps({"rows": [{"key": key, "row": row} for key, row in self.rows(count)]}).encode()
            found.append(HEAD.format(len(body)).encode() + body)
        return found


class _Connection:
    """One connection, on which a request is sent when the one before was answered, and not before it is due.

    Args:
        port: of the service at 127.0.0.1.
        requests: to be sent.
        first: when the first one is due, by `time.perf_counter`.
        every: seconds from one to the next; 0 sends each as soon as the one before was answered.
    """

    def __init__(self, port: int, requests: list[bytes], first: float, every: float) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due, self.every, self.latencies = first, every, list[float]()
        self._requests, self._sent, self._answer = requests, 0, b""
        self.done = not requests

    def send(self) -> None:
        """Send the request that is due."""
        self.socket.sendall(self._requests[self._sent])
        self._sent += 1

    def receive(self) -> bool:
        """Take bytes of an answer; whether it is whole."""
        self._answer += self.socket.recv(1 << 20)
        head, gap, body = self._answer.partition(b"\r\n\r\n")
        if self._answer and not gap:
            return False
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r", 1)[0] or -1)
        if b" 200 " not in head[:16] or b'"refused"' in body:
            raise RuntimeError(f"expected rows that are taken, received {head[:40]!r} {body[:200]!r}")
        if len(body) < length:
            return False
        now = time.perf_counter()
        self.latencies.append(now - self.due)  # from when it was due: a late start is the service's too
        self.due = self.due + self.every if self.every else now
        self._answer, self.done = b"", self._sent == len(self._requests)
        return True


def load(port: int, requests: list[list[bytes]], rate: float | None = None) -> tuple[float, list[float]]:
    """Send requests over one connection for each list.

    Args:
        port: of the service at 127.0.0.1.
        requests: for each connection.
        rate: requests in a second, all connections together; None: as fast as they are answered.

    Returns:
        Seconds that all took, and the latency of each in seconds.
    """
    began = time.perf_counter()
    every, gap = (0.0, 0.0) if rate is None else (len(requests) / rate, 1 / rate)
    connections = [_Connection(port, own, began + 0.05 + index * gap, every) for index, own in enumerate(requests)]
    resting, busy = [one for one in connections if not one.done], dict[socket.socket, _Connection]()
    while resting or busy:
        now = time.perf_counter()
        for one in [one for one in resting if one.due <= now]:
            one.send()
            resting.remove(one)
            busy[one.socket] = one
        wait = min(one.due for one in resting) - time.perf_counter() if resting else None
        for ready in select.select(busy, (), (), None if wait is None else max(0.0, wait))[0]:
            one = busy[ready]
            if one.receive():
                del busy[ready]
                if not one.done:
                    resting.append(one)
    seconds = time.perf_counter() - began
    for one in connections:
        one.socket.close()
    return seconds, [latency for one in connections for latency in one.latencies]
