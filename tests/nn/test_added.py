"""What is added to the input of every layer, such as an encoding of the time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aaren.nn import AarenEncoder, AarenEncoderLayer, GRUEncoder, MinGRUEncoder, TransformerEncoder


def test_added_before_every_layer(encoder: nn.Module) -> None:
    """`added` enters each layer's input (that of the GRU once), and nothing but 0 leaves outputs as they are."""
    x, added, elapsed = torch.randn(3, 2, 5, 8, dtype=torch.float64).unbind(0)
    elapsed = elapsed[..., 0].abs()
    given, _ = encoder(x, elapsed=elapsed, added=added)
    if isinstance(encoder, GRUEncoder):
        expected, _ = encoder(x + added, elapsed=elapsed)
    else:
        assert isinstance(encoder, AarenEncoder | TransformerEncoder | MinGRUEncoder)
        expected = x
        for layer in encoder.layers:
            expected, _ = layer(expected + added, elapsed=elapsed)
    torch.testing.assert_close(given, expected)
    plain, _ = encoder(x, elapsed=elapsed)
    torch.testing.assert_close(encoder(x, elapsed=elapsed, added=torch.zeros_like(x))[0], plain)
    assert not torch.allclose(given, plain)


@pytest.mark.parametrize("decay", [None, "time"])
@pytest.mark.parametrize("batch", [1, 8, 9])
def test_added_in_the_native_step(decay: str | None, batch: int) -> None:
    """Single tokens, which small batches take in one native call, equal the parallel pass with `added`."""
    encoder = AarenEncoder(AarenEncoderLayer(16, 2, 32, decay=decay), 2).eval()
    x, added = torch.randn(2, batch, 6, 16).unbind(0)
    elapsed = torch.rand(batch, 6)
    with torch.no_grad():
        whole, _ = encoder(x, elapsed=elapsed, added=added)
        state = encoder.init_state(batch)
        for token in range(6):
            part = slice(token, token + 1)
            before = added.clone()
            y, state = encoder(x[:, part], state, elapsed=elapsed[:, part], added=added[:, part])
            torch.testing.assert_close(y[:, 0], whole[:, token], atol=2e-6, rtol=1e-5)
            assert torch.equal(before, added)
