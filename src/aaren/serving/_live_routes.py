"""The live page, what it asks for, and what machines ask for: model, health, metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from aaren.serving._access import Namespace, checked_key, service_of
from aaren.serving._schemas import errors

_PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html"),
    "/live.css": ("live.css", "text/css"),
    "/live.js": ("live.js", "text/javascript"),
    "/chart.js": ("chart.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

router = APIRouter()


def _page(name: str, media_type: str) -> Any:
    async def get_page() -> Response:
        return Response((_PAGE / name).read_bytes(), media_type=media_type, headers={"cache-control": "no-cache"})

    return get_page


for path, (name, media_type) in _FILES.items():
    router.add_api_route(path, _page(name, media_type), include_in_schema=False, response_model=None)


@router.get("/health", summary="Is the process alive")
async def get_health() -> dict[str, Any]:
    """Always the same, without a token."""
    return {"status": "alive"}


@router.get(
    "/ready",
    summary="Would a request be taken now",
    response_model=None,
    responses={503: {"description": "Not now.", "content": {"application/json": {}}}},
)
async def get_ready(request: Request) -> Response:
    """200 if a request would be taken now; 503 if the queue is full or the service stops. Without a token."""
    ready = service_of(request).ready
    return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_model=None,
    responses={200: {"description": "Text.", "content": {"text/plain": {"schema": {"type": "string"}}}}, **errors()},
)
async def get_metrics(request: Request, namespace: Namespace) -> Response:
    """Rows by status, latencies, batches, queue, streams and bytes, of all namespaces together."""
    return Response(service_of(request).metrics.text(), media_type="text/plain; version=0.0.4")


@router.get("/v1/model", summary="The model", responses=errors())
async def get_model(request: Request, namespace: Namespace) -> dict[str, Any]:
    """Columns of a row, what is predicted, sizes and fingerprint."""
    return service_of(request).description


@router.get("/v1/live", summary="What the live page shows", responses=errors())
async def get_live(
    request: Request,
    namespace: Namespace,
    key: Annotated[str | None, Query(description="Stream to draw.", min_length=1, max_length=256)] = None,
) -> dict[str, Any]:
    """Rate, latencies and memory, the most active streams, and the last rows of one of them."""
    return service_of(request).live(namespace, None if key is None else checked_key(key))


@router.get("/v1/drift", summary="Which streams have moved from the training data", responses=errors(409, 429))
async def get_drift(
    request: Request,
    namespace: Namespace,
    bound: Annotated[float, Query(description="Stability index from which a stream has moved.", gt=0, le=1e9)] = 0.25,
    most: Annotated[int, Query(description="Streams to name.", ge=1, le=1000)] = 20,
) -> dict[str, Any]:
    """How many streams have moved, and which ones the most, each by its worst column; of forecasters."""
    return await service_of(request).drift(namespace, bound, most)
