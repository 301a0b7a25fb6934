"""Causal normalisation: the decayed mean and deviation of all tokens so far, in constant memory."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aaren.ops import AttentionState, checks_finite, is_plain, prefix_attention


class RunningNorm(nn.Module):
    r"""Mean and deviation over the past, older values fading with a half-life; itself a prefix attention.

    .. math::
        \mu_k = \frac{\sum_{i \le k} 2^{-(k-i)/h} x_i}{\sum_{i \le k} 2^{-(k-i)/h}} \qquad
        \sigma_k^2 = \frac{\sum_{i \le k} 2^{-(k-i)/h} x_i^2}{\sum_{i \le k} 2^{-(k-i)/h}} - \mu_k^2 + \epsilon

    That is `prefix_attention` with equal scores over the values (x, x²), from an initial state that says "mean 0 and
    deviation 1, as in training" with the weight of `prior` tokens. A missing value is masked: it neither counts nor
    ages the past. It has no parameters and needs no gradient.

    Args:
        half_life: number of observed values after which a value counts half.
        prior: weight of the training set's statistics at the start, in tokens.
        epsilon: added to the variance, in units of the training deviation squared.
    """

    def __init__(self, half_life: float, *, prior: float = 8.0, epsilon: float = 1e-4) -> None:
        super().__init__()
        if not half_life > 0 or not prior > 0:
            raise ValueError(f"half_life and prior: expected positive numbers, received {half_life} and {prior}")
        self.half_life, self.prior, self.epsilon = half_life, prior, epsilon

    @torch.no_grad()
    def forward(
        self,
        x: Float[Tensor, "batch tokens channels"],
        observed: Bool[Tensor, "batch tokens channels"],
        state: AttentionState | None = None,
    ) -> tuple[Float[Tensor, "batch tokens channels"], Float[Tensor, "batch tokens channels"], AttentionState]:
        """Statistics up to and including each token.

        Args:
            x: values in units of the training deviation, shape (batch, tokens, channels).
            observed: the same shape; False where a value is missing.
            state: what the call before returned, batch shape (batch, channels), or None at the start.

        Returns:
            mean and deviation, shape of x, dtype of x, and the state.
        """
        if state is not None and x.shape[1] == 1 and _is_small(x, observed, state):
            return self._one_token(x, observed, state)
        values = x.mT.double()
        values = torch.stack([values, values.square()], -1)
        scores = torch.zeros(values.shape[:-1], dtype=torch.float64, device=x.device)
        moments, state = prefix_attention(
            scores,
            values,
            self.init_state(x.shape[0], x.shape[2]).to(x.device) if state is None else state,
            log_decay=torch.full_like(scores, -math.log(2) / self.half_life),
            mask=observed.mT,
        )
        mean, square = moments.unbind(-1)
        deviation = ((square - mean.square()).clamp(min=0) + self.epsilon).sqrt()
        return mean.mT.to(x.dtype), deviation.mT.to(x.dtype), state

    def _one_token(
        self,
        x: Float[Tensor, "batch 1 channels"],
        observed: Bool[Tensor, "batch 1 channels"],
        state: AttentionState,
    ) -> tuple[Float[Tensor, "batch 1 channels"], Float[Tensor, "batch 1 channels"], AttentionState]:
        """The same for one token of a stream: the operator's recurrence where all scores are 0.

        NumPy takes a fraction of the time that PyTorch takes to begin an operation of this size.
        """
        value, there = x.numpy()[:, 0].astype(np.float64), observed.numpy()[:, 0]
        m, u, w = state.max_score.numpy(), state.normalizer.numpy(), state.weighted_sum.numpy()
        with np.errstate(all="ignore"):  # of what is behind a mask, and of states that nobody has streamed
            aged = m - math.log(2) / self.half_life
            m_after = np.where(there, np.maximum(aged, 0), m)
            earlier, later = np.where(there, np.exp(aged - m_after), 1), np.where(there, np.exp(-m_after), 0)
            value = np.where(there, value, 0)
            u_after = u * earlier + later
            w_after = w * earlier[..., None]
            w_after[..., 0] += later * value
            w_after[..., 1] += later * value * value
            moments = w_after / np.where(u_after > 0, u_after, 1)[..., None]
            mean = moments[..., 0]
            deviation = np.sqrt(np.maximum(moments[..., 1] - mean * mean, 0) + self.epsilon)
            mean, deviation = (y.astype(x.numpy().dtype)[:, None] for y in (mean, deviation))
        return (
            torch.from_numpy(mean),
            torch.from_numpy(deviation),
            AttentionState(torch.from_numpy(m_after), torch.from_numpy(u_after), torch.from_numpy(w_after)),
        )

    def init_state(self, batch_size: int, channels: int) -> AttentionState:
        """The state before the first token: the training set's mean 0 and deviation 1, weighing `prior` tokens."""
        nothing = AttentionState.identity((batch_size, channels), 2)
        weighted_sum = nothing.weighted_sum.clone()
        weighted_sum[..., 1] = self.prior
        return AttentionState(
            torch.zeros_like(nothing.max_score), torch.full_like(nothing.normalizer, self.prior), weighted_sum
        )


def _is_small(x: Tensor, observed: Tensor, state: AttentionState) -> bool:
    """Whether NumPy may do the work: plain float32 or float64 on the CPU, a state that fits, no checks asked for."""
    m, u, w = state.max_score, state.normalizer, state.weighted_sum
    batch, _, channels = x.shape
    return (
        x.dtype in (torch.float32, torch.float64)
        and m.dtype == u.dtype == w.dtype == torch.float64
        and x.is_cpu
        and m.is_cpu
        and u.is_cpu
        and w.is_cpu
        and observed.shape == x.shape
        and m.shape == u.shape == (batch, channels)
        and w.shape == (batch, channels, 2)
        and is_plain(x, observed, m, u, w)
        and not checks_finite()
    )
