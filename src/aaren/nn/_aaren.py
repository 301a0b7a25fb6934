"""The Aaren attention module: multi-head attention whose query is a learned token."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from aaren.ops import AttentionState, prefix_attention

Decay = Literal["learned", "time"] | None


def require_heads(d_model: int, nhead: int) -> None:
    """Refuse a number of heads that does not divide the width."""
    if nhead < 1 or d_model % nhead:
        raise ValueError(f"nhead: expected a divisor of the width {d_model}, received {nhead}; change one of the two")


def require_tokens(x: Tensor, d_model: int, **for_each_token: Tensor | None) -> None:
    """Refuse inputs that are not (batch, tokens, d_model), and masks and the like that are not (batch, tokens)."""
    if x.dim() != 3 or x.shape[-1] != d_model:
        raise ValueError(
            f"x: expected shape (batch, tokens, {d_model}), received {tuple(x.shape)}; the layout is always batch first"
        )
    for name, given in for_each_token.items():
        if given is not None and given.shape != x.shape[:2]:
            raise ValueError(
                f"{name}: expected shape (batch, tokens) = {tuple(x.shape[:2])}, received {tuple(given.shape)}; "
                f"use {name}.expand"
            )


class Aaren(nn.Module):
    r"""Attention as an RNN: softmax attention of a learned query over every prefix of the sequence.

    .. math::
        s_k = \frac{(W_q\, query + b_q) \cdot (W_k x_k + b_k)}{\sqrt{d_{head}}} \qquad
        v_k = W_v x_k + b_v \qquad
        y_k = W_o\, \mathrm{concat}_{heads} \frac{\sum_{i \le k} e^{s_i} v_i}{\sum_{i \le k} e^{s_i}} + b_o

    The parameters are those of `torch.nn.MultiheadAttention` (same names and shapes) and the query token, `query`.
    Keys are never formed: :math:`q \cdot W_k x = (W_k^T q) \cdot x`, one thin projection to `num_heads` scores. The
    bias b_k adds the same to every score of a head and cancels; its gradient is exactly 0.

    Args:
        embed_dim: width d of inputs and outputs.
        num_heads: number of heads; must divide `embed_dim`.
        bias: whether the projections have biases.
        decay: None is the paper. "learned": older tokens fade by a learned rate per head and token. "time": by a
            learned rate per head and unit of elapsed time. Half-lives start spread from 4 to 1024 tokens (or units).

    Source: arXiv 2405.13956, section 3.3 ("Aaren: [A]ttention [a]s a [re]current neural [n]etwork"). Decay is this
    project's. Dropout on attention weights does not exist here, since the weights are never formed.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        bias: bool = True,
        *,
        decay: Decay = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        require_heads(embed_dim, num_heads)
        if decay not in (None, "learned", "time"):
            raise ValueError(f"decay: expected None, 'learned' or 'time', received {decay!r}")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.decay = decay
        self.query = nn.Parameter(torch.empty(embed_dim, device=device, dtype=dtype))
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim, device=device, dtype=dtype))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * embed_dim, device=device, dtype=dtype)) if bias else None
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias, device=device, dtype=dtype)
        self.decay_rate = nn.Parameter(torch.empty(num_heads, device=device, dtype=dtype)) if decay else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as `torch.nn.MultiheadAttention` does, the query token from a standard normal."""
        nn.init.normal_(self.query)
        nn.init.xavier_uniform_(self.in_proj_weight)
        self.out_proj.reset_parameters()
        if self.in_proj_bias is not None:
            nn.init.zeros_(self.in_proj_bias)
            nn.init.zeros_(self.out_proj.bias)
        if self.decay_rate is not None:
            half_lives = torch.logspace(2, 10, self.num_heads, base=2)
            with torch.no_grad():
                self.decay_rate.copy_(torch.log(torch.expm1(math.log(2) / half_lives)))

    def _folded_query(self) -> Float[Tensor, "heads d"]:
        """W_kᵀ q / sqrt(d_head) for every head."""
        w_q, w_k, _ = self.in_proj_weight.chunk(3)
        b_q = None if self.in_proj_bias is None else self.in_proj_bias.chunk(3)[0]
        q = F.linear(self.query, w_q, b_q).view(self.num_heads, 1, self.head_dim)
        return (q @ w_k.view(self.num_heads, self.head_dim, self.embed_dim)).squeeze(1) / math.sqrt(self.head_dim)

    def scores(self, x: Float[Tensor, "batch tokens d"]) -> Float[Tensor, "batch heads tokens"]:
        """The attention logits of every token, shape (batch, heads, tokens)."""
        return F.linear(x, self._folded_query()).transpose(1, 2)

    def log_decay(
        self, x: Float[Tensor, "batch tokens d"], elapsed: Float[Tensor, "batch tokens"] | None
    ) -> Float[Tensor, "batch heads tokens"] | None:
        """γ <= 0 for every head and token, or None without decay.

        Raises:
            ValueError: `decay="time"` and no elapsed time was given.
        """
        if self.decay_rate is None:
            return None
        rate = F.softplus(self.decay_rate)
        if self.decay == "learned":
            return -rate[None, :, None].expand(x.shape[0], -1, x.shape[1])
        if elapsed is None:
            raise ValueError(
                "elapsed: expected the time since the token before, shape (batch, tokens), since decay='time'; "
                "received None"
            )
        return -rate[None, :, None] * elapsed[:, None].to(rate.dtype)

    def forward(
        self,
        x: Float[Tensor, "batch tokens d"],
        state: AttentionState | None = None,
        mask: Bool[Tensor, "batch tokens"] | None = None,
        *,
        resets: Bool[Tensor, "batch tokens"] | None = None,
        elapsed: Float[Tensor, "batch tokens"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens d"], AttentionState]:
        """Attend over all tokens so far: a prompt, a chunk or one token, by the same call.

        Args:
            x: inputs, shape (batch, tokens, embed_dim).
            state: what the call before returned, or None at the start of a sequence.
            mask: shape (batch, tokens), True for a token that is there; a False one is as if deleted.
            resets: shape (batch, tokens), True where a new sequence starts inside the row.
            elapsed: shape (batch, tokens), time since the token before, >= 0; used by `decay="time"`.

        Returns:
            outputs, shape (batch, tokens, embed_dim), and the state, batch shape (batch, num_heads).
        """
        require_tokens(x, self.embed_dim, mask=mask, resets=resets, elapsed=elapsed)
        if mask is not None:
            x = x.masked_fill(~mask[..., None], 0)
            # NaN behind a mask would reach the rate's gradient as 0 · NaN
            elapsed = None if elapsed is None else elapsed.masked_fill(~mask, 0)
        batch, tokens, _ = x.shape
        w_v = self.in_proj_weight.chunk(3)[2]
        b_v = None if self.in_proj_bias is None else self.in_proj_bias.chunk(3)[2]
        values = F.linear(x, w_v, b_v).view(batch, tokens, self.num_heads, self.head_dim).transpose(1, 2)
        heads = (batch, self.num_heads, tokens)
        attended, state = prefix_attention(
            self.scores(x),
            values,
            state,
            log_decay=self.log_decay(x, elapsed),
            mask=None if mask is None else mask[:, None].expand(heads),
            resets=None if resets is None else resets[:, None].expand(heads),
        )
        return self.out_proj(attended.transpose(1, 2).reshape(batch, tokens, self.embed_dim)), state

    def init_state(self, batch_size: int) -> AttentionState:
        """The state of a sequence that has not begun, batch shape (batch_size, num_heads)."""
        return AttentionState.identity((batch_size, self.num_heads), self.head_dim, device=self.query.device)

    def attention_weights(
        self, x: Float[Tensor, "batch tokens d"], elapsed: Float[Tensor, "batch tokens"] | None = None
    ) -> Float[Tensor, "batch heads tokens"]:
        """The weight that the last token's output gives to every token, shape (batch, heads, tokens), sum 1."""
        logits = self.scores(x).double()
        log_decay = self.log_decay(x, elapsed)
        if log_decay is not None:
            later = log_decay.double().flip(-1).cumsum(-1).flip(-1)
            logits = logits + torch.cat([later[..., 1:], torch.zeros_like(later[..., :1])], -1)
        return logits.softmax(-1)
