"""A service in a thread, a client of it, and a model that costs nothing."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from aaren import Forecaster
from aaren.data import SeriesSet, find, read_series
from aaren.evaluation import prepare
from aaren.serving import OwnedStreams, Service, serve

JSON, LINES = "application/json", "application/x-ndjson"


def untrained(table: SeriesSet | None = None, horizon: int = 3) -> Forecaster:
    """A forecaster of a table, or of ETTh1's oil temperature; three quantiles, so that a page has a band to draw."""
    table = table or read_series(find("ETTh1"), targets=["OT"], covariates=[])
    data = prepare(table, (0.6, 0.2, 0.2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Forecaster(
            preprocessing=data.preprocessing,
            inputs=1,
            targets=1,
            calendar=data.calendar.shape[1],
            look_back=8,
            horizon=horizon,
            d_model=8,
            nhead=2,
            num_layers=1,
            dim_feedforward=8,
            quantiles=(0.1, 0.5, 0.9),
        )
    return model.eval()


class Client:
    """Requests to a service at `port` of 127.0.0.1."""

    port: int

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, *, token: str | None = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON or bytes, and headers of an answer."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            data = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()
        return answer.status, json.loads(data) if found.get("content-type") == JSON else data, found

    def send(self, rows: Sequence[Any], *, token: str | None = None, query: str = "") -> list[dict[str, Any]]:
        """The answers to rows in one JSON request that must be taken."""
        status, data, _ = self.ask(
            "POST", f"/v1/rows{query}", json.dumps({"rows": list(rows)}), token=token, content_type=JSON
        )
        assert status == 200, data
        return data["rows"]

    def lines(self, body: bytes, query: str = "") -> list[dict[str, Any]]:
        """The answers to lines."""
        status, data, _ = self.ask("POST", f"/v1/rows{query}", body, content_type=LINES)
        assert status == 200, data
        return [json.loads(line) for line in data.splitlines()]


class Running(Client):
    """A service on a free port of 127.0.0.1, in a thread with an event loop of its own.

    Args:
        make: makes the service.
    """

    def __init__(self, make: Callable[[], Service]) -> None:
        self._started = threading.Event()
        self._error: BaseException | None = None
        self.service: Any = None
        self._thread = threading.Thread(target=self._run, args=(make,))
        self._thread.start()
        self._started.wait(60)
        if self._error is not None:
            raise self._error

    def _run(self, make: Callable[[], Service]) -> None:
        def remember() -> Service:
            self.service = make()
            return self.service

        def started(port: int, stop: Callable[[], None]) -> None:
            loop = asyncio.get_running_loop()
            self.port, self._stop = port, lambda: loop.call_soon_threadsafe(stop)
            self._started.set()

        try:
            asyncio.run(serve(remember, "127.0.0.1", 0, started))
        except BaseException as error:
            self._error = error
        self._started.set()

    def begin_stop(self) -> None:
        """What SIGTERM does."""
        self._stop()

    def stop(self) -> None:
        """Stop, and wait until it has."""
        if self._thread.is_alive():
            self._stop()
            self._thread.join(60)
        assert not self._thread.is_alive()
        assert self._error is None, self._error

    def socket(self) -> socket.socket:
        """A connection on which nothing was sent."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)


class Process(Client):
    """`aaren serve` as a process of its own."""

    def __init__(self, model: Path, *options: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aaren.cli", "serve", str(model), "--port", "0", *map(str, options)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        first = self.process.stderr.readline()
        assert first.startswith("aaren: serving "), first + self.process.stderr.read()
        self.port = int(first.rsplit(":", 1)[1].strip().rstrip("/"))

    def end(self, number: int) -> tuple[int, str]:
        """Exit code and last words after a signal."""
        self.process.send_signal(number)
        said = self.process.stderr.read()
        self.process.stderr.close()
        return self.process.wait(60), said


def keyed(key: str, rows: Sequence[Any], first: int | None = None) -> list[dict[str, Any]]:
    """Rows of one key as a client sends them, numbered from `first` if it is given."""
    return [
        {"key": key, "row": row, **({} if first is None else {"number": first + index})}
        for index, row in enumerate(rows)
    ]


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something holds before so many seconds have passed."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class _Slow(OwnedStreams):
    """Streams that take their time, so that all of it is the worker's."""

    rows_at_once = 0

    def update(self, keys: Any, rows: Any, numbers: Any, gaps: Any) -> Any:
        """Wait, then apply."""
        time.sleep(0.3)
        return super().update(keys, rows, numbers, gaps)


def slow(streams: OwnedStreams) -> OwnedStreams:
    """The same streams, slower."""
    return _Slow(streams.streams)
