"""States as values of a known type, and what wrong arguments get: expected, received, remedy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from aaren.nn import (
    Aaren,
    AarenEncoder,
    AarenEncoderLayer,
    CausalSelfAttention,
    GRUEncoder,
    KVCache,
    MinGRU,
    MinGRUEncoder,
    MinGRUEncoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from aaren.ops import AttentionState


def aaren(layers: int = 2, width: int = 8, heads: int = 2) -> AarenEncoder:
    """An Aaren encoder."""
    return AarenEncoder(AarenEncoderLayer(width, heads, 16), layers)


def transformer(layers: int = 2, width: int = 8, heads: int = 2) -> TransformerEncoder:
    """A Transformer encoder."""
    return TransformerEncoder(TransformerEncoderLayer(width, heads, 16), layers)


def test_init_state_is_a_tuple_of_states() -> None:
    """`init_state` has one `AttentionState` for each layer, all identities of shape (batch, heads)."""
    states = aaren(3).init_state(5)
    assert isinstance(states, tuple)
    assert len(states) == 3
    for state in states:
        assert isinstance(state, AttentionState)
        assert state.weighted_sum.shape == (5, 2, 4)
        assert (state.max_score == -torch.inf).all()
        assert not state.normalizer.any()
        assert not state.weighted_sum.any()
    layer = AarenEncoderLayer(8, 2, 16).init_state(5)
    assert layer.max_score.shape == (5, 2)


def test_init_state_of_the_baselines() -> None:
    """The Transformer has a cache for each layer, without tokens; the GRU one tensor of zeros, minGRU one a layer."""
    caches = transformer(3).init_state(5, capacity=7)
    assert all(isinstance(cache, KVCache) and cache.length == 0 for cache in caches)
    assert [tuple(cache.keys.shape) for cache in caches] == [(5, 2, 7, 4)] * 3
    assert TransformerEncoderLayer(8, 2, 16).init_state(5).nbytes() == 0
    assert torch.equal(GRUEncoder(8, 3).init_state(5), torch.zeros(5, 3, 8))
    hidden = MinGRUEncoder(MinGRUEncoderLayer(8, 16, expansion=2), 3).init_state(5)
    assert isinstance(hidden, tuple)
    torch.testing.assert_close(hidden, (torch.zeros(5, 16),) * 3, rtol=0, atol=0)


def test_a_state_is_a_pytree() -> None:
    """A state flattens to three tensors a layer and comes back as the same type, so rows can be picked by a map."""
    encoder = aaren().eval()
    x = torch.randn(3, 4, 8)
    _, state = encoder(x)
    leaves, structure = pytree.tree_flatten(state)
    assert len(leaves) == 6
    rebuilt = pytree.tree_unflatten(leaves, structure)
    assert isinstance(rebuilt[0], AttentionState)
    row = pytree.tree_map(lambda leaf: leaf[1:2], state)
    y, _ = encoder(x[1:2], row)
    torch.testing.assert_close(y, encoder(x, state)[0][1:2])


def test_a_state_is_immutable() -> None:
    """No field of a state can be set."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        aaren().init_state(1)[0].normalizer = torch.zeros(1, 2)


_REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "heads": (lambda: Aaren(10, 3), r"nhead: expected a divisor of the width 10, received 3"),
    "heads of the baseline": (lambda: CausalSelfAttention(10, 4), r"nhead: .*width 10, received 4"),
    "no heads": (lambda: AarenEncoderLayer(8, 0), r"nhead: .*width 8, received 0"),
    "activation": (
        lambda: AarenEncoderLayer(8, 2, activation="swish"),
        r"activation: expected 'relu', 'gelu' or a function, received 'swish'",
    ),
    "decay": (
        lambda: AarenEncoderLayer(8, 2, decay="exponential"),
        r"decay: expected None, 'learned' or 'time', received 'exponential'",
    ),
    "no layers": (lambda: aaren(0), r"num_layers: expected at least 1, received 0"),
    "no layers of the GRU": (lambda: GRUEncoder(8, 0), r"num_layers: expected at least 1, received 0"),
    "no hidden numbers": (lambda: MinGRU(8, 0), r"expansion: expected at least 1, received 0"),
    "states of another depth": (
        lambda: aaren(2)(torch.zeros(1, 3, 8), aaren(3).init_state(1)),
        r"state: expected 2 entries, one for each layer, received 3; is it of another model",
    ),
    "states of another batch": (
        lambda: aaren()(torch.zeros(2, 3, 8), aaren().init_state(4)),
        r"state: expected .*\(2, 2\).*received .*\(4, 2\).*another model or batch",
    ),
    "states of other heads": (
        lambda: aaren()(torch.zeros(2, 3, 8), aaren(2, 8, 4).init_state(2)),
        r"state: expected .*\(2, 2, 4\).*received .*\(2, 4, 2\)",
    ),
    "cache of another batch": (
        lambda: transformer()(torch.zeros(1, 3, 8), transformer().init_state(4, 10)),
        r"state: expected \(batch, heads, head_dim\) = \(1, 2, 4\), received \(4, 2, 4\).*another model or batch",
    ),
    "cache of other heads": (
        lambda: transformer()(torch.zeros(2, 3, 8), transformer(2, 8, 4).init_state(2)),
        r"state: expected .*\(2, 2, 4\), received \(2, 4, 2\)",
    ),
    "hidden state of another batch": (
        lambda: GRUEncoder(8, 2)(torch.zeros(2, 0, 8), torch.zeros(3, 2, 8)),
        r"state: expected shape \(2, 2, 8\), received \(3, 2, 8\).*init_state\(2\)",
    ),
    "hidden state of another batch in parallel": (
        lambda: MinGRU(8, 2)(torch.zeros(2, 3, 8), torch.zeros(1, 16)),
        r"state: expected shape \(2, 16\), received \(1, 16\).*init_state\(2\)",
    ),
    "hidden state of another width": (
        lambda: MinGRUEncoderLayer(8, 16)(torch.zeros(2, 3, 8), torch.zeros(2, 16)),
        r"state: expected shape \(2, 8\), received \(2, 16\).*another model or batch",
    ),
    "two dimensions": (
        lambda: aaren()(torch.zeros(3, 8)),
        r"x: expected shape \(batch, tokens, 8\), received \(3, 8\).*batch first",
    ),
    "another width": (
        lambda: GRUEncoder(8, 1)(torch.zeros(2, 3, 9)),
        r"x: expected shape \(batch, tokens, 8\), received \(2, 3, 9\)",
    ),
    "another width of the baseline": (
        lambda: CausalSelfAttention(8, 2)(torch.zeros(2, 3, 9)),
        r"x: expected shape \(batch, tokens, 8\), received \(2, 3, 9\)",
    ),
    "resets of one row": (
        lambda: MinGRU(8)(torch.zeros(2, 3, 8), resets=torch.ones(3, dtype=torch.bool)),
        r"resets: expected shape \(batch, tokens\) = \(2, 3\), received \(3,\)",
    ),
    "a mask that would broadcast": (
        lambda: Aaren(8, 2)(torch.zeros(2, 3, 8), None, torch.ones(2, 1, dtype=torch.bool)),
        r"mask: expected shape \(batch, tokens\) = \(2, 3\), received \(2, 1\); use mask.expand",
    ),
    "resets of another length": (
        lambda: aaren()(torch.zeros(2, 3, 8), resets=torch.ones(2, 4, dtype=torch.bool)),
        r"resets: expected shape \(batch, tokens\) = \(2, 3\), received \(2, 4\)",
    ),
    "elapsed of one row": (
        lambda: transformer()(torch.zeros(2, 3, 8), elapsed=torch.ones(3)),
        r"elapsed: expected shape \(batch, tokens\) = \(2, 3\), received \(3,\)",
    ),
}


@pytest.mark.parametrize("case", _REFUSED)
@pytest.mark.usefixtures("without_shape_checks")
def test_a_wrong_argument_is_refused(case: str) -> None:
    """A wrong argument is a ValueError with what was expected and what came."""
    call, message = _REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.usefixtures("without_shape_checks")
def test_a_refused_call_leaves_the_cache_as_it_was() -> None:
    """After a refused chunk, the cache goes on in the same memory."""
    encoder: nn.Module = transformer().eval()
    state = encoder.init_state(2, capacity=8)
    with torch.no_grad():
        _, state = encoder(torch.randn(2, 3, 8), state)
        with pytest.raises(ValueError, match="state"):
            encoder(torch.randn(1, 1, 8), state)
        _, after = encoder(torch.randn(2, 1, 8), state)
    assert after[0].keys.data_ptr() == state[0].keys.data_ptr()


@pytest.mark.parametrize("layer", [AarenEncoderLayer, TransformerEncoderLayer])
def test_batch_first_is_taken_and_must_be_true(layer: type[torch.nn.Module]) -> None:
    """A call written for torch's layer with batch_first=True works; the other layout is refused, not misread."""
    layer(8, 2, 16, batch_first=True)
    with pytest.raises(ValueError, match="batch_first: expected True, received False"):
        layer(8, 2, 16, batch_first=False)
    with pytest.raises(TypeError):
        layer(8, 2, 16, 0.1, "relu", 1e-5, True)
