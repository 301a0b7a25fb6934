"""Responses that are sent piece by piece, to clients that may read slowly or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response

from aaren.serving._budget import Budget, Reader
from aaren.serving._errors import RequestError

CONNECTION = "aaren.connection"
"""Where the protocol leaves itself in a scope's extensions."""

PIECE = 1 << 16
"""Bytes that are sent at once."""


class ClientGone(BaseException):
    """Nobody reads the answer any more; what is left of it need not be made."""


class Answered(BaseException):
    """A request of HEAD has its answer; the body of it need not be made."""


class Paced:
    """The `send` of a request, no faster than its client reads; what it has not read yet is in the budget.

    Args:
        scope: of the request.
        send: of the server.
        budget: of requests and answers.
        seconds: time for the client to read a piece; then it is cut off.
    """

    def __init__(self, scope: Any, send: Any, budget: Budget, seconds: float) -> None:
        self._connection = connection = scope["extensions"][CONNECTION]
        self.reader = Reader(budget, connection.cut_off)
        self._send, self._seconds, self._no_body = send, seconds, scope["method"] == "HEAD"
        self._head: Any = None

    async def __call__(self, message: Any) -> None:
        """Send a message. A head goes out with the first bytes of its body, which are counted by then.

        Raises:
            ClientGone: the client has left, or was cut off.
            Answered: a request of HEAD has its head.
        """
        if message["type"] == "http.response.start":
            self._head = message
            return
        if self._no_body:
            await self._put({"type": "http.response.body", "body": b"", "more_body": False})
            raise Answered
        body, more = message.get("body", b""), message.get("more_body", False)
        self.reader.owe(len(body))
        for first in range(0, max(1, len(body)), PIECE):
            last = first + PIECE >= len(body)
            piece = body if last and not first else body[first : first + PIECE]
            await self._put({"type": "http.response.body", "body": piece, "more_body": more or not last})
            self.reader.read(len(piece))

    async def _put(self, message: Any) -> None:
        """Send a message, after the head in one piece, and wait until it is taken; no clock runs if that is at once."""
        connection = self._connection
        if connection.transport.is_closing():
            raise ClientGone
        connection.transport.hold()
        try:
            if self._head is not None:
                head, self._head = self._head, None
                await self._send(head)
            await self._send(message)
        finally:
            connection.transport.release()
        if connection.flow.write_paused:
            try:
                async with asyncio.timeout(self._seconds):
                    await connection.flow.drain()
            except TimeoutError:
                self.reader.leave()
                raise ClientGone from None


class Pieces(Response):
    """A body that comes in pieces, of a length that nobody knows.

    Args:
        pieces: of the body. A `RequestError` before the first one becomes the response; after it, the last piece.
        media_type: of the body.
        until_gone: called when the client has left while there is no piece, for bodies without an end.
    """

    def __init__(
        self, pieces: AsyncIterator[bytes], media_type: str, *, until_gone: Callable[[], None] | None = None
    ) -> None:
        self.pieces, self.until_gone = pieces, until_gone
        self.background, self.body, self.status_code, self.media_type = None, b"", 200, media_type
        self.init_headers(None)
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-store"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the pieces."""
        watcher = None if self.until_gone is None else asyncio.create_task(_gone(receive, self.until_gone))
        try:
            await self._send_all(scope, receive, send)
        finally:
            if watcher is not None:
                watcher.cancel()
            close = getattr(self.pieces, "aclose", None)
            if close is not None:
                await close()

    async def _send_all(self, scope: Any, receive: Any, send: Any) -> None:
        head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        started = False
        try:
            async for piece in self.pieces:
                if not started:
                    started = True
                    await send(head)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except RequestError as error:
            if not started:
                await error.response()(scope, receive, send)
                return
            last = error.response().body
            await send({"type": "http.response.body", "body": bytes(last) + b"\n", "more_body": True})
        if not started:
            await send(head)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Whole(Response):
    """A body that is there, without what starlette's own response takes time for.

    Args:
        body: all of it.
        media_type: of the body.
    """

    def __init__(self, body: bytes, media_type: str) -> None:
        self.body, self.status_code, self.media_type, self.background = body, 200, media_type, None
        self.raw_headers = [
            (b"content-type", media_type.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]


async def _gone(receive: Any, then: Callable[[], None]) -> None:
    """Wait until the client has left."""
    with contextlib.suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass
        then()
