"""The .arff format of the UEA archive: each case is one relational attribute in quotes, and a class."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from aaren.data._case_text import CaseText, numbered, without_tail
from aaren.data._cases import channel_names, check_classes
from aaren.data._cells import BLANKS

ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s+(.+)", re.IGNORECASE)
_CASE = re.compile(r"(['\"])(.*?)(?<!\\)\1\s*,\s*(.+)")


def read_arff(text: str, found: CaseText) -> tuple[str, ...]:
    r"""Read the cases of a text into `found`; channels are separated by \n as two characters, values by commas.

    All series of such a file are written with one width, so values that are missing in all channels at the end of a
    case are padding, and the case is shorter.

    Returns:
        Names of the classes, in the order of the header.

    Raises:
        DataError: the header has no relational attribute, no classes or no @data; a case is not one quoted text and a
            class, or has another number of channels or another length than the others; a value is not a number.
    """
    lines = numbered(text)
    length, classes = _header(lines, found)
    channels: int | None = None
    for line, row in lines:
        if row.startswith("%"):
            continue
        match = _CASE.fullmatch(row)
        if match is None:
            raise found.error("expected a case in quotes, a comma and a class; the line may have been cut off", line)
        parts = match[2].split("\\n")
        channels = len(parts) if channels is None else channels
        if len(parts) != channels:
            raise found.error(f"expected {channels} channels as in the first case, received {len(parts)}", line)
        names = channel_names(channels)
        cells = [part.split(",") for part in parts]
        for column, values in zip(names, cells, strict=True):
            if len(values) != length:
                raise found.error(
                    f"expected {length} values as in the header, received {len(values)}; write ? where one is missing",
                    line,
                    column,
                )
        columns = [found.values(values, line, column) for values, column in zip(cells, names, strict=True)]
        found.add(without_tail(np.stack(columns, axis=1)), unquoted(match[3]), line)
    return classes


def _header(lines: Iterator[tuple[int, str]], found: CaseText) -> tuple[int, tuple[str, ...]]:
    """Number of values of a channel, and the classes."""
    inside = relational = False
    length = 0
    classes: tuple[str, ...] | None = None
    for number, line in lines:
        lower = line.lower()
        if lower == "@data":
            break
        if lower.startswith("@end"):
            inside = False
        elif lower.startswith("@attribute"):
            match = ATTRIBUTE.fullmatch(line)
            if match is None:
                raise found.error("expected '@attribute NAME TYPE'", number)
            kind = match[2].strip(BLANKS)
            if kind.lower() == "relational":
                inside = relational = True
            elif inside:
                length += 1
            elif kind.startswith("{") and kind.endswith("}"):
                names = [unquoted(name) for name in kind[1:-1].split(",")]
                classes = check_classes(names, found.source, number)
    else:
        raise found.error("expected a line @data with cases behind it, received none; the file may have been cut off")
    if not relational or not length:
        raise found.error(
            "expected a relational attribute with the values of a case, as in the multivariate files of the UEA "
            "archive, received none; take the .ts file of the set, or read one labelled recording as windows "
            "(--windows, or read_recording)"
        )
    if classes is None:
        raise found.error("expected an attribute of classes, as '@attribute class {a,b}', received none")
    return length, classes


def unquoted(text: str) -> str:
    """A name without the blanks and quotes around it."""
    text = text.strip(BLANKS)
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
