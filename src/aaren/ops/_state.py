"""What the past leaves behind: the state (m, u, w) of softmax attention, and how two states merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


def kept_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which a state is kept between calls: float64, or float32 where the device has no float64.

    A float32 normaliser stops growing after about 1e7 equal tokens; in float64 the output's error stays below
    1e-6 for more than 1e9 tokens.
    """
    return torch.float32 if device.type == "mps" else torch.float64


@dataclass(frozen=True)
class AttentionState:
    r"""The state of softmax attention over a set A of tokens with scores s and values v.

    .. math::
        m_A = \max_{i \in A} s_i \qquad
        u_A = \sum_{i \in A} e^{s_i - m_A} \qquad
        w_A = \sum_{i \in A} e^{s_i - m_A} v_i

    A state is a value: no method changes it, all return a new one. It is a registered pytree, so it passes through
    `torch.utils._pytree`, `torch.compile` and `torch.export` as three tensors.

    Args:
        max_score: m, shape (...); -inf where nothing was seen yet.
        normalizer: u, shape (...); 0 where nothing was seen yet.
        weighted_sum: w, shape (..., dim).

    Source: arXiv 2405.13956, section 3.2, where the triple is called (m, u, w).

    Example:
        >>> a = AttentionState.leaf(torch.tensor([0.0]), torch.tensor([[1.0]]))
        >>> b = AttentionState.leaf(torch.tensor([0.0]), torch.tensor([[3.0]]))
        >>> a.merge(b).output()
        tensor([[2.]])
    """

    max_score: Float[Tensor, "*batch"]
    normalizer: Float[Tensor, "*batch"]
    weighted_sum: Float[Tensor, "*batch dim"]

    @staticmethod
    def identity(
        batch_shape: Sequence[int],
        dim: int,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> AttentionState:
        """The state (-inf, 0, 0) of no tokens at all: neutral on both sides of `merge`.

        Args:
            batch_shape: leading shape (...), for example (batch, heads).
            dim: size of a value vector.
            dtype: floating dtype; by default the kept dtype, float64.
            device: where the state lives; by default the current default device.
        """
        where = torch.empty(0, device=device).device
        dtype = dtype or kept_dtype(where)
        shape = tuple(batch_shape)
        return AttentionState(
            torch.full(shape, -torch.inf, dtype=dtype, device=where),
            torch.zeros(shape, dtype=dtype, device=where),
            torch.zeros((*shape, dim), dtype=dtype, device=where),
        )

    @staticmethod
    def leaf(scores: Float[Tensor, "*batch"], values: Float[Tensor, "*batch dim"]) -> AttentionState:
        """The state (s, 1, v) of one token; the identity where the score is -inf, whatever the value is there."""
        seen = scores > -torch.inf
        return AttentionState(scores, seen.to(scores.dtype), torch.where(seen[..., None], values, 0))

    def merge(self, later: AttentionState, log_decay: Float[Tensor, "*batch"] | None = None) -> AttentionState:
        """The state of both spans, this one earlier; associative, and without decay commutative.

        Args:
            later: state of the span that follows, of the same shape.
            log_decay: total log-decay over the later span, shape (...), <= 0; this earlier state suffers it.

        Source: arXiv 2405.13956, section 3.2 (the operator ⊕); decay is this project's extension.
        """
        earlier_max = self.max_score if log_decay is None else self.max_score + log_decay
        max_score = torch.maximum(earlier_max, later.max_score)
        # exp(-inf - (-inf)) would be NaN: where nothing was seen, subtract 0 instead.
        shift = torch.where(max_score > -torch.inf, max_score, 0)
        earlier_scale = torch.exp(earlier_max - shift)
        later_scale = torch.exp(later.max_score - shift)
        return AttentionState(
            max_score,
            self.normalizer * earlier_scale + later.normalizer * later_scale,
            self.weighted_sum * earlier_scale[..., None] + later.weighted_sum * later_scale[..., None],
        )

    def output(self) -> Float[Tensor, "*batch dim"]:
        """The attention output w / u, shape (..., dim); 0 where nothing was seen yet."""
        seen = self.normalizer > 0
        return torch.where(seen, 1 / torch.where(seen, self.normalizer, 1), 0)[..., None] * self.weighted_sum

    def lse(self) -> Float[Tensor, "*batch"]:
        """The log-sum-exp m + log u of the scores, shape (...); -inf where nothing was seen yet."""
        seen = self.normalizer != 0  # NaN is seen
        return torch.where(seen, self.max_score + torch.log(torch.where(seen, self.normalizer, 1)), -torch.inf)

    def select(self, index: Tensor | slice) -> AttentionState:
        """The rows `index` of the first batch dimension (an index tensor, a boolean mask or a slice)."""
        return AttentionState(self.max_score[index], self.normalizer[index], self.weighted_sum[index])

    def reset(self, index: Tensor | slice | None = None) -> AttentionState:
        """A state whose rows `index` of the first batch dimension (all rows if None) have seen nothing."""
        index = slice(None) if index is None else index
        max_score, normalizer = self.max_score.clone(), self.normalizer.clone()
        weighted_sum = self.weighted_sum.clone()
        max_score[index] = -torch.inf
        normalizer[index] = 0
        weighted_sum[index] = 0
        return AttentionState(max_score, normalizer, weighted_sum)

    def detach(self) -> AttentionState:
        """The same numbers, cut from the graph of gradients (truncated backpropagation through time)."""
        return AttentionState(self.max_score.detach(), self.normalizer.detach(), self.weighted_sum.detach())

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> AttentionState:
        """The same state on another device or in another dtype."""
        return AttentionState(
            self.max_score.to(device=device, dtype=dtype),
            self.normalizer.to(device=device, dtype=dtype),
            self.weighted_sum.to(device=device, dtype=dtype),
        )


torch.export.register_dataclass(AttentionState, serialized_type_name="aaren.AttentionState")
