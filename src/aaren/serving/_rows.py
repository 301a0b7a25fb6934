"""Rows as a client sends them, checked as far as that needs no stream: key, number, cells."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from aaren.data import Schema
from aaren.serving._errors import RequestError

_KEY = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,256}")
_LARGEST_INTEGER = 1 << 63
_PLAIN = frozenset({str, float, bool, type(None)})


class RowError(ValueError):
    """A row that cannot be given to a stream; the message says what was expected."""


@dataclass
class Rows:
    """The rows of a request in their order.

    Args:
        keys: of all rows, as the client wrote them; None where it could not be read.
        numbers: of all rows, from 1; None for the next one of its stream.
        cells: of all rows: a mapping of cells by column name, or cells in order; None where they could not be read.
        refused: what is wrong, by index, with rows that go to no stream.
    """

    keys: list[str | None] = field(default_factory=list)
    numbers: list[int | None] = field(default_factory=list)
    cells: list[Any] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, given: Any, schema: Schema) -> None:
        """One more row: an object with `row`, `key`, and perhaps `number`."""
        key: str | None = None
        try:
            if not isinstance(given, dict):
                raise RowError(f"expected an object with key and row, received {_kind(given)}")
            key = key_of(given.get("key"))
            number, cells = _number_of(given.get("number")), _cells_of(given.get("row"), key, schema)
        except RowError as error:
            self.refuse(key, str(error))
            return
        self.keys.append(key)
        self.numbers.append(number)
        self.cells.append(cells)

    def refuse(self, key: str | None, message: str) -> None:
        """One more row, that goes to no stream."""
        self.refused[len(self.keys)] = message
        self.keys.append(key)
        self.numbers.append(None)
        self.cells.append(None)


def rows_of_body(body: bytes, most: int, schema: Schema) -> Rows:
    """The rows of `{"rows": [{"key": ..., "number": ..., "row": {...}}, ...]}`.

    Raises:
        RequestError: 400, the body is not that; 413, there are too many rows.
    """
    given = parse(body)
    if not isinstance(given, dict) or not isinstance(given.get("rows"), list):
        raise RequestError(400, 'body: expected {"rows": [{"key": ..., "row": {...}}, ...]}, received something else')
    if len(given["rows"]) > most:
        raise RequestError(
            413, f"rows: expected at most {most}, received {len(given['rows'])}; send less at once, or lines (NDJSON)"
        )
    rows = Rows()
    for one in given["rows"]:
        rows.add(one, schema)
    return rows


def rows_of_lines(lines: Sequence[bytes], schema: Schema) -> Rows:
    """The rows of lines, each `{"key": ..., "number": ..., "row": {...}}`; empty lines are passed over."""
    rows = Rows()
    for line in lines:
        if not line.strip():
            continue
        try:
            rows.add(parse(line), schema)
        except RequestError as error:
            rows.refuse(None, error.message)
    return rows


def parse(text: bytes) -> Any:
    """JSON, as the standard has it: neither NaN nor Infinity.

    Raises:
        RequestError: 400, it is not JSON.
    """
    try:
        return _JSON.decode(text.decode("utf-8"))
    except UnicodeDecodeError:
        raise RequestError(400, "body: expected JSON in UTF-8, received other bytes") from None
    except json.JSONDecodeError as error:
        raise RequestError(400, f"body: expected JSON, received text that is not: {error}") from None
    except RowError as error:
        raise RequestError(400, f"body: {error}") from None
    except (ValueError, RecursionError):
        raise RequestError(
            400, "body: expected JSON, received a number with too many digits or too many levels"
        ) from None


def key_of(given: Any) -> str:
    """The key of a stream; an integer is its decimal text.

    Raises:
        RowError: it is none.
    """
    if isinstance(given, int) and not isinstance(given, bool) and abs(given) < _LARGEST_INTEGER:
        given = str(given)
    if not isinstance(given, str) or not _KEY.fullmatch(given):
        raise RowError(
            f"key: expected text of 1 to 256 characters without control characters, or an integer, received "
            f"{_kind(given)}"
        )
    return given


def _number_of(given: Any) -> int | None:
    if given is None:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given < _LARGEST_INTEGER:
        raise RowError(f"number: expected an integer of at least 1, or none, received {_kind(given)}")
    return given


def _cells_of(given: Any, key: str, schema: Schema) -> Any:
    """Cells that are text, numbers, booleans or null; without the column that names the series: that is the key.

    A column that the model does not read may hold anything; where it holds something else, such columns are left out.
    """
    if isinstance(given, dict):
        named: Mapping[str, Any] = given
        if schema.series_id is None and _PLAIN.issuperset(map(type, given.values())):
            return given
        given = named = {column: given[column] for column in schema.columns if column in given}
    elif isinstance(given, list):
        named = dict(zip(map(str, range(len(given))), given, strict=True))
    else:
        raise RowError(f"row: expected an object of cells by column, or a list of cells, received {_kind(given)}")
    for column, cell in named.items():
        if isinstance(cell, dict | list) or (type(cell) is int and abs(cell) >= _LARGEST_INTEGER):
            raise RowError(f"column {column[:60]!r}: expected a number, text or null, received {_kind(cell)}")
    series = schema.series_id
    if series is None or isinstance(given, list) or series not in given:
        return given
    if str(given[series]).strip() != key:
        raise RowError(f"column {series!r}: expected the row's key {key!r}, received {str(given[series])[:60]!r}")
    return {column: cell for column, cell in given.items() if column != series}


def _refuse_constant(name: str) -> NoReturn:
    raise RowError(f"expected a number, received {name}, which JSON does not have; null stands for a missing cell")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


def _kind(given: Any) -> str:
    if given is None:
        return "none"
    names = {
        bool: "true or false",
        int: "an integer",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "an object",
    }
    return names[type(given)]
