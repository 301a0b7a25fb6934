"""`POST /v1/rows` and `GET /v1/feed`: rows in, what the model says of them out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.datastructures import QueryParams
from starlette.responses import Response

from aaren.serving._access import Namespace, checked_key, namespace_of, service_of
from aaren.serving._body import read_lines, read_whole, require_type
from aaren.serving._errors import RequestError, stopping
from aaren.serving._responses import Pieces, Whole
from aaren.serving._rows import Rows, rows_of_body, rows_of_lines
from aaren.serving._schemas import errors
from aaren.serving._service import Service

_JSON, _LINES = "application/json", "application/x-ndjson"
_ROWS_AT_ONCE = 128
_PAUSE_SECONDS = 0.02

router = APIRouter()


async def post_rows(request: Request) -> Response:
    """Take rows of any streams, and answer each with the number it has in its stream and what the model says.

    It reads its own parameters: what FastAPI does for one takes as long as all the rest.
    """
    service = service_of(request)
    namespace, predictions = namespace_of(request), _wants_predictions(request.scope["query_string"])
    kind = require_type(request, _JSON, _LINES)
    if service.stopping.is_set():
        raise stopping()
    if kind == _LINES:
        return Pieces(_answered_lines(request, service, namespace, predictions), _LINES)
    limits = service.limits
    body = await read_whole(request, limits.body_bytes, limits.body_seconds, service.budget)
    try:
        rows = rows_of_body(body, limits.request_rows, service.schema)
        found = await service.take(namespace, rows, set(), predictions=predictions)
    finally:
        service.budget.give_back(len(body))
    return Whole(b'{"rows":[' + b",".join(found) + b"]}", _JSON)


@lru_cache(maxsize=64)
def _wants_predictions(query: bytes) -> bool:
    given = QueryParams(query).get("predictions", "true")
    if given not in ("true", "false"):
        raise RequestError(422, f"predictions: expected true or false, received {given[:60]!r}")
    return given == "true"


async def _answered_lines(
    request: Request, service: Service, namespace: str, predictions: bool
) -> AsyncIterator[bytes]:
    """An answer for each line of a body, while it comes."""
    limits, stopped = service.limits, set[str]()
    at_once = min(_ROWS_AT_ONCE, service.most_rows(predictions=predictions))
    async for lines in read_lines(request, limits.line_bytes, limits.body_seconds, service.budget, service.stopping):
        for first in range(0, len(lines), at_once):
            rows = rows_of_lines(lines[first : first + at_once], service.schema)
            if len(rows):
                found = await _taken(service, namespace, rows, stopped, predictions)
                yield b"".join(one + b"\n" for one in found)


async def _taken(service: Service, namespace: str, rows: Rows, stopped: set[str], predictions: bool) -> list[bytes]:
    """The answers to rows, once the queue has room: meanwhile the body is not read on, and so its sender waits."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + service.limits.body_seconds
    while True:
        try:
            return await service.take(namespace, rows, stopped, predictions=predictions)
        except RequestError as error:
            if error.status != 429 or loop.time() > deadline:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)


@router.get(
    "/v1/feed",
    summary="Answers as they happen",
    response_model=None,
    responses={
        200: {"description": "Server-sent events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **errors(429),
    },
)
async def get_feed(
    request: Request,
    namespace: Namespace,
    key: Annotated[str | None, Query(description="Only those of this stream.", min_length=1, max_length=256)] = None,
) -> Response:
    """The answers to all rows of the namespace, whoever sends them, as server-sent events.

    A reader that is too slow is dropped: the last event is `dropped`.
    """
    service = service_of(request)
    if service.stopping.is_set():
        raise stopping()
    subscriber = service.feeds.open(namespace, None if key is None else checked_key(key))

    async def events() -> AsyncIterator[bytes]:
        try:
            async for event in subscriber.events():
                yield event
        finally:
            service.feeds.close(subscriber)

    return Pieces(events(), "text/event-stream", until_gone=subscriber.end)
