"""Connections that cannot be held open for nothing: a limit of their number, and of the time and size of a header."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aaren.serving._body import IS_THERE
from aaren.serving._limits import Limits
from aaren.serving._responses import ABORT, CAN_SEND, HOLD

_HEADER_BYTES = 1 << 16
_REFUSAL = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n%s\r\n%s"


def bounded_protocol(limits: Limits) -> type[HttpToolsProtocol]:
    """A protocol of uvicorn's with these limits."""
    return type("BoundedProtocol", (_BoundedProtocol,), {"limits": limits})


class _Joining:
    """A transport that can hold back what is written, to send it in one piece: each piece is a call of the system.

    Args:
        transport: what is written to.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._held: list[bytes] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or hold back."""
        if self._held is None:
            self._transport.write(data)
        else:
            self._held.append(data)

    def hold(self) -> None:
        """Hold back what is written from now on."""
        self._held = []

    def release(self) -> None:
        """Write what was held back."""
        held, self._held = self._held, None
        if held:
            self._transport.write(b"".join(held))

    def close(self) -> None:
        """Close, after what was held back."""
        self.release()
        self._transport.close()


class _BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    limits: Limits

    def connection_made(self, transport: Any) -> None:
        """Accept a connection, unless there are too many."""
        super().connection_made(_Joining(transport))  # type: ignore[arg-type]
        self._timer: asyncio.TimerHandle | None = None
        self._in_header, self._header_bytes = True, 0
        if len(self.connections) > self.limits.connections:
            self._refuse(
                b"503 Service Unavailable", b"expected fewer connections; come again later", b"retry-after: 5\r\n"
            )
        else:
            self._begin_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._end_header()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a header, which are counted, or of a body."""
        if not self._in_header and (self.cycle is None or self.cycle.response_complete):
            self._begin_header()  # even if no request begins with them, as with empty lines, one must come in time
        if self._in_header:
            self._header_bytes += len(data)
        if not self.transport.is_closing():
            super().data_received(data)
        if self._in_header and self._header_bytes > _HEADER_BYTES:
            self._refuse(b"431 Request Header Fields Too Large", b"expected a shorter header")

    def on_message_begin(self) -> None:
        """A request begins: its header must end in time."""
        super().on_message_begin()
        joining: Any = self.transport
        extensions: Any = {ABORT: joining.abort, HOLD: (joining.hold, joining.release)}
        extensions |= {CAN_SEND: self._can_send, IS_THERE: self._is_there}
        self.scope["extensions"] = extensions
        self._begin_header()

    def on_headers_complete(self) -> None:
        """The header has ended."""
        self._end_header()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, but not with the rest of a body that nobody reads."""
        if not self.pipeline and self.cycle is not None and self.cycle.more_body:
            self.transport.close()
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for a while: a client that has not read its answer by now gets no more time for it."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def _can_send(self) -> bool:
        return not self.flow.write_paused

    def _is_there(self) -> bool:
        """Whether the whole body is; true of a request too while the next one is there already."""
        return self.cycle is not None and not self.cycle.more_body

    def _begin_header(self) -> None:
        self._in_header = True
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.header_seconds, self._too_slow)

    def _end_header(self) -> None:
        self._in_header, self._header_bytes = False, 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(b"408 Request Timeout", b"expected a request in time")

    def _refuse(self, status: bytes, message: bytes, more: bytes = b"") -> None:
        body = b'{"error":{"message":"' + message + b'"}}'
        if not self.transport.is_closing():
            self.transport.write(_REFUSAL % (status, len(body), more, body))
            self.transport.close()
