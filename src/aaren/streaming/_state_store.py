"""Where a pool keeps the streams that do not fit into it, or that must outlive it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence


class StateStore(ABC):
    """Records of streams by key. A record is bytes of a fixed size; what they mean is the pool's matter.

    A record of a stream without rows says that there is no such stream: so a pool drops one.
    """

    @abstractmethod
    def load(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The records of those keys that the store has."""

    @abstractmethod
    def write(self, records: Mapping[str, bytes]) -> None:
        """Keep records in place of those that were there; all of them or, if it raises, none. Durable on return."""
