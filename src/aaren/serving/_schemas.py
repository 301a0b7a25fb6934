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
                {
                    "type": "object",
                    "description": "Cells by column; a column that the model does not read may hold anything.",
                },
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


ROWS_PATH = {
    "post": {
        "summary": "Take rows, answer each",
        "description": (
            "Take rows of any streams, and answer each with the number it has in its stream and what the model says. "
            "With JSON all rows are answered together. With lines (NDJSON) each line is a row, and is answered as soon "
            "as it is computed; such a body may have any length. Rows of one request are taken in their order; after a "
            "refused row no later row of its key is taken from the same request. A row with a number is taken once."
        ),
        "operationId": "post_rows",
        "security": [{"HTTPBearer": []}],
        "parameters": [
            {
                "name": "predictions",
                "in": "query",
                "description": "Whether answers hold predictions, or the status alone.",
                "schema": {"type": "boolean", "default": True},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _rows(_ROW)},
                "application/x-ndjson": {"schema": {"type": "string", "description": "A row on each line."}},
            },
        },
        "responses": {
            "200": {
                "description": "An answer for each row, in their order.",
                "content": {
                    "application/json": {"schema": _rows(_ANSWER)},
                    "application/x-ndjson": {"schema": {"type": "string", "description": "An answer on each line."}},
                },
            },
            **{str(status): refusal for status, refusal in errors(400, 408, 413, 415, 429).items()},
        },
    }
}
"""`POST /v1/rows`."""
