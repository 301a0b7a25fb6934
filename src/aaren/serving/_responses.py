"""Responses that are sent piece by piece, to clients that may read slowly or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response

from aaren.serving._errors import RequestError

ABORT = "aaren.abort"
"""Where the protocol leaves, in a scope's extensions, a function that ends the connection at once."""

CAN_SEND = "aaren.can_send"
"""And one that says whether what is sent now is taken at once, so that no clock has to run for it."""

HOLD = "aaren.hold"
"""And two that hold back what is sent, and send it in one piece."""

PIECE = 1 << 16
"""Bytes that are sent at once."""


class Pieces(Response):
    """A body that comes in pieces. A client that does not read for some time is cut off.

    Args:
        pieces: of the body. A `RequestError` before the first one becomes the response; after it, the last piece.
        media_type: of the body.
        seconds: time for the client to read.
        length: of the whole body, if it is known.
        until_gone: called when the client has left while there is no piece, for bodies without an end.
    """

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        media_type: str,
        seconds: float,
        *,
        length: int | None = None,
        until_gone: Callable[[], None] | None = None,
    ) -> None:
        self.pieces, self.seconds, self.length, self.until_gone = pieces, seconds, length, until_gone
        self.background, self.body, self.status_code, self.media_type = None, b"", 200, media_type
        self.init_headers(None)
        del self.headers["content-length"]
        if length is not None:
            self.headers["content-length"] = str(length)
        self.headers["cache-control"] = "no-store"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the pieces."""
        watcher = None if self.until_gone is None else asyncio.create_task(_gone(receive, self.until_gone))
        try:
            await self._send_all(scope, receive, send)
        except TimeoutError:
            scope.get("extensions", {}).get(ABORT, lambda: None)()
        finally:
            if watcher is not None:
                watcher.cancel()
            close = getattr(self.pieces, "aclose", None)
            if close is not None:
                await close()

    async def _send_all(self, scope: Any, receive: Any, send: Any) -> None:
        started, sent = False, 0

        async def put(message: dict[str, Any]) -> None:
            async with asyncio.timeout(self.seconds):
                await send(message)

        async def start() -> None:
            nonlocal started
            started = True
            await put({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

        try:
            async for piece in self.pieces:
                if not started:
                    await start()
                sent += len(piece)
                await put({"type": "http.response.body", "body": piece, "more_body": sent != self.length})
        except RequestError as error:
            if not started:
                await error.response()(scope, receive, send)
                return
            last = error.response().body
            await put({"type": "http.response.body", "body": bytes(last) + b"\n", "more_body": True})
        if not started:
            await start()
        if sent != self.length:
            await put({"type": "http.response.body", "body": b"", "more_body": False})


class Whole(Response):
    """A short body that is there. A client that does not read for some time is cut off.

    Args:
        body: at most `PIECE` bytes.
        media_type: of the body.
        seconds: time for the client to read.
    """

    def __init__(self, body: bytes, media_type: str, seconds: float) -> None:
        self.body, self.status_code, self.media_type, self.background = body, 200, media_type, None
        self.seconds = seconds
        self.raw_headers = [
            (b"content-type", media_type.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it."""
        extensions = scope.get("extensions", {})
        can_send = extensions.get(CAN_SEND, lambda: False)
        hold, release = extensions.get(HOLD, (lambda: None, lambda: None))
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        hold()
        try:
            for message in (start, {"type": "http.response.body", "body": self.body, "more_body": False}):
                if can_send():
                    await send(message)
                else:
                    async with asyncio.timeout(self.seconds):
                        await send(message)
        except TimeoutError:
            extensions.get(ABORT, lambda: None)()
        finally:
            release()


async def cut(body: bytes) -> AsyncIterator[bytes]:
    """A body in pieces."""
    for first in range(0, len(body), PIECE):
        yield body[first : first + PIECE]


async def _gone(receive: Any, then: Callable[[], None]) -> None:
    """Wait until the client has left."""
    with contextlib.suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass
        then()
