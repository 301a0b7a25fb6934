"""A masked token is a deleted one, and a reset starts a sequence of its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from aaren.nn import (
    Aaren,
    AarenEncoder,
    AarenEncoderLayer,
    CausalSelfAttention,
    GRUEncoder,
    MinGRU,
    MinGRUEncoder,
    MinGRUEncoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)

WIDTH = 8
quick = settings(max_examples=12, deadline=None, derandomize=True)
Gradients = Callable[[nn.Module], dict[str, Tensor]]
T, F = True, False
masks = st.integers(1, 7).flatmap(
    lambda tokens: st.lists(st.lists(st.booleans(), min_size=tokens, max_size=tokens), min_size=1, max_size=3)
)


def inputs(batch: int, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, elapsed times and weights of a loss."""
    x, weights = torch.randn(2, batch, tokens, WIDTH, dtype=torch.float64)
    return x, torch.rand(batch, tokens, dtype=torch.float64), weights


@quick
@given(rows=masks, junk=st.sampled_from([0.0, 1e30, math.nan, math.inf, -math.inf]))
@example(rows=[[F, F, T, T, T], [T, T, T, F, F], [T, F, T, F, T]], junk=math.nan)
@example(rows=[[F, F, F], [T, T, T]], junk=math.inf)
def test_masked_is_deleted(rows: list[list[bool]], junk: float, encoder: nn.Module, gradients: Gradients) -> None:
    """Outputs and parameter gradients are those of the sequences without the masked tokens, whatever stands there."""
    mask = torch.tensor(rows)
    x, elapsed, weights = inputs(*mask.shape)
    dirty = x.masked_fill(~mask[..., None], junk).requires_grad_()
    y, _ = encoder(dirty, None, mask, elapsed=elapsed.masked_fill(~mask, junk))
    assert y.isfinite().all()
    (y * weights)[mask].sum().backward()
    found = gradients(encoder)
    assert dirty.grad.isfinite().all()
    assert not dirty.grad[~mask].any()

    for row, kept in enumerate(mask):
        z, _ = encoder(x[row : row + 1, kept], elapsed=elapsed[row : row + 1, kept])
        torch.testing.assert_close(z[0], y[row, kept])
        if kept.any():
            (z[0] * weights[row, kept]).sum().backward()
    torch.testing.assert_close(found, gradients(encoder), rtol=1e-7, atol=1e-9)


@quick
@given(rows=masks)
def test_a_masked_chunk_continues_a_state(rows: list[list[bool]], encoder: nn.Module) -> None:
    """From a state, too, masked tokens are as deleted: in this chunk and in the one that follows."""
    mask = torch.tensor(rows)
    batch = mask.shape[0]
    (before, e0, _), (x, e1, _), (after, e2, _) = inputs(batch, 3), inputs(*mask.shape), inputs(batch, 2)
    with torch.no_grad():
        _, state = encoder(before, elapsed=e0)
        y, state = encoder(x.masked_fill(~mask[..., None], math.nan), state, mask, elapsed=e1)
        later, _ = encoder(after, state, elapsed=e2)
        for row, kept in enumerate(mask):
            sequence = torch.cat([before[row], x[row, kept], after[row]])[None]
            z, _ = encoder(sequence, elapsed=torch.cat([e0[row], e1[row, kept], e2[row]])[None])
            torch.testing.assert_close(y[row, kept], z[0, 3:-2])
            torch.testing.assert_close(later[row], z[0, -2:])


def test_an_entirely_masked_row_leaves_no_trace(encoder: nn.Module, gradients: Gradients) -> None:
    """A row of masked tokens has finite outputs, no NaN in any gradient, and its next token is a first one."""
    x, elapsed, _ = inputs(2, 4)
    mask = torch.tensor([[F] * 4, [T] * 4])
    dirty = x.masked_fill(~mask[..., None], math.nan)
    y, state = encoder(dirty, None, mask, elapsed=elapsed)
    y.sum().backward()
    assert y.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(encoder).values())
    token, time, _ = inputs(2, 1)
    with torch.no_grad():
        z, _ = encoder(token, state, elapsed=time)
        first, _ = encoder(token[:1], elapsed=time[:1])
    torch.testing.assert_close(z[:1], first)


@pytest.mark.parametrize("attention", [Aaren(WIDTH, 2), CausalSelfAttention(WIDTH, 2)])
def test_attention_to_nothing_is_zero(attention: nn.Module) -> None:
    """Before the first token that is there, attention gives 0, so the output is the last bias."""
    y, _ = attention(torch.randn(1, 4, WIDTH), None, torch.tensor([[F, F, T, T]]))
    torch.testing.assert_close(y[0, :2], attention.out_proj.bias.expand(2, WIDTH))
    assert y[0, 2:].abs().min() > 0


@pytest.mark.parametrize("module", [Aaren(WIDTH, 2), GRUEncoder(WIDTH, 2), MinGRU(WIDTH)])
def test_a_masked_token_repeats_the_output_before_it(module: nn.Module) -> None:
    """The output at a masked token is the state's: that of the token before, in this chunk or the one before."""
    y, state = module(torch.randn(1, 3, WIDTH))
    z, _ = module(torch.randn(1, 4, WIDTH), state, torch.tensor([[F, T, F, F]]))
    torch.testing.assert_close(z[:, 0], y[:, -1])
    torch.testing.assert_close(z[0, 2:], z[0, 1].expand(2, WIDTH))


class _Made(TorchDispatchMode):
    """Counts the numbers of all tensors that operations make within it, views aside."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        tensors = [x for x in pytree.tree_leaves(made) if isinstance(x, Tensor) and not x._is_view()]
        self.numbers += sum(x.numel() for x in tensors)
        return made


@pytest.mark.parametrize("kind", ["aaren", "gru", "mingru"])
def test_training_on_sequences_of_unequal_lengths_is_linear_in_the_tokens(kind: str) -> None:
    """Four times the tokens make no more than five times the numbers, forward and backward (sixteen if quadratic)."""
    found = []
    for tokens in (64, 256):
        encoder = {
            "aaren": lambda: AarenEncoder(AarenEncoderLayer(WIDTH, 2, 16), 1),
            "gru": lambda: GRUEncoder(WIDTH, 1),
            "mingru": lambda: MinGRUEncoder(MinGRUEncoderLayer(WIDTH, 16), 1),
        }[kind]()
        mask = torch.arange(tokens) < torch.tensor([[tokens // 2], [tokens]])
        with _Made() as made:
            encoder(torch.randn(2, tokens, WIDTH), None, mask)[0].sum().backward()
        found.append(made.numbers)
    assert found[1] <= 5 * found[0]


def test_masked_tokens_leave_an_aaren_state_as_it_was(aaren_encoder: AarenEncoder) -> None:
    """A masked token leaves every number of an Aaren state as it was."""
    x, elapsed, _ = inputs(2, 5)
    _, state = aaren_encoder(x, elapsed=elapsed)
    _, same = aaren_encoder(x[:, :3], state, torch.zeros(2, 3, dtype=torch.bool), elapsed=elapsed[:, :3])
    for one, other in zip(pytree.tree_leaves(same), pytree.tree_leaves(state), strict=True):
        torch.testing.assert_close(one, other)


def test_a_mask_of_all_true_is_none(encoder: nn.Module) -> None:
    """Masking nothing gives the outputs of no mask."""
    x, elapsed, _ = inputs(2, 5)
    masked, _ = encoder(x, None, torch.ones(2, 5, dtype=torch.bool), elapsed=elapsed)
    torch.testing.assert_close(masked, encoder(x, elapsed=elapsed)[0])


@quick
@given(starts=st.lists(st.booleans(), min_size=1, max_size=8), begun=st.booleans())
def test_resets_are_separate_sequences(
    starts: list[bool], begun: bool, aaren_encoder: AarenEncoder, gradients: Gradients
) -> None:
    """A row with resets gives outputs, gradients and the state of its sequences, each run alone."""
    x, elapsed, weights = inputs(1, len(starts))
    state = None
    if begun:
        past, times, _ = inputs(1, 3)
        with torch.no_grad():
            _, state = aaren_encoder(past, elapsed=times)
    y, after = aaren_encoder(x, state, resets=torch.tensor([starts]), elapsed=elapsed)
    (y * weights).sum().backward()
    found = gradients(aaren_encoder)

    edges = sorted({0, len(starts), *(k for k, start in enumerate(starts) if start)})
    parts = []
    for begin, end in itertools.pairwise(edges):
        initial = None if starts[begin] else state
        z, last = aaren_encoder(x[:, begin:end], initial, elapsed=elapsed[:, begin:end])
        parts.append(z)
    expected = torch.cat(parts, 1)
    (expected * weights).sum().backward()
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(found, gradients(aaren_encoder), rtol=1e-7, atol=1e-9)
    for one, other in zip(after, last, strict=True):
        torch.testing.assert_close((one.output(), one.lse()), (other.output(), other.lse()))


def test_a_masked_token_may_carry_a_reset(aaren_encoder: AarenEncoder) -> None:
    """A reset at a masked token starts the new sequence all the same."""
    x, elapsed, _ = inputs(1, 5)
    mask, resets = torch.tensor([[T, T, F, T, T]]), torch.tensor([[F, F, T, F, F]])
    y, _ = aaren_encoder(x.masked_fill(~mask[..., None], math.nan), None, mask, resets=resets, elapsed=elapsed)
    alone, _ = aaren_encoder(x[:, 3:], elapsed=elapsed[:, 3:])
    torch.testing.assert_close(y[:, 3:], alone)


def test_the_transformer_refuses_resets() -> None:
    """A cache holds one sequence, so the baseline says no to resets and what to do instead."""
    encoder = TransformerEncoder(TransformerEncoderLayer(WIDTH, 2, 16), 1)
    with pytest.raises(ValueError, match=r"resets: expected None for the Transformer.*own row"):
        encoder(torch.zeros(1, 3, WIDTH), resets=torch.zeros(1, 3, dtype=torch.bool))
