"""Attention as an RNN: softmax attention over all tokens so far, one token at a time, in constant memory."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class AttentionState(NamedTuple):
    """What the past leaves behind, in float64.

    Args:
        max_score: m, the largest score so far, shape (...); -inf where nothing was seen yet.
        normalizer: u = sum of exp(s_i - m), shape (...).
        weighted_sum: w = sum of exp(s_i - m) v_i, shape (..., dim).

    Source: arXiv 2405.13956, section 3.1, where it is (m, c, a).
    """

    max_score: Array
    normalizer: Array
    weighted_sum: Array


def attend(
    state: AttentionState, score: Array, value: Array, log_decay: Array | float = 0.0
) -> tuple[Array, AttentionState]:
    """One token: the attention output after it, shape of value, and the state.

        m' = max(m + g, s)      u' = u exp(m + g - m') + exp(s - m')      w' = w exp(m + g - m') + exp(s - m') v
        output = w' / u'

    Args:
        state: of the tokens before.
        score: s, shape (...); -inf for a token that is not there.
        value: v, shape (..., dim).
        log_decay: g <= 0; the past is multiplied by exp(g).

    Source: arXiv 2405.13956, section 3.1 (attention as an RNN); decay is the library's.
    """
    earlier = state.max_score + log_decay
    top = np.maximum(earlier, score)
    shift = np.where(top > -np.inf, top, 0.0)  # exp(-inf - (-inf)) would be NaN
    old, new = np.exp(earlier - shift), np.exp(score - shift)
    normalizer = state.normalizer * old + new
    weighted_sum = state.weighted_sum * old[..., None] + new[..., None] * value
    output = weighted_sum / np.where(normalizer > 0, normalizer, 1.0)[..., None]
    return output, AttentionState(top, normalizer, weighted_sum)


def running_norm(state: AttentionState, x: Array, observed: Array, half_life: float) -> tuple[Array, Array, Any]:
    """Mean and deviation of all values so far, older ones fading; itself attention, with equal scores, over (x, x²).

    Args:
        state: (channels,) and (channels, 2).
        x: values in training deviations, shape (channels,).
        observed: False where a value is missing, which neither counts nor ages the past.
        half_life: observed values after which a value counts half.
    """
    x = x.astype(np.float64)
    moments, after = attend(state, np.zeros(len(x)), np.stack([x, x * x], -1), -math.log(2) / half_life)
    before = state.weighted_sum / state.normalizer[:, None]
    moments = np.where(observed[:, None], moments, before)
    kept = AttentionState(
        np.where(observed, after.max_score, state.max_score),
        np.where(observed, after.normalizer, state.normalizer),
        np.where(observed[:, None], after.weighted_sum, state.weighted_sum),
    )
    mean, square = moments[:, 0], moments[:, 1]
    deviation = np.sqrt(np.maximum(square - mean * mean, 0.0) + 1e-4)
    return mean.astype(np.float32), deviation.astype(np.float32), kept
