"""What a kernel backend gives and takes, and the part of the backward that all kernels share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from aaren.ops._state import AttentionState


class Saved(NamedTuple):
    """What a kernel's forward returns, all that its backward needs.

    Args:
        outputs: o, dtype of the values, in the memory layout of `torch.empty_like(values)`.
        gain: g_k, the weight of token k in its own output, in the kept dtype; 1 - g_k is what stays of the past mean.
            1 where nothing was seen yet.
        state: after the last token, in the kept dtype.
    """

    outputs: Float[Tensor, "*batch tokens dim"]
    gain: Float[Tensor, "*batch tokens"]
    state: AttentionState


class Gradients(NamedTuple):
    """Gradients to scores, values and log-decays (None without decay), and to the initial state's mean and lse."""

    scores: Float[Tensor, "*batch tokens"]
    values: Float[Tensor, "*batch tokens dim"]
    log_decay: Float[Tensor, "*batch tokens"] | None
    start_mean: Float[Tensor, "*batch dim"]
    start_lse: Float[Tensor, "*batch"]


End = tuple[Tensor, Tensor]
"""What stands behind the last token in the backward recurrence, for the final state: acc (..., dim) and r (...)."""

Backward = Callable[[Tensor, End | None, Tensor, Tensor, Tensor | None, Tensor | None, Saved], Gradients]
"""(grad_outputs, end, scores, values, log_decay, mean of the initial state, saved) to `Gradients`.

No end and no mean stand for zeros. There is at least one row and one token. Gradients have the layout of
`torch.empty_like` of what they belong to.
"""

Step = Callable[[Tensor, Tensor, Tensor | None, AttentionState], tuple[Tensor, AttentionState]]
"""One token without gradients: (scores (...), values (..., dim), log_decay, state) to (outputs, state)."""


def end_of_backward(
    state: AttentionState, grad_normalizer: Tensor | None, grad_weighted_sum: Tensor | None
) -> End | None:
    """Gradients to the final (u, w), shapes (...) and (..., dim), as acc and r behind the last token.

    u = exp(lse - m) and w = o u with m constant, which cancels in all that a state is used for. So acc = do = dw u,
    dlse = du u + dw · w, and r = o · do - dlse = -du u.
    """
    if grad_normalizer is None and grad_weighted_sum is None:
        return None
    u, w = state.normalizer, state.weighted_sum
    acc = torch.zeros_like(w) if grad_weighted_sum is None else grad_weighted_sum * u[..., None]
    return acc, torch.zeros_like(u) if grad_normalizer is None else -grad_normalizer * u


def gradients_to_state(
    state: AttentionState, grad_mean: Float[Tensor, "*batch dim"], grad_lse: Float[Tensor, "*batch"]
) -> AttentionState:
    """Gradients to (m, u, w) from those to the mean o = w / u and to lse = m + log u; 0 where nothing was seen."""
    seen = state.normalizer > 0
    inverse = torch.where(seen, 1 / torch.where(seen, state.normalizer, 1), 0).to(grad_lse.dtype)
    grad_w = grad_mean * inverse[..., None]
    grad_u = grad_lse * inverse - (grad_w * state.output()).sum(-1)
    return AttentionState(
        grad_lse.to(state.max_score.dtype, copy=True),
        grad_u.to(state.normalizer.dtype),
        grad_w.to(state.weighted_sum.dtype),
    )
