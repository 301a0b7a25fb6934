"""Numbers that a user gives as arguments: whole ones and others, each within bounds, and never a bool."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any


def whole_number(name: str, value: Any, least: int, of: str = "") -> int:
    """A whole number of at least `least`.

    Args:
        name: of the argument, for the message.
        value: what was given.
        least: the smallest that is allowed.
        of: what it counts, for the message.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        of = f" of {of}," if of else " of"
        raise ValueError(f"{name}: expected a whole number{of} at least {least}, received {value!r}")
    return int(value)


def real_number(name: str, value: Any, expected: str, within: Callable[[float], bool] = lambda _: True) -> float:
    """A finite number within bounds.

    Args:
        name: of the argument, for the message.
        value: what was given.
        expected: what it should be, for the message.
        within: whether a finite number is.

    Raises:
        ValueError: it is something else.
    """
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or not within(number):
        raise ValueError(f"{name}: expected {expected}, received {reprlib.repr(value)}")
    return number
