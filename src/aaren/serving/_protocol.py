"""Connections that cannot be held open for nothing: a limit of their number, and of the time and size of a header."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from aaren.serving._limits import Limits
from aaren.serving._responses import CONNECTION

_HEADER_BYTES = 1 << 16
_AT_ONCE = struct.pack("ii", 1, 0)  # wait 0 seconds for the client to take what was sent
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
        transport.set_write_buffer_limits(0)  # else what a client has not read would be in a buffer that nobody counts
        self._timer: asyncio.TimerHandle | None = None
        self._in_header, self._header_bytes = True, 0
        self._running: RequestResponseCycle | None = None
        if len(self.connections) > self.limits.connections:
            self._refuse(
                b"503 Service Unavailable", b"expected fewer connections; come again later", b"retry-after: 5\r\n"
            )
        else:
            self._begin_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._end_header()
        self.client_gone()
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
            self._refuse_header()

    def on_message_begin(self) -> None:
        """A request begins: its header must end in time."""
        super().on_message_begin()
        extensions: Any = {CONNECTION: self}
        self.scope["extensions"] = extensions
        self._begin_header()

    def on_headers_complete(self) -> None:
        """The header has ended."""
        self._end_header()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _HEADER_BYTES:
            self._refuse_header()
            raise ValueError  # ends the parser, whose caller then finds the connection closed
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, but not with the rest of a body that nobody reads."""
        if not self.pipeline and self.cycle is not None and self.cycle.more_body:
            self.transport.close()
        super().on_response_complete()

    def cut_off(self) -> None:
        """End the connection at once, with what the system still holds for a client that does not read."""
        socket_ = self.transport.get_extra_info("socket")
        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()

    def client_gone(self) -> None:
        """Tell the request that is being answered, which uvicorn does only if no other came after it."""
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def is_there(self) -> bool:
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

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are no request, in the form of all refusals."""
        self._refuse(b"400 Bad Request", b"expected a request of HTTP/1.1, received something else")

    def _refuse_header(self) -> None:
        self._refuse(b"431 Request Header Fields Too Large", b"expected a header of at most %d bytes" % _HEADER_BYTES)

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(b"408 Request Timeout", b"expected a request in time")

    def _refuse(self, status: bytes, message: bytes, more: bytes = b"") -> None:
        body = b'{"error":{"message":"' + message + b'"}}'
        if not self.transport.is_closing():
            self.transport.write(_REFUSAL % (status, len(body), more, body))
            self.transport.close()
