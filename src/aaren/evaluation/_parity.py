"""Is one encoder as good as another? Paired differences, mean ranks, and a test of equivalence with a margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aaren.errors import MissingDependencyError


def _stats() -> Any:
    try:
        from scipy import stats
    except ImportError:
        raise MissingDependencyError("scipy", "study", "the comparison of encoders") from None
    return stats


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences with a confidence interval.

    Args:
        mean: of the differences.
        low: lower end of the interval; NaN with fewer than two pairs.
        high: upper end.
        pairs: number of pairs.
    """

    mean: float
    low: float
    high: float
    pairs: int


def paired_difference(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> Difference:
    """The mean of first - second over pairs, with Student's confidence interval.

    Args:
        first: one value a pair, such as the error of one encoder for each seed.
        second: the other's, in the same order.
        confidence: of the interval.

    Raises:
        ValueError: the two are of different lengths, or empty.

    Example:
        >>> paired_difference([1.0, 2.0, 3.0], [0.5, 1.5, 2.5]).mean
        0.5
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"expected two sequences of pairs, received lengths {len(first)} and {len(second)}")
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    mean = float(differences.mean())
    low, high = _interval(differences, confidence)
    return Difference(mean, low, high, len(differences))


def _interval(values: Any, confidence: float) -> tuple[float, float]:
    """Student's interval of the mean; NaN with fewer than two values."""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = _stats().t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests: whether a mean lies inside of (-margin, margin).

    Args:
        mean: of the differences.
        low: lower end of the interval of confidence 1 - 2 alpha, which lies inside the margin if and only if the test
            holds.
        high: upper end.
        margin: chosen before the runs.
        p: the larger p-value of the two tests.
        alpha: level of each of them.
        count: number of differences.
    """

    mean: float
    low: float
    high: float
    margin: float
    p: float
    alpha: float
    count: int

    @property
    def holds(self) -> bool:
        """Whether both tests reject: the two are equivalent to within the margin."""
        return self.p < self.alpha


def equivalence(differences: Sequence[float], margin: float, alpha: float = 0.05) -> Equivalence:
    """Two one-sided t-tests (TOST) of the mean difference against -margin and margin.

    Args:
        differences: one for each data set.
        margin: positive, in the units of the differences.
        alpha: level.

    Raises:
        ValueError: fewer than two differences, or a margin that is not positive.

    Source: D. J. Schuirmann, J. Pharmacokin. Biopharm. 15 (1987), 657-680.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2 or not margin > 0:
        raise ValueError(f"expected two differences or more and a positive margin, received {len(values)} and {margin}")
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    if error > 0:
        student = _stats().t(len(values) - 1)
        p = float(max(student.sf((mean + margin) / error), student.cdf((mean - margin) / error)))
    else:  # no spread at all: the mean is known
        p = 0.0 if abs(mean) < margin else 1.0
    low, high = _interval(values, 1 - 2 * alpha)
    return Equivalence(float(mean), low, high, margin, p, alpha, len(values))


def mean_ranks(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean rank of every method over data sets, 1 the best, ties shared.

    Args:
        scores: for each data set, a score for each method, lower is better; methods that some data set lacks are left
            out.

    Example:
        >>> mean_ranks({"a": {"x": 0.1, "y": 0.2}, "b": {"x": 3.0, "y": 1.0}})
        {'x': 1.5, 'y': 1.5}
    """
    methods = [name for name in next(iter(scores.values()), {}) if all(name in row for row in scores.values())]
    if not methods:
        return {}
    table = np.array([[row[name] for name in methods] for row in scores.values()])
    ranks = _stats().rankdata(table, axis=1).mean(0)
    return {name: float(rank) for name, rank in zip(methods, ranks, strict=True)}
