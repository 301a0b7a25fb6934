"""Positions: the formula, and streams that are very old."""

from __future__ import annotations

import math

import pytest
import torch

from aaren.nn import LearnedPositions, SinusoidalPositions


def test_sinusoids_are_the_formula() -> None:
    """Channel 2i is sin(t / 10000^(2i/d)) and channel 2i + 1 the cosine, for any leading shape."""
    positions = torch.tensor([[0, 1, 5], [7, 1000, 2]])
    encoded = SinusoidalPositions(6)(positions)
    assert encoded.shape == (2, 3, 6)
    assert encoded.dtype == torch.float32
    for row in range(2):
        for k in range(3):
            for i in range(3):
                angle = positions[row, k].item() / 10000 ** (2 * i / 6)
                assert encoded[row, k, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
                assert encoded[row, k, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_an_odd_width_is_refused() -> None:
    """Sines and cosines come in pairs, so an odd width is an error that names it."""
    with pytest.raises(ValueError, match=r"expected an even width.*received 7"):
        SinusoidalPositions(7)


@pytest.mark.parametrize("dtype", [None, torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_stream_may_be_very_old(dtype: torch.dtype | None) -> None:
    """At position 1e8 encodings are exact and distinct, also after the model was cast to another dtype."""
    module = SinusoidalPositions(8).to(dtype=dtype)
    positions = torch.arange(100_000_000, 100_000_004)
    encoded = module(positions)
    exact = [[math.sin(p), math.cos(p)] for p in positions.tolist()]
    torch.testing.assert_close(encoded[:, :2], torch.tensor(exact), rtol=0, atol=1e-6)
    assert torch.cdist(encoded, encoded).fill_diagonal_(1).min() > 0.1


def test_sinusoids_have_nothing_to_save() -> None:
    """Sinusoidal positions have no parameters and leave checkpoints alone."""
    assert SinusoidalPositions(8).state_dict() == {}


def test_learned_positions_are_looked_up() -> None:
    """A learned position is a row of the table, and gets its gradient."""
    module = LearnedPositions(5, 4)
    positions = torch.tensor([[0, 4], [4, 2]])
    encoded = module(positions)
    assert torch.equal(encoded, module.embedding.weight[positions])
    encoded.sum().backward()
    assert module.embedding.weight.grad[:, 0].tolist() == [1, 0, 1, 0, 2]
    assert module(torch.zeros(1, 0, dtype=torch.int64)).shape == (1, 0, 4)


def test_a_position_beyond_the_table_is_refused() -> None:
    """Too late a position is an error with the limit, the position and the remedy."""
    with pytest.raises(ValueError, match="expected less than 5, received 5; use sinusoidal"):
        LearnedPositions(5, 4)(torch.tensor([1, 5]))
