"""The routes put together, and what holds for every request and every answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from aaren._version import __version__
from aaren.serving import _live_routes, _row_routes, _stream_routes
from aaren.serving._errors import RequestError
from aaren.serving._responses import CONNECTION, Answered, ClientGone, Paced
from aaren.serving._schemas import ROWS_PATH
from aaren.serving._service import Service

_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
]
_LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}

Application = Callable[[Any, Any, Any], Awaitable[None]]


def make_app(service: Service) -> Application:
    """The ASGI application of a service that was started.

    Args:
        service: what the routes call.
    """
    app = FastAPI(
        title="aaren serve",
        version=__version__,
        description="Rows of live streams in, what the model says after each of them out.",
        docs_url=None,  # the pages would load scripts from other hosts
        redoc_url=None,
    )
    app.state.service = service
    app.router.routes.insert(0, Route("/v1/rows", _row_routes.post_rows, methods=["POST"]))  # refuses other methods
    for routes in (_row_routes, _stream_routes, _live_routes):
        app.include_router(routes.router)
    app.add_exception_handler(RequestError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    app.add_exception_handler(HTTPException, _refuse_path)
    app.add_exception_handler(Exception, _fail)
    described = app.openapi()
    described["paths"] = {"/v1/rows": ROWS_PATH, **described["paths"]}
    return _Guard(app, service)


class _Guard:
    """Around every request: the host that a browser may ask, headers of safety, and the count of answers.

    Rows go past FastAPI, whose layers take longer than all that a small request asks for.
    """

    def __init__(self, app: Application, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        paced = Paced(scope, send, self._service.budget, self._service.limits.body_seconds)
        started = False

        async def guarded(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *_SECURITY]
                self._service.metrics.request(message["status"])
            await paced(message)

        app = self._app
        if scope["method"] == "POST" and scope["path"] == "/v1/rows":
            app, scope["app"] = _answer_rows, self._app
        names = [name for name, _ in scope["headers"]]
        if names.count(b"host") > 1 or names.count(b"origin") > 1:
            app = RequestError(400, "expected one line of Host and of Origin, received several", close=True).response()
        elif self._service.tokens is None and not _from_here(scope["headers"]):
            error = RequestError(
                403,
                "expected a request to 127.0.0.1 or localhost, from no page of another site; a service for other hosts "
                "needs --tokens",
            )
            app = error.response()
        try:
            await app({**scope, "method": "GET"} if scope["method"] == "HEAD" else scope, receive, guarded)
        except Answered:
            pass
        except ClientGone:
            scope["extensions"][CONNECTION].client_gone()
        except Exception as error:
            if not started:
                await (await _fail(Request(scope), error))(scope, receive, guarded)
            raise  # for the log
        finally:
            paced.reader.end()


def _from_here(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the address was asked for by its own name, and by no page of another site.

    Else a page that the user reads elsewhere could ask, under a name of its own that leads to this machine.
    """
    host, origin = "", None
    for name, value in headers:
        if name == b"host":
            host = value.decode("latin-1")
        elif name == b"origin":
            origin = value.decode("latin-1")
    place = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return place.lower() in _LOOPBACK and origin in (None, f"http://{host}", f"https://{host}")


async def _answer_rows(scope: Any, receive: Any, send: Any) -> None:
    response: Response
    try:
        response = await _row_routes.post_rows(Request(scope, receive))
    except RequestError as error:
        response = error.response()
    await response(scope, receive, send)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError), "registered for it"
    return error.response()


async def _refuse_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for it"
    first = error.errors()[0]
    place = first["loc"][-1] if first.get("loc") else "request"
    return RequestError(422, f"{place}: {first.get('msg', 'not what was expected')}").response()


async def _refuse_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it"
    if error.status_code == 404:
        return RequestError(404, "expected a path of this service, received another; see /openapi.json").response()
    response = RequestError(error.status_code, f"{error.detail}; /openapi.json says what is expected").response()
    response.headers.update(error.headers or {})
    return response


async def _fail(request: Request, error: Exception) -> Response:
    return RequestError(500, "something went wrong in the service; its log says what").response()
