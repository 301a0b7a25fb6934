"""A load for a service: requests made beforehand, sent over some connections at once or by a clock."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence

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


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r", 1)[0])
    body = await reader.readexactly(length)
    if b" 200 " not in head[:16] or b'"refused"' in body:
        raise RuntimeError(f"expected rows that are taken, received {head[:40]!r} {body[:200]!r}")


async def _drive(port: int, requests: list[bytes], due: Iterator[float] | None, latencies: list[float]) -> None:
    """Send the requests of one connection, each when it is due or as soon as the one before was answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        when = time.perf_counter() if due is None else next(due)
        await asyncio.sleep(max(0.0, when - time.perf_counter()))
        await _ask(reader, writer, request)
        latencies.append(time.perf_counter() - when)  # from when it was due: a late start is the service's too
    writer.close()
    await writer.wait_closed()


def _clock(first: float, every: float) -> Iterator[float]:
    while True:
        yield first
        first += every


async def load(port: int, requests: list[list[bytes]], rate: float | None = None) -> tuple[float, list[float]]:
    """Send requests over one connection for each list.

    Args:
        port: of the service at 127.0.0.1.
        requests: for each connection.
        rate: requests in a second, all connections together; None: as fast as they are answered.

    Returns:
        Seconds that all took, and the latency of each in seconds.
    """
    latencies: list[float] = []
    began = time.perf_counter()
    drives = []
    for index, own in enumerate(requests):
        due = None if rate is None else _clock(began + 0.05 + index / rate, len(requests) / rate)
        drives.append(_drive(port, own, due, latencies))
    await asyncio.gather(*drives)
    return time.perf_counter() - began, latencies
