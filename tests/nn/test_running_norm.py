"""The running norm against a plain loop, on streams that are long, gappy, constant or far from zero."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aaren.nn import RunningNorm
from aaren.nn import _running_norm as running_norm
from aaren.ops import AttentionState


def loop(
    x: Tensor, observed: Tensor, half_life: float, prior: float, epsilon: float
) -> tuple[list[float], list[float]]:
    """Mean and deviation of one channel, value by value: two passes over all weighted values for every token."""
    fade = 2 ** (-1 / half_life)
    # the prior: `prior` tokens of mean 0 and mean square 1
    weights, values, squares = [prior], [0.0], [1.0]
    means, deviations = [], []
    for value, seen in zip(x.tolist(), observed.tolist(), strict=True):
        if seen:
            weights = [weight * fade for weight in weights] + [1.0]
            values.append(value)
            squares.append(value * value)
        total = math.fsum(weights)
        mean = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / total
        # centred, so that a large offset cancels exactly: E[(x − mean)²]
        spread = (s - 2 * mean * v + mean * mean for s, v in zip(squares[:1], values[:1], strict=True))
        terms = [weights[0] * next(spread)]
        terms += [w * (v - mean) ** 2 for w, v in zip(weights[1:], values[1:], strict=True)]
        means.append(mean)
        deviations.append(math.sqrt(math.fsum(terms) / total + epsilon))
    return means, deviations


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    tokens=st.integers(0, 12),
    half_life=st.sampled_from([0.5, 3.0, 100.0]),
    prior=st.sampled_from([0.1, 8.0]),
)
def test_it_is_the_decayed_mean_and_deviation(seed: int, tokens: int, half_life: float, prior: float) -> None:
    """Means and deviations equal a plain loop over the past, missing values left out, NaN standing there."""
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(2, tokens, 3, generator=generator, dtype=torch.float64) + 1
    observed = torch.rand(2, tokens, 3, generator=generator) < 0.7
    norm = RunningNorm(half_life, prior=prior, epsilon=1e-3)
    mean, deviation, _ = norm(x.masked_fill(~observed, torch.nan), observed)
    for row in range(2):
        for channel in range(3):
            means, deviations = loop(x[row, :, channel], observed[row, :, channel], half_life, prior, 1e-3)
            assert mean[row, :, channel].tolist() == pytest.approx(means, rel=1e-9, abs=1e-9)
            assert deviation[row, :, channel].tolist() == pytest.approx(deviations, rel=1e-9)


def test_it_streams() -> None:
    """Chunks and single tokens, the state handed on, give the numbers of one call."""
    norm = RunningNorm(4.0)
    x, observed = torch.randn(2, 9, 3), torch.rand(2, 9, 3) < 0.7
    mean, deviation, final = norm(x, observed)
    state: AttentionState | None = None
    parts = []
    for lengths in zip(x.split([4, 1, 0, 3, 1], 1), observed.split([4, 1, 0, 3, 1], 1), strict=True):
        *statistics, state = norm(*lengths, state)
        parts.append(statistics)
    torch.testing.assert_close(torch.cat([part[0] for part in parts], 1), mean)
    torch.testing.assert_close(torch.cat([part[1] for part in parts], 1), deviation)
    torch.testing.assert_close(vars(state), vars(final))


def test_before_the_first_value_it_is_the_prior() -> None:
    """While all values are missing, mean and deviation are those of training: 0 and 1."""
    norm = RunningNorm(4.0, epsilon=0.0)
    mean, deviation, _ = norm(torch.full((1, 3, 2), torch.nan), torch.zeros(1, 3, 2, dtype=torch.bool))
    assert torch.equal(mean, torch.zeros(1, 3, 2))
    assert torch.equal(deviation, torch.ones(1, 3, 2))


def test_the_prior_weighs_as_many_tokens_as_it_says() -> None:
    """With a prior of 8 and hardly any decay, eight equal values bring the mean halfway to them."""
    norm = RunningNorm(1e9, prior=8.0)
    x = torch.full((1, 8, 1), 6.0)
    mean, _, _ = norm(x, torch.ones_like(x, dtype=torch.bool))
    assert mean[0, -1, 0].item() == pytest.approx(3.0, rel=1e-5)


def test_a_constant_series_ends_at_its_value() -> None:
    """For a constant the mean becomes the constant and the deviation sqrt(epsilon), never 0 or NaN."""
    norm = RunningNorm(2.0, epsilon=1e-4)
    x = torch.full((1, 300, 1), 5.0)
    mean, deviation, _ = norm(x, torch.ones_like(x, dtype=torch.bool))
    assert mean[0, -1, 0].item() == pytest.approx(5.0)
    assert deviation[0, -1, 0].item() == pytest.approx(0.01, rel=1e-3)
    assert (deviation > 0).all()


def test_rounding_never_makes_a_variance_negative() -> None:
    """A constant far from zero, whose squares are rounded, has a finite, positive deviation."""
    x = torch.full((1, 300, 1), 1e6 / 3, dtype=torch.float64)
    _, deviation, _ = RunningNorm(2.0, epsilon=1e-12)(x, torch.ones_like(x, dtype=torch.bool))
    assert deviation.isfinite().all()
    assert (deviation > 0).all()


@pytest.mark.parametrize("offset", [1e6, -1e6])
def test_a_series_far_from_zero_keeps_its_deviation(offset: float) -> None:
    """A million deviations from zero, in float64, the deviation is right to a thousandth."""
    x = offset + torch.randn(1, 400, 1, dtype=torch.float64)
    observed = torch.ones_like(x, dtype=torch.bool)
    norm = RunningNorm(4.0)
    mean, deviation, _ = norm(x, observed)
    means, deviations = loop(x[0, :, 0], observed[0, :, 0], 4.0, norm.prior, norm.epsilon)
    assert mean[0, -1, 0].item() == pytest.approx(means[-1], rel=1e-13)
    assert deviation[0, -100:, 0].tolist() == pytest.approx(deviations[-100:], rel=1e-3)


def test_it_has_no_parameters_and_no_gradient() -> None:
    """Statistics come without a graph, in the dtype of the inputs, from a module without parameters."""
    norm = RunningNorm(4.0)
    x = torch.randn(1, 3, 2, requires_grad=True)
    mean, deviation, state = norm(x, torch.ones(1, 3, 2, dtype=torch.bool))
    assert list(norm.parameters()) == []
    assert not mean.requires_grad
    assert not deviation.requires_grad
    assert mean.dtype == deviation.dtype == torch.float32
    assert state.weighted_sum.dtype == torch.float64
    assert state.weighted_sum.shape == (1, 2, 2)


@pytest.mark.parametrize(("half_life", "prior"), [(0.0, 8.0), (-1.0, 8.0), (math.nan, 8.0), (4.0, 0.0)])
def test_a_senseless_half_life_or_prior_is_refused(half_life: float, prior: float) -> None:
    """Half-life and prior must be positive; the message has both numbers."""
    with pytest.raises(ValueError, match=f"expected positive numbers, received {half_life} and {prior}"):
        RunningNorm(half_life, prior=prior)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_token_alone_is_the_operator(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """One token written out says, and keeps, what the operator does: missing values and NaN behind the mask too."""
    norm, generator = RunningNorm(5.0), torch.Generator().manual_seed(0)
    state = long = norm.init_state(4, 3)
    for _ in range(20):
        x = 100 + torch.randn(4, 1, 3, generator=generator).to(dtype)
        observed = torch.rand(4, 1, 3, generator=generator) < 0.6
        x = x.masked_fill(~observed, torch.nan)
        mean, deviation, state = norm(x, observed, state)
        with monkeypatch.context() as patch:
            patch.setattr(running_norm, "_is_small", lambda *given: False)
            expected_mean, expected_deviation, long = norm(x, observed, long)
        assert mean.dtype == deviation.dtype == dtype
        torch.testing.assert_close(mean, expected_mean)
        torch.testing.assert_close(deviation, expected_deviation, rtol=1e-4, atol=1e-4)
        for one, other in zip(vars(state).values(), vars(long).values(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_token_of_nothing_yet() -> None:
    """From a state without any weight, a missing value has mean 0 and a known one itself."""
    nothing = AttentionState.identity((1, 2), 2)
    x, observed = torch.tensor([[[7.0, 8.0]]]), torch.tensor([[[True, False]]])
    mean, _, state = RunningNorm(5.0)(x, observed, nothing)
    assert mean.tolist() == [[[7.0, 0.0]]]
    assert state.normalizer.tolist() == [[1.0, 0.0]]


def test_a_state_beyond_float32_is_no_warning() -> None:
    """Moments of a damaged record that float32 cannot hold are infinite, which the streams refuse, and no warning."""
    norm = RunningNorm(5.0)
    start = norm.init_state(1, 1)
    state = AttentionState(start.max_score, start.normalizer, start.weighted_sum + 1e300)
    mean, deviation, _ = norm(torch.ones(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool), state)
    assert mean.isinf().all()
    assert deviation.isfinite().all()
