"""How a request is refused: a status of HTTP and one JSON object that says what was expected."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse


class RequestError(Exception):
    """A request that is refused as a whole.

    Args:
        status: of HTTP, 4xx for what the client can mend, 503 for a service that stops.
        message: expected, received, remedy, in one line.
        retry_after: seconds after which the same request may be taken.
        close: end the connection, since the rest of the body was not read.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None, close: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after, self.close = status, message, retry_after, close

    def body(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        return {"error": {"message": self.message}}

    def response(self) -> JSONResponse:
        """The answer."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.close:
            headers["connection"] = "close"
        return JSONResponse(self.body(), self.status, headers)


def too_busy() -> RequestError:
    """The refusal of a request while too much waits already."""
    return RequestError(
        429,
        "expected room for more rows, received them while too many rows and answers wait; send them again later",
        retry_after=1,
    )


def stopping() -> RequestError:
    """The refusal of a request while the service stops."""
    return RequestError(503, "the service is stopping; send the request again when it is back", retry_after=5)
