"""Averages of errors: per value, whatever the batches, and over known truth alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaren.evaluation import ForecastErrors

LEVELS = (0.1, 0.5, 0.9)


def by_hand(mean: np.ndarray, truth: np.ndarray, quantiles: np.ndarray) -> dict[str, float]:
    """The same averages, number by number."""
    triples = [(m, t, q) for m, t, q in zip(mean, truth, quantiles, strict=True) if not math.isnan(t)]
    count = len(triples)
    pinball = [
        level * (t - value) if t >= value else (1 - level) * (value - t)
        for _, t, q in triples
        for level, value in zip(LEVELS, q, strict=True)
    ]
    return {
        "mse": math.fsum((m - t) ** 2 for m, t, _ in triples) / count,
        "mae": math.fsum(abs(m - t) for m, t, _ in triples) / count,
        "pinball": math.fsum(pinball) / len(pinball),
        **{f"below_q{level:g}": sum(t <= q[k] for _, t, q in triples) / count for k, level in enumerate(LEVELS)},
        "count": count,
    }


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), cuts=st.lists(st.integers(0, 20), max_size=4), missing=st.floats(0, 0.9))
def test_averages_do_not_depend_on_the_batches(seed: int, cuts: list[int], missing: float) -> None:
    """Batches of any sizes, empty ones included, give the averages over all known values by hand."""
    random = np.random.default_rng(seed)
    mean, truth = random.standard_normal((2, 20)).astype(np.float32)
    quantiles = np.sort(random.standard_normal((20, 3)), axis=-1).astype(np.float32)
    truth[random.random(20) < missing] = np.nan
    truth[0] = 0.5
    errors = ForecastErrors(LEVELS)
    for rows in np.split(np.arange(20), sorted(cuts)):
        errors.add(mean[rows], truth[rows], quantiles[rows])
    expected = by_hand(mean.astype(float), truth.astype(float), quantiles.astype(float))
    assert errors.summary() == pytest.approx(expected, rel=1e-6)
    assert list(errors.summary()) == list(expected)


def test_it_is_not_the_average_of_averages() -> None:
    """One batch of three perfect values and one of a single error of 2: the mean squared error is 1, not 2."""
    errors = ForecastErrors()
    errors.add(np.zeros(3), np.zeros(3))
    errors.add(np.array([2.0]), np.array([0.0]))
    assert errors.summary() == {"mse": 1.0, "mae": 0.5, "count": 4}


def test_sums_are_in_double_precision() -> None:
    """Adding many single-precision batches loses nothing: 0.1 squared a million times is still its square."""
    errors = ForecastErrors()
    for _ in range(10):
        errors.add(np.full(100_000, 0.1, dtype=np.float32), np.zeros(100_000, dtype=np.float32))
    assert errors.summary()["mse"] == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-12)


def test_no_truth_is_no_score() -> None:
    """Without any known truth the errors are NaN, not a perfect 0."""
    errors = ForecastErrors(LEVELS)
    errors.add(np.zeros(2), np.array([np.nan, np.inf]), np.zeros((2, 3)))
    summary = errors.summary()
    assert summary.pop("count") == 0
    assert all(math.isnan(value) for value in summary.values())


def test_a_forecast_that_is_nan_is_not_hidden() -> None:
    """A NaN forecast of a known value spoils the average instead of being left out."""
    errors = ForecastErrors()
    errors.add(np.array([np.nan, 0.0]), np.zeros(2))
    assert math.isnan(errors.summary()["mse"])


def test_calibrated_quantiles_cover_their_level() -> None:
    """Truth below its level's quantile is counted as a share, which for true quantiles is the level."""
    truth = np.random.default_rng(0).random(20_000)
    errors = ForecastErrors(LEVELS)
    errors.add(truth, truth, np.broadcast_to(np.array(LEVELS), (20_000, 3)))
    for level in LEVELS:
        assert errors.summary()[f"below_q{level:g}"] == pytest.approx(level, abs=0.01)
