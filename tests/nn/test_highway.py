"""The linear highway against its sum, written as a loop."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aaren.nn import LinearHighway


def loop(module: LinearHighway, x: Tensor, observed: Tensor, mean: Tensor) -> Tensor:
    """The formula, one number at a time."""
    batch, tokens, channels = x.shape
    y = torch.zeros(batch, tokens, module.weight.shape[0], channels, dtype=x.dtype)
    for b in range(batch):
        for c in range(channels):
            for k in range(tokens):
                reach = [p for p in range(module.rows) if k - p >= 0 and observed[b, k - p, c]]
                last = x[b, k - reach[0], c] if reach else mean[b, min(k, mean.shape[1] - 1), c]
                for h, weights in enumerate(module.weight.unbind()):
                    y[b, k, h, c] = last + sum(weights[p] * (x[b, k - p, c] - last) for p in reach)
    return y


def made(rows: int, horizon: int = 2) -> LinearHighway:
    """A highway in float64 with random weights."""
    module = LinearHighway(rows, horizon).double()
    torch.nn.init.normal_(module.weight)
    return module


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 4), tokens=st.integers(0, 7), cut=st.integers(0, 7))
def test_it_is_the_sum_of_the_last_rows(seed: int, rows: int, tokens: int, cut: int) -> None:
    """Forecasts and the weights' gradient equal the loop, missing values left out; two chunks give those of one."""
    torch.manual_seed(seed)
    module = made(rows)
    x, weights = torch.randn(2, tokens, 3, dtype=torch.float64), torch.randn(2, tokens, 2, 3, dtype=torch.float64)
    mean, observed = torch.randn(2, tokens, 3, dtype=torch.float64), torch.rand(2, tokens, 3) < 0.6
    expected = loop(module, x, observed, mean)
    dirty = x.masked_fill(~observed, torch.nan)
    y, state = module(dirty, observed, mean)
    torch.testing.assert_close(y, expected)
    (found,) = torch.autograd.grad((y * weights).sum(), module.weight)
    (reference,) = torch.autograd.grad((expected * weights).sum() + 0 * module.weight.sum(), module.weight)
    torch.testing.assert_close(found, reference)

    first, after = module(dirty[:, :cut], observed[:, :cut], mean[:, :cut])
    second, final = module(dirty[:, cut:], observed[:, cut:], mean[:, cut:], after)
    torch.testing.assert_close(torch.cat([first, second], 1), expected)
    torch.testing.assert_close(final, state, equal_nan=True)


def test_a_new_highway_repeats_the_last_value() -> None:
    """With the initial weights, every step of the forecast is the last known value, else the mean given for all."""
    x = torch.tensor([[[1.0], [2.0], [3.0], [4.0], [5.0]]])
    observed = torch.tensor([[[False], [True], [False], [False], [True]]])
    y, _ = LinearHighway(2, 3)(x, observed, torch.full((1, 1, 1), 9.0))
    assert y[0, :, :, 0].tolist() == [[9.0] * 3, [2.0] * 3, [2.0] * 3, [9.0] * 3, [5.0] * 3]


def test_a_shift_of_the_series_shifts_the_forecast() -> None:
    """Adding a constant to all values adds it to the forecasts: the map is relative to the last value."""
    module = made(3)
    x, observed = torch.randn(1, 6, 2, dtype=torch.float64), torch.ones(1, 6, 2, dtype=torch.bool)
    mean = torch.zeros(1, 1, 2, dtype=torch.float64)
    torch.testing.assert_close(module(x + 50, observed, mean)[0], module(x, observed, mean)[0] + 50)


def test_the_state_is_the_last_rows_and_no_more() -> None:
    """The state holds `rows` rows, and does not keep a long prompt's memory alive."""
    module = LinearHighway(4, 2)
    assert module.init_state(2, 3).isnan().all()
    x = torch.randn(2, 1000, 3)
    _, state = module(x, torch.ones_like(x, dtype=torch.bool), torch.zeros(2, 1, 3))
    assert torch.equal(state, x[:, -4:])
    assert state.untyped_storage().nbytes() == 2 * 4 * 3 * 4
