"""Bodies of requests, counted while they are read: whole, or line by line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request

from aaren.serving._budget import Budget
from aaren.serving._errors import RequestError, stopping
from aaren.serving._responses import CONNECTION

_LINGER_SECONDS = 1.0


def require_type(request: Request, *allowed: str) -> str:
    """The content type of a request. A page of another site can send none of those that are allowed unasked.

    Raises:
        RequestError: 415, it is another one, or the body is compressed.
    """
    packed = request.headers.get("content-encoding", "").strip().lower()
    if packed not in ("", "identity"):
        raise RequestError(
            415, f"content-encoding: expected none, received {packed[:60]}; send the body uncompressed", close=True
        )
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given not in allowed:
        raise RequestError(
            415, f"content-type: expected {' or '.join(allowed)}, received {given[:60] or 'none'}", close=True
        )
    return given


async def read_whole(request: Request, limit: int, seconds: float, budget: Budget) -> bytes:
    """The body. Its bytes are taken from the budget, and given back if it is refused; else the caller gives them back.

    Raises:
        RequestError: 413, it is too long; 408, it came too slowly; 429, too much waits; 400, the client left.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        await _linger(request.stream())
        raise _too_long(limit)
    body = bytearray()
    try:
        if request.scope["extensions"][CONNECTION].is_there():  # no clock has to run for it
            await _collect(request, body, limit, budget)
        else:
            async with asyncio.timeout(seconds):
                await _collect(request, body, limit, budget)
        return bytes(body)
    except BaseException as error:
        budget.give_back(len(body))
        raise _as_refusal(error, seconds) from None


async def _collect(request: Request, body: bytearray, limit: int, budget: Budget) -> None:
    chunks = request.stream()
    async for chunk in chunks:
        if len(body) + len(chunk) > limit:
            await _linger(chunks)
            raise _too_long(limit)
        budget.take(len(chunk))
        body += chunk


async def read_lines(
    request: Request, limit: int, seconds: float, budget: Budget, stop: asyncio.Event
) -> AsyncIterator[list[bytes]]:
    """The complete lines of a body, all those that have come; the time limit is for the next complete line.

    Raises:
        RequestError: 413, a line is too long; 408, none came in time; 429, too much waits; 400, the client left;
            503, the service stops.
    """
    pending, held, more = bytearray(), 0, True
    loop = asyncio.get_running_loop()
    stopped = asyncio.create_task(stop.wait())
    deadline = loop.time() + seconds
    try:
        while more:
            chunk, more = await _next_chunk(request, stopped, deadline - loop.time(), seconds)
            budget.take(len(chunk))
            held += len(chunk)
            pending += chunk
            *lines, rest = pending.split(b"\n")
            if len(rest) > limit or any(len(one) > limit for one in lines):
                raise RequestError(413, f"expected lines of at most {limit} bytes, received a longer one", close=True)
            pending = rest
            if not more and rest:
                lines.append(rest)
            if lines:
                yield [bytes(one) for one in lines]
                deadline = loop.time() + seconds  # the time that the answer took is not the client's
                budget.give_back(held - len(pending))
                held = len(pending)
    finally:
        budget.give_back(held)
        stopped.cancel()


async def _next_chunk(request: Request, stopped: asyncio.Task[Any], left: float, seconds: float) -> tuple[bytes, bool]:
    """The next bytes of a body, and whether there may be more."""
    received = asyncio.create_task(request.receive())  # type: ignore[arg-type, var-annotated]
    await asyncio.wait({received, stopped}, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
    if not received.done():
        received.cancel()
        raise stopping() if stopped.done() else _too_slow(seconds)
    message = received.result()
    if message["type"] == "http.disconnect":
        raise _client_left()
    return message.get("body", b""), message.get("more_body", False)


def _too_long(limit: int) -> RequestError:
    return RequestError(
        413,
        f"expected a body of at most {limit} bytes, received more; send less, or lines (NDJSON)",
        close=True,
    )


async def _linger(chunks: AsyncIterator[bytes]) -> None:
    """Read on for a moment before an early answer: a connection closed with unread bytes would lose the answer."""
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_LINGER_SECONDS):
            async for _ in chunks:
                pass


def _as_refusal(error: BaseException, seconds: float) -> BaseException:
    if isinstance(error, TimeoutError):
        return _too_slow(seconds)
    return _client_left() if isinstance(error, ClientDisconnect) else error


def _too_slow(seconds: float) -> RequestError:
    return RequestError(408, f"expected the body, or its next line, within {seconds:g} s", close=True)


def _client_left() -> RequestError:
    return RequestError(400, "expected a whole body, received a part of it: the client left", close=True)
