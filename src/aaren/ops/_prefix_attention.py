"""The public operator: canonical inputs, a backend, outputs and state."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd import forward_ad

from aaren.ops import _library as _library  # defines torch.ops.aaren
from aaren.ops._checks import check_inputs, check_numbers
from aaren.ops._eager import is_plain
from aaren.ops._reference import step
from aaren.ops._registry import choose_backend
from aaren.ops._state import AttentionState


def _refuse_forward_mode(*tensors: Tensor | None) -> None:
    """A kernel has a backward alone; forward-mode differentiation would find the derivative 0 without a word."""
    if forward_ad._current_level >= 0 and any(
        x is not None and forward_ad.unpack_dual(x).tangent is not None for x in tensors
    ):
        raise RuntimeError(
            "prefix_attention: expected reverse-mode differentiation, received forward-mode tangents (jvp), which "
            "kernels do not have; use backend='definition', 'recurrence' or 'scan'"
        )


def prefix_attention(
    scores: Float[Tensor, "*batch tokens"],
    values: Float[Tensor, "*batch tokens dim"],
    state: AttentionState | None = None,
    *,
    log_decay: Float[Tensor, "*batch tokens"] | None = None,
    mask: Bool[Tensor, "*batch tokens"] | None = None,
    resets: Bool[Tensor, "*batch tokens"] | None = None,
    backend: str = "auto",
) -> tuple[Float[Tensor, "*batch tokens dim"], AttentionState]:
    r"""Softmax attention of one query over every prefix of a sequence, continued from a state.

    .. math:: o_k = \frac{\sum_{i \le k} e^{s_i} v_i}{\sum_{i \le k} e^{s_i}}

    A sequence in one call, in any chunks, or token by token gives the same outputs, final state and gradients.

    Args:
        scores: attention logits s, shape (..., tokens). A score of -inf is a masked token.
        values: value vectors v, shape (..., tokens, dim), floating like the scores, of any floating dtype.
        state: what an earlier call returned; None starts a new sequence.
        log_decay: γ <= 0, shape of scores: when token k arrives, all older weights are multiplied by exp(γ_k).
            None is the paper's operator. The γ of a masked token is not used.
        mask: shape of scores; False removes a token as if it had not been there. Its output is the state's.
        resets: shape of scores; True starts a new sequence at that token (also where the token is masked).
        backend: "auto", or the name of one of `aaren.ops.backends()`. A name that cannot run here raises.

    Returns:
        outputs, shape (..., tokens, dim), dtype of values (0 where no token was seen yet), and the state after the
        last token, in the kept dtype (float64).

    Raises:
        ValueError: shapes or devices do not go together, or, within `check_finite`, a number is NaN or +inf.
        TypeError: a dtype is not floating (scores, values, log_decay) or not bool (mask, resets).
        BackendError: the backend is unknown or cannot run here.

    Source: arXiv 2405.13956, section 3; decay, resets and the closed-form backward are this project's.

    Example:
        >>> scores, values = torch.zeros(4), torch.tensor([[1.0], [2.0], [3.0], [4.0]])
        >>> outputs, state = prefix_attention(scores[:3], values[:3])
        >>> outputs.squeeze(-1)
        tensor([1.0000, 1.5000, 2.0000])
        >>> outputs, state = prefix_attention(scores[3:], values[3:], state)
        >>> outputs
        tensor([[2.5000]])
    """
    check_inputs(scores, values, state, log_decay, mask, resets)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    if log_decay is not None:
        # a masked token is a deleted one: it does not age the past either
        log_decay = log_decay.masked_fill(scores == -torch.inf, 0)
    if resets is not None:
        base = torch.zeros_like(scores) if log_decay is None else log_decay
        log_decay = base.masked_fill(resets, -torch.inf)
    check_numbers(scores, values, log_decay)

    chosen = choose_backend(backend, scores.device)
    if backend == "auto" and scores.shape[-1] == 1 and state is not None and not torch.is_grad_enabled():
        plain = is_plain(scores, values, log_decay, state.max_score, state.normalizer, state.weighted_sum)
        run = chosen.step if plain else step  # tracers see the reference's operations
        decay = None if log_decay is None else log_decay[..., 0]
        output, state = run(scores[..., 0], values[..., 0, :], decay, state)
        return output[..., None, :], state

    if chosen.backward is None:
        return chosen.forward(scores, values, log_decay, state)  # type: ignore[return-value]
    parts = (None, None, None) if state is None else (state.max_score, state.normalizer, state.weighted_sum)
    _refuse_forward_mode(scores, values, log_decay, *parts)
    outputs, _, max_score, normalizer, weighted_sum = torch.ops.aaren.prefix_attention(
        scores, values, log_decay, *parts, chosen.name
    )
    # lse = max_score + log(normalizer): its whole gradient flows through the normaliser
    return outputs, AttentionState(max_score.detach(), normalizer, weighted_sum)
