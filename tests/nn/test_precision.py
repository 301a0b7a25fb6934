"""Dtypes: float64 modules, low precision and autocast, with the state kept in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aaren.nn import (
    AarenEncoder,
    AarenEncoderLayer,
    CausalSelfAttention,
    GRUEncoder,
    MinGRUEncoder,
    MinGRUEncoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)


def float64_states(state: object) -> bool:
    """Whether all numbers of an encoder's states are float64."""
    return all(leaf.dtype == torch.float64 for layer in state for leaf in vars(layer).values())


@pytest.mark.parametrize("decay", [None, "learned", "time"])
def test_autocast_keeps_the_state_in_float64(decay: str | None) -> None:
    """Under bfloat16 autocast an encoder trains and streams near its float32 numbers, its state in float64."""
    encoder = AarenEncoder(AarenEncoderLayer(16, 2, 32, dropout=0.0, decay=decay), 2)
    x, elapsed = torch.randn(2, 12, 16), torch.rand(2, 12)
    expected, _ = encoder(x, elapsed=elapsed)
    with torch.autocast("cpu", torch.bfloat16):
        y, state = encoder(x[:, :8], elapsed=elapsed[:, :8])
        assert float64_states(state)
        z, state = encoder(x[:, 8:], state, elapsed=elapsed[:, 8:])
        assert float64_states(state)
        with torch.no_grad():
            _, state = encoder.step(x[:, 0], state, elapsed=elapsed[:, 0])
        assert float64_states(state)
    torch.testing.assert_close(torch.cat([y, z], 1).float(), expected, rtol=0.1, atol=0.1)
    (y.float().sum() + z.float().square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize(
    "encoder",
    [
        TransformerEncoder(TransformerEncoderLayer(16, 2, 32, dropout=0.0), 2),
        GRUEncoder(16, 2, 0.0),
        MinGRUEncoder(MinGRUEncoderLayer(16, 32, dropout=0.0), 2),
    ],
)
def test_the_baselines_run_under_autocast(encoder: nn.Module) -> None:
    """Under bfloat16 autocast the baselines run in chunks, from no state and from `init_state`."""
    x = torch.randn(2, 8, 16)
    expected, _ = encoder(x)
    with torch.autocast("cpu", torch.bfloat16):
        for start in (None, encoder.init_state(2)):
            y, state = encoder(x[:, :5], start)
            z, _ = encoder(x[:, 5:], state)
            torch.testing.assert_close(torch.cat([y, z], 1).float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("decay", [None, "learned", "time"])
def test_a_module_has_the_dtype_it_is_made_with(dtype: torch.dtype, decay: str | None) -> None:
    """`dtype` and `device` reach every parameter; outputs have that dtype and the state is float64."""
    layer = AarenEncoderLayer(16, 2, 32, decay=decay, device="cpu", dtype=dtype).eval()
    assert {parameter.dtype for parameter in layer.parameters()} == {dtype}
    y, state = layer(torch.randn(2, 5, 16, dtype=dtype), elapsed=torch.ones(2, 5))
    assert y.dtype == dtype
    assert float64_states([state])
    with torch.no_grad():
        y, state = layer.step(torch.randn(2, 16, dtype=dtype), state, elapsed=torch.ones(2))
    assert y.dtype == dtype
    assert float64_states([state])


def test_the_cache_has_the_dtype_of_the_weights() -> None:
    """`init_state` of the baseline and the GRU makes states of the parameters' dtype."""
    assert CausalSelfAttention(8, 2, dtype=torch.float64).init_state(1, 4).keys.dtype == torch.float64
    assert TransformerEncoderLayer(8, 2, 16, dtype=torch.bfloat16).init_state(1).values.dtype == torch.bfloat16
    assert GRUEncoder(8, 2).double().init_state(1).dtype == torch.float64


def test_float32_is_near_float64() -> None:
    """A float32 encoder differs from its float64 twin by rounding only, over a thousand tokens."""
    encoder = AarenEncoder(AarenEncoderLayer(16, 2, 32, decay="learned"), 2).eval()
    x = torch.randn(1, 1000, 16)
    with torch.no_grad():
        y, _ = encoder(x)
        expected, _ = encoder.double()(x.double())
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=2e-5)


def test_large_inputs_stay_finite() -> None:
    """Inputs of size 1e4, hence scores far beyond the range of exp, give finite outputs and gradients."""
    layer = AarenEncoderLayer(16, 2, 32)
    y, _ = layer(1e4 * torch.randn(2, 20, 16))
    y.sum().backward()
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters())
