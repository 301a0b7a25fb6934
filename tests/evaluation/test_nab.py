"""The scoring of the Numenta Anomaly Benchmark: cases by hand, and all thresholds tried one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aaren.evaluation import NAB_PROFILES, NabProfile, NabSeries, nab_probation, nab_score, windowed_gaussian

ROWS, FIRST, LAST = 100, 40, 49  # one window of ten rows
EARLIEST = 2 / (1 + math.exp(-5)) - 1


def alarms(*rows: int) -> NabSeries:
    """The series with alarms at these rows."""
    scores = np.zeros(ROWS)
    scores[list(rows)] = 1
    return NabSeries(scores, [(FIRST, LAST)])


def sigmoid(position: float) -> float:
    """Of the paper."""
    return 2 / (1 + math.exp(5 * position)) - 1


def test_null_and_perfect() -> None:
    """No alarm is 0 and one at the first row of every window is 100, in every profile."""
    for profile in NAB_PROFILES.values():
        nothing, perfect = nab_score([alarms()], profile, 1.0), nab_score([alarms(FIRST)] * 3, profile, 1.0)
        assert (nothing.score, nothing.found, nothing.windows, nothing.false_alarms) == (0, 0, 1, 0)
        assert perfect.score == pytest.approx(100)
        assert (perfect.found, perfect.windows, perfect.false_alarms) == (3, 3, 0)


@pytest.mark.parametrize(
    ("rows", "raw"),
    [
        ((45,), sigmoid(-0.5) / EARLIEST),  # five of ten rows are left, its own included
        ((49, 45), sigmoid(-0.5) / EARLIEST),  # only the first alarm of a window counts
        ((49,), sigmoid(-0.1) / EARLIEST),
        ((FIRST, 20), 1 - 0.11),  # no window before it
        ((FIRST, 50), 1 + 0.11 * sigmoid(1 / 9)),  # a false alarm just behind the window costs little
        ((FIRST, 58), 1 + 0.11 * sigmoid(1.0)),
        ((FIRST, 76), 1 + 0.11 * sigmoid(3.0)),
        ((FIRST, 77), 1 - 0.11),  # more than three window lengths behind
        ((20, 30), -1 - 0.22),
        ((FIRST, 0, 14), 1),  # the first 15 rows are not scored
        ((FIRST, 15), 1 - 0.11),
    ],
)
def test_alarms_by_hand(rows: tuple[int, ...], raw: float) -> None:
    """An alarm earns or costs what the scaled sigmoid says of its place; the standard profile."""
    assert nab_score([alarms(*rows)], threshold=1.0).score == pytest.approx(100 * (raw + 1) / 2)


def test_profiles() -> None:
    """One window is found late and one is missed, with one false alarm: weighted by each profile."""
    corpus = [alarms(45, 20), alarms()]
    found = sigmoid(-0.5) / EARLIEST
    for name, false_alarm, miss in (("standard", 0.11, 1), ("reward_low_FP", 0.22, 1), ("reward_low_FN", 0.11, 2)):
        expected = 100 * (found - false_alarm - miss + 2 * miss) / (2 + 2 * miss)
        assert nab_score(corpus, NAB_PROFILES[name], 1.0).score == pytest.approx(expected), name


def test_threshold_is_the_best_of_all() -> None:
    """The threshold that is chosen has the highest score of all, tried one by one over two series with ties."""
    random = np.random.default_rng(0)
    for profile in (*NAB_PROFILES.values(), NabProfile(2.0, 0.01, 0.5)):
        corpus = [
            NabSeries(random.integers(0, 12, 300) / 4, [(5, 20), (60, 89), (200, 200)]),
            NabSeries(random.random(150).round(1), [(15, 40)]),
        ]
        chosen = nab_score(corpus, profile)
        thresholds = [*np.unique(np.concatenate([series.scores for series in corpus])).tolist(), 99.0]
        tried = [nab_score(corpus, profile, threshold) for threshold in thresholds]
        assert chosen.score == pytest.approx(max(one.score for one in tried))
        assert nab_score(corpus, profile, chosen.threshold) == chosen
        assert chosen.windows == 3  # the first lies in the probationary rows


def test_silence_can_be_best() -> None:
    """Where every alarm costs, no alarm is chosen: score 0 and no threshold."""
    scores = np.zeros(ROWS)
    scores[60:] = 1
    found = nab_score([NabSeries(scores, [(FIRST, FIRST + 1)])], NabProfile(0.1, 1.0, 0.01))
    assert (found.score, found.threshold, found.found) == (0, math.inf, 0)


def test_probation() -> None:
    """15 % of the rows, at most 750."""
    assert [nab_probation(rows) for rows in (0, 99, 1882, 5000, 22695)] == [0, 14, 282, 750, 750]


def test_what_is_refused() -> None:
    """Scores that are not numbers, windows that overlap or leave the series, and a corpus without a window."""
    with pytest.raises(ValueError, match="finite"):
        NabSeries(np.array([0.0, np.nan]), [])
    for windows in ([(5, 4)], [(0, 10)], [(3, 5), (5, 7)], [(-1, 3)]):
        with pytest.raises(ValueError, match="in order and apart"):
            NabSeries(np.zeros(10), windows)
    with pytest.raises(ValueError, match="received none"):
        nab_score([NabSeries(np.zeros(100), [(0, 5)])])


def test_windowed_gaussian() -> None:
    """1 minus the normal tail of the values before a row; a full window moves only every `step` values."""
    values = np.random.default_rng(1).standard_normal(40)
    scores = windowed_gaussian(values, window=10, step=4)
    for row in range(40):
        if row == 0:
            assert scores[row] == 0
            continue
        stop = row if row <= 10 else 10 + (row - 10) // 4 * 4
        past = values[max(0, stop - 10) : stop]
        z = abs(values[row] - past.mean()) / (past.std() or 1e-6)
        assert scores[row] == pytest.approx(1 - math.erfc(z / math.sqrt(2)) / 2)
