"""The upper tail of a stream of numbers, followed in constant memory: how rare is a value as large as this."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from aaren._arguments import real_number, whole_number

_SMALLEST = 1e-12  # probabilities below it are not told apart: no stream is long enough to know them
_HEAVIEST = 0.45  # shapes of 0.5 and more have no variance, from which the shape is found
_CAP = 1e-4  # a value rarer than this counts as one of this rarity, so that an anomaly does not teach that it is usual


class StreamingTail:
    r"""Peaks over a threshold, with a threshold and a tail that follow the stream.

    The level `u` that a share `tail` of the values exceeds is followed by stochastic approximation; the excesses over
    it are taken as generalised Pareto, whose shape and scale come from their exponentially weighted mean and variance:

    .. math::
        P(x > u + e) = tail \, (1 + \xi e / \sigma)^{-1/\xi}, \qquad
        \xi = \tfrac12 (1 - m^2 / v), \quad \sigma = \tfrac12 m (1 + m^2 / v)

    with :math:`0 \le \xi < 0.5`. A change of the unit or the origin of the values changes no probability. Below `u`
    the exponential law is continued up to 1: there the result gives an order, not a calibrated probability.

    Args:
        half_life: values after which a value counts half.
        warm_up: values before the first probability; at least 2 / tail. The first level and excesses are theirs.
        tail: share of the values that are tail.

    Raises:
        ValueError: an argument is out of range.

    Source: Siffer et al., "Anomaly detection in streams with extreme value theory", KDD 2017, for peaks over a
    threshold on streams; Hosking and Wallis, Technometrics 29 (1987), for the moments; Chen, Lambert and Pinheiro,
    KDD 2000, for the incremental quantile, here with the tail's own density as its step.
    """

    def __init__(self, *, half_life: float = 5000, warm_up: int = 200, tail: float = 0.05) -> None:
        self.half_life = real_number("half_life", half_life, "at least 1 row", lambda x: x >= 1)
        self.tail = real_number("tail", tail, "a share between 0 and 0.5", lambda x: 0 < x < 0.5)
        self.warm_up = whole_number("warm_up", warm_up, math.ceil(2 / self.tail), "rows (2 / tail)")
        self._rate = 1 - 0.5 ** (1 / self.half_life)
        self._first: list[float] = []
        self._count = 0
        self._level = self._mean = self._square = 0.0

    @property
    def ready(self) -> bool:
        """Whether the warm-up is over."""
        return self._count >= self.warm_up

    def probability(self, value: float) -> float | None:
        """The probability of a value larger than this one, at least 1e-12; None during the warm-up."""
        if not self.ready:
            return None
        shape, scale = self._shape_and_scale()
        excess = (value - self._level) / scale
        if excess <= 0 or shape == 0:
            log = math.log(self.tail) - excess
        else:
            log = math.log(self.tail) - math.log1p(shape * excess) / shape
        return math.exp(min(0.0, max(log, math.log(_SMALLEST))))

    def threshold(self, risk: float) -> float | None:
        """The value that is exceeded with probability `risk`; None during the warm-up.

        Raises:
            ValueError: the risk is not between 0 and `tail`.
        """
        between = f"a probability between 0 and tail = {self.tail}"
        risk = real_number("risk", risk, between, lambda x: 0 < x < self.tail)
        if not self.ready:
            return None
        shape, scale = self._shape_and_scale()
        log = math.log(self.tail / risk)
        return self._level + scale * (log if shape == 0 else math.expm1(shape * log) / shape)

    def update(self, value: float) -> None:
        """Take a finite value into account."""
        self._count += 1
        if self._count <= self.warm_up:
            self._first.append(value)
            if self.ready:
                self._begin()
            return
        cap = self.threshold(min(_CAP, self.tail / 2))
        assert cap is not None, "the warm-up is over"
        excess = min(value, cap) - self._level
        rate = max(1 / self._count, self._rate)
        self._level += rate * self._shape_and_scale()[1] * ((excess > 0) / self.tail - 1)
        if excess > 0:
            rate = min(1.0, rate / self.tail)
            self._mean += rate * (excess - self._mean)
            self._square += rate * (excess * excess - self._square)

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data for JSON."""
        return {
            "count": self._count,
            "first": list(self._first),
            "level": self._level,
            "mean": self._mean,
            "square": self._square,
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take back what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: the data is not that, or was made with another warm-up.
        """
        count, first = int(data["count"]), [float(value) for value in data["first"]]
        numbers = [float(data[name]) for name in ("level", "mean", "square")]
        if not all(map(math.isfinite, [*first, *numbers])) or min(count, *numbers[1:]) < 0:
            raise ValueError("a tail consists of finite numbers")
        if len(first) != (count if count < self.warm_up else 0):
            raise ValueError(f"it was made with another warm-up than {self.warm_up} rows")
        self._count, self._first = count, first
        self._level, self._mean, self._square = numbers

    def _begin(self) -> None:
        """Level and excesses of the warm-up, which is then forgotten."""
        ordered = sorted(self._first)
        place = len(ordered) - math.ceil(self.tail * len(ordered))
        self._level = ordered[place - 1]
        excesses = [value - self._level for value in ordered[place:]]
        self._mean = sum(excesses) / len(excesses)
        self._square = sum(excess * excess for excess in excesses) / len(excesses)
        self._first = []

    def _shape_and_scale(self) -> tuple[float, float]:
        mean = max(self._mean, 1e-9 * abs(self._level), 1e-300)  # where all values were equal
        variance = self._square - self._mean * self._mean
        if variance <= mean * mean:
            return 0.0, mean
        shape = min((1 - mean * mean / variance) / 2, _HEAVIEST)
        return shape, mean * (1 - shape)
