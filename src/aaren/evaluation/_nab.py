"""The Numenta Anomaly Benchmark: how useful a detector's scores are, counted in alarms that come early."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FARTHEST = 3.0  # window lengths behind a window: false alarms farther away cost all of their weight


@dataclass(frozen=True)
class NabProfile:
    """What an application gains and loses by an alarm.

    Args:
        true_positive: gained by an alarm at the first row of a window.
        false_positive: lost by each alarm far from all windows.
        false_negative: lost by each window without an alarm.
    """

    true_positive: float = 1.0
    false_positive: float = 0.11
    false_negative: float = 1.0


NAB_PROFILES: Mapping[str, NabProfile] = {
    "standard": NabProfile(),
    "reward_low_FP": NabProfile(false_positive=0.22),
    "reward_low_FN": NabProfile(false_negative=2.0),
}
"""The three profiles of the benchmark."""


@dataclass(frozen=True, eq=False)
class NabSeries:
    """A labelled series with a detector's scores.

    Args:
        scores: one for each row, higher where an anomaly is more likely, shape (rows,).
        windows: first and last row of each window of an anomaly, from 0, both inside it; in order, apart.

    Raises:
        ValueError: a score is not finite, or the windows overlap or leave the series.
    """

    scores: NDArray[np.float64]
    windows: Sequence[tuple[int, int]]

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or not np.isfinite(self.scores).all():
            raise ValueError(
                f"scores: expected a finite number for each row, received shape {self.scores.shape}, "
                f"{np.count_nonzero(~np.isfinite(self.scores))} of them not finite"
            )
        ends = [-1, *(end for window in self.windows for end in window), len(self.scores)]
        apart = all(last < first for last, first in zip(ends[::2], ends[1::2], strict=True))
        if not apart or any(last < first for first, last in self.windows):
            raise ValueError(f"windows: expected rows of the series, in order and apart, received {self.windows}")


@dataclass(frozen=True)
class NabScore:
    """The result over a corpus.

    Args:
        score: 100 for an alarm at the first row of every window and none elsewhere, 0 for no alarm at all.
        threshold: rows with at least this score were alarms; infinity for none.
        found: windows with an alarm.
        windows: windows in all.
        false_alarms: rows outside all windows that were alarms.
    """

    score: float
    threshold: float
    found: int
    windows: int
    false_alarms: int


def nab_probation(rows: int) -> int:
    """Rows at the start of a series that are not scored: 15 % of it, at most 750."""
    return min(math.floor(0.15 * rows), 750)


def nab_score(
    corpus: Sequence[NabSeries], profile: NabProfile = NAB_PROFILES["standard"], threshold: float | None = None
) -> NabScore:
    r"""Score a detector over a corpus with one threshold for all series.

    The first alarm of a window earns by how early it comes; each row outside that is an alarm costs by how far behind
    the last window it is; a window without an alarm costs once. With the position `y` in lengths of the window, -1 at
    its first row and above 0 behind it:

    .. math:: \sigma(y) = \frac{2}{1 + e^{5y}} - 1, \qquad score = 100 \frac{s - s_{null}}{s_{perfect} - s_{null}}

    Args:
        corpus: the series with their scores and windows. Windows inside the probationary rows do not count.
        profile: gains and losses.
        threshold: of the alarms; None for the one with the highest score over the corpus, as the benchmark has it.

    Returns:
        The normalised score and what it is made of.

    Raises:
        ValueError: no window can be scored.

    Source: Lavin and Ahmad, arXiv 1510.03336, section II; positions as in the benchmark's own code, version 1.1.
    """
    scores, gains, windows = (np.concatenate(parts) for parts in zip(*_rows(corpus, profile), strict=True))
    total = len(np.unique(windows[windows >= 0]))
    if not total:
        raise ValueError("corpus: expected a window behind the probationary rows, received none")
    order = np.argsort(-scores, kind="stable")
    scores, gains, windows = scores[order], gains[order], windows[order]
    change = np.where(windows < 0, gains, 0.0)
    best: dict[int, float] = {}
    for place in np.flatnonzero(windows >= 0).tolist():  # what a further alarm in a window adds
        window, before = int(windows[place]), best.get(int(windows[place]), -profile.false_negative)
        best[window] = max(before, float(gains[place]))
        change[place] = best[window] - before
    raw = np.concatenate([[0.0], np.cumsum(change)]) - total * profile.false_negative
    ends = np.concatenate([[0], np.flatnonzero(np.diff(scores, append=-np.inf)) + 1])  # rows of one score go together
    if threshold is None:
        alarms = int(ends[np.argmax(raw[ends])])
        threshold = float(scores[alarms - 1]) if alarms else math.inf
    else:
        alarms = int((scores >= threshold).sum())
    null, perfect = -total * profile.false_negative, total * profile.true_positive
    found = windows[:alarms]
    return NabScore(
        100 * (float(raw[alarms]) - null) / (perfect - null),
        threshold,
        len(np.unique(found[found >= 0])),
        total,
        int((found < 0).sum()),
    )


def windowed_gaussian(values: NDArray[np.float64], window: int = 6400, step: int = 100) -> NDArray[np.float64]:
    """The benchmark's windowed-Gaussian detector: 1 minus the tail probability under the last values' normal law.

    Args:
        values: a series without missing values, shape (rows,).
        window: values whose mean and deviation are taken; while there are fewer, all of them.
        step: values by which a full window moves.

    Returns:
        Scores between 0.5 and 1, 0 for the first row, shape (rows,).

    Source: described in the Numenta Anomaly Benchmark, which tuned window and step on its own corpus.
    """
    past: deque[float] = deque(maxlen=window)
    waiting: list[float] = []
    scores = np.zeros(len(values))
    mean, deviation = 0.0, 1.0
    for row, value in enumerate(values.tolist()):
        if past:
            scores[row] = 1 - math.erfc(abs(value - mean) / deviation / math.sqrt(2)) / 2
        waiting.append(value)
        if len(past) < window or len(waiting) == step:
            past.extend(waiting)
            waiting.clear()
            mean, deviation = float(np.mean(past)), float(np.std(past)) or 1e-6
    return scores


def _rows(
    corpus: Sequence[NabSeries], profile: NabProfile
) -> list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]]:
    """For each series, of the rows that count: scores, what an alarm there gains, number of the window or -1."""
    result, number = [], 0
    for series in corpus:
        rows = len(series.scores)
        gains, windows = np.full(rows, -profile.false_positive), np.full(rows, -1, dtype=np.int64)
        for first, last in series.windows:
            length = last - first + 1
            inside = -(last + 1 - np.arange(first, last + 1)) / length
            gains[first : last + 1] = profile.true_positive * _sigmoid(inside) / _sigmoid(np.array([-1.0]))
            windows[first : last + 1] = number
            behind = (np.arange(last + 1, rows) - last) / max(1, length - 1)
            gains[last + 1 :] = profile.false_positive * np.where(behind > _FARTHEST, -1.0, _sigmoid(behind))
            number += 1
        start = nab_probation(rows)
        result.append((series.scores[start:], gains[start:], windows[start:]))
    return result


def _sigmoid(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 far before the end of a window, 0 at its end, -1 far behind it."""
    return 2 / (1 + np.exp(5 * np.minimum(position, 10.0))) - 1
