"""Aaren against the paper's formula, written out with keys and a masked softmax."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from aaren.nn import Aaren, AarenEncoderLayer

Randomise = Callable[[nn.Module], nn.Module]
Gradients = Callable[[nn.Module], dict[str, Tensor]]


def paper(layer: Aaren, x: Tensor, ages: Tensor | None = None) -> Tensor:
    """Section 3.3 of arXiv 2405.13956, word by word: query, keys, values, softmax over each prefix, heads, output.

    `ages` (heads, tokens, tokens) is subtracted from the logits: what decay takes from token i at step k.
    """
    batch, tokens, width = x.shape
    heads, dim = layer.num_heads, width // layer.num_heads
    w_q, w_k, w_v = layer.in_proj_weight.split(width)
    b_q, b_k, b_v = (0, 0, 0) if layer.in_proj_bias is None else layer.in_proj_bias.split(width)
    query = (w_q @ layer.query + b_q).view(heads, dim)
    keys = (x @ w_k.T + b_k).view(batch, tokens, heads, dim)
    values = (x @ w_v.T + b_v).view(batch, tokens, heads, dim)
    logits = torch.einsum("hd,bihd->bhi", query, keys) / math.sqrt(dim)
    logits = logits[:, :, None, :].expand(batch, heads, tokens, tokens)
    if ages is not None:
        logits = logits - ages
    future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    weights = logits.masked_fill(future, -torch.inf).softmax(-1)
    return layer.out_proj(torch.einsum("bhki,bihd->bkhd", weights, values).flatten(2))


def agree(layer: Aaren, x: Tensor, y: Tensor, expected: Tensor, gradients: Gradients) -> dict[str, Tensor]:
    """Values and gradients, to every parameter and to the inputs, are equal; return the parameters' gradients."""
    torch.testing.assert_close(y, expected)
    weights = torch.randn_like(y)
    (dx,) = torch.autograd.grad((expected * weights).sum(), x, retain_graph=True)
    (expected * weights).sum().backward(inputs=list(layer.parameters()))
    reference = gradients(layer)
    (y * weights).sum().backward()
    torch.testing.assert_close(x.grad, dx)
    found = gradients(layer)
    for name in reference:
        torch.testing.assert_close(found[name], reference[name], atol=1e-10, rtol=1e-7)
    return found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("heads", [1, 2, 3, 12])
@pytest.mark.parametrize("tokens", [1, 2, 17])
def test_aaren_is_the_paper(heads: int, tokens: int, bias: bool, randomised: Randomise, gradients: Gradients) -> None:
    """Outputs and gradients equal the formula with keys, whatever the number of heads, with biases and without."""
    layer = randomised(Aaren(12, heads, bias))
    x = torch.randn(2, tokens, 12, dtype=torch.float64, requires_grad=True)
    agree(layer, x, layer(x)[0], paper(layer, x), gradients)


def test_the_key_bias_has_no_gradient(randomised: Randomise, gradients: Gradients) -> None:
    """b_k adds the same to all scores of a head and cancels: its gradient is exactly 0, unlike those of b_q and b_v."""
    layer = randomised(Aaren(12, 3))
    layer(torch.randn(2, 9, 12, dtype=torch.float64))[0].square().sum().backward()
    for_q, for_k, for_v = gradients(layer)["in_proj_bias"].chunk(3)
    assert torch.equal(for_k, torch.zeros_like(for_k))
    assert for_q.abs().min() > 0
    assert for_v.abs().min() > 0


def test_the_key_bias_has_no_effect(randomised: Randomise) -> None:
    """Changing b_k changes no bit of the outputs."""
    layer = randomised(Aaren(12, 3))
    x = torch.randn(2, 9, 12, dtype=torch.float64)
    before, _ = layer(x)
    with torch.no_grad():
        layer.in_proj_bias[12:24] += 5
    assert torch.equal(layer(x)[0], before)


@pytest.mark.parametrize("decay", ["learned", "time"])
def test_decay_is_the_formula_with_ages(decay: str, randomised: Randomise, gradients: Gradients) -> None:
    """With decay, token i's logit at step k is less by rate · (time from i to k); values and gradients agree."""
    layer = randomised(Aaren(12, 3, decay=decay))
    x = torch.randn(2, 9, 12, dtype=torch.float64, requires_grad=True)
    elapsed = torch.rand(2, 9, dtype=torch.float64) * 3
    clock = elapsed.cumsum(1) if decay == "time" else torch.arange(9.0, dtype=torch.float64).expand(2, 9)
    rate = torch.log1p(layer.decay_rate.exp())
    ages = rate[:, None, None] * (clock[:, None, :, None] - clock[:, None, None, :])
    found = agree(layer, x, layer(x, elapsed=elapsed)[0], paper(layer, x, ages), gradients)
    assert found["decay_rate"].abs().min() > 0


@pytest.mark.parametrize("norm_first", [False, True])
def test_the_layer_adds_attention_to_the_input_token(norm_first: bool, randomised: Randomise) -> None:
    """The residual of the attention comes from the input token, with the norm after it or before."""
    layer = randomised(AarenEncoderLayer(12, 3, 20, norm_first=norm_first))
    x = torch.randn(2, 7, 12, dtype=torch.float64)

    def feed_forward(z: Tensor) -> Tensor:
        return layer.linear2(layer.linear1(z).relu())

    if norm_first:
        z = x + paper(layer.self_attn, layer.norm1(x))
        expected = z + feed_forward(layer.norm2(z))
    else:
        z = layer.norm1(x + paper(layer.self_attn, x))
        expected = layer.norm2(z + feed_forward(z))
    torch.testing.assert_close(layer(x)[0], expected)


def test_order_of_the_past_does_not_matter_without_decay(randomised: Randomise) -> None:
    """Without positions a prefix is a multiset: permuting it leaves the last output unchanged."""
    layer = randomised(Aaren(12, 3))
    x = torch.randn(1, 9, 12, dtype=torch.float64)
    shuffled = torch.cat([x[:, torch.randperm(8)], x[:, 8:]], 1)
    torch.testing.assert_close(layer(shuffled)[0][:, -1], layer(x)[0][:, -1])
