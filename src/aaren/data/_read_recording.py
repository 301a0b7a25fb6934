"""From a file whose rows are labelled to a `Recording`: .arff with plain attributes and .csv, also packed."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from aaren.data._arff import ATTRIBUTE, unquoted
from aaren.data._bytes import decode, file_bytes
from aaren.data._case_text import numbered
from aaren.data._cases import UNKNOWN, check_classes, label_of, sorted_classes
from aaren.data._cells import BLANKS, finite_number_of
from aaren.data._recording import Recording
from aaren.data._table import check_columns
from aaren.errors import DataError

Rows = Iterator[tuple[int, list[str]]]
"""Numbers of lines, and the cells on them."""

_UNTOLD = frozenset({"", "?", "nan"})  # not "none" and "na", which are classes of some


def read_recording(
    path: str | os.PathLike[str],
    *,
    label: str | None = None,
    classes: Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
    unlabelled: bool = False,
) -> Recording:
    """Read a recording: a row for each moment, with the values of all channels and the class.

    Args:
        path: an .arff file without a relational attribute, or a .csv file with a header; each also as .gz.
        label: column of the class; by default the last one.
        classes: names of the classes of the training data, so that labels mean the same; by default those of the
            header of an .arff file, in its order, else those that occur, sorted.
        channels: the columns to read as channels, such as those of the training data, in whichever order the file has
            them; others are passed over. By default all but the label.
        unlabelled: leave the class unread: all labels are -1, and there need not be a column of classes.

    Raises:
        DataError: the file, its header, a value or a class is not as expected; with line and column.
    """
    place = Path(path)
    source, lower = str(place), place.name.lower()
    kind = Path(lower.removesuffix(".gz")).suffix
    if kind not in (".arff", ".csv"):
        raise DataError("expected a recording that ends in .arff, .csv, or one of these and .gz", source=source)
    data, digest = file_bytes(place, packed=lower.endswith(".gz"))
    read = _arff if kind == ".arff" else _csv
    columns, nominal, rows = read(decode(data, source), source)
    name = label if label is not None else "" if unlabelled else columns[-1]
    wanted = tuple(column for column in columns if column != name) if channels is None else tuple(channels)
    check_columns(wanted, columns, source)
    if not wanted or not (unlabelled or (name in columns and name not in wanted)):
        raise DataError(
            f"expected a column of classes and at least one channel, received the columns {', '.join(columns)}; "
            "say which column has the classes (label)",
            source=source,
            column=name,
        )
    places = [columns.index(column) for column in wanted]
    texts, lines, values = [], [], []
    for line, cells in rows:
        if len(cells) != len(columns):
            raise DataError(f"expected {len(columns)} cells, received {len(cells)}", source=source, line=line)
        values.append(_numbers([cells[index] for index in places], wanted, source, line))
        if not unlabelled:
            texts.append(unquoted(cells[columns.index(name)]))
            lines.append(line)
            if texts[-1].strip().lower() in _UNTOLD:
                raise DataError(
                    "expected a class, received none; leave the row out", source=source, line=line, column=name
                )
    if not values:
        raise DataError("expected rows, received none; the file may have been cut off", source=source)
    own = nominal.get(name) or sorted_classes(texts)
    known = own if classes is None else check_classes(classes, source)
    found = [label_of(text, known, source, line) for text, line in zip(texts, lines, strict=True)]
    labels = np.array(found or [UNKNOWN] * len(values), dtype=np.int64)
    return Recording(np.array(values), labels, known, wanted, source, digest, name)


def _arff(text: str, source: str) -> tuple[list[str], dict[str, tuple[str, ...]], Rows]:
    """Names of the columns, the classes of those that are nominal, and the rows."""
    lines = numbered(text)
    columns: list[str] = []
    nominal: dict[str, tuple[str, ...]] = {}
    for number, line in lines:
        if line.lower() == "@data":
            break
        if not line.lower().startswith("@attribute"):
            continue
        match = ATTRIBUTE.fullmatch(line)
        if match is None:
            raise DataError("expected '@attribute NAME TYPE'", source=source, line=number)
        name, kind = unquoted(match[1]), match[2].strip(BLANKS)
        if kind.lower() == "relational":
            raise DataError(
                "expected a plain attribute for each column of a recording, received a relational one; its cases are "
                "no windows of one recording: read them with read_cases",
                source=source,
                line=number,
            )
        if kind.startswith("{") and kind.endswith("}"):
            nominal[name] = check_classes([unquoted(one) for one in kind[1:-1].split(",")], source, number)
        columns.append(name)
    else:
        raise DataError("expected a line @data with rows behind it, received none", source=source)
    return _different(columns, source), nominal, ((n, row.split(",")) for n, row in lines if not row.startswith("%"))


def _csv(text: str, source: str) -> tuple[list[str], dict[str, tuple[str, ...]], Rows]:
    reader = csv.reader(io.StringIO(text, newline=""))
    header = next(reader, [])
    return _different([name.strip(BLANKS) for name in header], source), {}, _csv_rows(reader, source)


def _csv_rows(reader: Iterator[list[str]], source: str) -> Rows:
    try:
        yield from ((number, row) for number, row in enumerate(reader, start=2) if row)
    except csv.Error as error:
        raise DataError(f"expected CSV, received something else ({error})", source=source) from None


def _different(columns: list[str], source: str) -> list[str]:
    for name in columns:
        if not name or columns.count(name) > 1:
            raise DataError("expected a name of its own for each column", source=source, column=name)
    if not columns:
        raise DataError("expected a header and rows, received an empty file", source=source)
    return columns


def _numbers(cells: list[str], columns: tuple[str, ...], source: str, line: int) -> list[float]:
    numbers = []
    for cell, column in zip(cells, columns, strict=True):
        try:
            numbers.append(finite_number_of(cell))
        except ValueError as error:
            raise DataError(f"{error}; write ? if it is missing", source=source, line=line, column=column) from None
    return numbers
