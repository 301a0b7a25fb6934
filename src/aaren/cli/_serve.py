"""`aaren serve`: the streams of a model behind HTTP, with a live page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from aaren.cli._common import existing, options_of, require_model


def serve(
    model: Path | None = None,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    tokens: Path | None = None,
    new_token: str | None = None,
    store: Path | None = None,
    accept_fingerprint: str | None = None,
    capacity: int = 100_000,
    on_bad_row: Literal["error", "skip", "impute"] = "error",
    max_gap: int | None = None,
    max_wait_ms: float = 2.0,
    max_batch: int = 1024,
    queue_rows: int = 16_384,
    connections: int = 12_000,
) -> int:
    """Take rows over HTTP and answer each with what the model says after it; watch them on a live page.

    Rows of many clients are computed together. The page is at the address that is printed, the description of all paths
    at /openapi.json. SIGTERM and Ctrl-C stop: rows that were taken are computed and answered first.

    Parameters
    ----------
    model
        Model directory, as `aaren train` writes it.
    host
        Address to listen at. Without --tokens only those of this machine itself: 127.0.0.1, ::1, localhost.
    port
        Port to listen at; 0 takes a free one.
    tokens
        File of tokens. Each token has streams of its own, that no other token can see.
    new_token
        Make a token of this name, print it, append its digest to the file of --tokens, and end.
    store
        Folder where rows and states are kept, so that a kill loses nothing: a row is on the disk before it is answered.
        After a restart send what was not answered again, with the same row numbers.
    accept_fingerprint
        Take over the streams of a store that is of the model with this fingerprint.
    capacity
        Streams in memory. With --store the least recently used go to the disk; without, one more is refused.
    on_bad_row
        For a row with infinity: refuse it, skip it, or impute: take an infinite cell as missing (of a policy, a missing
        one too as the training mean; not for event models).
    max_gap
        Of a forecaster: rows that may be missing between two rows, by default 1000; they are passed through as missing
        values, each at about the cost of a row. A request may have 4,096 rows and missing rows in all, but for its
        first gap.
    max_wait_ms
        Milliseconds that a row may wait for others to be computed with, while the service is busy.
    max_batch
        Rows that are computed together at most, but for a larger request.
    queue_rows
        Rows that may wait; when the queue is full requests get 429 and are to be sent again later.
    connections
        Connections that may be open.
    """
    import aaren
    from aaren import serving

    if not 0 <= port < 1 << 16:
        raise ValueError(f"--port: expected a number from 0 to 65535, received {port}")
    if new_token is not None:
        if tokens is None:
            raise ValueError("--new-token: expected a file to append to as well; name it with --tokens FILE")
        print(serving.new_token(tokens, new_token))
        return 0
    if model is None:
        raise ValueError("expected a model directory, received none; `aaren train` writes one")
    require_model(model)
    serving.require_tokens(host, tokens=tokens is not None)
    known = None if tokens is None else serving.read_tokens(existing(tokens, "a file of tokens"))
    limits = serving.Limits(
        max_wait_ms=max_wait_ms, max_batch=max_batch, queue_rows=queue_rows, connections=connections
    )
    loaded = aaren.load(model)
    options: dict[str, Any] = {"on_bad_row": on_bad_row}
    options |= options_of(loaded.kind, {"max_gap": max_gap}, {"max_gap": ("forecaster",)})
    if loaded.kind == "forecaster":
        options.setdefault("max_gap", 1000)

    made: list[serving.Service] = []

    def service() -> serving.Service:
        made[:] = [
            serving.Service(
                loaded,
                lambda: serving.open_streams(loaded, capacity, store, accept_fingerprint, **options),
                known,
                limits,
            )
        ]
        return made[0]

    def started(at: int, stop: Callable[[], None]) -> None:
        place = f"[{host}]" if ":" in host else host
        print(f"aaren: serving {model} at http://{place}:{at}/", file=sys.stderr, flush=True)
        if unseen := made[0].unseen:
            print(
                f"aaren: {unseen} streams of {store} are of no name in {tokens}, so that nobody can see them; add a "
                "token of their name, or serve without --tokens",
                file=sys.stderr,
                flush=True,
            )

    serving.run(service, host, port, started)
    print("aaren: stopped; all rows that were taken are answered", file=sys.stderr)
    return 0
