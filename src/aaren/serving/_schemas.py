"""The OpenAPI description of bodies that the routes read themselves, counting while they read."""

from __future__ import annotations

from typing import Any

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "properties": {"message": {"type": "string"}, "column": {"type": "string"}},
        }
    },
}
_CELL = {"type": ["number", "string", "boolean", "null"]}
_KEY = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 256},
        {"type": "integer", "minimum": -(2**63) + 1, "maximum": 2**63 - 1},
    ]
}
_ROW = {
    "type": "object",
    "required": ["key", "row"],
    "properties": {
        "key": _KEY,
        "number": {
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": 2**63 - 1,
            "description": "Number of the row in its stream, from 1. A row whose number was counted is a duplicate.",
        },
        "row": {
            "anyOf": [
                {"type": "object", "additionalProperties": _CELL, "description": "Cells by column."},
                {"type": "array", "items": _CELL, "description": "Cells in the order of the columns."},
            ]
        },
    },
}
_ANSWER = {
    "type": "object",
    "required": ["key", "number", "status"],
    "properties": {
        "key": {"type": ["string", "null"]},
        "number": {"type": ["integer", "null"]},
        "status": {"enum": ["taken", "skipped", "refused", "duplicate"]},
        "prediction": {"type": "object"},
        "error": ERROR["properties"]["error"],  # type: ignore[index]
    },
}


def _rows(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "items": of}}}


ROWS_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": _rows(_ROW)},
        "application/x-ndjson": {"schema": {"type": "string", "description": "A row on each line."}},
    },
}
ROWS_ANSWER = {
    "description": "An answer for each row, in their order.",
    "content": {
        "application/json": {"schema": _rows(_ANSWER)},
        "application/x-ndjson": {"schema": {"type": "string", "description": "An answer on each line."}},
    },
}
SNAPSHOT = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
_REASONS = {
    400: "The body is not what was expected.",
    401: "No token, or an unknown one.",
    404: "The key has no stream.",
    408: "The body came too slowly.",
    409: "It cannot be done to this stream.",
    413: "Too much at once.",
    415: "Another content type.",
    422: "A parameter is missing or wrong.",
    429: "Too much waits; Retry-After says when to come again.",
    503: "The service is stopping.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route."""
    content = {"application/json": {"schema": ERROR}}
    return {status: {"description": _REASONS[status], "content": content} for status in (*statuses, 401, 422, 503)}
