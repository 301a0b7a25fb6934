"""Encoder layers, one token at a time: attention (or a GRU in its place), feed-forward, residuals, layer norms."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from aaren.errors import ModelFileError
from aaren.export.runner._attention import Array, AttentionState, attend
from aaren.export.runner._weights import Weight, Weights

State = dict[str, Array]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return (0.5 * (1.0 + np.tanh(0.5 * x))).astype(x.dtype)


def gelu(x: Array) -> Array:
    """X Φ(x), exactly."""
    half = np.array([math.erf(v) for v in (x / math.sqrt(2)).tolist()], dtype=np.float32)
    return 0.5 * x * (1 + half)


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, 0)


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {"relu": relu, "gelu": gelu}


def sinusoidal(position: float, width: int) -> Array:
    """Sines and cosines of a position or a time, shape (width,). Source: arXiv 1706.03762, section 3.5."""
    angles = position * np.exp(-math.log(10000.0) * np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], -1).ravel().astype(np.float32)


class LayerNorm:
    """(x - mean) / sqrt(variance + 1e-5) · weight + bias."""

    def __init__(self, weights: Weights, name: str, width: int) -> None:
        self.weight, self.bias = weights.take(f"{name}.weight", width), weights.take(f"{name}.bias", width)

    def __call__(self, x: Array) -> Array:
        """The normalised vector, shape of x."""
        width = np.float32(len(x))
        centred = x - np.add.reduce(x) / width
        return centred * (1 / np.sqrt(centred @ centred / width + np.float32(1e-5))) * self.weight + self.bias


class Encoder(ABC):
    """A stack of layers; `step` takes a token and the state by name, and gives the output and the new state."""

    @abstractmethod
    def step(self, x: Array, state: State, elapsed: float, added: Array | None = None) -> tuple[Array, State]:
        """One token.

        Args:
            x: shape (d_model,), float32.
            state: of the tokens before; names begin with the prefix that the encoder was made with.
            elapsed: time since the token before, for `decay="time"`.
            added: added to the input of every layer.
        """


class _Attention:
    """Aaren: the query is a learned token, so its product with the key projection is known: keys are never formed.

    Source: arXiv 2405.13956, section 3.3.
    """

    def __init__(self, weights: Weights, name: str, width: int, heads: int, decay: str | None) -> None:
        query = weights.take(f"{name}.query", width)
        projections = weights.take(f"{name}.in_proj_weight", 3 * width, width)
        biases = weights.take(f"{name}.in_proj_bias", 3 * width)
        self.out_weight, self.out_bias = weights.linear(f"{name}.out_proj", width, width)
        (w_q, w_k, w_v), (b_q, _, b_v) = np.split(projections, 3), np.split(biases, 3)  # b_k cancels in the softmax
        dim = width // heads
        q = (w_q @ query + b_q).reshape(heads, 1, dim)
        folded = (q @ w_k.reshape(heads, dim, width))[:, 0] / np.float32(math.sqrt(dim))  # W_kᵀ q / sqrt(d_head)
        self.heads, self.dim, self.by_time = heads, dim, decay == "time"
        self.weight: Weight = np.concatenate([folded, w_v])  # scores and values in one product
        self.bias = b_v
        self.rate: Array | float = 0.0
        if decay is not None:
            self.rate = np.logaddexp(0.0, weights.take(f"{name}.decay_rate", heads)).astype(np.float32)  # softplus

    def __call__(self, x: Array, state: AttentionState, elapsed: float) -> tuple[Array, AttentionState]:
        projected = self.weight @ x
        score, value = projected[: self.heads], (projected[self.heads :] + self.bias).reshape(self.heads, self.dim)
        decay: Any = -self.rate * elapsed if self.by_time else -self.rate
        attended, state = attend(state, score.astype(np.float64), value.astype(np.float64), decay)
        return self.out_weight @ attended.astype(np.float32).ravel() + self.out_bias, state


class _MinGRU:
    """minGRU in the place of attention: h = (1 - z) h + z g(c). Source: arXiv 2410.01201, section 3.1."""

    def __init__(self, weights: Weights, name: str, width: int) -> None:
        self.weight, self.bias = weights.linear(f"{name}.in_proj", 2 * width, width)
        self.out_weight, self.out_bias = weights.linear(f"{name}.out_proj", width, width)

    def __call__(self, x: Array, hidden: Array, _: float) -> tuple[Array, Array]:
        gate, candidate = np.split(self.weight @ x + self.bias, 2)
        z = sigmoid(gate)
        hidden = (1 - z) * hidden + z * np.where(candidate >= 0, candidate + np.float32(0.5), sigmoid(candidate))
        return self.out_weight @ hidden + self.out_bias, hidden


class LayerStack(Encoder):
    """Layers of attention or minGRU, each with a feed-forward network."""

    def __init__(self, weights: Weights, config: Mapping[str, Any], prefix: str) -> None:
        width, hidden = config["d_model"], config["dim_feedforward"]
        self.norm_first, self.prefix = config["norm_first"], prefix
        self.activation = ACTIVATIONS[config["activation"]]
        self.layers: list[tuple[Any, ...]] = []
        for index in range(config["num_layers"]):
            name = f"encoder.layers.{index}"
            mixer: Any
            if config["encoder"] == "aaren":
                mixer = _Attention(weights, f"{name}.self_attn", width, config["nhead"], config["decay"])
            else:
                mixer = _MinGRU(weights, f"{name}.self_attn", width)
            feedforward = (
                *weights.linear(f"{name}.linear1", hidden, width),
                *weights.linear(f"{name}.linear2", width, hidden),
            )
            norms = tuple(LayerNorm(weights, f"{name}.norm{number}", width) for number in (1, 2))
            self.layers.append((mixer, feedforward, *norms))
        self.norm = LayerNorm(weights, "encoder.norm", width) if self.norm_first else None

    def step(self, x: Array, state: State, elapsed: float, added: Array | None = None) -> tuple[Array, State]:
        """One token through all layers."""
        after: State = {}
        for index, (mixer, feedforward, norm1, norm2) in enumerate(self.layers):
            x = x if added is None else x + added
            mixed, kept = mixer(norm1(x) if self.norm_first else x, self._kept(state, index), elapsed)
            x = x + mixed
            x = x if self.norm_first else norm1(x)
            w1, b1, w2, b2 = feedforward
            x = x + (w2 @ self.activation(w1 @ (norm2(x) if self.norm_first else x) + b1) + b2)
            x = x if self.norm_first else norm2(x)
            name = f"{self.prefix}.{index}"
            if isinstance(kept, AttentionState):
                after.update({f"{name}.{part}": value for part, value in kept._asdict().items()})
            else:
                after[name] = kept
        return (x if self.norm is None else self.norm(x)), after

    def _kept(self, state: State, index: int) -> Any:
        name = f"{self.prefix}.{index}"
        return state[name] if name in state else attention_state(state, name)


def attention_state(state: State, name: str) -> AttentionState:
    """The three tensors of one attention by the name of the whole."""
    return AttentionState(*(state[f"{name}.{part}"] for part in AttentionState._fields))


class GRUStack(Encoder):
    """`torch.nn.GRU`: reset, update and candidate, in this order in its weights."""

    def __init__(self, weights: Weights, config: Mapping[str, Any], prefix: str) -> None:
        width, self.prefix = config["d_model"], prefix
        self.layers = []
        for index in range(config["num_layers"]):
            pairs = [
                (
                    weights.take(f"encoder.gru.weight_{part}_l{index}", 3 * width, width),
                    weights.take(f"encoder.gru.bias_{part}_l{index}", 3 * width),
                )
                for part in ("ih", "hh")
            ]
            self.layers.append((*pairs[0], *pairs[1]))

    def step(self, x: Array, state: State, elapsed: float, added: Array | None = None) -> tuple[Array, State]:
        """One token through all layers; `elapsed` is not used, `added` enters the first one."""
        x = x if added is None else x + added
        before, after = state[self.prefix], []
        for (w_x, b_x, w_h, b_h), hidden in zip(self.layers, before, strict=True):
            (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(w_x @ x + b_x, 3), np.split(w_h @ hidden + b_h, 3)
            z = sigmoid(z_x + z_h)
            x = (1 - z) * np.tanh(n_x + sigmoid(r_x + r_h) * n_h) + z * hidden
            after.append(x)
        return x, {self.prefix: np.stack(after)}


def make_encoder(weights: Weights, config: Mapping[str, Any], prefix: str = "encoder") -> Encoder:
    """The encoder of a configuration.

    Raises:
        ModelFileError: its state would grow with the rows, or a weight is not of its shape.
    """
    if config["encoder"] == "gru":
        return GRUStack(weights, config, prefix)
    if config["encoder"] in ("aaren", "mingru"):
        return LayerStack(weights, config, prefix)
    raise ModelFileError(f"config.json: expected the encoder aaren, gru or mingru, received {config['encoder']!r}")
