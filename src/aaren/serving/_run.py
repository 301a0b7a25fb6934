"""The server around the service, from its start to a stop that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Generator
from typing import Any

import uvicorn

from aaren.serving._app import make_app
from aaren.serving._protocol import bounded_protocol
from aaren.serving._service import Service

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SWITCH_SECONDS = 1e-3


def require_tokens(host: str, *, tokens: bool) -> None:
    """Refuse to serve other hosts without tokens.

    Raises:
        ValueError: that is what was asked for.
    """
    if not tokens and host not in _LOOPBACK:
        raise ValueError(
            f"--host: expected 127.0.0.1 as long as there are no tokens, received {host!r}; make a token with "
            "--new-token NAME --tokens FILE, then serve with --tokens FILE"
        )


class _Server(uvicorn.Server):
    """uvicorn's server, whose signals stop the service too and end in exit code 0."""

    service: Service

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """SIGTERM and SIGINT stop; a second SIGINT does not wait for open requests."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        added = []
        for number in numbers:
            with contextlib.suppress(RuntimeError, ValueError, NotImplementedError):  # not in the main thread
                loop.add_signal_handler(number, self.stop, number)
                added.append(number)
        try:
            yield
        finally:
            for number in added:
                loop.remove_signal_handler(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Accept nothing more, and let what is open end."""
        self.force_exit = self.should_exit and number == signal.SIGINT
        self.should_exit = True
        self.service.begin_stop()


def run(
    make_service: Callable[[], Service],
    host: str,
    port: int,
    started: Callable[[int, Callable[[], None]], None],
) -> None:
    """`serve` on an event loop of its own, uvloop's where it is installed."""
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(make_service, host, port, started))


async def serve(
    make_service: Callable[[], Service],
    host: str,
    port: int,
    started: Callable[[int, Callable[[], None]], None],
) -> None:
    """Serve until SIGTERM or SIGINT; what was taken is computed, answered and stored before this returns.

    Args:
        make_service: makes the service, on the event loop.
        host: address to listen at.
        port: of it; 0 takes a free one.
        started: called with the port, and with a function that stops the server, once requests are taken.

    Raises:
        OSError: the address cannot be listened at.
    """
    service = make_service()
    await service.start()
    before = sys.getswitchinterval()
    # the worker's Python must not keep the event loop waiting for long; a shorter one costs both of them more than that
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # what is there now stays; to look through all of it again would stop every request for 0.1 s
    try:
        await _listen(service, host, port, started)
    finally:
        await service.close()
        sys.setswitchinterval(before)
        gc.unfreeze()


async def _listen(service: Service, host: str, port: int, started: Any) -> None:
    limits = service.limits
    config = uvicorn.Config(
        make_app(service),
        host,
        port,
        http=bounded_protocol(limits),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=limits.keep_alive_seconds,
        timeout_graceful_shutdown=limits.stop_seconds,
        backlog=4096,
    )
    config.load()
    server = _Server(config)
    server.service = service
    sockets = await _bound(host, port)
    for one in sockets:
        one.listen(4096)
    announced = asyncio.create_task(_announce(server, sockets[0].getsockname()[1], started))
    try:
        await server.serve(sockets)
    finally:
        announced.cancel()


async def _bound(host: str, port: int) -> list[Any]:
    """Sockets at an address; the error of one that is taken is the user's to see."""
    import socket

    found = []
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in dict.fromkeys(infos):
        one = socket.socket(family, kind, protocol)
        found.append(one)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            one.bind(address)
        except OSError as error:
            for open_one in found:
                open_one.close()
            raise OSError(error.errno, f"cannot listen at {host} port {port}: {error.strerror}") from None
    return found


async def _announce(server: _Server, port: int, started: Callable[[int, Callable[[], None]], None]) -> None:
    while not server.started:
        await asyncio.sleep(0.005)
    started(port, server.stop)
