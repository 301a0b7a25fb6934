"""Decay: where it starts, what it needs, and the weights that explain an output."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aaren.nn import Aaren, AarenEncoder, AarenEncoderLayer

Randomise = Callable[[nn.Module], nn.Module]


@pytest.mark.parametrize("decay", ["learned", "time"])
def test_half_lives_start_from_4_to_1024(decay: str) -> None:
    """At the start, heads forget half in 4, 8, 16 … 1024 tokens."""
    layer = Aaren(18, 9, decay=decay)
    half_lives = torch.log(torch.tensor(2.0)) / F.softplus(layer.decay_rate)
    torch.testing.assert_close(half_lives.detach(), 2.0 ** torch.arange(2, 11), rtol=1e-4, atol=0)


def test_time_decay_needs_elapsed() -> None:
    """Without elapsed times, `decay="time"` is an error that says what to give."""
    encoder = AarenEncoder(AarenEncoderLayer(8, 2, 16, decay="time"), 1)
    with pytest.raises(ValueError, match=r"elapsed: expected the time.*\(batch, tokens\).*received None"):
        encoder(torch.zeros(1, 3, 8))
    with pytest.raises(ValueError, match="elapsed"):
        encoder.step(torch.zeros(1, 8), encoder.init_state(1))


def test_one_unit_of_time_for_each_token_is_learned_decay(randomised: Randomise) -> None:
    """With all elapsed times 1, "time" equals "learned"."""
    learned = randomised(AarenEncoder(AarenEncoderLayer(8, 2, 16, decay="learned"), 2))
    timed = randomised(AarenEncoder(AarenEncoderLayer(8, 2, 16, decay="time"), 2))
    timed.load_state_dict(learned.state_dict())
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    torch.testing.assert_close(timed(x, elapsed=torch.ones(2, 7, dtype=torch.float64))[0], learned(x)[0])


def test_no_elapsed_time_is_no_decay(randomised: Randomise) -> None:
    """Tokens that arrive at once do not age each other."""
    timed = randomised(Aaren(8, 2, decay="time"))
    plain = randomised(Aaren(8, 2))
    plain.load_state_dict(timed.state_dict(), strict=False)
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    torch.testing.assert_close(timed(x, elapsed=torch.zeros(2, 7, dtype=torch.float64))[0], plain(x)[0])


def test_a_long_silence_forgets_the_past(randomised: Randomise) -> None:
    """After a very long elapsed time an output is that of a first token, and finite."""
    layer = randomised(Aaren(8, 2, decay="time"))
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    elapsed = torch.tensor([[1.0, 1, 1, 1e12, 1]], dtype=torch.float64).expand(2, 5)
    torch.testing.assert_close(layer(x, elapsed=elapsed)[0][:, 3:], layer(x[:, 3:], elapsed=elapsed[:, 3:])[0])


def test_elapsed_is_ignored_without_time_decay(randomised: Randomise) -> None:
    """Elapsed times change nothing unless `decay="time"`."""
    x, elapsed = torch.randn(2, 5, 8, dtype=torch.float64), torch.rand(2, 5, dtype=torch.float64)
    for decay in (None, "learned"):
        layer = randomised(Aaren(8, 2, decay=decay))
        assert torch.equal(layer(x, elapsed=elapsed)[0], layer(x)[0])


@pytest.mark.parametrize("decay", [None, "learned", "time"])
@pytest.mark.parametrize("tokens", [1, 9])
def test_weights_explain_the_last_output(decay: str | None, tokens: int, randomised: Randomise) -> None:
    """`attention_weights` are positive, sum to 1 in each head, and times the values give the last output."""
    layer = randomised(Aaren(12, 3, decay=decay))
    x, elapsed = torch.randn(2, tokens, 12, dtype=torch.float64), torch.rand(2, tokens, dtype=torch.float64)
    weights = layer.attention_weights(x, elapsed)
    assert weights.shape == (2, 3, tokens)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, dtype=torch.float64))
    w_v, b_v = layer.in_proj_weight[24:], layer.in_proj_bias[24:]
    values = F.linear(x, w_v, b_v).view(2, tokens, 3, 4)
    expected = layer.out_proj(torch.einsum("bhi,bihd->bhd", weights, values).flatten(1))
    torch.testing.assert_close(layer(x, elapsed=elapsed)[0][:, -1], expected)


def test_decay_gives_newer_tokens_more_weight() -> None:
    """Among equal tokens, weights grow towards the present by the same factor at each step."""
    layer = Aaren(8, 2, decay="learned").double()
    weights = layer.attention_weights(torch.ones(1, 6, 8, dtype=torch.float64))
    ratio = weights[..., :-1] / weights[..., 1:]
    expected = torch.exp(-F.softplus(layer.decay_rate))[None, :, None].expand_as(ratio)
    torch.testing.assert_close(ratio, expected)
    assert (ratio < 1).all()
