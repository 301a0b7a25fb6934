"""Numbers for Prometheus, and those of the last seconds for the live page."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Total

_RECENT_SECONDS = 5
_KEPT_LATENCIES = 2048
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class Metrics:
    """What is counted. All of it is called on the event loop, but for `batch`, which the worker calls.

    Args:
        gauges: by name, a line of help and a function that gives the number when it is asked for.
    """

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self._registry = registry = CollectorRegistry()
        self._rows = Total("aaren_rows", "Rows answered", ["status"], registry=registry)
        self._requests = Total("aaren_requests", "Requests answered", ["code"], registry=registry)
        self._of_status = cache(self._rows.labels)  # the look-up of a label takes longer than its count
        self._of_code = cache(self._requests.labels)
        self._latency = Histogram(
            "aaren_request_seconds", "From the last byte of rows to their result", buckets=_SECONDS, registry=registry
        )
        self._batch_rows = Histogram("aaren_batch_rows", "Rows computed together", buckets=_ROWS, registry=registry)
        self._batch_seconds = Histogram(
            "aaren_batch_seconds", "Time of a batch on the worker", buckets=_SECONDS, registry=registry
        )
        for name, (help_text, function) in gauges.items():
            Gauge(f"aaren_{name}", help_text, registry=registry).set_function(function)

    def rows(self, statuses: Mapping[str, int], seconds: float) -> None:
        """The rows of one request were answered, so many with each status."""
        for status, count in statuses.items():
            if count:
                self._of_status(status).inc(count)
        self._latency.observe(seconds)

    def request(self, code: int) -> None:
        """A request was answered."""
        self._of_code(str(code)).inc()

    def batch(self, rows: int, seconds: float) -> None:
        """A batch was computed."""
        self._batch_rows.observe(rows)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """All numbers in Prometheus's text format."""
        return generate_latest(self._registry)


class Recent:
    """Rate and latency of one namespace over the last seconds."""

    def __init__(self) -> None:
        self.rows = 0
        self._seconds: Counter[int] = Counter()
        self._latencies: deque[float] = deque(maxlen=_KEPT_LATENCIES)

    def add(self, rows: int, seconds: float) -> None:
        """The rows of one request were answered."""
        self.rows += rows
        now = int(time.monotonic())
        self._seconds[now] += rows
        if len(self._seconds) > 4 * _RECENT_SECONDS:
            self._seconds = Counter({second: n for second, n in self._seconds.items() if second >= now - 8})
        self._latencies.append(seconds)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: rows so far, rows in a second, and latencies in milliseconds of the last requests."""
        now = int(time.monotonic())
        rate = sum(self._seconds[now - back] for back in range(1, _RECENT_SECONDS + 1)) / _RECENT_SECONDS
        found: dict[str, Any] = {"rows": self.rows, "rows_per_second": rate, "latency_ms": None}
        if self._latencies:
            p50, p99 = np.quantile(list(self._latencies), (0.5, 0.99)).tolist()
            found["latency_ms"] = {"p50": round(1e3 * p50, 3), "p99": round(1e3 * p99, 3)}
        return found
