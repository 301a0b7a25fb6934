r"""Prefix attention in blocks of tokens: linear work, stock PyTorch, any device. Forward and closed-form backward.

Two passes, forward and backward alike:

1. *scalars*, one per token, in float64: the running log-sum-exp, and from it the gain and the retention

   .. math:: g_k = e^{s_k - lse_k} \qquad f_k = e^{lse_{k-1} + \gamma_k - lse_k} = 1 - g_k
2. *vectors*: the linear recurrence :math:`o_k = f_k o_{k-1} + g_k v_k`. A sequence is cut into blocks; inside a
   block the recurrence is one triangular matrix product, between blocks it is the same recurrence on a sequence
   that is shorter by the block's length, solved by the same function in float64.

Large scores lose no accuracy, since only differences of float64 logarithms, which are <= 0, ever meet float32.

Source: arXiv 2405.13956, section 3.1 (block-by-block) and 3.2; the backward is this project's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from aaren.ops._reference import accumulation_dtype
from aaren.ops._state import AttentionState, kept_dtype

BLOCK = 16


class Saved(NamedTuple):
    """What a kernel's forward returns: outputs, log-sum-exp of every prefix in the kept dtype, final state."""

    outputs: Float[Tensor, "*batch tokens dim"]
    lse: Float[Tensor, "*batch tokens"]
    state: AttentionState


class Gradients(NamedTuple):
    """Gradients to the scores, values, log-decays and initial state (None where that input was None)."""

    scores: Float[Tensor, "*batch tokens"]
    values: Float[Tensor, "*batch tokens dim"]
    log_decay: Float[Tensor, "*batch tokens"] | None
    state: AttentionState | None


def _minus(a: Tensor, b: Tensor) -> Tensor:
    """The difference a - b, where b = -inf counts as 0 (it then meets a = -inf, and the difference is -inf)."""
    return a - b.masked_fill(b == -torch.inf, 0)


def _cut(x: Float[Tensor, "rows tokens *dim"], block: int) -> Float[Tensor, "rows blocks block *dim"]:
    """Cut dimension 1 into blocks, the last one filled up with zeros."""
    rows, tokens, *dim = x.shape
    extra = -tokens % block
    if extra:
        x = torch.cat([x, x.new_zeros(rows, extra, *dim)], 1)
    return x.reshape(rows, x.shape[1] // block, block, *dim)


def _sums_after(x: Float[Tensor, "*batch block"]) -> Float[Tensor, "*batch block"]:
    """Entry i is the sum of the entries after i; summed from the end, so that -inf hides only what is before it."""
    return torch.cat([x[..., 1:].flip(-1).cumsum(-1).flip(-1), torch.zeros_like(x[..., :1])], -1)


def _span_sums(x: Float[Tensor, "*batch block"]) -> Float[Tensor, "*batch block block"]:
    """Entry [k, i] is the sum of the entries after i up to k; 0 above the diagonal.

    The terms are summed, not subtracted from one another's running sums: exact for -inf, and no cancellation.
    """
    n = x.shape[-1]
    after = torch.ones(n, n, dtype=torch.bool, device=x.device).tril_(-1)
    return torch.where(after, x[..., :, None], 0).cumsum_(-2)


def _running_lse(
    scores: Float[Tensor, "rows tokens"],
    log_decay: Float[Tensor, "rows tokens"] | None,
    start: Float[Tensor, " rows"],
) -> Float[Tensor, "rows tokens"]:
    """The log-sum-exp of every prefix, continued from that of the initial state."""
    if log_decay is None:
        return torch.cat([start[:, None], scores], 1).logcumsumexp(1)[:, 1:]
    tokens = scores.shape[1]
    block = min(BLOCK, tokens)
    s, decay = _cut(scores, block), _cut(log_decay, block)
    above = torch.ones(block, block, dtype=torch.bool, device=s.device).triu_(1)
    local = torch.logsumexp((s[..., None, :] + _span_sums(decay)).masked_fill_(above, -torch.inf), -1)
    entry = start[:, None]
    if s.shape[1] > 1:
        after = _running_lse(local[:, :-1, -1], decay.sum(-1)[:, :-1], start)
        entry = torch.cat([entry, after], 1)
    return torch.logaddexp(local, entry[..., None] + decay.cumsum(-1)).reshape(scores.shape[0], -1)[:, :tokens]


def _log_retention(
    lse: Float[Tensor, "rows tokens"],
    log_decay: Float[Tensor, "rows tokens"] | None,
    start: Float[Tensor, " rows"],
) -> Float[Tensor, "rows tokens"]:
    """Log f_k = lse_{k-1} + γ_k - lse_k <= 0: how much of the past mean stays when token k arrives."""
    before = torch.cat([start[:, None], lse[:, :-1]], 1)
    if log_decay is not None:
        before = before + log_decay
    return _minus(before, lse).clamp(max=0)


def _recurrence(
    factors: Float[Tensor, "rows tokens"],
    x: Float[Tensor, "rows tokens dim"],
    log_retention: Float[Tensor, "rows tokens"],
    start: Float[Tensor, "rows dim"],
) -> tuple[Float[Tensor, "rows tokens dim"], Float[Tensor, "rows dim"]]:
    """All h_k = f_k h_{k-1} + factor_k x_k in the dtype of x, and the last one in the kept dtype."""
    rows, tokens, dim = x.shape
    block = min(BLOCK, tokens)
    retention = _cut(log_retention, block)
    matrix = _span_sums(retention.to(x.dtype)).exp_().tril_()
    matrix *= _cut(factors, block)[..., None, :]
    local = torch.bmm(matrix.flatten(0, 1), _cut(x, block).flatten(0, 1)).view(rows, matrix.shape[1], block, dim)
    ends = local[:, :, -1].to(start.dtype)
    total = retention.sum(-1)
    if ends.shape[1] > 1:
        ends, last = _recurrence(torch.ones_like(total), ends, total, start)
        entry = torch.cat([start[:, None], ends[:, :-1]], 1)
    else:
        entry = start[:, None]
        last = ends[:, 0] + torch.exp(total) * start
    reach = torch.exp(retention.cumsum(-1)).to(x.dtype)
    local.addcmul_(reach[..., None], entry.to(x.dtype)[:, :, None])
    return local.flatten(1, 2)[:, :tokens], last


def _reversed_recurrence(
    x: Float[Tensor, "rows tokens dim"],
    y: Float[Tensor, "rows tokens"],
    log_retention: Float[Tensor, "rows tokens"],
    end_x: Float[Tensor, "rows dim"],
    end_y: Float[Tensor, " rows"],
) -> tuple[Float[Tensor, "rows tokens dim"], Float[Tensor, "rows tokens"]]:
    """All h_i = x_i + f_{i+1} h_{i+1}, from `end` behind the last token (there f = 1), and the same for y.

    It is the transpose of the forward's recurrence, by the same blocks.
    """
    rows, tokens, dim = x.shape
    block = min(BLOCK, tokens)
    retention = _cut(log_retention, block)
    matrix = _span_sums(retention.to(x.dtype)).exp_().tril_()
    blocks = matrix.shape[1]
    h_x = torch.bmm(matrix.mT.flatten(0, 1), _cut(x, block).flatten(0, 1)).view(rows, blocks, block, dim)
    h_y = matrix.mul_(_cut(y, block)[..., None]).sum(-2)
    # from token i of a block to the first token of the next one, or to the end
    next_first = torch.cat([retention[:, 1:, 0], torch.zeros_like(retention[:, :1, 0])], 1)
    to_next = _sums_after(retention) + next_first[..., None]
    coming_x, coming_y = end_x[:, None], end_y[:, None]
    if blocks > 1:
        between = torch.cat([torch.zeros_like(to_next[:, :1, 0]), to_next[:, :-1, 0]], 1)
        reach_end = torch.exp(to_next[:, -1, 0])
        starts_x, starts_y = _reversed_recurrence(
            h_x[:, :, 0].to(end_x.dtype),
            h_y[:, :, 0].to(end_y.dtype),
            between,
            reach_end[:, None] * end_x,
            reach_end * end_y,
        )
        coming_x = torch.cat([starts_x[:, 1:], coming_x], 1)
        coming_y = torch.cat([starts_y[:, 1:], coming_y], 1)
    reach = torch.exp(to_next).to(x.dtype)
    h_x.addcmul_(reach[..., None], coming_x.to(x.dtype)[:, :, None])
    h_y.addcmul_(reach, coming_y.to(x.dtype)[..., None])
    return h_x.flatten(1, 2)[:, :tokens], h_y.flatten(1, 2)[:, :tokens]


def _start(state: AttentionState | None, rows: int, dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The initial state as (lse, mean), shapes (rows,) and (rows, dim), in the kept dtype."""
    if state is None:
        state = AttentionState.identity((rows,), dim, device=device)
    state = state.to(dtype=kept_dtype(device))
    return state.lse().reshape(rows), state.output().reshape(rows, dim)


def _hide_masked(scores: Tensor, values: Tensor) -> Tensor:
    """The values with zeros where the score is -inf, so that NaN or infinity there cannot leak through 0 · NaN."""
    masked = scores == -torch.inf
    return values.masked_fill(masked[..., None], 0) if masked.any() else values


def forward(
    scores: Float[Tensor, "*batch tokens"],
    values: Float[Tensor, "*batch tokens dim"],
    log_decay: Float[Tensor, "*batch tokens"] | None,
    state: AttentionState | None,
) -> Saved:
    """Outputs and final state. Canonical inputs: a masked token is a score of -inf, a reset a log-decay of -inf."""
    batch, (tokens, dim) = values.shape[:-2], values.shape[-2:]
    rows = batch.numel()
    work, kept = accumulation_dtype(scores, values), kept_dtype(scores.device)
    if state is None:
        state = AttentionState.identity(batch, dim, device=scores.device)
    if tokens == 0 or rows == 0:
        same = AttentionState(*(x.to(kept, copy=True) for x in vars(state).values()))
        return Saved(values.clone(), scores.to(kept, copy=True), same)

    start_lse, start_mean = _start(state, rows, dim, scores.device)
    s = scores.to(kept).reshape(rows, tokens)
    decay = None if log_decay is None else log_decay.to(kept).reshape(rows, tokens)
    v = _hide_masked(scores, values).to(work).reshape(rows, tokens, dim)
    lse = _running_lse(s, decay, start_lse).contiguous()
    gain = torch.exp(_minus(s, lse)).to(work)
    outputs, last = _recurrence(gain, v, _log_retention(lse, decay, start_lse), start_mean)

    # the kept (m, u) is summed from its terms, never taken from lse, whose rounding would add up from call to call
    start_max = state.max_score.to(kept).reshape(rows)
    if decay is not None:
        after = _sums_after(decay)
        s = s + after
        start_max = start_max + (decay[:, 0] + after[:, 0])
    max_score = torch.maximum(s.amax(-1), start_max)
    # cumsum, not sum: a sum is split over threads where there is one row, so that its bits depend on the batch
    normalizer = torch.exp(_minus(s, max_score[:, None])).cumsum(-1)[:, -1]
    normalizer = normalizer + torch.exp(_minus(start_max, max_score)) * state.normalizer.to(kept).reshape(rows)
    final = AttentionState(
        max_score.reshape(batch),
        normalizer.reshape(batch),
        (last * normalizer[:, None]).reshape(*batch, dim),
    )
    return Saved(outputs.to(values.dtype).reshape(values.shape).contiguous(), lse.reshape(scores.shape), final)


def backward(
    grad_outputs: Float[Tensor, "*batch tokens dim"],
    grad_normalizer: Float[Tensor, "*batch"],
    grad_weighted_sum: Float[Tensor, "*batch dim"],
    scores: Float[Tensor, "*batch tokens"],
    values: Float[Tensor, "*batch tokens dim"],
    log_decay: Float[Tensor, "*batch tokens"] | None,
    state: AttentionState | None,
    saved: Saved,
) -> Gradients:
    r"""Closed-form gradients, linear in the tokens, from the outputs and from the final state.

    With the gain g and retention f of the forward pass, backwards over the tokens:

    .. math::
        acc_i = do_i + f_{i+1} acc_{i+1} \qquad r_i = o_i \cdot do_i + f_{i+1} r_{i+1}

        dv_i = g_i acc_i \qquad ds_i = g_i (v_i \cdot acc_i - r_i) \qquad
        d\gamma_k = f_k (o_{k-1} \cdot acc_k - r_k)

    The final state enters as an addition to the last do and r; the initial state is a token before the first.
    """
    batch, (tokens, dim) = values.shape[:-2], values.shape[-2:]
    rows = batch.numel()
    work, kept = accumulation_dtype(scores, values), kept_dtype(scores.device)
    final = saved.state
    # u = exp(lse - m) and w = o u with m constant: it cancels in all that a state is used for
    grad_lse = grad_normalizer * final.normalizer + (grad_weighted_sum * final.weighted_sum).sum(-1)
    grad_mean = grad_weighted_sum * final.normalizer[..., None]
    if tokens == 0 or rows == 0:
        no_decay = None if log_decay is None else torch.zeros_like(log_decay)
        grad_state = None if state is None else _to_state(state, grad_mean, grad_lse)
        return Gradients(torch.zeros_like(scores), torch.zeros_like(values), no_decay, grad_state)

    start_lse, start_mean = _start(state, rows, dim, scores.device)
    v = _hide_masked(scores, values).to(work).reshape(rows, tokens, dim)
    o = saved.outputs.to(work).reshape(rows, tokens, dim)
    lse = saved.lse.reshape(rows, tokens)
    decay = None if log_decay is None else log_decay.to(kept).reshape(rows, tokens)
    log_retention = _log_retention(lse, decay, start_lse)
    gain = torch.exp(_minus(scores.to(kept).reshape(rows, tokens), lse)).to(work)

    # the final state is a term behind the last token; its r is o · d(mean) - d(lse) = -d(u) u
    end_r = -(grad_normalizer * final.normalizer).to(kept).reshape(rows)
    grad_o = grad_outputs.to(work).reshape(rows, tokens, dim)
    product = o * grad_o  # one buffer for three products: fresh memory of this size costs more than the products
    acc, r = _reversed_recurrence(grad_o, product.sum(-1), log_retention, grad_mean.to(kept).reshape(rows, dim), end_r)
    grad_scores = gain * (torch.mul(v, acc, out=product).sum(-1) - r)
    grad_decay, grad_state = None, None
    if log_decay is not None:
        before = torch.cat([start_mean.to(work)[:, None], o[:, :-1]], 1)
        grad_decay = torch.exp(log_retention).to(work) * (torch.linalg.vecdot(before, acc) - r)
        grad_decay = grad_decay.to(log_decay.dtype).reshape(log_decay.shape)
    if state is not None:
        kept_first = torch.exp(log_retention[:, 0])
        first, first_r = acc[:, 0].to(kept), r[:, 0].to(kept)
        grad_mean = kept_first[:, None] * first
        grad_lse = kept_first * ((start_mean * first).sum(-1) - first_r)
        grad_state = _to_state(state, grad_mean.reshape(*batch, dim), grad_lse.reshape(batch))
    return Gradients(
        grad_scores.to(scores.dtype).reshape(scores.shape),
        torch.mul(acc, gain[..., None], out=product).to(values.dtype).reshape(values.shape),
        grad_decay,
        grad_state,
    )


def _to_state(state: AttentionState, grad_mean: Tensor, grad_lse: Tensor) -> AttentionState:
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
