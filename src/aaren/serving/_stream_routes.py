"""One stream by its key: how far it is, its state, and what changes it without a row."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from aaren.serving._access import Key, Namespace, checked_key, service_of
from aaren.serving._body import read_whole, require_type
from aaren.serving._owned import OwnedStreams
from aaren.serving._schemas import SNAPSHOT, errors

_BINARY = "application/octet-stream"

router = APIRouter(prefix="/v1/stream")


@router.get("", summary="How far a stream is", responses=errors(404, 429))
async def get_stream(request: Request, namespace: Namespace, key: Key) -> dict[str, Any]:
    """The number of rows that the stream has counted; its next row has the number after it."""

    def rows(streams: OwnedStreams, whole: str) -> int:
        streams.require(whole)
        return streams.rows(whole)

    return {"key": key, "rows": await service_of(request).stream_call(namespace, key, rows)}


@router.delete("", summary="Forget a stream", responses=errors(404, 429))
async def delete_stream(request: Request, namespace: Namespace, key: Key) -> dict[str, Any]:
    """Forget a stream and its state; a later row of the key begins a new one."""
    await service_of(request).stream_call(namespace, key, OwnedStreams.drop)
    service_of(request).changed(namespace, key, -1)
    return {"key": key, "rows": 0}


@router.post("/reset", summary="Begin a stream again", responses=errors(404, 409, 429))
async def reset_stream(request: Request, namespace: Namespace, key: Key) -> dict[str, Any]:
    """Forget what a stream has seen, and say how many rows it has counted."""

    def reset(streams: OwnedStreams, whole: str) -> int:
        streams.reset(whole)
        return streams.rows(whole)

    rows = await service_of(request).stream_call(namespace, key, reset)
    service_of(request).changed(namespace, key)
    return {"key": key, "rows": rows}


@router.post("/fork", summary="Copy a stream", responses=errors(404, 409, 429))
async def fork_stream(
    request: Request,
    namespace: Namespace,
    key: Key,
    new_key: Annotated[str, Query(description="Key without a stream.", min_length=1, max_length=256)],
) -> dict[str, Any]:
    """Give a new key the past of a stream; from then on each goes its own way."""
    new = checked_key(new_key)
    new_whole = service_of(request).whole_key(namespace, new)

    def fork(streams: OwnedStreams, whole: str) -> int:
        streams.fork(whole, new_whole)
        return streams.rows(whole)

    rows = await service_of(request).stream_call(namespace, key, fork)
    service_of(request).changed(namespace, new, 1)
    return {"key": new, "rows": rows}


@router.get(
    "/state",
    summary="The state of a stream",
    response_model=None,
    responses={200: {"description": "A snapshot, as `aaren stream --state` has it.", **SNAPSHOT}, **errors(404, 429)},
)
async def get_state(request: Request, namespace: Namespace, key: Key) -> Response:
    """A snapshot of a stream; `model.stream(path)` and `aaren stream --state` go on from it."""
    snapshot = await service_of(request).stream_call(namespace, key, lambda streams, whole: streams.save(whole, key))
    return Response(snapshot, media_type=_BINARY)


@router.put(
    "/state",
    summary="Set the state of a stream",
    responses=errors(400, 408, 413, 415, 429),
    openapi_extra={"requestBody": {"required": True, **SNAPSHOT}},
)
async def put_state(request: Request, namespace: Namespace, key: Key) -> dict[str, Any]:
    """Set a stream to a snapshot of the same model; what it was before is forgotten."""
    service = service_of(request)
    require_type(request, _BINARY)
    limits = service.limits
    body = await read_whole(request, limits.body_bytes, limits.body_seconds, service.budget)

    def load(streams: OwnedStreams, whole: str) -> tuple[int, bool]:
        there = whole in streams.pool
        streams.load(whole, body)
        return streams.rows(whole), there

    try:
        rows, there = await service.stream_call(namespace, key, load)
    finally:
        service.budget.give_back(len(body))
    service.changed(namespace, key, 0 if there else 1)
    return {"key": key, "rows": rows}
