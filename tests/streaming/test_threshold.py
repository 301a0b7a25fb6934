"""The tail of a stream of numbers: calibrated, blind to units, of constant size, slow to learn anomalies."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from aaren.streaming import StreamingTail

LAWS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "exponential": lambda random, size: random.exponential(size=size),
    "normal": lambda random, size: np.abs(random.standard_normal(size)),
    "Student, 3 degrees": lambda random, size: np.abs(random.standard_t(3, size)),
    "log-normal": lambda random, size: random.lognormal(size=size),
    "negative": lambda random, size: -1000 + random.gumbel(size=size),
}


def probabilities(tail: StreamingTail, values: np.ndarray) -> list[float | None]:
    """Of each value before it is taken."""
    found = []
    for value in values.tolist():
        found.append(tail.probability(value))
        tail.update(value)
    return found


@pytest.mark.parametrize("law", LAWS)
def test_probabilities_are_calibrated(law: str) -> None:
    """Of values of one law, a share p has a probability below p: within 15 % at 0.01, within a factor 2 at 0.001."""
    said = probabilities(StreamingTail(), LAWS[law](np.random.default_rng(0), 50_000))
    assert said[:200] == [None] * 200
    shares = {p: float(np.mean(np.array(said[200:]) < p)) / p for p in (0.01, 0.001)}
    assert 0.85 < shares[0.01] < 1.15
    assert 0.5 < shares[0.001] < 2


@pytest.mark.parametrize(("factor", "shift"), [(1000, 0), (1e-3, 0), (1, 50), (7.5, -3)])
def test_units_do_not_matter(factor: float, shift: float) -> None:
    """Values in another unit, or counted from another origin, have the same probabilities."""
    values = np.random.default_rng(1).exponential(size=2000)
    said, other = probabilities(StreamingTail(), values), probabilities(StreamingTail(), factor * values + shift)
    assert other[200:] == pytest.approx(said[200:], rel=1e-6)


def test_threshold_has_the_probability_of_its_risk() -> None:
    """The threshold of a risk is the value whose probability it is, in light and heavy tails."""
    for law in ("exponential", "Student, 3 degrees"):
        tail = StreamingTail()
        assert tail.threshold(1e-3) is None
        probabilities(tail, LAWS[law](np.random.default_rng(2), 5000))
        for risk in (1e-2, 1e-3, 1e-6):
            threshold = tail.threshold(risk)
            assert threshold is not None
            assert tail.probability(threshold) == pytest.approx(risk)


def test_rarer_values_have_smaller_probabilities() -> None:
    """The probability falls with the value, from 1 far below the tail to 1e-12 far above it."""
    tail = StreamingTail()
    probabilities(tail, np.random.default_rng(3).exponential(size=1000))
    said = [tail.probability(value) for value in np.linspace(-1000, 1000, 4001).tolist()]
    assert said == sorted(said, key=lambda p: -(p or 0))
    assert said[0] == 1
    assert said[-1] == pytest.approx(1e-12)


def test_one_anomaly_teaches_little_and_a_new_normal_is_learnt() -> None:
    """One value beyond all moves the threshold by a fifth at most; values twice as large become usual."""
    random, tail = np.random.default_rng(4), StreamingTail(half_life=1000.0)
    probabilities(tail, random.exponential(size=5000))
    before = tail.threshold(1e-3) or math.nan
    tail.update(1e9)
    assert before < (tail.threshold(1e-3) or math.nan) < 1.2 * before
    values = 2 * random.exponential(size=10_000)
    early, late = (np.array(probabilities(tail, part)) < 1e-3 for part in (values[:500], values[5000:]))
    assert early.mean() > 0.004
    assert late.mean() < 0.002


def test_equal_values() -> None:
    """A stream that was constant finds its own value usual and any larger one as rare as can be."""
    for constant in (0.0, 5.0):
        tail = StreamingTail()
        probabilities(tail, np.full(1000, constant))
        assert (tail.probability(constant) or 0) >= 0.05
        assert tail.probability(constant + 0.1) == pytest.approx(1e-12)


def test_restored_at_any_time_it_goes_on_exactly() -> None:
    """Through JSON, in the warm-up and after it, with the same probabilities; its size does not grow."""
    values = np.random.default_rng(5).exponential(size=3000)
    for cut in (0, 100, 199, 200, 201, 1000):
        tail, restored = StreamingTail(), StreamingTail()
        probabilities(tail, values[:cut])
        restored.restore(json.loads(json.dumps(tail.to_dict())))
        assert probabilities(restored, values[cut:1500]) == probabilities(tail, values[cut:1500])
        assert len(json.dumps(tail.to_dict())) < 200


def test_what_is_refused() -> None:
    """Arguments out of range, and states that are damaged or of another warm-up."""
    for wrong in ({"half_life": 0.0}, {"half_life": math.nan}, {"tail": 0.5}, {"tail": 0.0}, {"warm_up": 39}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            StreamingTail(**wrong)
    for risk in (0.0, 0.05, math.nan):
        with pytest.raises(ValueError, match="risk"):
            StreamingTail().threshold(risk)
    tail = StreamingTail()
    probabilities(tail, np.ones(150))
    good = tail.to_dict()
    with pytest.raises(ValueError, match="warm-up"):
        StreamingTail(warm_up=120).restore(good)
    for name, value in {"first": [math.nan] * 150, "level": math.inf, "square": -1.0, "count": 149}.items():
        with pytest.raises(ValueError, match=r"finite|warm-up"):
            StreamingTail().restore({**good, name: value})
