"""Where a pool keeps the streams that do not fit into it, or that must outlive it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence


class StateStore(ABC):
    """Records of streams by key. A record is bytes of a fixed size; what they mean is the pool's matter."""

    @abstractmethod
    def load(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The records of those keys that the store has.

        Raises:
            DamagedRecordError: that of a key is damaged; the pool then asks for the others without it.
        """

    @abstractmethod
    def write(self, records: Mapping[str, bytes | None]) -> None:
        """Keep records in place of those that were there, and none of a key with None; all or, if it raises, none."""
