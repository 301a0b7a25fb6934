"""One call for a prompt, a chunk or one token: any partition of a sequence gives the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from aaren.nn import AarenEncoder, AarenEncoderLayer
from aaren.ops import AttentionState

WIDTH = 8
quick = settings(max_examples=12, deadline=None, derandomize=True)


@st.composite
def partitions(draw: st.DrawFn) -> tuple[int, list[int]]:
    """A number of tokens and the lengths of the chunks it is cut into, empty ones included."""
    tokens = draw(st.integers(1, 12))
    cuts = sorted(draw(st.lists(st.integers(0, tokens), max_size=tokens)))
    edges = [0, *cuts, tokens]
    return tokens, [stop - start for start, stop in itertools.pairwise(edges)]


def inputs(batch: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Inputs and elapsed times in float64."""
    return torch.randn(batch, tokens, WIDTH, dtype=torch.float64), torch.rand(batch, tokens, dtype=torch.float64)


def in_chunks(encoder: nn.Module, x: Tensor, elapsed: Tensor, lengths: list[int], state: Any) -> tuple[Tensor, Any]:
    """Run chunk by chunk, the state handed on."""
    outputs = []
    for part, times in zip(x.split(lengths, 1), elapsed.split(lengths, 1), strict=True):
        y, state = encoder(part, state, elapsed=times)
        outputs.append(y)
    return torch.cat(outputs, 1), state


@quick
@given(partition=partitions(), gradient=st.booleans(), begun=st.booleans())
def test_any_partition_gives_the_same(
    partition: tuple[int, list[int]], gradient: bool, begun: bool, encoder: nn.Module
) -> None:
    """Outputs and final state do not depend on the cuts, from no state or from `init_state`, training or not."""
    tokens, lengths = partition
    x, elapsed = inputs(2, tokens)
    with torch.set_grad_enabled(gradient):
        y, state = encoder(x, elapsed=elapsed)
        parts, after = in_chunks(encoder, x, elapsed, lengths, encoder.init_state(2) if begun else None)
    torch.testing.assert_close(parts, y)
    for one, other in zip(pytree.tree_leaves(after), pytree.tree_leaves(state), strict=True):
        torch.testing.assert_close(one, other)


def test_step_is_a_call_with_one_token(encoder: nn.Module) -> None:
    """`step` after `step`, from `init_state`, gives the outputs of one call, with gradients and without."""
    x, elapsed = inputs(3, 6)
    expected, _ = encoder(x, elapsed=elapsed)
    for gradient in (True, False):
        with torch.set_grad_enabled(gradient):
            state = encoder.init_state(3)
            for k in range(6):
                y, state = encoder.step(x[:, k], state, elapsed=elapsed[:, k])
                torch.testing.assert_close(y, expected[:, k])


def test_a_layer_steps_as_the_encoder_does() -> None:
    """A single layer has the same `step` and `init_state` as a stack."""
    layer = AarenEncoderLayer(WIDTH, 2, 16).eval()
    x = torch.randn(2, 4, WIDTH)
    expected, _ = layer(x)
    state = layer.init_state(2)
    for k in range(4):
        y, state = layer.step(x[:, k], state)
        torch.testing.assert_close(y, expected[:, k])


def begun_states(encoder: AarenEncoder) -> tuple[AttentionState, ...]:
    """States after four tokens, their numbers leaves of the graph."""
    x, elapsed = inputs(2, 4)
    with torch.no_grad():
        _, states = encoder(x, elapsed=elapsed)
    for state in states:
        state.normalizer.requires_grad_()
        state.weighted_sum.requires_grad_()
    return states


@quick
@given(partition=partitions())
def test_gradients_flow_through_the_chunks(
    partition: tuple[int, list[int]],
    aaren_encoder: AarenEncoder,
    gradients: Callable[[nn.Module], dict[str, Tensor]],
) -> None:
    """Gradients to parameters, inputs and the initial state are those of the uncut sequence, final state included."""
    tokens, lengths = partition
    x, elapsed = inputs(2, tokens)
    x.requires_grad_()
    weights = torch.randn_like(x)
    initial = begun_states(aaren_encoder)
    leaves = [x, *(leaf for state in initial for leaf in (state.normalizer, state.weighted_sum))]
    found = []
    for cuts in ([tokens], lengths):
        y, final = in_chunks(aaren_encoder, x, elapsed, cuts, initial)
        loss = (y * weights).sum() + sum(state.output().square().sum() + state.lse().sum() for state in final)
        loss.backward()
        found.append((gradients(aaren_encoder), [leaf.grad for leaf in leaves]))
        for leaf in leaves:
            leaf.grad = None
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-9)
    assert all(leaf.abs().max() > 0 for leaf in found[0][1])


def test_detached_states_cut_the_graph(aaren_encoder: AarenEncoder) -> None:
    """Truncated backpropagation: after `detach` a chunk's loss does not reach the chunk before."""
    x, elapsed = inputs(2, 6)
    first, second = x[:, :3].requires_grad_(), x[:, 3:]
    _, state = aaren_encoder(first, elapsed=elapsed[:, :3])
    y, _ = aaren_encoder(second, tuple(s.detach() for s in state), elapsed=elapsed[:, 3:])
    assert torch.autograd.grad(y.sum(), first, allow_unused=True) == (None,)


def test_a_state_is_not_changed_by_its_use(encoder: nn.Module) -> None:
    """Two continuations of one state agree to the bit, and leave it as it was."""
    x, elapsed = inputs(2, 4)
    with torch.no_grad():
        _, state = encoder(x, elapsed=elapsed)
        before = [leaf.clone() for leaf in pytree.tree_leaves(state)]
        later, times = inputs(2, 3)
        once, _ = encoder(later, state, elapsed=times)
        encoder(later + 1, state, elapsed=times)
        again, _ = encoder(later, state, elapsed=times)
    assert torch.equal(once, again)
    for leaf, old in zip(pytree.tree_leaves(state), before, strict=True):
        assert torch.equal(leaf, old)


def test_overwriting_inputs_and_outputs_does_not_reach_the_state(encoder: nn.Module) -> None:
    """A caller may reuse the buffers of inputs, mask and outputs: the state has numbers of its own."""
    x, elapsed = inputs(2, 4)
    mask = torch.tensor([[True, False, True, True], [True, True, False, True]])
    later, times = inputs(2, 3)
    with torch.no_grad():
        y, state = encoder(x, None, mask, elapsed=elapsed)
        expected, _ = encoder(later, state, elapsed=times)
        for buffer in (x, y, elapsed):
            buffer.fill_(torch.nan)
        mask.fill_(True)
        assert torch.equal(encoder(later, state, elapsed=times)[0], expected)


def test_rows_do_not_touch_each_other(encoder: nn.Module) -> None:
    """Changing one row of a batch changes nothing in the others."""
    x, elapsed = inputs(3, 5)
    y, _ = encoder(x, elapsed=elapsed)
    other = x.clone()
    other[1] = 1e6
    torch.testing.assert_close(encoder(other, elapsed=elapsed)[0][[0, 2]], y[[0, 2]], rtol=0, atol=1e-13)


def test_the_future_does_not_reach_the_past(encoder: nn.Module) -> None:
    """Changing a token leaves all earlier outputs unchanged."""
    x, elapsed = inputs(2, 6)
    y, _ = encoder(x, elapsed=elapsed)
    other = x.clone()
    other[:, 3, 0] += 10
    z, _ = encoder(other, elapsed=elapsed)
    torch.testing.assert_close(z[:, :3], y[:, :3], rtol=0, atol=1e-13)
    assert (z[:, 3:] - y[:, 3:]).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("tokens", [0, 3])
def test_a_batch_may_be_empty(tokens: int, encoder: nn.Module) -> None:
    """Zero rows, masked or not, give zero outputs and a state of zero rows."""
    x, elapsed = inputs(0, tokens)
    for mask in (None, torch.ones(0, tokens, dtype=torch.bool)):
        y, state = encoder(x, None, mask, elapsed=elapsed)
        assert y.shape == (0, tokens, WIDTH)
        assert all(leaf.shape[0] == 0 for leaf in pytree.tree_leaves(state))
