"""What a table becomes: a schema that names its columns, and series of times and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aaren.data._times import PARTS, Times
from aaren.errors import DataError


@dataclass(frozen=True)
class Schema:
    """Which column of a table plays which part.

    Args:
        targets: columns to forecast, at least one.
        covariates: columns that are observed but not forecast; a name that is also a target is dropped here.
        time: `()` if rows are equally spaced and have no time, one column of time stamps, or two to six
            columns with year, month, day, hour, minute, second.
        series_id: column that tells several series of one table apart, or None.

    Raises:
        DataError: there is no target, or a column plays two parts.

    Example:
        >>> Schema(targets=("OT",), covariates=("HUFL", "OT"), time=("date",)).inputs
        ('OT', 'HUFL')
    """

    targets: tuple[str, ...]
    covariates: tuple[str, ...] = ()
    time: tuple[str, ...] = ()
    series_id: str | None = None

    def __post_init__(self) -> None:
        rest = tuple(name for name in self.covariates if name not in self.targets)
        object.__setattr__(self, "covariates", rest)
        if not self.targets:
            raise DataError("expected at least one target column, received none; name the columns to forecast")
        if len(self.time) > len(PARTS):
            raise DataError(f"expected time in at most {len(PARTS)} parts ({', '.join(PARTS)}), received {self.time}")
        parts = self.columns
        for name in parts:
            if parts.count(name) > 1:
                raise DataError(
                    "expected each column once (as time, target, covariate or name of a series), received it twice",
                    column=name,
                )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the value columns: targets, then covariates."""
        return self.targets + self.covariates

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read: time, inputs, and the one that names the series."""
        return (*self.time, *self.inputs, *(() if self.series_id is None else (self.series_id,)))

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold."""
        return {
            "targets": list(self.targets),
            "covariates": list(self.covariates),
            "time": list(self.time),
            "series_id": self.series_id,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schema:
        """Rebuild a schema from `to_dict`.

        Args:
            data: the keys `targets`, `covariates`, `time` and `series_id`.

        Returns:
            The schema.

        Raises:
            DataError: a key is missing or unknown, or its value is not of the expected type.
        """
        keys = {"targets", "covariates", "time", "series_id"}
        if set(data) != keys:
            raise DataError(f"expected a schema with {sorted(keys)}, received {sorted(map(str, data))}")
        for key in ("targets", "covariates", "time"):
            if not isinstance(data[key], list | tuple) or not all(isinstance(name, str) for name in data[key]):
                raise DataError(f"expected a list of column names for {key!r} of a schema, received {data[key]!r}")
        series_id = data["series_id"]
        if series_id is not None and not isinstance(series_id, str):
            raise DataError(f"expected a column name or null for 'series_id' of a schema, received {series_id!r}")
        return cls(tuple(data["targets"]), tuple(data["covariates"]), tuple(data["time"]), series_id)


@dataclass(frozen=True)
class Sampling:
    """How the rows of all series are spaced.

    Args:
        kind: `regular` (all steps equal), `gaps` (all steps are multiples of the interval; rows of NaN stand
            for those that were absent), `irregular`, or `none` (the rows have no time).
        interval: most common step between two rows, timedelta64[us]; None if the rows have no time.
        gaps: number of places where rows are absent; 0 unless kind is `gaps`.
        missing_rows: number of absent rows, now filled with NaN; 0 unless kind is `gaps`.
        largest_gap: largest step between two rows; None if all are equal or the rows have no time.
    """

    kind: Literal["regular", "gaps", "irregular", "none"]
    interval: np.timedelta64 | None = None
    gaps: int = 0
    missing_rows: int = 0
    largest_gap: np.timedelta64 | None = None

    def describe(self) -> str:
        """Say it in one line.

        Example:
            >>> Sampling("regular", np.timedelta64(3600, "s")).describe()
            'one row every 1 hour, no gaps'
        """
        if self.interval is None:
            return "rows have no time and count as equally spaced"
        if self.largest_gap is None:
            return f"one row every {span_text(self.interval)}, no gaps"
        if self.kind == "irregular":
            common, largest = span_text(self.interval), span_text(self.largest_gap)
            return f"irregular; the most common step is {common}, the largest {largest}"
        return (
            f"one row every {span_text(self.interval)}, {self.gaps} gap(s), {self.missing_rows} missing row(s), "
            f"the largest step {span_text(self.largest_gap)}"
        )


_FEW, _LONE = 20, 0.99


@dataclass(frozen=True, eq=False)
class Series:
    """One series.

    Args:
        name: value of the id column, or the name of the file.
        times: datetime64[us] of shape (rows,), strictly increasing; None if the rows have no time.
        values: float64 of shape (rows, inputs), targets first; NaN is missing.
    """

    name: str
    times: Times | None
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SeriesSet:
    """All series of one table.

    Args:
        schema: which column plays which part.
        series: the series, in the order of their first rows.
        sampling: spacing of the rows.
        source: file name, or the kind of frame.
        sha256: digest of the file's bytes as stored; None for frames.
    """

    schema: Schema
    series: tuple[Series, ...]
    sampling: Sampling
    source: str
    sha256: str | None

    def describe(self) -> str:
        """Say in a few lines what was read: size, columns, missing values and spacing."""
        rows = sum(len(series.values) for series in self.series)
        missing = np.sum([np.isnan(series.values).sum(axis=0) for series in self.series], axis=0)
        absent = [f"{name} {count}" for name, count in zip(self.schema.inputs, missing.tolist(), strict=True) if count]
        lines = [
            f"{self.source}: {len(self.series)} series, {rows} rows, {len(self.schema.inputs)} inputs",
            f"targets: {_joined(self.schema.targets)}",
            f"covariates: {_joined(self.schema.covariates)}",
            f"missing values: {_joined(absent)}",
            f"sampling: {self.sampling.describe()}",
        ]
        alone = [f"{name} {value:g}" for name, value in self._lone_values()]
        if alone:
            lines.append(f"one value alone makes the spread of a column, and is a fault or rare: {_joined(alone)}")
        stamps = [series.times for series in self.series if series.times is not None]
        if stamps:
            first, last = min(times[0] for times in stamps), max(times[-1] for times in stamps)
            lines.append(f"time: {first.astype('datetime64[s]')} to {last.astype('datetime64[s]')}")
        return "\n".join(lines)

    def _lone_values(self) -> list[tuple[str, float]]:
        """Columns of which one value has 99 % of all squared distances from the median, and that value."""
        found = []
        for name, values in zip(self.schema.inputs, np.concatenate([one.values for one in self.series]).T, strict=True):
            known = values[np.isfinite(values)]
            if len(known) <= _FEW or len(np.unique(known)) <= 2:  # a flag may be set once
                continue
            away = np.abs(known - np.median(known))
            if away.max() > 0 and ((away / away.max()) ** 2).sum() < 1 / _LONE:
                found.append((name, float(known[away.argmax()])))
        return found


def _joined(names: Sequence[str]) -> str:
    """List names on one line; beyond twelve, say how many there are."""
    head = ", ".join(names[:12]) or "none"
    return head if len(names) <= 12 else f"{head}, ... ({len(names)} in all)"


def span_text(step: np.timedelta64) -> str:
    """Write a time span in the largest unit that divides it."""
    micro = int(step.astype("timedelta64[us]").astype(np.int64))
    units = (("day", 86_400_000_000), ("hour", 3_600_000_000), ("minute", 60_000_000), ("second", 1_000_000))
    for unit, size in units:
        if micro % size == 0:
            count = micro // size
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return f"{micro / 1e6:g} seconds"
