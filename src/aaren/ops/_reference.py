"""Three textbook forms of prefix attention: the definition, the paper's RNN cell, the paper's Algorithm 1.

They are differentiated by autograd and are the oracles that the fast forms must equal. All take canonical inputs:
a mask is a score of -inf, a reset is a log-decay of -inf.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from aaren.ops._state import AttentionState, kept_dtype

Outputs = tuple[Float[Tensor, "*batch tokens dim"], AttentionState]


def accumulation_dtype(scores: Tensor, values: Tensor) -> torch.dtype:
    """The dtype of sums inside a sequence: float64 if an input is, else float32 (bfloat16 and float16 included)."""
    return torch.promote_types(torch.promote_types(scores.dtype, values.dtype), torch.float32)


def start_state(scores: Tensor, values: Tensor, state: AttentionState | None) -> AttentionState:
    """A copy of the given initial state in the kept dtype, or the identity where there is none."""
    if state is None:
        return AttentionState.identity(scores.shape[:-1], values.shape[-1], device=scores.device)
    return AttentionState(*(x.to(kept_dtype(scores.device), copy=True) for x in vars(state).values()))


def definition(
    scores: Float[Tensor, "*batch tokens"],
    values: Float[Tensor, "*batch tokens dim"],
    log_decay: Float[Tensor, "*batch tokens"] | None,
    state: AttentionState | None,
) -> Outputs:
    r"""Masked softmax in float64, O(tokens²): the oracle.

    .. math:: o_k = \frac{\sum_{i \le k} e^{\ell_{ki}} v_i}{\sum_{i \le k} e^{\ell_{ki}}},
              \qquad \ell_{ki} = s_i + \sum_{i < j \le k} \gamma_j

    The initial state stands as a token before the first, with score lse and value o.

    Source: arXiv 2405.13956, section 3.1 (many-to-many attention with one query).
    """
    tokens = scores.shape[-1]
    out_dtype, work = values.dtype, kept_dtype(scores.device)
    start = start_state(scores, values, state).to(dtype=work)
    values = values.masked_fill((scores == -torch.inf)[..., None], 0).to(work)
    scores = torch.cat([start.lse()[..., None], scores.to(work)], -1)
    values = torch.cat([start.output()[..., None, :], values], -2)
    decay = torch.zeros_like(scores)
    if log_decay is not None:
        decay = torch.cat([decay[..., :1], log_decay.to(work)], -1)

    position = torch.arange(tokens + 1, device=scores.device)
    later = position[:, None] > position[None, :]
    # decays[..., k, i] is the sum of the log-decays after i up to k, summed term by term so that -inf is exact
    decays = torch.where(later, decay[..., :, None], 0).cumsum(-2)
    logits = torch.where(position[:, None] >= position[None, :], scores[..., None, :] + decays, -torch.inf)
    top = logits.detach().amax(-1, keepdim=True)
    top = torch.where(top > -torch.inf, top, 0)
    weights = torch.exp(logits - top)
    normalizer = weights.sum(-1)
    weighted_sum = weights @ values
    outputs = weighted_sum / torch.where(normalizer > 0, normalizer, 1)[..., None]
    seen = normalizer[..., -1] > 0
    final = AttentionState(
        torch.where(seen, top[..., -1, 0], -torch.inf),
        normalizer[..., -1].clone(),
        weighted_sum[..., -1, :].clone(),
    )
    return outputs[..., 1:, :].to(out_dtype), final


def step(
    scores: Float[Tensor, "*batch"],
    values: Float[Tensor, "*batch dim"],
    log_decay: Float[Tensor, "*batch"] | None,
    state: AttentionState,
) -> tuple[Float[Tensor, "*batch dim"], AttentionState]:
    """The paper's RNN cell: one token in O(1) time and memory, in the precision in which the state is kept.

    Source: arXiv 2405.13956, section 3.1 (attention as an RNN; there the state is called (a, c, m)).
    """
    work = torch.promote_types(kept_dtype(scores.device), state.weighted_sum.dtype)
    leaf = AttentionState.leaf(scores.to(work), values.to(work))
    state = state.to(dtype=work).merge(leaf, None if log_decay is None else log_decay.to(work))
    return state.output().to(values.dtype), state


def recurrence(
    scores: Float[Tensor, "*batch tokens"],
    values: Float[Tensor, "*batch tokens dim"],
    log_decay: Float[Tensor, "*batch tokens"] | None,
    state: AttentionState | None,
) -> Outputs:
    """The RNN cell folded over the tokens, one after another."""
    outputs = []
    state = start_state(scores, values, state)
    for k in range(scores.shape[-1]):
        decay = None if log_decay is None else log_decay[..., k]
        output, state = step(scores[..., k], values[..., k, :], decay, state)
        outputs.append(output)
    if not outputs:
        return values.clone(), state
    return torch.stack(outputs, -2), state


def scan(
    scores: Float[Tensor, "*batch tokens"],
    values: Float[Tensor, "*batch tokens dim"],
    log_decay: Float[Tensor, "*batch tokens"] | None,
    state: AttentionState | None,
) -> Outputs:
    """The paper's Algorithm 1: Hillis and Steele's scan over `merge`, O(tokens log tokens) work.

    Source: arXiv 2405.13956, Algorithm 1 and appendix A.
    """
    work = accumulation_dtype(scores, values)
    tokens = scores.shape[-1]
    prefix = AttentionState.leaf(scores.to(work), values.to(work))
    decays = torch.zeros_like(prefix.max_score) if log_decay is None else log_decay.to(work)
    distance = 1
    while distance < tokens:
        earlier = AttentionState(
            prefix.max_score[..., :-distance],
            prefix.normalizer[..., :-distance],
            prefix.weighted_sum[..., :-distance, :],
        )
        later = AttentionState(
            prefix.max_score[..., distance:],
            prefix.normalizer[..., distance:],
            prefix.weighted_sum[..., distance:, :],
        )
        merged = earlier.merge(later, None if log_decay is None else decays[..., distance:])
        prefix = AttentionState(
            torch.cat([prefix.max_score[..., :distance], merged.max_score], -1),
            torch.cat([prefix.normalizer[..., :distance], merged.normalizer], -1),
            torch.cat([prefix.weighted_sum[..., :distance, :], merged.weighted_sum], -2),
        )
        decays = torch.cat([decays[..., :distance], decays[..., distance:] + decays[..., :-distance]], -1)
        distance *= 2

    kept = kept_dtype(scores.device)
    if state is not None:
        start = AttentionState(
            state.max_score[..., None], state.normalizer[..., None], state.weighted_sum[..., None, :]
        )
        prefix = start.to(dtype=kept).merge(prefix.to(dtype=kept), decays)
    outputs = prefix.output().to(values.dtype)
    if tokens == 0:
        return outputs, start_state(scores, values, state)
    # copies: a view would alias the scores, or keep the storage of all prefixes alive
    return outputs, AttentionState(
        prefix.max_score[..., -1].to(kept, copy=True),
        prefix.normalizer[..., -1].to(kept, copy=True),
        prefix.weighted_sum[..., -1, :].to(kept, copy=True),
    )
