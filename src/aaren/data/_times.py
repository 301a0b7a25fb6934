"""Time stamps: one grammar for whole columns and for single cells of a live stream.

Accepted text starts with the year: `2016-07-01 00:00:00`, `2016-07-01T00:00:00.250Z`, `2016-07-01`,
`2016-07`, `1990/1/1 0:00`, with an optional offset such as `+01:00`. Stamps with an offset become UTC. Orders
that differ by country (`05/06/2019`) and bare numbers are refused, because guessing them wrong goes
unnoticed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._cells import BLANKS, CellError, is_missing, number_of, shown

Times = NDArray[Any]
"""An array of datetime64, mostly in microseconds; `Any` because run-time checkers do not match its unit."""

PARTS = ("year", "month", "day", "hour", "minute", "second")
"""What the columns of a time in parts mean, in this order."""

# One pattern for Python and for polars (Rust): no look-around, no back-reference, [0-9] because \d is wider.
_PATTERN = (
    r"([0-9]{4})[-/]([0-9]{1,2})(?:[-/]([0-9]{1,2})"
    r"(?:(?:[Tt]| +)([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r" ?([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?)?"
)
_STAMP = re.compile(_PATTERN)
_COMMON = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}")  # no 24:00:00
_REMEDY = "write ISO 8601, for example 2016-07-01 00:00:00"


def parse_time(value: object) -> np.datetime64:
    """Read one time stamp.

    Args:
        value: text in the grammar of this module, or a datetime, date, numpy.datetime64 or pandas Timestamp.

    Returns:
        The time in microseconds; UTC if the value had a time zone. Finer fractions are cut off.

    Raises:
        ValueError: the value is missing, a bare number, or no valid time; the message quotes it.

    Example:
        >>> parse_time("1990/1/1 0:00"), parse_time("2016-07-01T02:00+02:00")
        (np.datetime64('1990-01-01T00:00:00.000000'), np.datetime64('2016-07-01T00:00:00.000000'))
    """
    if is_missing(value) or (isinstance(value, np.datetime64) and np.isnat(value)):
        raise ValueError(f"expected a time stamp, received a missing cell ({shown(value)}); {_REMEDY}")
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]")
    if isinstance(value, dt.datetime):
        zone = value.utcoffset()
        return np.datetime64(value.replace(tzinfo=None), "us") - np.timedelta64(zone or dt.timedelta(), "us")
    if isinstance(value, dt.date):
        return np.datetime64(value, "us")
    if isinstance(value, str) and _COMMON.fullmatch(value):  # nearly all of a stream, in a fraction of the time
        with contextlib.suppress(ValueError):
            return np.datetime64(dt.datetime.fromisoformat(value), "us")
    match = _STAMP.fullmatch(value.strip(BLANKS)) if isinstance(value, str) else None
    if match is None:
        raise ValueError(_complaint(value))
    *parts, fraction, zone_text = match.groups()
    year, month, day, hour, minute, second = (
        int(part) if part else default for part, default in zip(parts, (0, 1, 1, 0, 0, 0), strict=True)
    )
    microsecond = int((fraction or "0").ljust(6, "0")[:6])
    try:
        stamp = dt.datetime(year, month, day, hour, minute, second, microsecond)
        return np.datetime64(stamp, "us") - np.timedelta64(_zone_minutes(zone_text), "m")
    except ValueError as error:
        raise ValueError(f"expected a time stamp, received {shown(value)} ({error}); {_REMEDY}") from None


def seconds_since_1970(value: object) -> float:
    """Read a time stamp as `parse_time` does, in seconds since 1970 (UTC).

    Raises:
        ValueError: it is no time stamp.
    """
    return float(parse_time(value).astype("datetime64[us]").astype(np.int64)) / 1e6


def moment(time: float, *, dated: bool) -> str:
    """A time of events as a user has it, for messages: a date in UTC, or the number itself."""
    if not dated:
        return f"{time}"
    return str(np.datetime64(round(time * 1e6), "us").item())


def has_zone(value: object) -> bool:
    """Tell whether a value that `parse_time` accepts carries a time zone."""
    if isinstance(value, dt.datetime):
        return value.utcoffset() is not None
    match = _STAMP.fullmatch(value.strip(BLANKS)) if isinstance(value, str) else None
    return match is not None and match.group(8) is not None


def parse_parts(values: Sequence[object], names: Sequence[str]) -> np.datetime64:
    """Read a time in parts.

    Args:
        values: year, month, ... as numbers or text, as many as there are names.
        names: names of the columns, in the order of `PARTS`; for the message.

    Returns:
        The time in microseconds.

    Raises:
        ValueError: a part is missing or not a whole number, or together they are no valid time.
    """
    columns = [np.array([number_of(value)]) for value in values]
    return times_of_parts(columns, names)[0]


def times_of_parts(columns: Sequence[NDArray[np.float64]], names: Sequence[str]) -> Times:
    """Read times in parts, column-wise.

    Args:
        columns: year, month, ...; each of shape (rows,).
        names: names of the columns, in the order of `PARTS`.

    Returns:
        datetime64[us] of shape (rows,).

    Raises:
        CellError: the parts of a row are no valid time.
    """
    table = np.stack(columns)
    whole = np.all(np.isfinite(table) & (np.floor(table) == table) & (np.abs(table) < 1e5), axis=0)
    parts = np.where(whole, table, 0).astype(np.int64)
    missing_parts = [np.full(len(whole), default) for default in (0, 1, 1, 0, 0, 0)[len(parts) :]]
    times, valid = _assemble([*parts, *missing_parts])
    bad = np.flatnonzero(~(whole & valid))
    if bad.size:
        row = int(bad[0])
        cells = ", ".join(f"{name}={value:g}" for name, value in zip(names, table[:, row], strict=True))
        raise CellError(row, f"expected whole numbers that make a date, received {cells}; correct the row")
    return times


def times_of(column: Any) -> Times:
    """Read a whole column of time stamps; cell by cell it gives what `parse_time` gives.

    Args:
        column: datetime64[us], float64 or object array, or polars Series of strings; shape (rows,).

    Returns:
        datetime64[us] of shape (rows,).

    Raises:
        CellError: a cell is no time stamp, or some cells have a time zone and others have none.
    """
    if isinstance(column, np.ndarray) and column.dtype.kind == "M":
        missing = np.flatnonzero(np.isnat(column))
        if missing.size:
            raise CellError(int(missing[0]), f"expected a time stamp, received a missing cell; {_REMEDY}")
        return column
    if isinstance(column, np.ndarray):
        cells = column.tolist()
        times = np.array([_parse_at(row, cell) for row, cell in enumerate(cells)], dtype="datetime64[us]")
        _check_zones(np.array([has_zone(cell) for cell in cells]))
        return times
    return _times_of_text(column)


def _times_of_text(column: Any) -> Times:
    """Split all stamps with one regular expression and put them together with integer arithmetic."""
    import polars as pl

    frame = column.str.strip_chars(BLANKS).str.extract_groups(f"^(?:{_PATTERN})$").struct.unnest()
    *texts, fraction, zone = frame.get_columns()
    numbers = [
        text.cast(pl.Int64).fill_null(default).to_numpy()
        for text, default in zip(texts, (0, 1, 1, 0, 0, 0), strict=True)
    ]
    times, valid = _assemble(numbers)
    micro = fraction.fill_null("0").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).to_numpy()
    zones: dict[str, int | None] = {text: _zone_or_none(text) for text in zone.drop_nulls().unique().to_list()}
    if zones:
        refused = [text for text, minutes in zones.items() if minutes is None]
        valid &= ~zone.is_in(refused).fill_null(False).to_numpy()
        minutes = zone.replace_strict(zones, default=0, return_dtype=pl.Int64).fill_null(0)
        times = times - minutes.to_numpy().astype("timedelta64[m]")
    bad = np.flatnonzero(~valid)
    if bad.size:
        # The scalar rules hold the words for what is wrong with it.
        _parse_at(int(bad[0]), column[int(bad[0])])
    _check_zones(zone.is_not_null().to_numpy())
    return times + micro.astype("timedelta64[us]")


def _assemble(parts: Sequence[NDArray[np.int64]]) -> tuple[Times, NDArray[np.bool_]]:
    """Combine year, month, day, hour, minute and second; also tell which rows are valid dates."""
    year, month, day, hour, minute, second = parts
    valid = (year >= 1) & (year <= 9999) & (month >= 1) & (month <= 12)
    months = (np.where(valid, (year - 1970) * 12 + month - 1, 0)).astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    days = ((months + 1).astype("datetime64[D]") - first).astype(np.int64)
    valid &= (day >= 1) & (day <= days)
    for part, limit in ((hour, 24), (minute, 60), (second, 60)):
        valid &= (part >= 0) & (part < limit)
    seconds = (day - 1) * 86400 + hour * 3600 + minute * 60 + second
    return first.astype("datetime64[us]") + seconds.astype("timedelta64[s]"), valid


def _zone_minutes(zone: str | None) -> int:
    """Minutes that a zone's clock is ahead of UTC."""
    if zone is None or zone in "Zz":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        raise ValueError(f"no such offset: {zone}")
    return (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)


def _zone_or_none(zone: str) -> int | None:
    try:
        return _zone_minutes(zone)
    except ValueError:
        return None


def _parse_at(row: int, cell: object) -> np.datetime64:
    try:
        return parse_time(cell)
    except ValueError as error:
        raise CellError(row, str(error)) from None


def _check_zones(zoned: NDArray[np.bool_]) -> None:
    """Refuse a column in which some stamps are in UTC and others in an unknown local time."""
    different = np.flatnonzero(zoned != zoned[0])
    if different.size:
        first, other = ("a", "no") if zoned[0] else ("no", "a")
        raise CellError(
            int(different[0]),
            f"mixed time zones: the first time stamp has {first} zone and this one has {other} zone; "
            "give all of them an offset or none",
        )


def _complaint(value: object) -> str:
    """Say why text or an object is no time stamp."""
    try:
        number_of(value)
    except ValueError:
        return f"expected a time stamp that starts with the year, received {shown(value)}; {_REMEDY}"
    return (
        f"expected a time stamp, received the bare number {shown(value)} without unit and epoch; "
        f"{_REMEDY}, or read with time=None if the rows are equally spaced"
    )
