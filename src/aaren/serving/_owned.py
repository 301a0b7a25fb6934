"""The streams, as the one thread that owns them sees them: a pool, and perhaps the store that makes it durable."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aaren.errors import DataError
from aaren.models import Model
from aaren.streaming import DurableStreams, GapBudget, PoolResult, StreamPool

_CHECKPOINT_SECONDS = 60.0
_ROWS_AT_ONCE = 256
_PRODUCTS_AT_ONCE = 1 << 24  # some milliseconds of one processor


class OwnedStreams:
    """All streams of the service, by whole key: namespace and key, or the key alone in a service without tokens.

    Args:
        streams: in memory alone, or durable.
    """

    def __init__(self, streams: StreamPool | DurableStreams) -> None:
        self.streams = streams
        self.pool = streams.pool if isinstance(streams, DurableStreams) else streams
        model = self.pool.model
        products = max(1, sum(weight.numel() for weight in model.parameters()))  # of a row
        self._rows_at_once = min(_ROWS_AT_ONCE, _PRODUCTS_AT_ONCE // products) if model.device.type == "cpu" else 0

    def update(
        self, keys: Sequence[str], rows: Sequence[Any], numbers: Sequence[int | None], gaps: GapBudget
    ) -> PoolResult:
        """Apply rows, of which some say their number; durable when it returns, if there is a store."""
        counted = None if all(number is None for number in numbers) else self._numbers(keys, numbers)
        return self.streams.update(keys, rows, counted, gaps=gaps)

    @property
    def rows_at_once(self) -> int:
        """Rows that `update_at_once` takes; none with a store or another device, which let their caller wait."""
        return 0 if isinstance(self.streams, DurableStreams) else self._rows_at_once

    def update_at_once(
        self, keys: Sequence[str], rows: Sequence[Any], numbers: Sequence[int | None]
    ) -> PoolResult | None:
        """Apply rows if it takes but a moment; else None, and nothing was done."""
        if len(keys) > self.rows_at_once:
            return None
        counted = None if all(number is None for number in numbers) else self._numbers(keys, numbers)
        return self.pool.update_at_once(keys, rows, counted)

    def keys(self) -> set[str]:
        """The whole keys of all streams, in memory or in the store."""
        return set(self.streams.keys())

    def _numbers(self, keys: Sequence[str], numbers: Sequence[int | None]) -> list[int]:
        """The numbers, with those that were left out counted on from the row before."""
        found, last, before = [], dict.fromkeys(keys, 0), dict[str, int]()
        for key, number in zip(keys, numbers, strict=True):
            if number is None:  # after a duplicate too: what has no number is never one
                if key not in before:
                    before[key] = self._rows_if_sound(key)
                number = 1 + max(before[key], last[key])
            last[key] = max(number, last[key])
            found.append(number)
        return found

    def _rows_if_sound(self, key: str) -> int:
        """As `rows`; 0 of a stream whose record is damaged, of which the pool will refuse the row."""
        try:
            return self.rows(key)
        except DataError:
            return 0

    def rows(self, key: str) -> int:
        """Rows of a stream so far, 0 if there is none."""
        return int(self.streams.rows(key)) if key in self.streams else 0

    def require(self, key: str) -> None:
        """Refuse a key without a stream.

        Raises:
            KeyError: there is none.
        """
        if key not in self.streams:
            raise KeyError(key)

    def drop(self, key: str) -> None:
        """Forget a stream."""
        self.require(key)
        self.streams.drop(key)

    def reset(self, key: str) -> None:
        """Begin a stream again."""
        self.require(key)
        self.streams.reset(key)

    def fork(self, key: str, new_key: str) -> None:
        """Give a new key the past of another one.

        Raises:
            DataError: the new key has a stream.
        """
        self.require(key)
        if new_key in self.streams:
            raise DataError("new_key: expected a key without a stream, received one that has one; drop it first")
        self.streams.fork(key, new_key)

    def save(self, key: str, name: str) -> bytes:
        """A snapshot of a stream, that `model.stream(path)` opens too; a series in it has the name that is given."""
        self.require(key)
        layout, stream = self.pool.layout, self.pool.model.stream()
        layout.to_stream(layout.check(key, self.streams.records([key])[0].tobytes()), name, stream)
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
                self.streams.load_state(key, path)
            except ValueError as error:
                raise type(error)(str(error).replace(str(path), "snapshot")) from None

    def close(self) -> None:
        """A last checkpoint; the store is closed."""
        if isinstance(self.streams, DurableStreams):
            self.streams.close()


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
    return OwnedStreams(
        DurableStreams(
            model,
            store,
            capacity,
            checkpoint_seconds=_CHECKPOINT_SECONDS,
            accept_fingerprint=accept_fingerprint,
            **options,
        )
    )
