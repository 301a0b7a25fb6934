"""The streams, as the one thread that owns them sees them: a pool, and perhaps the store that makes it durable."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aaren.errors import DataError
from aaren.models import Model
from aaren.streaming import DurableStreams, PoolResult, RecordLayout, StreamPool, StreamStore

_CHECKPOINT_SECONDS = 60.0


class OwnedStreams:
    """All streams of the service, by whole key, that is namespace and key.

    Args:
        pool: the streams.
        durable: around the same pool; None keeps the streams in memory alone.
    """

    def __init__(self, pool: StreamPool, durable: DurableStreams | None = None) -> None:
        self.pool, self.durable = pool, durable

    def update(self, keys: Sequence[str], rows: Sequence[Any], numbers: Sequence[int | None]) -> PoolResult:
        """Apply rows, of which some say their number; durable when it returns, if there is a store."""
        counted = None if all(number is None for number in numbers) else self._numbers(keys, numbers)
        return (self.pool if self.durable is None else self.durable).update(keys, rows, counted)

    def count_by_namespace(self) -> Counter[str]:
        """How many streams there are of each namespace, in memory or in the store."""
        keys = self.pool.keys() if self.durable is None else {*self.pool.keys(), *self.durable.store.keys()}
        return Counter(key.split("/", 1)[0] for key in keys)

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
        """A snapshot of a stream, that `model.stream(path)` opens too; a series in it has the key of the client."""
        self.require(key)
        layout, stream = self.pool.layout, self.pool.model.stream()
        layout.to_stream(layout.check(key, self.pool.record(key)), key.split("/", 1)[1], stream)
        with tempfile.TemporaryDirectory(prefix="aaren-") as folder:
            path = Path(folder) / "snapshot"
            stream.save(path)
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


def open_streams(
    model: Model[Any, Any],
    capacity: int,
    store: Path | None = None,
    accept_fingerprint: str | None = None,
    **options: Any,
) -> OwnedStreams:
    """Open the streams of a service; those of a store go on where they were.

    Args:
        model: a trained model that streams.
        capacity: streams in memory.
        store: folder of the store, in which rows are before they are answered; None keeps them in memory alone.
        accept_fingerprint: of another model whose streams this one is to take over.
        **options: of the streams, such as `on_bad_row`.

    Raises:
        ModelFileError: the store is damaged, of another model, or in use.
        ValueError: an option is not one of its choices.
    """
    if store is None:
        return OwnedStreams(model.pool(capacity, **options))
    layout = RecordLayout(model.stream(**options))
    kept = StreamStore(
        store, fingerprint=model.fingerprint(), layout=layout.to_dict(), accept_fingerprint=accept_fingerprint
    )
    try:
        pool = model.pool(capacity, store=kept, **options)
        return OwnedStreams(pool, DurableStreams(pool, kept, checkpoint_seconds=_CHECKPOINT_SECONDS))
    except BaseException:
        kept.close()
        raise
