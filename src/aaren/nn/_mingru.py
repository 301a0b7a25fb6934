"""The parallel recurrent baseline: minGRU where attention stands, in the encoder layer of all."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from aaren.nn._aaren import require_tokens
from aaren.nn._encoder import Activation, _Encoder, _EncoderLayer

BLOCK = 32


def _side_by_side(x: Float[Tensor, "batch tokens hidden"], block: int) -> tuple[Tensor, ...]:
    """Cut the tokens into blocks, the last one filled up with zeros; entry k holds token k of every block."""
    extra = -x.shape[1] % block
    return F.pad(x, (0, 0, 0, extra)).unflatten(1, (-1, block)).unbind(2)


def linear_recurrence(
    factors: Float[Tensor, "batch tokens hidden"],
    terms: Float[Tensor, "batch tokens hidden"],
    start: Float[Tensor, "batch hidden"],
) -> Float[Tensor, "batch tokens hidden"]:
    """All h_k = factor_k h_{k-1} + term_k, where h_0 is `start`; work is linear in the tokens.

    Blocks of tokens run side by side, first from 0, to know what each of them makes of the state that enters it. The
    states that enter follow the same recurrence on a sequence that is shorter by the block's length.

    The paper computes the same from cumulated logarithms. In float32 these lose digits with every token, and they have
    no place for a factor or a state of 0, which resets and the first token need.

    Args:
        factors: between 0 and 1, shape (batch, tokens, hidden).
        terms: the same shape.
        start: shape (batch, hidden).

    Source: arXiv 2410.01201, section 2 (parallel scan); the blocks are this project's.
    """
    tokens = factors.shape[1]
    block = max(1, min(BLOCK, tokens))
    a, b = _side_by_side(factors, block), _side_by_side(terms, block)
    h = start[:, None]
    if tokens > block:
        reach, local = a[0], b[0]
        for a_k, b_k in zip(a[1:], b[1:], strict=True):
            reach, local = a_k * reach, torch.addcmul(b_k, a_k, local)
        h = torch.cat([h, linear_recurrence(reach[:, :-1], local[:, :-1], start)], 1)
    states = []
    for a_k, b_k in zip(a, b, strict=True):
        h = torch.addcmul(b_k, a_k, h)
        states.append(h)
    return torch.stack(states, 2).flatten(1, 2)[:, :tokens]


def positive(x: Tensor) -> Tensor:
    """The paper's g, which keeps candidates above 0: x + 0.5 from 0 on, sigmoid(x) below."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


class MinGRU(nn.Module):
    r"""minGRU: a GRU whose gate and candidate do not see the hidden state, so that all tokens run in parallel.

    .. math::
        z_k = \sigma(W_z x_k + b_z) \qquad \tilde h_k = g(W_h x_k + b_h) \qquad
        h_k = (1 - z_k) \odot h_{k-1} + z_k \odot \tilde h_k \qquad y_k = W_o h_k + b_o

    with g(x) = x + 0.5 for x >= 0, else sigmoid(x), and h_0 = 0. W_z and W_h are the halves of `in_proj`. It has the
    call of `Aaren`, and stands in its place.

    Args:
        embed_dim: width d of inputs and outputs.
        expansion: hidden numbers for each number of the input; the hidden state has `embed_dim * expansion`.
        bias: whether the projections have biases.

    Raises:
        ValueError: `expansion` is less than 1.

    Source: arXiv 2410.01201, section 3.1; g is that of its version in log-space, in the appendix.
    """

    def __init__(
        self,
        embed_dim: int,
        expansion: int = 1,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if expansion < 1:
            raise ValueError(f"expansion: expected at least 1, received {expansion}")
        self.embed_dim, self.hidden_dim = embed_dim, embed_dim * expansion
        self.in_proj = nn.Linear(embed_dim, 2 * self.hidden_dim, bias, device=device, dtype=dtype)
        self.out_proj = nn.Linear(self.hidden_dim, embed_dim, bias, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw all parameters anew, as `torch.nn.Linear` does."""
        self.in_proj.reset_parameters()
        self.out_proj.reset_parameters()

    def forward(
        self,
        x: Float[Tensor, "batch tokens d"],
        state: Float[Tensor, "batch hidden"] | None = None,
        mask: Bool[Tensor, "batch tokens"] | None = None,
        *,
        resets: Bool[Tensor, "batch tokens"] | None = None,
        elapsed: Float[Tensor, "batch tokens"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens d"], Float[Tensor, "batch hidden"]]:
        """A prompt, a chunk or one token, by the same call.

        Args:
            x: inputs, shape (batch, tokens, embed_dim).
            state: the hidden state that the call before returned, or None at the start of a sequence.
            mask: shape (batch, tokens), True for a token that is there; a False one is as if deleted, and its output
                is the state's.
            resets: shape (batch, tokens), True where a new sequence starts inside the row.
            elapsed: shape (batch, tokens); ignored.

        Returns:
            outputs, shape (batch, tokens, embed_dim), and the hidden state after the last token, shape
            (batch, hidden_dim), in at least float32.

        Raises:
            ValueError: a shape is wrong.
        """
        require_tokens(x, self.embed_dim, mask=mask, resets=resets, elapsed=elapsed)
        if mask is not None:
            x = x.masked_fill(~mask[..., None], 0)
        projected = self.in_proj(x)
        gate, candidate = projected.to(_kept_dtype(projected)).chunk(2, -1)
        start = gate.new_zeros(len(x), self.hidden_dim) if state is None else state.to(gate.dtype)
        if start.shape != (len(x), self.hidden_dim):
            raise ValueError(
                f"state: expected shape {(len(x), self.hidden_dim)}, received {tuple(start.shape)}; is it of another "
                f"model or batch? start with init_state({len(x)})"
            )
        z = torch.sigmoid(gate)
        kept, new = 1 - z, z * positive(candidate)
        if mask is not None:
            kept, new = kept.masked_fill(~mask[..., None], 1), new.masked_fill(~mask[..., None], 0)
        if resets is not None:
            kept = kept.masked_fill(resets[..., None], 0)
        hidden = linear_recurrence(kept, new, start)
        last = hidden[:, -1] if hidden.shape[1] else start
        return self.out_proj(hidden.to(projected.dtype)), last.clone()

    def init_state(self, batch_size: int) -> Float[Tensor, "batch hidden"]:
        """The hidden state of a sequence that has not begun: zeros, shape (batch_size, hidden_dim)."""
        weight = self.in_proj.weight
        return weight.new_zeros(batch_size, self.hidden_dim, dtype=_kept_dtype(weight))


def _kept_dtype(x: Tensor) -> torch.dtype:
    """At least float32: in bfloat16 a state would not move where the gate is below its last digit."""
    return torch.promote_types(x.dtype, torch.float32)


class MinGRUEncoderLayer(_EncoderLayer[Tensor]):
    """A baseline: the same layer as `AarenEncoderLayer` with minGRU in the place of attention.

    Arguments as `AarenEncoderLayer`, without heads and decay.

    Args:
        d_model: width of inputs and outputs.
        dim_feedforward: width of the feed-forward network.
        dropout: probability after minGRU, inside and after the feed-forward network.
        activation: "relu", "gelu" or a function.
        expansion: hidden numbers of minGRU for each of `d_model`.
        layer_norm_eps: added to the variance in layer norms.
        norm_first: layer norm before minGRU and feed-forward rather than after.
        bias: whether linear layers and layer norms have biases.

    Raises:
        ValueError: `expansion` is less than 1, or there is no such activation.

    Source: arXiv 2410.01201 for minGRU; the layer around it is that of arXiv 2405.13956, section 3.3.

    Example:
        >>> layer = MinGRUEncoderLayer(d_model=512, dim_feedforward=2048)
        >>> y, state = layer(torch.zeros(2, 10, 512))
        >>> y_t, state = layer.step(torch.zeros(2, 512), state)
        >>> y_t.shape, state.shape
        (torch.Size([2, 512]), torch.Size([2, 512]))
    """

    self_attn: MinGRU

    def __init__(
        self,
        d_model: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        *,
        expansion: int = 1,
        layer_norm_eps: float = 1e-5,
        norm_first: bool = False,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            MinGRU(d_model, expansion, bias, device=device, dtype=dtype),
            d_model,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            norm_first,
            bias,
            {"device": device, "dtype": dtype},
        )

    def init_state(self, batch_size: int) -> Float[Tensor, "batch hidden"]:
        """The hidden state of a sequence that has not begun: zeros, shape (batch_size, d_model * expansion)."""
        return self.self_attn.init_state(batch_size)


class MinGRUEncoder(_Encoder[Tensor]):
    """A stack of `MinGRUEncoderLayer`, a baseline; arguments as `AarenEncoder`.

    Example:
        >>> encoder = MinGRUEncoder(MinGRUEncoderLayer(d_model=16, dim_feedforward=32), num_layers=2)
        >>> y, state = encoder(torch.zeros(3, 5, 16))
        >>> [tuple(hidden.shape) for hidden in state]
        [(3, 16), (3, 16)]
    """

    def init_state(self, batch_size: int) -> tuple[Float[Tensor, "batch hidden"], ...]:
        """The hidden states of a sequence that has not begun, one for each layer."""
        return tuple(cast(MinGRUEncoderLayer, layer).init_state(batch_size) for layer in self.layers)
