"""The statistics of the comparison: intervals that cover, a test of equivalence that cannot be bought with few data."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from aaren.errors import MissingDependencyError
from aaren.evaluation import equivalence, mean_ranks, paired_difference


def test_the_interval_is_students() -> None:
    """Mean and interval of four known differences, from the tables: t(0.975, 3) = 3.182."""
    found = paired_difference([2.0, 4.0, 6.0, 8.0], [1.0, 2.0, 3.0, 4.0])
    deviation = np.std([1, 2, 3, 4], ddof=1)
    assert found.mean == 2.5
    assert found.pairs == 4
    assert found.high - found.mean == pytest.approx(3.1824 * deviation / 2, rel=1e-4)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Of 2,000 intervals from five normal pairs, 95 % hold the true difference, to within three deviations."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        shared = random.standard_normal(5)
        found = paired_difference((shared + random.standard_normal(5) + 0.3).tolist(), shared.tolist())
        held += found.low <= 0.3 <= found.high
    assert abs(held / 2000 - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 2000)


def test_pairing_takes_out_what_pairs_share() -> None:
    """What both of a pair share, such as a hard seed, does not widen the interval."""
    shared = np.array([0.0, 10.0, -30.0])
    found = paired_difference((shared + np.array([0.1, 0.2, 0.3])).tolist(), shared.tolist())
    assert found.high - found.low < 0.6


def test_one_pair_has_no_interval() -> None:
    """A single pair gives a mean and no interval; no pair and unequal lengths are refused."""
    found = paired_difference([1.0], [2.0])
    assert found.mean == -1
    assert np.isnan([found.low, found.high]).all()
    for first, second in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="expected two sequences of pairs"):
            paired_difference(first, second)


def test_equivalence_needs_evidence() -> None:
    """Small differences in many data sets are equivalence; two noisy ones and a shift are none."""
    random = np.random.default_rng(0)
    many = (0.1 * random.standard_normal(30)).tolist()
    assert equivalence(many, 1.0).holds
    assert not equivalence([-1.5, 1.6], 1.0).holds
    assert not equivalence([value + 1 for value in many], 1.0).holds
    assert not equivalence([value - 1 for value in many], 1.0).holds


def test_the_test_is_its_interval() -> None:
    """The test holds exactly when the interval of confidence 1 - 2 alpha lies inside of the margin."""
    random = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        found = equivalence((random.standard_normal(6) * 0.8 + random.uniform(-1, 1)).tolist(), 1.0)
        assert found.holds == (found.low > -1 and found.high < 1)
        held += found.holds
    assert 30 < held < 270


def test_equivalence_is_claimed_falsely_no_more_often_than_alpha() -> None:
    """With a true difference of just the margin, at most 5 % of 2,000 tests hold, to within three deviations."""
    random = np.random.default_rng(2)
    held = sum(equivalence((1 + 0.3 * random.standard_normal(8)).tolist(), 1.0).holds for _ in range(2000))
    assert held / 2000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_no_spread_and_no_data() -> None:
    """Equal differences are decided by their value; one difference or a margin of 0 is refused."""
    assert equivalence([0.5, 0.5], 1.0).holds
    assert not equivalence([2.0, 2.0], 1.0).holds
    for values, margin in (([0.1], 1.0), ([0.1, 0.2], 0.0)):
        with pytest.raises(ValueError, match="two differences or more and a positive margin"):
            equivalence(values, margin)


def test_mean_ranks_share_ties() -> None:
    """Lower is better, equal scores share their rank, and a method that one data set lacks is left out."""
    scores = {"a": {"x": 1.0, "y": 2.0, "z": 2.0}, "b": {"x": 5.0, "y": 4.0, "z": 3.0, "w": 0.0}}
    assert mean_ranks(scores) == {"x": 2.0, "y": 2.25, "z": 1.75}
    assert mean_ranks({}) == {}


def test_scipy_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scipy the error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingDependencyError, match=r"needs the package 'scipy'.*aaren\[study\]"):
        paired_difference([1.0, 2.0], [1.0, 1.0])
