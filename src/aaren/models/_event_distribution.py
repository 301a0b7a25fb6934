"""What an event model says about the next event: a log-normal mixture for its interval, a softmax for its mark."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

_HALVINGS = 50


class EventDistribution(NamedTuple):
    r"""The distribution of the next event after each token, in units of the mean training interval.

    .. math::
        p(\tau) = \sum_k w_k \frac{1}{\tau \sigma_k \sqrt{2\pi}}
        \exp\left(-\frac{(\log\tau - \mu_k)^2}{2\sigma_k^2}\right)
        \qquad p(m) = \mathrm{softmax}(\mathrm{logits})_m

    Interval and mark are independent, given the past.

    Args:
        log_weights: log w, shape (..., components); they sum to 1.
        locations: μ, the same shape.
        scales: σ, the same shape; these three in float64.
        mark_logits: shape (..., marks).

    Source: arXiv 1909.12127 (log-normal mixture), equation 2.
    """

    log_weights: Float[Tensor, "*batch components"]
    locations: Float[Tensor, "*batch components"]
    scales: Float[Tensor, "*batch components"]
    mark_logits: Float[Tensor, "*batch marks"]

    def log_density(self, interval: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Log p(τ) of positive intervals."""
        log = interval.double().log()[..., None]
        z = (log - self.locations) / self.scales
        terms = self.log_weights - z.square() / 2 - self.scales.log() - math.log(2 * math.pi) / 2
        return (terms - log).logsumexp(-1)

    def log_survival(self, interval: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Log P(next interval > τ), for τ >= 0: minus the compensator of the interval."""
        given = interval.double()
        log = torch.where(given > 0, given, 1.0).log()[..., None]
        tail = (self.log_weights + torch.special.log_ndtr((self.locations - log) / self.scales)).logsumexp(-1)
        # weights sum to 1 but for rounding, which must not make a probability above 1
        return torch.where(given > 0, tail.clamp(max=0), torch.zeros_like(tail))

    def mark_log_probabilities(self) -> Float[Tensor, "*batch marks"]:
        """Log p(m) of every mark."""
        return self.mark_logits.log_softmax(-1)

    def mean(self, longest: float = math.inf) -> Float[Tensor, "*batch"]:
        r"""The expected interval; with `longest`, of min(τ, longest), the restricted mean.

        .. math:: E[\min(\tau, c)] = \sum_k w_k \left( e^{\mu_k + \sigma_k^2/2}\,
            \Phi\left(\frac{\log c - \mu_k}{\sigma_k} - \sigma_k\right)
            + c\,\Phi\left(\frac{\mu_k - \log c}{\sigma_k}\right) \right)
        """
        weights, whole = self.log_weights.exp(), self.locations + self.scales.square() / 2
        if math.isinf(longest):
            return (weights * whole.exp()).sum(-1)
        z = (math.log(longest) - self.locations) / self.scales
        inside = (whole + torch.special.log_ndtr(z - self.scales)).exp()
        return (weights * (inside + longest * torch.special.ndtr(-z))).sum(-1)

    def quantile(self, level: float) -> Float[Tensor, "*batch"]:
        """The interval below which the next one is with probability `level`, by bisection of its logarithm.

        Raises:
            ValueError: the level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level: expected a number between 0 and 1, received {level}")
        z = math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * level - 1, dtype=torch.float64)))
        # the mixture's quantile lies between those of its components
        ends = self.locations + z * self.scales
        low, high = ends.amin(-1), ends.amax(-1)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            below = torch.special.ndtr((middle[..., None] - self.locations) / self.scales)
            more = (self.log_weights.exp() * below).sum(-1) < level
            low, high = torch.where(more, middle, low), torch.where(more, high, middle)
        return ((low + high) / 2).exp()

    def sample(self, generator: torch.Generator | None = None) -> tuple[Float[Tensor, "*batch"], Int[Tensor, "*batch"]]:
        """Draw an interval and a mark (-1 if there are none)."""
        shape = self.log_weights.shape[:-1]
        weights = self.log_weights.exp().reshape(-1, self.log_weights.shape[-1])
        component = torch.multinomial(weights, 1, generator=generator).view(*shape, 1)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64, device=weights.device)
        location, scale = (x.gather(-1, component)[..., 0] for x in (self.locations, self.scales))
        interval = (location + scale * noise).exp()
        if not self.mark_logits.shape[-1]:
            return interval, torch.full(shape, -1, dtype=torch.int64, device=weights.device)
        chances = self.mark_logits.softmax(-1).reshape(-1, self.mark_logits.shape[-1])
        return interval, torch.multinomial(chances, 1, generator=generator).view(shape)
