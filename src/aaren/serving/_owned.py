"""The streams, as the one thread that owns them sees them: a pool, and perhaps the store that makes it durable."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aaren.errors import DataError


class OwnedStreams:
    """All streams of the service, by whole key, that is namespace and key.

    Args:
        pool: `aaren.StreamPool`, or what has its methods.
        durable: `aaren.streaming.DurableStreams` around the same pool; None keeps the streams in memory alone.
    """

    def __init__(self, pool: Any, durable: Any = None) -> None:
        self.pool, self.durable = pool, durable

    def update(self, keys: Sequence[str], rows: Sequence[Any], numbers: Sequence[int | None]) -> Any:
        """Apply rows, of which some say their number; durable when it returns, if there is a store."""
        counted = None if all(number is None for number in numbers) else self._numbers(keys, numbers)
        return (self.pool if self.durable is None else self.durable).update(keys, rows, counted)

    def _numbers(self, keys: Sequence[str], numbers: Sequence[int | None]) -> list[int]:
        """The numbers, with those that were left out counted on from the row before."""
        found, last = [], dict.fromkeys(keys, -1)
        for key, number in zip(keys, numbers, strict=True):
            if number is None:
                number = 1 + (self.rows(key) if last[key] < 0 else last[key])
            last[key] = number
            found.append(number)
        return found

    def rows(self, key: str) -> int:
        """Rows of a stream so far, 0 if there is none."""
        return int(self.pool.rows(key)) if key in self.pool else 0

    def require(self, key: str) -> None:
        """Refuse a key without a stream.

        Raises:
            KeyError: there is none.
        """
        if key not in self.pool:
            raise KeyError(key)

    def drop(self, key: str) -> None:
        """Forget a stream."""
        self.require(key)
        (self.pool if self.durable is None else self.durable).drop(key)

    def reset(self, key: str) -> None:
        """Begin a stream again."""
        self.require(key)
        self.pool.reset(key)
        self._keep(key)

    def fork(self, key: str, new_key: str) -> None:
        """Give a new key the past of another one.

        Raises:
            DataError: the new key has a stream.
        """
        self.require(key)
        if new_key in self.pool:
            raise DataError("new_key: expected a key without a stream, received one that has one; drop it first")
        self.pool.fork(key, new_key)
        self._keep(new_key)

    def save(self, key: str) -> bytes:
        """A snapshot of a stream, that `model.stream(path)` opens too."""
        self.require(key)
        with tempfile.TemporaryDirectory(prefix="aaren-") as folder:
            path = Path(folder) / "snapshot"
            self.pool.save_state(key, path)
            return path.read_bytes()

    def load(self, key: str, snapshot: bytes) -> None:
        """Set a stream to a snapshot.

        Raises:
            ModelFileError: it is damaged, or of another model; the stream is as before.
        """
        with tempfile.TemporaryDirectory(prefix="aaren-") as folder:
            path = Path(folder) / "snapshot"
            path.write_bytes(snapshot)
            try:
                self.pool.load_state(key, path)
            except ValueError as error:
                raise type(error)(str(error).replace(str(path), "snapshot")) from None
        self._keep(key)

    def close(self) -> None:
        """A last checkpoint; the store is closed."""
        if self.durable is not None:
            self.durable.close()

    def _keep(self, key: str) -> None:
        """Make durable what was changed without a row."""
        if self.durable is not None:
            self.durable.set_record(key, self.pool.record(key))
