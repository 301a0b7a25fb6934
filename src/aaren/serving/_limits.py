"""What one client, or all of them, may ask of the service."""

from __future__ import annotations

from dataclasses import dataclass, fields

from aaren._arguments import real_number, whole_number


@dataclass(frozen=True)
class Limits:
    """Bounds that keep memory and waiting finite; every one is a plain positive number.

    Args:
        max_wait_ms: how long a row may wait for others to be computed with, once the worker has been busy; a row that
            comes while the worker is idle does not wait. 0 is allowed.
        max_batch: rows at which a batch leaves without waiting longer.
        request_rows: rows of one JSON request; and rows of any request that are computed together, with those that are
            missing before them in their streams.
        body_bytes: bytes of one JSON request or snapshot.
        line_bytes: bytes of one line of an NDJSON request.
        queue_rows: rows that may wait; beyond it requests get 429, but for one that finds none waiting. Of missing
            rows as many may be passed through in one batch.
        queue_bytes: bytes of requests that are being read or wait, and of answers that were not read yet; beyond it
            requests get 429, and a client that has read nothing for a second is cut off.
        body_seconds: time for a whole JSON body, for the next line of an NDJSON body, and for a client to read.
        header_seconds: time from the connection to the end of a request's header.
        keep_alive_seconds: time that a connection may be idle between two requests.
        connections: open connections; one more is answered 503 and closed.
        feeds: open feeds.
        feed_rows: predictions that may wait for a reader of a feed; then it is dropped.
        stop_seconds: time for open requests to end after SIGTERM.
    """

    max_wait_ms: float = 2.0
    max_batch: int = 1024
    request_rows: int = 4096
    body_bytes: int = 8 << 20
    line_bytes: int = 1 << 20
    queue_rows: int = 16_384
    queue_bytes: int = 64 << 20
    body_seconds: float = 30.0
    header_seconds: float = 10.0
    keep_alive_seconds: int = 15
    connections: int = 12_000
    feeds: int = 64
    feed_rows: int = 1024
    stop_seconds: int = 10

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int":
                whole_number(field.name, value, 1)
            elif field.name == "max_wait_ms":
                real_number(field.name, value, "a number of at least 0", lambda x: x >= 0)
            else:
                real_number(field.name, value, "a number of at least 0.001", lambda x: x >= 1e-3)
