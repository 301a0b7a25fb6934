"""The encoders that are compared, by name, each with the same call, and the matrix products of Aaren alone.

All are float32, without dropout, and draw their parameters from the same seed. Aaren, the Transformer and minGRU
have the same layer (feed-forward network, layer norms, residuals) around another mixer of tokens; GRU and LSTM are
PyTorch's own, without a feed-forward network, which gives them less to do for a token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import aaren.nn
from aaren.nn import (
    AarenEncoder,
    AarenEncoderLayer,
    GRUEncoder,
    KVCache,
    TransformerEncoder,
    TransformerEncoderLayer,
)

AAREN, TRANSFORMER, GRU, LSTM, MINGRU = "Aaren", "Transformer", "GRU", "LSTM", "minGRU"
PRODUCTS = "matrix products alone"
D_MODEL, HEADS, FEEDFORWARD, LAYERS = 128, 8, 512, 4


class LSTMEncoder(nn.Module):
    """`torch.nn.LSTM` behind the encoders' call; the state is (hidden, cell), each of shape (layers, batch, d)."""

    def __init__(self, d_model: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(d_model, d_model, num_layers, batch_first=True)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """A prompt, a chunk or one token."""
        y, after = self.lstm(x, state)
        return y, after

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One token, x of shape (batch, d_model)."""
        y, after = self.forward(x[:, None], state)
        return y[:, 0], after

    def init_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """The state of a sequence that has not begun: zeros."""
        zeros = torch.zeros(self.lstm.num_layers, batch_size, self.lstm.hidden_size)
        return zeros, zeros.clone()


def _aaren(layers: int) -> nn.Module:
    return AarenEncoder(AarenEncoderLayer(D_MODEL, HEADS, FEEDFORWARD, 0.0), layers)


def _transformer(layers: int) -> nn.Module:
    return TransformerEncoder(TransformerEncoderLayer(D_MODEL, HEADS, FEEDFORWARD, 0.0), layers)


def _gru(layers: int) -> nn.Module:
    return GRUEncoder(D_MODEL, layers, 0.0)


def _lstm(layers: int) -> nn.Module:
    return LSTMEncoder(D_MODEL, layers)


def _mingru(layers: int) -> nn.Module:
    return aaren.nn.MinGRUEncoder(aaren.nn.MinGRUEncoderLayer(D_MODEL, FEEDFORWARD, 0.0), layers)


_BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    AAREN: _aaren,
    TRANSFORMER: _transformer,
    GRU: _gru,
    LSTM: _lstm,
    MINGRU: _mingru,
}
# `compare.py --commits` runs these files with older packages, which may lack the youngest peer
ENCODERS = tuple(name for name in _BUILDERS if name != MINGRU or hasattr(aaren.nn, "MinGRUEncoder"))


def encoder(name: str, layers: int = LAYERS) -> Any:
    """An encoder in training mode, parameters drawn from seed 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _BUILDERS[name](layers).train()


def random(*shape: int, seed: int = 1) -> Tensor:
    """Standard normal numbers, the same ones for every contender."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def full_caches(layers: int, tokens: int, capacity: int) -> tuple[KVCache, ...]:
    """Caches that hold `tokens` random tokens of one sequence, in memory for `capacity` of them."""

    def cache(layer: int) -> KVCache:
        keys, values = (random(1, HEADS, capacity, D_MODEL // HEADS, seed=2 * layer + k) for k in range(2))
        return KVCache(keys, values, torch.ones(1, capacity, dtype=torch.bool), tokens, [tokens])

    return tuple(cache(layer) for layer in range(layers))


def rewound(caches: tuple[KVCache, ...], tokens: int) -> tuple[KVCache, ...]:
    """Caches of the first `tokens` tokens in the same memory, to be continued there without a copy."""
    return tuple(KVCache(cache.keys, cache.values, cache.present, tokens, [tokens]) for cache in caches)


def bare_step(transformer: Any, x: Tensor, caches: tuple[KVCache, ...], position: int) -> Tensor:
    """The Transformer's step as a hand-written loop has it: the same weights, no checks, no masks, cache in place."""
    for layer, cache in zip(transformer.layers, caches, strict=True):
        attention = layer.self_attn
        q, k, v = F.linear(x, attention.in_proj_weight, attention.in_proj_bias).view(len(x), 3, HEADS, 1, -1).unbind(1)
        cache.keys[:, :, position : position + 1] = k
        cache.values[:, :, position : position + 1] = v
        past = slice(0, position + 1)
        attended = F.scaled_dot_product_attention(q, cache.keys[:, :, past], cache.values[:, :, past])
        x = layer.norm1(x + attention.out_proj(attended.view(len(x), -1)))
        x = layer.norm2(x + layer.linear2(layer.activation(layer.linear1(x))))
    return x


class Products:
    """The matrix products of Aaren encoder layers, forward and backward, and nothing else: no copy, no allocation.

    For a weight of shape (out, in) they are y = x Wᵀ, dx = dy W and dW = dyᵀ x over all tokens; the weights of a
    layer are scores (heads, d), values (d, d), output (d, d) and the two of the feed-forward network.

    Args:
        tokens: rows of x, of the whole batch.
        layers: number of layers.
        input_grad: whether the gradient to the first layer's input is wanted, as inside a larger model.
    """

    def __init__(self, tokens: int, layers: int, input_grad: bool) -> None:
        d, h, f = D_MODEL, HEADS, FEEDFORWARD
        shapes = [(h, d), (d, d), (d, d), (f, d), (d, f)] * layers
        self._skip_grad = set() if input_grad else {0, 1}
        self._weights = [random(*shape) for shape in shapes]
        self._inputs = [random(tokens, inner) for _, inner in shapes]
        self._outputs = [torch.empty(tokens, outer) for outer, _ in shapes]
        self._grad_outputs = [random(tokens, outer) for outer, _ in shapes]
        self._grad_inputs = [torch.empty(tokens, inner) for _, inner in shapes]
        self._grad_weights = [torch.empty(shape) for shape in shapes]

    def forward(self) -> None:
        """All y = x Wᵀ."""
        for x, weight, y in zip(self._inputs, self._weights, self._outputs, strict=True):
            torch.mm(x, weight.t(), out=y)

    def backward(self) -> None:
        """All dx = dy W and dW = dyᵀ x, from the last layer to the first."""
        for index in reversed(range(len(self._weights))):
            if index not in self._skip_grad:
                torch.mm(self._grad_outputs[index], self._weights[index], out=self._grad_inputs[index])
            torch.mm(self._grad_outputs[index].t(), self._inputs[index], out=self._grad_weights[index])

    def both(self) -> None:
        """Forward, then backward."""
        self.forward()
        self.backward()
