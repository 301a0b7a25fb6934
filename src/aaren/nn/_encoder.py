"""Encoder layers and stacks: one code path for Aaren and its baselines; only the module `self_attn` differs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from aaren.nn._aaren import Aaren, Decay, require_tokens
from aaren.nn._fused_step import fused_step
from aaren.nn._transformer import CausalSelfAttention, KVCache
from aaren.ops import AttentionState

State = TypeVar("State", AttentionState, KVCache, Tensor)
Activation = str | Callable[[Tensor], Tensor]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


def _require_batch_first(batch_first: bool) -> None:
    """Refuse the layout (tokens, batch, d_model)."""
    if not batch_first:
        raise ValueError("batch_first: expected True, received False; the layout is always (batch, tokens, d_model)")


class _EncoderLayer(nn.Module, Generic[State]):
    """Attention and feed-forward, each with residual, dropout and layer norm, as `torch.nn.TransformerEncoderLayer`.

    The residual of the attention comes from the input token.
    """

    def __init__(
        self,
        self_attn: nn.Module,
        d_model: int,
        dim_feedforward: int,
        dropout: float,
        activation: Activation,
        layer_norm_eps: float,
        norm_first: bool,
        bias: bool,
        factory: dict[str, Any],
    ) -> None:
        super().__init__()
        if isinstance(activation, str) and activation not in _ACTIVATIONS:
            raise ValueError(f"activation: expected 'relu', 'gelu' or a function, received {activation!r}")
        self.d_model, self.norm_first = d_model, norm_first
        self.self_attn = self_attn
        self.linear1 = nn.Linear(d_model, dim_feedforward, bias, **factory)
        self.dropout = nn.Dropout(dropout)
        self.linear2 = nn.Linear(dim_feedforward, d_model, bias, **factory)
        self.norm1 = nn.LayerNorm(d_model, layer_norm_eps, bias=bias, **factory)
        self.norm2 = nn.LayerNorm(d_model, layer_norm_eps, bias=bias, **factory)
        self.dropout1 = nn.Dropout(dropout)
        self.dropout2 = nn.Dropout(dropout)
        self.activation = _ACTIVATIONS[activation] if isinstance(activation, str) else activation

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        for module in (self.self_attn, self.linear1, self.linear2, self.norm1, self.norm2):
            cast(Any, module).reset_parameters()

    def forward(
        self,
        x: Float[Tensor, "batch tokens d"],
        state: State | None = None,
        mask: Bool[Tensor, "batch tokens"] | None = None,
        *,
        resets: Bool[Tensor, "batch tokens"] | None = None,
        elapsed: Float[Tensor, "batch tokens"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens d"], State]:
        """A prompt, a chunk or one token.

        Args:
            x: shape (batch, tokens, d_model).
            state: what the call before returned, or None at the start of a sequence.
            mask: shape (batch, tokens), True for a token that is there; a False one is as if deleted.
            resets: shape (batch, tokens), True where a new sequence starts inside the row.
            elapsed: shape (batch, tokens), time since the token before; used by `decay="time"`.

        Returns:
            outputs, shape of x, and the state after the last token.
        """
        require_tokens(x, self.d_model, mask=mask, resets=resets, elapsed=elapsed)
        if mask is not None:
            # NaN behind a mask would reach the weights' gradients as 0 · NaN
            x = x.masked_fill(~mask[..., None], 0)
        attended, state = self.self_attn(
            self.norm1(x) if self.norm_first else x, state, mask, resets=resets, elapsed=elapsed
        )
        x = x + self.dropout1(attended)
        if not self.norm_first:
            x = self.norm1(x)
        hidden = self.activation(self.linear1(self.norm2(x) if self.norm_first else x))
        x = x + self.dropout2(self.linear2(self.dropout(hidden)))
        return (x if self.norm_first else self.norm2(x)), state

    def step(
        self, x: Float[Tensor, "batch d"], state: State, *, elapsed: Float[Tensor, " batch"] | None = None
    ) -> tuple[Float[Tensor, "batch d"], State]:
        """One token, x of shape (batch, d_model)."""
        y, state = self.forward(x[:, None], state, elapsed=None if elapsed is None else elapsed[:, None])
        return y[:, 0], state


class AarenEncoderLayer(_EncoderLayer[AttentionState]):
    """An encoder layer with Aaren for attention; arguments as `torch.nn.TransformerEncoderLayer`, batch first always.

    Args:
        d_model: width of inputs and outputs.
        nhead: number of heads; must divide `d_model`.
        dim_feedforward: width of the feed-forward network.
        dropout: probability after attention, inside and after the feed-forward network.
        activation: "relu", "gelu" or a function.
        layer_norm_eps: added to the variance in layer norms.
        batch_first: always True; taken so that a call of `torch.nn.TransformerEncoderLayer` need not change.
        norm_first: layer norm before attention and feed-forward rather than after.
        bias: whether linear layers and layer norms have biases.
        decay: None (the paper), "learned" or "time"; see `Aaren`.

    A state dict of `torch.nn.TransformerEncoderLayer` fits, but for the query token `self_attn.query`.

    Source: arXiv 2405.13956, section 3.3.

    Example:
        >>> layer = AarenEncoderLayer(d_model=512, nhead=8, dim_feedforward=2048)
        >>> sum(p.numel() for p in layer.parameters())
        3152896
        >>> y, state = layer(torch.zeros(2, 10, 512))
        >>> y_t, state = layer.step(torch.zeros(2, 512), state)
        >>> y_t.shape
        torch.Size([2, 512])
    """

    self_attn: Aaren

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        *,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = True,
        norm_first: bool = False,
        bias: bool = True,
        decay: Decay = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        _require_batch_first(batch_first)
        factory = {"device": device, "dtype": dtype}
        super().__init__(
            Aaren(d_model, nhead, bias, decay=decay, device=device, dtype=dtype),
            d_model,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            norm_first,
            bias,
            factory,
        )

    def forward(
        self,
        x: Float[Tensor, "batch tokens d"],
        state: AttentionState | None = None,
        mask: Bool[Tensor, "batch tokens"] | None = None,
        *,
        resets: Bool[Tensor, "batch tokens"] | None = None,
        elapsed: Float[Tensor, "batch tokens"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens d"], AttentionState]:
        """As the layer above; one token of a small batch without gradients runs in a single native call."""
        if state is not None and mask is None and resets is None and x.shape[1:2] == (1,):
            require_tokens(x, self.d_model, elapsed=elapsed)
            done = fused_step(self, AarenEncoderLayer, x, [state], elapsed)
            if done is not None:
                return done[0], done[1][0]
        return super().forward(x, state, mask, resets=resets, elapsed=elapsed)

    def init_state(self, batch_size: int) -> AttentionState:
        """The state of a sequence that has not begun."""
        return self.self_attn.init_state(batch_size)


class TransformerEncoderLayer(_EncoderLayer[KVCache]):
    """The baseline: the same layer with causal self-attention, whose state is a preallocated key-value cache.

    Arguments as `AarenEncoderLayer`, without decay.

    Example:
        >>> layer = TransformerEncoderLayer(d_model=512, nhead=8, dim_feedforward=2048)
        >>> sum(p.numel() for p in layer.parameters())
        3152384
    """

    self_attn: CausalSelfAttention

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        *,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = True,
        norm_first: bool = False,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        _require_batch_first(batch_first)
        factory = {"device": device, "dtype": dtype}
        super().__init__(
            CausalSelfAttention(d_model, nhead, bias, device=device, dtype=dtype),
            d_model,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            norm_first,
            bias,
            factory,
        )

    def init_state(self, batch_size: int, capacity: int = 0) -> KVCache:
        """An empty cache; `capacity` tokens of memory are allocated ahead."""
        return self.self_attn.init_state(batch_size, capacity)


class _Encoder(nn.Module, Generic[State]):
    """A stack of copies of one layer, each with parameters of its own draw."""

    def __init__(self, encoder_layer: _EncoderLayer[State], num_layers: int, norm: nn.Module | None = None) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers: expected at least 1, received {num_layers}")
        self.layers = nn.ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        for layer in self.layers:
            cast(_EncoderLayer[State], layer).reset_parameters()
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        x: Float[Tensor, "batch tokens d"],
        state: tuple[State, ...] | None = None,
        mask: Bool[Tensor, "batch tokens"] | None = None,
        *,
        resets: Bool[Tensor, "batch tokens"] | None = None,
        elapsed: Float[Tensor, "batch tokens"] | None = None,
        added: Float[Tensor, "batch tokens d"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens d"], tuple[State, ...]]:
        """A prompt, a chunk or one token through all layers; arguments as in the layer, a state for each layer.

        `added`, of the shape of x, is added to the input of every layer, such as an encoding of the time.

        Raises:
            ValueError: the state has not one entry for each layer.
        """
        if state is not None and len(state) != self.num_layers:
            raise ValueError(
                f"state: expected {self.num_layers} entries, one for each layer, received {len(state)}; "
                "is it of another model?"
            )
        after: list[State] = []
        for index, layer in enumerate(self.layers):
            x = x if added is None else x + added
            x, new = layer(x, None if state is None else state[index], mask, resets=resets, elapsed=elapsed)
            after.append(new)
        return (x if self.norm is None else self.norm(x)), tuple(after)

    def step(
        self, x: Float[Tensor, "batch d"], state: tuple[State, ...], *, elapsed: Float[Tensor, " batch"] | None = None
    ) -> tuple[Float[Tensor, "batch d"], tuple[State, ...]]:
        """One token, x of shape (batch, d_model)."""
        y, state = self.forward(x[:, None], state, elapsed=None if elapsed is None else elapsed[:, None])
        return y[:, 0], state


class AarenEncoder(_Encoder[AttentionState]):
    """A stack of `AarenEncoderLayer`; arguments as `torch.nn.TransformerEncoder`.

    Args:
        encoder_layer: the layer to copy; every copy draws its own parameters.
        num_layers: number of copies.
        norm: a module applied to the outputs, such as a layer norm where `norm_first` is set.

    Example:
        >>> encoder = AarenEncoder(AarenEncoderLayer(d_model=16, nhead=2, dim_feedforward=32), num_layers=2)
        >>> y, state = encoder(torch.zeros(3, 5, 16))
        >>> [tuple(layer.weighted_sum.shape) for layer in state]
        [(3, 2, 8), (3, 2, 8)]
    """

    def forward(
        self,
        x: Float[Tensor, "batch tokens d"],
        state: tuple[AttentionState, ...] | None = None,
        mask: Bool[Tensor, "batch tokens"] | None = None,
        *,
        resets: Bool[Tensor, "batch tokens"] | None = None,
        elapsed: Float[Tensor, "batch tokens"] | None = None,
        added: Float[Tensor, "batch tokens d"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens d"], tuple[AttentionState, ...]]:
        """As the encoder above; one token of a small batch without gradients takes the layers' native calls at once."""
        one = state is not None and len(state) == self.num_layers and x.dim() == 3 and x.shape[1] == 1
        if one and state is not None and mask is None and resets is None:
            require_tokens(x, self.layers[0].d_model, elapsed=elapsed)  # type: ignore[arg-type]
            done = fused_step(self, AarenEncoderLayer, x, state, elapsed, added)
            if done is not None:
                y, after = done
                return (y if self.norm is None else self.norm(y)), after
        return super().forward(x, state, mask, resets=resets, elapsed=elapsed, added=added)

    def step(
        self,
        x: Float[Tensor, "batch d"],
        state: tuple[AttentionState, ...],
        *,
        elapsed: Float[Tensor, " batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch d"], tuple[AttentionState, ...]]:
        """One token, x of shape (batch, d_model)."""
        own = type(self).forward is AarenEncoder.forward and "forward" not in vars(self)
        if own and state is not None and x.dim() == 2 and (elapsed is None or elapsed.shape == x.shape[:1]):
            done = fused_step(self, AarenEncoderLayer, x, state, elapsed)
            if done is not None:
                y, after = done
                return (y if self.norm is None else self.norm(y)), after
        return super().step(x, state, elapsed=elapsed)

    def init_state(self, batch_size: int) -> tuple[AttentionState, ...]:
        """The state of a sequence that has not begun, one entry for each layer."""
        return tuple(cast(AarenEncoderLayer, layer).init_state(batch_size) for layer in self.layers)


class TransformerEncoder(_Encoder[KVCache]):
    """A stack of `TransformerEncoderLayer`, the baseline; arguments as `torch.nn.TransformerEncoder`."""

    def init_state(self, batch_size: int, capacity: int = 0) -> tuple[KVCache, ...]:
        """Empty caches, one for each layer, with `capacity` tokens of memory allocated ahead."""
        return tuple(cast(TransformerEncoderLayer, layer).init_state(batch_size, capacity) for layer in self.layers)
