"""The memory that requests and answers may take together, and who must leave when there is none."""

from __future__ import annotations

import time
from collections.abc import Callable

from aaren.serving._errors import too_busy

_PATIENCE_SECONDS = 1.0


class Budget:
    """Bytes of all requests that are being read or wait, and of all answers that were not read.

    Args:
        limit: how many there may be.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self.readers: dict[Reader, None] = {}  # of answers that are not read, the one that reads slowest first

    def take(self, size: int) -> None:
        """Take bytes, if need be those of readers that have read nothing for a second, who are cut off.

        Raises:
            RequestError: 429, there are not so many.
        """
        longest = time.monotonic() - _PATIENCE_SECONDS
        while self.used + size > self.limit:
            slowest = next(iter(self.readers), None)
            if slowest is None or slowest.since > longest:
                raise too_busy()
            slowest.leave()
        self.used += size

    def give_back(self, size: int) -> None:
        """Give bytes back."""
        self.used -= size


class Reader:
    """One client that is being answered.

    Args:
        budget: from which what it does not read is taken.
        cut_off: called when its bytes are needed.
    """

    def __init__(self, budget: Budget, cut_off: Callable[[], None]) -> None:
        self._budget, self._cut_off = budget, cut_off
        self.waiting, self.since, self.gone = 0, 0.0, False

    def owe(self, size: int) -> None:
        """There are bytes for the client to read; they exist already, so that they are never refused."""
        if not self.gone:
            self._change(size, moved=not self.waiting)

    def read(self, size: int) -> None:
        """The client has read some of them."""
        if not self.gone:
            self._change(-size, moved=True)

    def end(self) -> None:
        """Nothing is left for the client to read."""
        self.read(self.waiting)

    def leave(self) -> None:
        """Cut the client off: nobody waits for it to read any more."""
        self.end()
        self.gone = True
        self._cut_off()

    def _change(self, size: int, *, moved: bool) -> None:
        self.waiting += size
        self._budget.used += size
        if moved:
            self.since = time.monotonic()
            self._budget.readers.pop(self, None)
            if self.waiting:
                self._budget.readers[self] = None
