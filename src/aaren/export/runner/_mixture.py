"""The distribution of the next event: a log-normal mixture. Source: arXiv 1909.12127, equation 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from aaren.export.runner._attention import Array

_HALVINGS = 50
_TAIL = -30.0


def _log_normal_cdf(x: Array) -> Array:
    """The logarithm of Φ(x), without loss far to the left."""
    return np.array([_log_phi(value) for value in x.tolist()])


def _log_phi(x: float) -> float:
    if x > _TAIL:
        return math.log(0.5 * math.erfc(-x / math.sqrt(2)))
    if not x < 0 or math.isinf(x):
        return x  # NaN, or minus infinity
    square = x * x  # Φ(x) = φ(x) / -x · (1 - 1/x² + 3/x⁴ - ...)
    series = 1 - (1 - (3 - 15 / square) / square) / square
    return -square / 2 - math.log(-x) - 0.5 * math.log(2 * math.pi) + math.log(series)


def logsumexp(x: Array) -> float:
    """The logarithm of the sum of exp(x)."""
    top = float(x.max())
    return top + math.log(float(np.exp(x - top).sum())) if math.isfinite(top) else top


class Mixture(NamedTuple):
    """A mixture of log-normal distributions of an interval, in any unit.

    Args:
        log_weights: log w, shape (components,).
        locations: μ, the same shape.
        scales: σ, the same shape.
    """

    log_weights: Array
    locations: Array
    scales: Array

    def log_density(self, interval: float) -> float:
        """Log p(τ) of a positive interval."""
        log = math.log(interval)
        z = (log - self.locations) / self.scales
        return logsumexp(self.log_weights - z * z / 2 - np.log(self.scales) - math.log(2 * math.pi) / 2) - log

    def mean(self, longest: float) -> float:
        """The expected value of min(τ, longest)."""
        whole = self.locations + self.scales**2 / 2
        z = (math.log(longest) - self.locations) / self.scales
        inside = np.exp(whole + _log_normal_cdf(z - self.scales))
        beyond = np.exp(_log_normal_cdf(-z))
        return float((np.exp(self.log_weights) * (inside + longest * beyond)).sum())

    def quantiles(self, levels: Sequence[float]) -> Array:
        """The intervals below which the next one is with these probabilities, by bisection of the logarithm."""
        z = np.array([[NormalDist().inv_cdf(level)] for level in levels])
        ends = self.locations + z * self.scales  # the mixture's quantile lies between those of its components
        low, high = ends.min(-1), ends.max(-1)
        weights = np.exp(self.log_weights)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            places = ((middle[:, None] - self.locations) / self.scales / math.sqrt(2)).ravel().tolist()
            below = 0.5 + 0.5 * np.array([math.erf(place) for place in places]).reshape(z.shape[0], -1)
            more = below @ weights < levels
            low, high = np.where(more, middle, low), np.where(more, high, middle)
        return np.exp((low + high) / 2)
