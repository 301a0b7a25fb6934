"""Causal normalisation: the decayed mean and deviation of all tokens so far, in constant memory."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aaren.ops import AttentionState, prefix_attention


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

    def init_state(self, batch_size: int, channels: int) -> AttentionState:
        """The state before the first token: the training set's mean 0 and deviation 1, weighing `prior` tokens."""
        nothing = AttentionState.identity((batch_size, channels), 2)
        weighted_sum = nothing.weighted_sum.clone()
        weighted_sum[..., 1] = self.prior
        return AttentionState(
            torch.zeros_like(nothing.max_score), torch.full_like(nothing.normalizer, self.prior), weighted_sum
        )
