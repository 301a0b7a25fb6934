"""The distribution of the next event against numerical integration, SciPy-free."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aaren.models import EventDistribution

GRID = torch.logspace(-9, 9, 200_001, dtype=torch.float64)


def distribution(seed: int = 0, components: int = 3, marks: int = 4) -> EventDistribution:
    """One mixture."""
    generator = torch.Generator().manual_seed(seed)

    def draw(size: int) -> torch.Tensor:
        return torch.randn(1, size, generator=generator, dtype=torch.float64)

    return EventDistribution(
        draw(components).log_softmax(-1), draw(components), draw(components).mul(0.4).exp(), draw(marks)
    )


def density(one: EventDistribution) -> torch.Tensor:
    """The density on the grid."""
    wide = EventDistribution(*(part.expand(len(GRID), -1) for part in one))
    return wide.log_density(GRID).exp()


@pytest.mark.parametrize("seed", range(5))
def test_density_and_survival_belong_together(seed: int) -> None:
    """The density integrates to 1, and survival is 1 minus its integral, at every interval."""
    one = distribution(seed)
    integral = torch.cumulative_trapezoid(density(one), GRID)
    assert float(integral[-1]) == pytest.approx(1, abs=1e-6)
    for place in (70_000, 90_000, 100_000, 110_000):
        survival = one.log_survival(GRID[place + 1 : place + 2]).exp()
        assert float(survival) == pytest.approx(1 - float(integral[place]), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_mean_and_quantiles(seed: int) -> None:
    """Mean and restricted mean are the integrals of t and min(t, c); quantiles are where the integral has the level."""
    one = distribution(seed)
    weighted = density(one)
    assert float(one.mean()) == pytest.approx(float(torch.trapezoid(GRID * weighted, GRID)), rel=1e-5)
    for limit in (0.3, 2.0, 50.0):
        integral = torch.trapezoid(GRID.clamp(max=limit) * weighted, GRID)
        assert float(one.mean(limit)) == pytest.approx(float(integral), rel=1e-5)
    for level in (1e-6, 0.1, 0.5, 0.99):
        assert float(one.log_survival(one.quantile(level)).exp()) == pytest.approx(1 - level, abs=1e-9)


def test_far_tails_are_finite() -> None:
    """Where densities and survivals underflow, their logarithms go on; at 0 survival is certain, also in gradients."""
    one = distribution()
    for interval in (1e-300, 1e-30, 1e30, 1e300):
        assert math.isfinite(float(one.log_density(torch.tensor([interval], dtype=torch.float64))))
    assert -math.inf < float(one.log_survival(torch.tensor([1e12], dtype=torch.float64))) < -100
    location = one.locations.clone().requires_grad_()
    survival = one._replace(locations=location).log_survival(torch.tensor([0.0]))
    survival.sum().backward()
    assert float(survival.detach()) == 0
    assert bool((location.grad == 0).all())


@given(seed=st.integers(0, 1000), log=st.floats(-8, 8))
@settings(max_examples=40, deadline=None)
def test_survival_never_rises(seed: int, log: float) -> None:
    """Survival falls from 1 to 0 and is never above 1."""
    pair = EventDistribution(*(part.expand(2, -1) for part in distribution(seed)))
    first, second = pair.log_survival(torch.tensor([math.exp(log), math.exp(log) * 1.1], dtype=torch.float64)).tolist()
    assert second <= first <= 0


def test_samples_follow_the_distribution() -> None:
    """The compensators of sampled intervals are exponential, and marks come as often as their probabilities say."""
    one = EventDistribution(*(part.expand(20_000, -1) for part in distribution()))
    interval, mark = one.sample(torch.Generator().manual_seed(1))
    uniform = one.log_survival(interval).exp().sort().values
    steps = torch.arange(1, 20_001, dtype=torch.float64) / 20_000
    assert float((uniform - steps).abs().max()) < 1.63 / math.sqrt(20_000)  # Kolmogorov-Smirnov, level 1 %
    shares = torch.bincount(mark, minlength=4) / 20_000
    assert float((shares - one.mark_logits[0].softmax(-1)).abs().max()) < 0.015


def test_levels_out_of_range() -> None:
    """Levels outside of 0 to 1 are refused."""
    for level in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="level: expected"):
            distribution().quantile(level)
