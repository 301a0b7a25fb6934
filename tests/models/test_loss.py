"""The loss and the future that it looks at, against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from forecaster_cases import forecaster, inputs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aaren.models import Forecast, future_of


def by_hand(forecast: Forecast, future: Tensor, levels: tuple[float, ...]) -> float:
    """Mean squared error and mean pinball loss, number by number."""
    squares, pinballs = [], []
    for index in torch.cartesian_prod(*[torch.arange(n) for n in future.shape]).tolist():
        truth, mean = float(future[tuple(index)]), float(forecast.mean[tuple(index)].detach())
        if math.isnan(truth):
            continue
        squares.append((mean - truth) ** 2)
        for level, quantile in zip(levels, forecast.quantiles[tuple(index)].tolist(), strict=True):
            pinballs.append(level * (truth - quantile) if truth >= quantile else (1 - level) * (quantile - truth))
    return math.fsum(squares) / len(squares) + (math.fsum(pinballs) / len(pinballs) if pinballs else 0)


@pytest.mark.parametrize("levels", [(), (0.5,), (0.05, 0.5, 0.8)])
@pytest.mark.parametrize("missing", [0.0, 0.6])
def test_loss_by_hand(levels: tuple[float, ...], missing: float) -> None:
    """The loss is the mean squared error plus the mean pinball loss over the values that are known."""
    model = forecaster(quantiles=levels)
    forecast, _ = model(**inputs(2, 3))
    future = torch.randn(forecast.mean.shape)
    future[torch.rand(future.shape) < missing] = torch.nan
    assert float(model.loss(forecast, future).detach()) == pytest.approx(by_hand(forecast, future, levels), rel=1e-5)


def test_missing_truth_neither_counts_nor_dilutes() -> None:
    """Truths that are missing or infinite leave the loss of the others as it is, and get no gradient."""
    model = forecaster(quantiles=(0.5,))
    mean = torch.zeros(1, 2, 4, 2, requires_grad=True)
    forecast = Forecast(mean, torch.zeros(1, 2, 4, 2, 1))
    future = torch.full((1, 2, 4, 2), torch.nan)
    future[0, 0, 0, 0], future[0, 1, 1, 1] = 3.0, torch.inf
    loss = model.loss(forecast, future)
    loss.backward()
    assert float(loss.detach()) == 9.0 + 1.5
    assert mean.grad is not None
    assert mean.grad[0, 0, 0, 0] == -6
    assert mean.grad.count_nonzero() == 1


def test_no_truth_is_no_loss() -> None:
    """Without any truth the loss is 0, with gradients of 0."""
    model = forecaster(quantiles=(0.5,))
    forecast, _ = model(**inputs())
    loss = model.loss(forecast, torch.full_like(forecast.mean, torch.nan))
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is None or p.grad.count_nonzero() == 0 for p in model.parameters())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(tokens=st.integers(1, 6), horizon=st.integers(1, 5), more=st.integers(0, 3))
def test_the_future_of_a_token_is_the_rows_after_it(tokens: int, horizon: int, more: int) -> None:
    """Entry [b, k, h] is row k + 1 + h, for every token; it is a view, not a copy."""
    block = torch.randn(2, tokens + horizon + more, 3)
    future = future_of(block, tokens, horizon)
    assert future.shape == (2, tokens, horizon, 3)
    for k in range(tokens):
        for h in range(horizon):
            assert torch.equal(future[:, k, h], block[:, k + 1 + h])
    assert future.untyped_storage().data_ptr() == block.untyped_storage().data_ptr()
