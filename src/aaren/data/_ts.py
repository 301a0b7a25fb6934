"""The .ts format of the UEA and UCR archives: a header of @ lines, then a case a line."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aaren.data._case_text import CaseText, numbered
from aaren.data._cases import channel_names, check_classes
from aaren.data._cells import BLANKS


def read_ts(text: str, found: CaseText) -> tuple[str, ...]:
    """Read the cases of a text into `found`; channels are separated by colons, values by commas, the class is last.

    Returns:
        Names of the classes, in the order of the header.

    Raises:
        DataError: the header has no classes or no @data, or asks for time stamps or numeric targets; a case has
            another number of channels or another length than the header says; a value is not a number.
    """
    lines = numbered(text)
    header = _header(lines, found)
    channels = _whole(header, "dimensions", found) or _whole(header, "dimension", found)
    if channels is None and header.get("univariate", (0, ""))[1].lower() == "true":
        channels = 1
    length = _whole(header, "serieslength", found)
    if header.get("equallength", (0, ""))[1].lower() != "true":
        length = None
    line, label = header["classlabel"]
    words = label.split()
    if not words or words[0].lower() != "true":
        raise found.error(
            f"expected '@classLabel true' and the names of the classes, received {label!r}; only cases with a class "
            "can be read",
            line,
        )
    classes = check_classes(words[1:], found.source, line)
    for number, row in lines:
        if row.startswith("#"):
            continue
        *parts, name = row.split(":")
        channels = len(parts) if channels is None else channels
        if len(parts) != channels or not parts:
            raise found.error(
                f"expected {channels or 'at least one'} channels and a class, separated by colons, received "
                f"{len(parts)} channels; the line may have been cut off",
                number,
            )
        _add_case(parts, name, number, length, found)
    return classes


def _header(lines: Iterator[tuple[int, str]], found: CaseText) -> dict[str, tuple[int, str]]:
    """Entries by name in lower case, with their lines, up to @data."""
    header: dict[str, tuple[int, str]] = {}
    for number, line in lines:
        if line.startswith("#"):
            continue
        if not line.startswith("@"):
            raise found.error("expected a line of the header, which begins with @, before @data", number)
        name, value = [*line[1:].split(maxsplit=1), "", ""][:2]
        header[name.lower()] = (number, value.strip(BLANKS))
        if name.lower() == "data":
            break
    else:
        raise found.error("expected a line @data with cases behind it, received none; the file may have been cut off")
    if "targetlabel" in header:
        raise found.error("expected classes, received numeric targets (@targetLabel)", header["targetlabel"][0])
    if header.get("timestamps", (0, ""))[1].lower() == "true":
        raise found.error(
            "expected values without time stamps, received '@timeStamps true'; write the series at equal steps, with ? "
            "where a value is missing",
            header["timestamps"][0],
        )
    if "classlabel" not in header:
        raise found.error("expected a line @classLabel before @data, received none", header["data"][0])
    return header


def _whole(header: dict[str, tuple[int, str]], name: str, found: CaseText) -> int | None:
    if name not in header:
        return None
    line, value = header[name]
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 10**9):
        raise found.error(f"expected a whole number of at least 1 for @{name}, received {value!r}", line)
    return int(value)


def _add_case(parts: list[str], name: str, line: int, length: int | None, found: CaseText) -> None:
    """Take a case; a channel that ends before the others is missing from there on."""
    columns = []
    for part, column in zip(parts, channel_names(len(parts)), strict=True):
        part = part.strip(BLANKS)
        if part.startswith("("):
            raise found.error("expected values, received pairs of time stamp and value", line, column)
        values = found.values(part.split(","), line, column) if part else np.empty(0)
        if length is not None and len(values) != length:
            raise found.error(
                f"expected {length} values as in @seriesLength, received {len(values)}; the line may have been cut off",
                line,
                column,
            )
        columns.append(values)
    longest, values_there = max(map(len, columns)), sum(map(len, columns))
    if longest * len(columns) > max(100 * values_there, 10**7):
        raise found.error(
            f"expected channels of like length, received {len(columns)} of which the longest has {longest} values and "
            f"all together {values_there}; it is damaged or crafted",
            line,
        )
    case = np.full((longest, len(columns)), np.nan)
    for index, values in enumerate(columns):
        case[: len(values), index] = values
    found.add(case, name, line)
