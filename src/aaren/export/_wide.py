"""Numbers of more digits than float32 in a graph: float64, or sums of two float32 where a runtime has no float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from aaren.export._pairs import split

_SPLIT = 4097.0  # 2**12 + 1 cuts the 24 digits of a float32 in two halves of 12
_LOWEST = -1e30
_NEAR = 0.5
_TERMS = 11
_TURN = (6.28125, 0.0019353071693331003, 1.0253131677018246e-11)  # 2π, the first two parts in float32


@dataclass(frozen=True)
class Double:
    """Numbers in float64.

    Args:
        x: of any shape.
    """

    x: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """As they go into a graph and out of it."""
        return (self.x,)

    def each(self, change: Callable[[Tensor], Tensor]) -> Double:
        """Another shape: a function that moves numbers and computes nothing."""
        return Double(change(self.x))

    def narrow(self) -> Tensor:
        """Rounded to float32."""
        return self.x.float()

    def work(self) -> Tensor:
        """In the widest dtype that the runtime has: float64."""
        return self.x

    def of(self, x: Tensor) -> Double:
        """Other numbers, of any dtype, in the same form."""
        return Double(x.double())

    def __add__(self, other: Wide | Tensor | float) -> Double:
        return Double(self.x + _double(other))

    def __sub__(self, other: Wide | Tensor | float) -> Double:
        return Double(self.x - _double(other))

    def __mul__(self, other: Wide | Tensor | float) -> Double:
        return Double(self.x * _double(other))

    def __truediv__(self, other: Wide | Tensor | float) -> Double:
        return Double(self.x / _double(other))

    def maximum(self, other: Double) -> Double:
        """The larger of two."""
        return Double(torch.maximum(self.x, other.x))

    def bounded(self) -> Double:
        """Minus infinity as a number that arithmetic takes: here itself."""
        return self

    def exp(self) -> Double:
        """E to the power of numbers that are at most 0."""
        return Double(self.x.exp())

    def turns(self) -> Tensor:
        """The angle, of which whole turns may be missing."""
        return self.x


@dataclass(frozen=True)
class Pair:
    """Numbers as unevaluated sums of two float32: 48 binary digits.

    Args:
        high: the number, rounded to float32.
        low: what is left of it, of the same shape.

    Source: T. J. Dekker, "A floating-point technique for extending the available precision" (1971).
    """

    high: Tensor
    low: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """As they go into a graph and out of it."""
        return (self.high, self.low)

    def each(self, change: Callable[[Tensor], Tensor]) -> Pair:
        """Another shape: a function that moves numbers and computes nothing."""
        return Pair(change(self.high), change(self.low))

    def narrow(self) -> Tensor:
        """Rounded to float32."""
        return self.high + self.low

    def work(self) -> Tensor:
        """In the widest dtype that the runtime has: float32."""
        return self.narrow()

    def of(self, x: Tensor) -> Pair:
        """Other numbers in the same form: whole numbers with all of their digits, others as the float32 they are."""
        high = x.float()
        if x.dtype == torch.int64:
            return Pair(high, (x - high.long()).float())
        return Pair(high, torch.zeros_like(high))

    def __add__(self, other: Wide | Tensor | float) -> Pair:
        high, low = _parts(other, self.high)
        total, error = _two_sum(self.high, high)
        return _fast(total, error + (self.low + low))

    def __sub__(self, other: Wide | Tensor | float) -> Pair:
        high, low = _parts(other, self.high)
        return self + Pair(-high, -low)

    def __mul__(self, other: Wide | Tensor | float) -> Pair:
        high, low = _parts(other, self.high)
        product, error = _two_product(self.high, high)
        return _fast(product, error + (self.high * low + self.low * high))

    def __truediv__(self, other: Wide | Tensor | float) -> Pair:
        high, low = _parts(other, self.high)
        first = self.high / high
        rest = self - Pair(high, low) * first
        return _fast(first, rest.narrow() / high)

    def maximum(self, other: Pair) -> Pair:
        """The larger of two."""
        return where((self - other).high > 0, self, other)

    def bounded(self) -> Pair:
        """Minus infinity as a number that arithmetic takes: one far below every score."""
        return Pair(self.high.clamp(min=_LOWEST), self.low)

    def exp(self) -> Pair:
        """E to the power of numbers that are at most 0; near 0, where the past fades slowly, with all digits."""
        x = self.narrow()
        small = x.clamp(min=-_NEAR)
        series = torch.ones_like(small)
        for term in range(_TERMS, 1, -1):
            series = 1 + series * small / term
        near = _fast(torch.ones_like(small), small * series)
        return where(x > -_NEAR, near, self.of(x.exp()))

    def turns(self) -> Tensor:
        """The angle less its whole turns, so that float32 tells it well."""
        count = (self.high / (2 * np.pi)).round()
        rest = self
        for part in _TURN:
            rest = rest - Pair(*_two_product(count, torch.full_like(count, part)))
        return rest.narrow()


Wide = Double | Pair


def constant(values: ArrayLike, *, pairs: bool) -> Wide:
    """Constants of a graph in the form that it keeps numbers in."""
    array = np.asarray(values, dtype=np.float64)
    if not pairs:
        return Double(torch.from_numpy(array.copy()))
    return Pair(*(torch.from_numpy(part) for part in split(array)))


def where(condition: Tensor, yes: Any, no: Any) -> Any:
    """The one or the other of two numbers of the same form, or of two tensors."""
    if isinstance(yes, Tensor):
        return torch.where(condition, yes, no)
    chosen = [torch.where(condition, a, b) for a, b in zip(yes.tensors(), no.tensors(), strict=True)]
    return type(yes)(*chosen)


def stack(a: Any, b: Any) -> Any:
    """Two of the same form and shape beside each other, on a last axis of 2."""
    return type(a)(*(torch.stack([x, y], -1) for x, y in zip(a.tensors(), b.tensors(), strict=True)))


def _double(other: Wide | Tensor | float) -> Any:
    if isinstance(other, Double):
        return other.x
    return other.double() if isinstance(other, Tensor) else other


def _parts(other: Wide | Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(other, Pair):
        return other.high, other.low
    if isinstance(other, Tensor):
        return other, torch.zeros_like(other)
    assert not isinstance(other, Double), "the forms do not mix in one graph"
    high, low = split(other)
    return like.new_tensor(float(high)), like.new_tensor(float(low))


def _two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rounded sum and what was lost."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def _fast(a: Tensor, b: Tensor) -> Pair:
    """A pair of a and a much smaller b."""
    total = a + b
    return Pair(total, b - (total - a))


def _halves(a: Tensor) -> tuple[Tensor, Tensor]:
    c = a * _SPLIT
    high = c - (c - a)
    return high, a - high


def _two_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rounded product and what was lost."""
    product = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2
