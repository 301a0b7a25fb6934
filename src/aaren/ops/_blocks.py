r"""Prefix attention in blocks of tokens: linear work, stock PyTorch, any device. Forward and closed-form backward.

Two passes, forward and backward alike:

1. *scalars*, one per token, in float64: the running maximum M and normaliser U, and from them the gain

   .. math:: g_k = e^{s_k - M_k} / U_k \qquad f_k = 1 - g_k
2. *vectors*: the linear recurrence :math:`o_k = f_k o_{k-1} + g_k v_k`. A sequence is cut into blocks; inside a
   block the recurrence is one triangular matrix product, between blocks it is the same recurrence on a sequence
   that is shorter by the block's length, solved by the same function in float64.

Large scores lose no accuracy: scores meet one another only as float64 differences, and M and U are kept apart, since
log U would vanish beside a large M.

Source: arXiv 2405.13956, section 3.1 (block-by-block) and 3.2; the backward is this project's.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from aaren.ops._kernel import End, Gradients, Saved
from aaren.ops._reference import accumulation_dtype, start_state
from aaren.ops._state import AttentionState

BLOCK = 16


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


def _running_normalizer(
    scores: Float[Tensor, "rows tokens"],
    counts: Float[Tensor, "rows tokens"],
    log_decay: Float[Tensor, "rows tokens"] | None,
    start_max: Float[Tensor, " rows"],
    start_normalizer: Float[Tensor, " rows"],
) -> tuple[Float[Tensor, "rows tokens"], Float[Tensor, "rows tokens"]]:
    """The maximum M and normaliser U of every prefix of leaves (score, count), continued from the initial state."""
    rows, tokens = scores.shape
    block = min(BLOCK, tokens)
    s, n = _cut(scores, block), _cut(counts, block)
    above = torch.ones(block, block, dtype=torch.bool, device=s.device).triu_(1)
    logits = s[..., None, :].expand(*s.shape, block)
    decay = None if log_decay is None else _cut(log_decay, block)
    if decay is not None:
        logits = logits + _span_sums(decay)
    logits = logits.masked_fill(above, -torch.inf)
    local_max = logits.amax(-1)
    weights = logits.sub_(local_max.masked_fill(local_max == -torch.inf, 0)[..., None]).exp_()
    local_normalizer = weights.mul_(n[..., None, :]).sum(-1)
    entry_max, entry_normalizer = start_max[:, None], start_normalizer[:, None]
    if s.shape[1] > 1:
        after_max, after_normalizer = _running_normalizer(
            local_max[:, :-1, -1],
            local_normalizer[:, :-1, -1],
            None if decay is None else decay.sum(-1)[:, :-1],
            start_max,
            start_normalizer,
        )
        entry_max = torch.cat([entry_max, after_max], 1)
        entry_normalizer = torch.cat([entry_normalizer, after_normalizer], 1)
    faded_max = entry_max[..., None] if decay is None else entry_max[..., None] + decay.cumsum(-1)
    max_score = torch.maximum(local_max, faded_max)
    normalizer = local_normalizer * torch.exp(_minus(local_max, max_score))
    normalizer += entry_normalizer[..., None] * torch.exp(_minus(faded_max, max_score))
    return max_score.reshape(rows, -1)[:, :tokens], normalizer.reshape(rows, -1)[:, :tokens]


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
    state = start_state(scores, values, state)
    work, kept = accumulation_dtype(scores, values), state.max_score.dtype
    s = scores.to(kept).reshape(rows, tokens)
    v = _hide_masked(scores, values).to(work).reshape(rows, tokens, dim)
    max_score, normalizer = _running_normalizer(
        s,
        (s > -torch.inf).to(kept),
        None if log_decay is None else log_decay.to(kept).reshape(rows, tokens),
        state.max_score.reshape(rows),
        state.normalizer.reshape(rows),
    )
    # where nothing was seen yet the gain is 1, of a hidden value: the output is 0 and nothing of the past stays
    gain = torch.where(normalizer == 0, 1, torch.exp(_minus(s, max_score)) / normalizer)
    outputs, mean = _recurrence(gain.to(work), v, torch.log1p(-gain), state.output().reshape(rows, dim))
    final = AttentionState(
        max_score[:, -1].reshape(batch).clone(),
        normalizer[:, -1].reshape(batch).clone(),
        (mean * normalizer[:, -1:]).reshape(*batch, dim),
    )
    return Saved(torch.empty_like(values).copy_(outputs.reshape(values.shape)), gain.reshape(scores.shape), final)


def backward(
    grad_outputs: Float[Tensor, "*batch tokens dim"],
    end: End | None,
    scores: Float[Tensor, "*batch tokens"],
    values: Float[Tensor, "*batch tokens dim"],
    log_decay: Float[Tensor, "*batch tokens"] | None,
    start_mean: Float[Tensor, "*batch dim"] | None,
    saved: Saved,
) -> Gradients:
    r"""Closed-form gradients, linear in the tokens, from the outputs and from the final state.

    With the gain g and retention f of the forward pass, backwards over the tokens from `end`:

    .. math::
        acc_i = do_i + f_{i+1} acc_{i+1} \qquad r_i = o_i \cdot do_i + f_{i+1} r_{i+1}

        dv_i = g_i acc_i \qquad ds_i = g_i (v_i \cdot acc_i - r_i) \qquad
        d\gamma_k = f_k (o_{k-1} \cdot acc_k - r_k)

    The final state is a term behind the last token; the initial state is a token before the first.
    """
    batch, (tokens, dim) = values.shape[:-2], values.shape[-2:]
    rows = batch.numel()
    work, kept = accumulation_dtype(scores, values), saved.gain.dtype
    v = _hide_masked(scores, values).to(work).reshape(rows, tokens, dim)
    o = saved.outputs.to(work).reshape(rows, tokens, dim)
    gain = saved.gain.reshape(rows, tokens)
    zeros = torch.zeros(rows, dim, dtype=kept, device=values.device)
    start_mean = zeros if start_mean is None else start_mean.reshape(rows, dim)
    end_acc, end_r = (zeros, zeros.new_zeros(rows)) if end is None else end

    grad_o = grad_outputs.to(work).reshape(rows, tokens, dim)
    product = o * grad_o  # one buffer for three products: fresh memory of this size costs more than the products
    acc, r = _reversed_recurrence(
        grad_o, product.sum(-1), torch.log1p(-gain), end_acc.reshape(rows, dim), end_r.reshape(rows)
    )
    retention, gain = 1 - gain, gain.masked_fill(scores.reshape(rows, tokens) == -torch.inf, 0).to(work)
    grad_scores = gain * (torch.mul(v, acc, out=product).sum(-1) - r)
    grad_decay = None
    if log_decay is not None:
        before = torch.cat([start_mean.to(work)[:, None], o[:, :-1]], 1)
        grad_decay = retention.to(work) * (torch.linalg.vecdot(before, acc) - r)
        grad_decay = torch.empty_like(log_decay).copy_(grad_decay.reshape(scores.shape))
    first, first_r, kept_first = acc[:, 0].to(kept), r[:, 0].to(kept), retention[:, 0]
    return Gradients(
        torch.empty_like(scores).copy_(grad_scores.reshape(scores.shape)),
        torch.empty_like(values).copy_(torch.mul(acc, gain[..., None], out=product).reshape(values.shape)),
        grad_decay,
        (kept_first[:, None] * first).reshape(*batch, dim),
        (kept_first * ((start_mean * first).sum(-1) - first_r)).reshape(batch),
    )
