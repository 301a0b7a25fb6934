"""Who asks: the service and the namespace of a request, for the routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from aaren.serving._errors import RequestError
from aaren.serving._rows import RowError, key_of
from aaren.serving._service import Service

_BEARER = HTTPBearer(auto_error=False, description="A token of `aaren serve --new-token`, if the service has tokens.")


def service_of(request: Request) -> Service:
    """The service behind the application."""
    found: Service = request.app.state.service
    return found


def namespace_of(request: Request) -> str:
    """The namespace of a request's token.

    Raises:
        RequestError: 401, there is none, or nobody knows it.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return service_of(request).namespace_of(token.strip() if scheme.lower() == "bearer" else None)


async def _namespace_of(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
) -> str:
    return namespace_of(request)  # the credentials are here for the description alone


async def _key_of(key: Annotated[str, Query(description="Key of a stream.", min_length=1, max_length=256)]) -> str:
    return checked_key(key)


def checked_key(key: str) -> str:
    """A key from a query.

    Raises:
        RequestError: 422, it is none.
    """
    try:
        return key_of(key)
    except RowError as error:
        raise RequestError(422, str(error)) from None


Namespace = Annotated[str, Depends(_namespace_of)]
"""The namespace of a request's token; 401 without one."""

Key = Annotated[str, Depends(_key_of)]
"""The key that a request asks for."""
