"""How far the input of a live stream has moved from the training data, measured in constant memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.streaming._drift_report import ColumnDrift, DriftReport, MarkDrift

HALF_LIFE = 1000.0
"""Rows after which a row counts half: long against most cycles, short against the life of a stream."""

_LEAST_VARIANCE = 1e-6
"""In training variances: a column that stands still would make the stability index infinite."""

_LEAST_WEIGHT = 1e-100
"""Of a column without values for so long nothing is known any more, and the squares of its weights are 0."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What the training data were like.

    Args:
        names: of the columns.
        mean: of each, in the user's units, shape (columns,).
        deviation: the same, positive.
        missing: share of missing values by name, where it is known.
        marks: training events by name of the mark; empty if there are no marks.
    """

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    missing: Mapping[str, float]
    marks: Mapping[str, int]


class DriftMonitor:
    """Sums over the rows of a stream, each weighing half of what it did a half-life of rows ago.

    Args:
        reference: what to compare with.
        half_life: in rows.
    """

    def __init__(self, reference: Reference, half_life: float = HALF_LIFE) -> None:
        self.reference, self.half_life = reference, half_life
        self._rows = 0.0
        # of each column's values, in training deviations: sum of weights, of squared weights, of w x, of w x^2
        self._sums = np.zeros((4, len(reference.names)))
        self._marks = np.zeros(len(reference.marks))

    def add(self, scaled: NDArray[np.float64] | None, mark: int | None = None, *, absent: int = 0) -> None:
        """Take in a row.

        Args:
            scaled: values in training deviations from the training mean, shape (columns,), NaN where missing; None if
                the row says nothing of the columns.
            mark: number of the mark.
            absent: rows that were missing before it.
        """
        decay = 0.5 ** (1 / self.half_life)
        if scaled is not None:
            fade = decay ** (absent + 1)
            self._rows = self._rows * fade + (1 - fade) / (1 - decay)
            self._sums *= np.array([[fade], [fade * fade], [fade], [fade]])
            known = np.isfinite(scaled)
            values = np.where(known, scaled, 0.0)
            self._sums += np.stack([known, known, values, values * values])
        if mark is not None:
            self._marks *= decay
            self._marks[mark] += 1

    def report(self, rows: int) -> DriftReport:
        """What was found.

        Args:
            rows: that the stream has taken.
        """
        reference = self.reference
        columns = tuple(self._column(index) for index in range(len(reference.names)))
        return DriftReport(rows, self.half_life, columns, self._mark_shares(), self._mark_stability())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a snapshot: the half-life, and all sums as the hexadecimal of their little-endian bytes.

        Text of numbers would be longer, and 1e9 and 1E9 are one number, so that a checksum over what was read would not
        notice a flipped bit.
        """
        sums = np.concatenate([[self._rows], self._sums.ravel(), self._marks])
        return {"half_life": self.half_life, "sums": sums.astype("<f8").tobytes().hex()}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take back what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        half_life, sums = float(data["half_life"]), np.frombuffer(bytes.fromhex(data["sums"]), dtype="<f8")
        columns, marks = self._sums.size, self._marks.size
        if len(sums) != 1 + columns + marks:
            raise ValueError(f"drift: expected {1 + columns + marks} sums, received {len(sums)}")
        kept = sums[1 : 1 + columns].astype(np.float64).reshape(self._sums.shape)
        weights = np.concatenate([sums[:1], kept[[0, 1, 3]].ravel(), sums[1 + columns :]])
        if not 0 < half_life < math.inf or not np.isfinite(sums).all() or (weights < 0).any():
            raise ValueError("drift: expected finite sums and a positive half-life, received others")
        self.half_life, self._rows, self._sums = half_life, float(sums[0]), kept
        self._marks = sums[1 + columns :].astype(np.float64)

    def _column(self, index: int) -> ColumnDrift:
        reference = self.reference
        name = reference.names[index]
        center, unit = float(reference.mean[index]), float(reference.deviation[index])
        weight, squares, total, square = self._sums[:, index].tolist()
        missing = 1 - weight / self._rows if self._rows else None
        shared: dict[str, Any] = {
            "name": name,
            "training_mean": center,
            "training_deviation": unit,
            "missing": None if missing is None else min(max(missing, 0.0), 1.0),
            "training_missing": reference.missing.get(name),
        }
        if weight < _LEAST_WEIGHT:
            return ColumnDrift(**shared)
        shift = total / weight
        shared |= {"mean": center + unit * shift, "shift": shift, "z": shift * weight / math.sqrt(squares)}
        if weight * weight < 1.5 * squares:
            return ColumnDrift(**shared)  # of one value there is no deviation
        variance = max(square / weight - shift * shift, 0.0)
        stability = float(normal_stability(shift, variance))
        return ColumnDrift(**shared, deviation=unit * math.sqrt(variance), stability=stability)

    def _mark_shares(self) -> tuple[MarkDrift, ...]:
        total, trained = float(self._marks.sum()), sum(self.reference.marks.values())
        if not total or not trained:
            return ()
        counts = zip(self.reference.marks.items(), self._marks.tolist(), strict=True)
        return tuple(MarkDrift(name, count / total, known / trained) for (name, known), count in counts)

    def _mark_stability(self) -> float | None:
        """The population stability index of the marks; half an event is added to each, so that none is 0."""
        if not self._marks.sum() or not self.reference.marks:
            return None
        live = self._marks + 0.5
        trained = np.array(list(self.reference.marks.values())) + 0.5
        p, q = live / live.sum(), trained / trained.sum()
        return float(((p - q) * np.log(p / q)).sum())


def normal_stability(shift: Any, variance: Any) -> Any:
    """The population stability index, the symmetric Kullback-Leibler divergence, of N(shift, variance) and N(0, 1).

    The index is a sum over bins, which would have to be kept for the training data; for two normal distributions it is
    (variance + shift^2 + (1 + shift^2) / variance) / 2 - 1. Both are numbers, or arrays of one shape.
    """
    variance = np.maximum(variance, _LEAST_VARIANCE)
    return (variance + shift * shift + (1 + shift * shift) / variance) / 2 - 1
