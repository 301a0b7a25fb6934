"""What a drift monitor found, as data and as a table of text."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

_SHOWN = 20


@dataclass(frozen=True)
class ColumnDrift:
    """One column of a live stream against the training data; None where nothing is known yet.

    Args:
        name: of the column.
        training_mean: in the user's units.
        training_deviation: the same.
        missing: share of the recent rows without a value.
        training_missing: that of the training data, if the model's record has it.
        mean: recent mean, in the user's units.
        deviation: recent deviation, in the user's units.
        shift: recent mean less the training mean, in training deviations.
        z: the shift in standard errors of the recent mean. The error is that of independent rows: neighbours that are
            alike make it too small, so that z is an upper bound on a series that changes slowly.
        stability: population stability index, as if both distributions were normal: 0 if mean and deviation are those
            of training. By custom 0.1 is a small change and 0.25 a large one.
    """

    name: str
    training_mean: float
    training_deviation: float
    missing: float | None = None
    training_missing: float | None = None
    mean: float | None = None
    deviation: float | None = None
    shift: float | None = None
    z: float | None = None
    stability: float | None = None


@dataclass(frozen=True)
class MarkDrift:
    """One mark of an event stream.

    Args:
        name: of the mark.
        share: of the recent events.
        training_share: of the training events.
    """

    name: str
    share: float
    training_share: float


@dataclass(frozen=True)
class DriftReport:
    """How far the input of a stream has moved from the training data.

    Args:
        rows: that the stream has taken.
        half_life: rows after which a row counts half in what is called recent.
        columns: in the order of the model's columns.
        marks: of an event stream; empty before the first event, and where events have none.
        mark_stability: population stability index of the marks.
    """

    rows: int
    half_life: float
    columns: tuple[ColumnDrift, ...]
    marks: tuple[MarkDrift, ...] = ()
    mark_stability: float | None = None

    @property
    def worst(self) -> ColumnDrift | None:
        """The column with the greatest stability index; None before two rows have a value."""
        known = [column for column in self.columns if column.stability is not None]
        return max(known, key=_stability) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; numbers with seven significant digits."""
        found = dataclasses.asdict(self)
        found["worst"] = None if self.worst is None else self.worst.name
        return {name: _rounded(value) for name, value in found.items()}

    def __str__(self) -> str:
        """A table, the column that moved most first."""
        head = ("column", "mean", "in training", "deviation", "in training", "shift", "z", "stability", "missing")
        columns = sorted(self.columns, key=_stability, reverse=True)
        rows = [
            (
                one.name,
                *map(_text, (one.mean, one.training_mean, one.deviation, one.training_deviation)),
                *map(_text, (one.shift, one.z, one.stability)),
                _share(one.missing) + ("" if one.training_missing is None else f" ({_share(one.training_missing)})"),
            )
            for one in columns[:_SHOWN]
        ]
        lines = [f"drift after {self.rows} rows, half-life {self.half_life:g} rows", *_aligned([head, *rows])]
        if len(columns) > _SHOWN:
            lines.append(f"... and {len(columns) - _SHOWN} columns that moved less")
        if self.marks:
            moved = sorted(self.marks, key=lambda one: abs(one.share - one.training_share), reverse=True)
            named = ", ".join(f"{one.name} {_share(one.share)} ({_share(one.training_share)})" for one in moved[:5])
            lines.append(f"marks (in training): {named}; stability {_text(self.mark_stability)}")
        return "\n".join(lines)


def _stability(column: ColumnDrift) -> float:
    return -1.0 if column.stability is None else column.stability


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns of text: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def _rounded(value: Any) -> Any:
    """Plain data with floats of seven significant digits; null where one is not finite."""
    if isinstance(value, dict):
        return {name: _rounded(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value
