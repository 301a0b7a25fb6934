"""A model behind HTTP: rows of many clients in, predictions out, a live page; needs the extra "serve"."""

from aaren.errors import MissingDependencyError

try:
    import fastapi as _fastapi  # noqa: F401
    import httptools as _httptools  # noqa: F401
    import prometheus_client as _prometheus_client  # noqa: F401
    import uvicorn as _uvicorn  # noqa: F401
except ImportError as error:
    raise MissingDependencyError(str(error.name), "serve", "a service") from None

from aaren.serving._limits import Limits
from aaren.serving._owned import OwnedStreams, open_streams
from aaren.serving._run import require_tokens, run, serve
from aaren.serving._service import Service
from aaren.serving._tokens import Tokens, new_token, read_tokens

__all__ = [
    "Limits",
    "OwnedStreams",
    "Service",
    "Tokens",
    "new_token",
    "open_streams",
    "read_tokens",
    "require_tokens",
    "run",
    "serve",
]
