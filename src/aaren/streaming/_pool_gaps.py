"""How many missing rows the rows of one call may make the model pass through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


class GapBudget:
    """Missing rows that a call of a pool may pass through; each costs as much as a row, and nobody had to send it.

    The first gap of a group always fits, so that `max_gap` alone decides about it.

    Args:
        groups: of each row, a number: rows that were sent together.
        most: missing rows before the rows of each group.
        total: before all rows of the call.
    """

    def __init__(self, groups: Sequence[int], most: Sequence[int], total: int) -> None:
        self._groups, self._most, self._total = groups, most, total
        self._used: Counter[int] = Counter()

    def refusal(self, place: int, missing: int) -> str | None:
        """Why a row with so many missing before it is not taken; None, and it is counted, if it is."""
        group = self._groups[place]
        most, used = self._most[group], self._used[group]
        if missing and used and used + missing > most:
            return (
                f"expected at most {most} missing rows before all rows of a request, received {used + missing}; send "
                "this row again in a later request, with fewer others"
            )
        if missing and self._used and self._used.total() + missing > self._total:
            return (
                f"expected at most {self._total} missing rows before the rows that are computed together, received "
                f"{self._used.total() + missing}; send this row again later"
            )
        if missing:
            self._used[group] += missing
        return None
