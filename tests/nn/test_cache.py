"""The key-value cache: a value with memory allocated ahead."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils import _pytree as pytree

from aaren.nn import (
    AarenEncoder,
    AarenEncoderLayer,
    KVCache,
    TransformerEncoder,
    TransformerEncoderLayer,
)

Parts = tuple[Tensor, Tensor, Tensor]


def empty(capacity: int = 0) -> KVCache:
    """A cache for 2 rows, 3 heads of size 4."""
    return KVCache.empty(2, 3, 4, capacity, device="cpu", dtype=torch.float32)


def new(tokens: int) -> Parts:
    """Random keys, values and presence."""
    keys, values = torch.randn(2, 2, 3, tokens, 4)
    return keys, values, torch.rand(2, tokens) < 0.7


def joined(one: Parts, other: Parts) -> Parts:
    """What a cache must hold after an append, by plain concatenation."""
    return (
        torch.cat([one[0], other[0]], 2),
        torch.cat([one[1], other[1]], 2),
        torch.cat([one[2], other[2]], 1),
    )


def same(cache: KVCache, expected: Parts) -> bool:
    """Whether a cache holds exactly these tokens."""
    return cache.length == expected[0].shape[2] and all(map(torch.equal, cache.used(), expected))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    capacity=st.sampled_from([0, 1, 5, 100]),
    appends=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 40)), max_size=12),
)
def test_a_cache_is_a_value(capacity: int, appends: list[tuple[int, int]]) -> None:
    """Whatever tree of continuations grows from a cache, every cache holds its own tokens, for ever."""
    family = [(empty(capacity), empty().used())]
    for parent, tokens in appends:
        cache, held = family[parent % len(family)]
        more = new(tokens)
        family.append((cache.append(*more), joined(held, more)))
        assert all(same(*member) for member in family)


def test_memory_allocated_ahead_stays_in_place() -> None:
    """Up to its capacity a cache writes into the same memory, token by token, and then moves once."""
    cache = start = empty(100)
    for _ in range(100):
        cache = cache.append(*new(1))
        assert cache.keys.data_ptr() == start.keys.data_ptr()
        assert cache.values.data_ptr() == start.values.data_ptr()
    assert cache.append(*new(1)).keys.data_ptr() != start.keys.data_ptr()


def test_growth_is_by_doubling() -> None:
    """A thousand tokens, one at a time, allocate a handful of times."""
    cache = empty()
    addresses = []
    for _ in range(1000):
        cache = cache.append(*new(1))
        if not addresses or cache.keys.data_ptr() != addresses[-1]:
            addresses.append(cache.keys.data_ptr())
    assert len(addresses) <= 6
    assert cache.length == 1000


def test_a_fork_copies_only_when_it_must() -> None:
    """The first continuation shares the memory; the second, of the same cache, gets its own."""
    root = empty(10).append(*new(3))
    one, other = root.append(*new(2)), root.append(*new(2))
    assert one.keys.data_ptr() == root.keys.data_ptr()
    assert other.keys.data_ptr() != root.keys.data_ptr()


def test_forked_decoding_equals_separate_runs() -> None:
    """Two futures of one prompt, interleaved token by token, give what each gives alone."""
    encoder = TransformerEncoder(TransformerEncoderLayer(8, 2, 16), 2).double().eval()
    prompt, one, other = (torch.randn(2, n, 8, dtype=torch.float64) for n in (4, 5, 5))
    with torch.no_grad():
        _, root = encoder(prompt, encoder.init_state(2, capacity=20))
        a = b = root
        for k in range(5):
            y, a = encoder.step(one[:, k], a)
            z, b = encoder.step(other[:, k], b)
            torch.testing.assert_close(y, encoder(torch.cat([prompt, one[:, : k + 1]], 1))[0][:, -1])
            torch.testing.assert_close(z, encoder(torch.cat([prompt, other[:, : k + 1]], 1))[0][:, -1])
    assert root[0].length == 4


def test_decoding_keeps_the_memory_of_init_state() -> None:
    """`init_state(capacity=…)` allocates once for all layers; prompt and steps write into it."""
    encoder = TransformerEncoder(TransformerEncoderLayer(8, 2, 16), 2).eval()
    state = start = encoder.init_state(2, capacity=12)
    with torch.no_grad():
        _, state = encoder(torch.randn(2, 7, 8), state)
        for _ in range(5):
            _, state = encoder.step(torch.randn(2, 8), state)
    assert [cache.keys.data_ptr() for cache in state] == [cache.keys.data_ptr() for cache in start]


@pytest.mark.parametrize("which", [0, 1])
def test_a_gradient_is_never_written_into_shared_memory(which: int) -> None:
    """Keys or values with a gradient are joined to the old ones: the old cache stays out of the graph."""
    root = empty(10).append(*new(3))
    parts = list(new(2))
    parts[which].requires_grad_()
    after = root.append(*parts)
    assert not root.keys.requires_grad
    assert not root.values.requires_grad
    after.used()[which].sum().backward()
    assert torch.equal(parts[which].grad, torch.ones_like(parts[which]))


def test_gradients_flow_through_a_cache() -> None:
    """The loss of a later chunk reaches the inputs of an earlier one, as in one call."""
    encoder = TransformerEncoder(TransformerEncoderLayer(8, 2, 16), 2).double().eval()
    x = torch.randn(2, 6, 8, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(encoder(x)[0][:, -1].square().sum(), x)
    _, state = encoder(x[:, :4], encoder.init_state(2, capacity=10))
    _, state = encoder(x[:, 4:5], state)
    y, _ = encoder(x[:, 5:], state)
    (found,) = torch.autograd.grad(y.square().sum(), x)
    torch.testing.assert_close(found, expected)


def test_an_empty_chunk_leaves_the_graph_alone() -> None:
    """Zero tokens without gradient, from a cache with one, do not spoil its backward pass."""
    encoder = TransformerEncoder(TransformerEncoderLayer(8, 2, 16), 2).eval()
    y, state = encoder(torch.randn(2, 4, 8))
    with torch.no_grad():
        _, after = encoder(torch.randn(2, 0, 8), state)
    assert after[0].length == 4
    y.sum().backward()


def test_a_cache_is_a_pytree() -> None:
    """Flattened, a cache is its tokens in use; rebuilt, with cloned leaves or not, it goes on as a value."""
    cache = empty(10).append(*new(3))
    leaves, structure = pytree.tree_flatten(cache)
    assert [tuple(leaf.shape) for leaf in leaves] == [(2, 3, 3, 4), (2, 3, 3, 4), (2, 3)]
    more = new(2)
    expected = joined(cache.used(), more)
    for rebuilt in (
        pytree.tree_unflatten(leaves, structure),
        pytree.tree_map(torch.clone, cache),
    ):
        assert same(rebuilt.append(*more), expected)
        assert same(cache, tuple(leaves))
    nested = pytree.tree_map(lambda leaf: leaf[:1], (cache, cache))
    assert nested[1].keys.shape == (1, 3, 3, 4)


def test_a_cache_is_immutable() -> None:
    """No field of a cache can be set."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        empty().length = 3


def test_bytes_grow_with_a_cache_and_not_with_a_state() -> None:
    """After twice the tokens a cache holds twice the bytes; the state of Aaren has the same as at the start."""
    transformer = TransformerEncoder(TransformerEncoderLayer(8, 2, 16), 2).eval()
    aaren = AarenEncoder(AarenEncoderLayer(8, 2, 16), 2).eval()
    cached, kept = [], []
    caches, states = transformer.init_state(3), aaren.init_state(3)
    with torch.no_grad():
        for _ in range(4):
            x = torch.randn(3, 10, 8)
            _, caches = transformer(x, caches)
            _, states = aaren(x, states)
            cached.append(sum(cache.nbytes() for cache in caches))
            kept.append(sum(leaf.numel() * leaf.element_size() for leaf in pytree.tree_leaves(states)))
    # 2 layers · 3 rows · 10 tokens · (keys and values of width 8 in 4 bytes, presence in 1)
    assert cached == [2 * 3 * 10 * (2 * 8 * 4 + 1) * n for n in (1, 2, 3, 4)]
    # 2 layers · 3 rows · 2 heads · (maximum, normaliser, sums of width 4) in 8 bytes
    assert kept == [2 * 3 * 2 * (1 + 1 + 4) * 8] * 4
