"""Many keyed streams of one model in one process; rows of many of them are one step of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aaren._arguments import whole_number
from aaren.errors import DataError
from aaren.models import Classifier, EventModel, Forecaster, Model, Policy
from aaren.streaming._base import Policy as BadRowPolicy
from aaren.streaming._fleet_drift import FleetDrift, fleet_drift
from aaren.streaming._layout import COUNTS, RecordLayout
from aaren.streaming._open import open_stream
from aaren.streaming._pool_call import PoolCall
from aaren.streaming._pool_classifier import ClassifierForm
from aaren.streaming._pool_events import EventForm
from aaren.streaming._pool_forecaster import ForecasterForm
from aaren.streaming._pool_form import PolicyForm, PoolForm, RowTable
from aaren.streaming._pool_gaps import GapBudget
from aaren.streaming._pool_records import PoolRecords, Remembered, full
from aaren.streaming._pool_result import PoolResult
from aaren.streaming._state_store import StateStore

_LAST = np.iinfo(np.int64).max

FORMS: dict[type[Model[Any, Any]], Callable[..., PoolForm[Any]]] = {
    Classifier: ClassifierForm,
    EventModel: EventForm,
    Forecaster: ForecasterForm,
    Policy: PolicyForm,
}
"""The fast form of the streams of each class of model."""


class StreamPool:
    """Live streams by key, as many as `capacity`: what `model.stream()` is for one series, for all of them at once.

    The stream is the definition: every key's rows are counted, judged and taken as by a stream of its own. Rows that
    have nothing special about them go through the model together; a row after a gap, one with a bad value, or one that
    is refused goes through a stream. Predictions agree within the rounding of float32.

    Args:
        model: a trained model.
        capacity: number of streams in memory. Memory is reserved for all of them and taken as they come.
        store: where the streams that were not used for the longest time go when there is no room for another one; they
            come back when their key does. None: a row of one key too many is refused.
        on_bad_row: as in the stream.
        **options: further options of the stream, such as `max_gap`.

    Raises:
        ValueError: the model cannot stream, its state grows with the rows, or an argument is not one of its choices.
        TypeError: the model or the store is something else.

    Example:
        pool = aaren.load("model/").pool(capacity=1_000_000)
        result = pool.update(["boiler-7", "boiler-9"], {"date": ["2018-06-26 20:00:00"] * 2, "OT": [11.7, 30.2]})
        result.arrays["mean"]     # (2, horizon, targets), in the units of the training data
        result[0].mean            # what the stream of boiler-7 says
    """

    def __init__(
        self,
        model: Model[Any, Any],
        capacity: int = 100_000,
        *,
        store: StateStore | None = None,
        on_bad_row: BadRowPolicy = "error",
        **options: Any,
    ) -> None:
        self.capacity = whole_number("capacity", capacity, 1, "streams")
        if store is not None and not isinstance(store, StateStore):
            raise TypeError(
                f"store: expected a StateStore, such as StreamStore, received {store!r}; for streams in a folder use "
                "DurableStreams(model, folder)"
            )
        self.model = model
        self._stream = open_stream(model, None, on_bad_row=on_bad_row, **options)
        self.layout = RecordLayout(self._stream)
        self._form = FORMS[type(model)](self._stream, self.layout)
        try:
            self._records = PoolRecords(self.layout, self.capacity, store)
        except (ValueError, MemoryError, OverflowError):
            raise ValueError(
                f"capacity: expected records of {self.layout.record_bytes} bytes that memory can hold, received "
                f"{capacity}; take fewer, and a store for the others"
            ) from None

    @torch.inference_mode(False)
    @torch.no_grad()
    def update(
        self,
        keys: Sequence[str | int] | NDArray[Any],
        rows: Any,
        numbers: Any = None,
        *,
        hold_back: bool = True,
        gaps: GapBudget | None = None,
    ) -> PoolResult:
        """Take a row for each key; rows of one key in order. A refused row changes nothing of its key.

        Args:
            keys: n strings, or whole numbers, which stand for their decimal text.
            rows: n rows as the stream takes them; or a mapping of columns to n cells each, which is faster, above all
                with arrays; or an array of shape (n, inputs) if rows have no time.
            numbers: the number of each row in its stream, from 1; one that was counted already is a duplicate, which is
                not applied, and one too far is refused. None: every row is the next.
            hold_back: after a refused row, refuse later ones of its key in this call too, so that who sends can mend it
                first; False takes each row as if it came in a call of its own.
            gaps: missing rows that all rows together may make a forecaster pass through; a row beyond it is refused.
                None: `max_gap` for each row.

        Returns:
            What became of each row, and what its stream says. Rows of a key whose record in the store is damaged are
            refused; those of others are taken.

        Raises:
            ValueError: there are not as many rows or numbers as keys, or a key or number cannot be one.
            TypeError: something is not of these types.
        """
        return self._call(keys, rows, numbers, hold_back, gaps).run()

    @torch.inference_mode(False)
    @torch.no_grad()
    def update_at_once(
        self, keys: Sequence[str | int] | NDArray[Any], rows: Any, numbers: Any = None
    ) -> PoolResult | None:
        """As `update`, if all rows are one step of the model together; else None, and nothing was done.

        That is: no two rows have one key, none comes after a gap, is bad or has to be judged by a stream of its own for
        another reason, there are no more keys than `capacity`, and there is no store. Who must not be held up asks here
        first.
        """
        return self._call(keys, rows, numbers, True).run_at_once()

    def _call(self, keys: Any, rows: Any, numbers: Any, hold_back: bool, gaps: GapBudget | None = None) -> PoolCall:
        if self.model.training:  # who trains on must not make a stream drop out
            self.model.eval()
        names = key_texts(keys)
        counted, table = _counts(numbers, names), RowTable(rows, len(names))
        return PoolCall(self._form, self._records, self._stream, names, table, counted, hold_back=hold_back, gaps=gaps)

    def reset(self, key: str | int) -> None:
        """Let the stream of a key begin anew: its past is forgotten, the numbering of its rows goes on.

        Raises:
            DataError: there is no such stream.
        """
        before = self._known([key])
        record = torch.frombuffer(bytearray(self.layout.initial), dtype=torch.uint8)[None]
        for name in COUNTS:
            self.layout.column(record, name)[:] = self.layout.column(before, name)
        self.set_record(key, record.numpy().tobytes())

    def drop(self, key: str | int) -> None:
        """Forget a stream and its count of rows, in the store too; nothing happens if there is none."""
        self._records.drop(key_text(key))

    def fork(self, key: str | int, new_key: str | int) -> None:
        """Begin a stream as a copy of another one.

        Raises:
            DataError: there is no stream `key`, there is one of `new_key`, or the pool is full.
        """
        if new_key in self:
            raise DataError("expected a key without a stream, received one with; drop it first", source=_place(new_key))
        self.set_record(new_key, self.record(key))

    def save_state(self, key: str | int, path: str | Path) -> None:
        """Write a snapshot of a stream, from which `model.stream(path)` goes on.

        Raises:
            DataError: there is no such stream.
            ModelFileError: the file cannot be written.
        """
        self.layout.to_stream(self._known([key]), key_text(key), self._stream)
        self._stream.save(path)

    def load_state(self, key: str | int, path: str | Path) -> None:
        """Let the stream of a key be the one of a snapshot, of a pool or of a stream.

        Raises:
            DataError: the pool is full.
            ModelFileError: the snapshot is not there, is damaged, or is of another model.
        """
        self._stream.read(path)
        self.set_record(key, self.layout.of_stream(self._stream))

    def record(self, key: str | int) -> bytes:
        """All that is kept of a stream, `record_bytes` long; `layout` says what stands where.

        Raises:
            DataError: there is no such stream.
        """
        return self._known([key]).numpy().tobytes()

    def records(self, keys: Sequence[str | int]) -> NDArray[np.uint8]:
        """The records of n keys, shape (n, record_bytes), wherever they are; nothing is moved into memory for it.

        Raises:
            DataError: there is no such stream.
        """
        return self._known(keys).numpy()

    def set_record(self, key: str | int, record: bytes) -> None:
        """Let the stream of a key be the one of a record.

        Raises:
            DataError: the record has another size, or numbers that cannot be; or the pool is full.
        """
        checked = self.layout.check(key_text(key), record)
        self._records.slots.tick()
        slot = self._records.bring([key_text(key)])
        if slot[0] < 0:
            raise full(self.capacity, _place(key))
        self._records.write(slot, checked)

    def set_records(self, keys: Sequence[str | int], records: NDArray[np.uint8]) -> None:
        """Let the streams of different keys be those of records, shape (keys, record_bytes); all of them or none.

        Raises:
            ValueError: the records have another shape, or a key comes twice.
            DataError: numbers of a record cannot be, or the pool is full.
        """
        names = key_texts(keys)
        if records.shape != (len(names), self.record_bytes) or records.dtype != np.uint8:
            received = f"{records.dtype} of shape {records.shape}"
            raise ValueError(f"records: expected uint8 of shape {(len(names), self.record_bytes)}, received {received}")
        if len(set(names)) < len(names):
            raise ValueError("keys: expected each key once, received one twice")
        if not names:
            return
        given = torch.from_numpy(np.array(records))
        self.layout.check_numbers(names, given)
        self._records.slots.tick()
        self._records.write(self._bring(names), given)

    def drift(self, *, bound: float = 0.25, most: int = 20) -> FleetDrift:
        """How many of the streams in memory have moved from the training data, and which ones the most.

        Args:
            bound: stability index from which a stream counts as moved.
            most: streams to name.

        Raises:
            ValueError: the model is no forecaster, or an argument is out of range.
        """
        return fleet_drift(self, self.keys(), bound, most)

    def flush(self) -> None:
        """Write all streams that have changed to the store; nothing happens without one."""
        for _ in self._records.flush():
            pass

    def flush_in_pieces(self, size: int) -> Iterator[int]:
        """`flush` in steps, between which rows may be taken: each writes up to `size` streams and yields how many.

        All that has changed by the time of the call is in the store at the end; what changes later need not be.
        """
        return self._records.flush(size)

    def remember(self, keys: Sequence[str]) -> Remembered:
        """How the streams of different keys stand in memory now, for `go_back`."""
        return self._records.remember(keys)

    def go_back(self, remembered: Remembered) -> None:
        """Let streams stand in memory as they did; what the store was given of them since stays there."""
        self._records.go_back(remembered)

    def rows(self, key: str | int) -> int:
        """Rows that a stream has counted, those that were skipped included.

        Raises:
            DataError: there is no such stream.
        """
        return int(self.layout.column(self._known([key]), "rows")[0])

    def keys(self) -> list[str]:
        """Keys of the streams in memory."""
        return self._records.slots.keys()

    def __len__(self) -> int:
        """Streams in memory."""
        return len(self._records.slots)

    def __contains__(self, key: object) -> bool:
        """Whether a key has a stream, in memory or in the store."""
        return self._records.known(key_text(key))

    @property
    def record_bytes(self) -> int:
        """Bytes of a record."""
        return self.layout.record_bytes

    @property
    def stream_bytes(self) -> float:
        """Bytes in memory for each stream, its key and what finds it included; of a record if there is no stream."""
        return self.nbytes() / len(self) if len(self) else float(self.record_bytes)

    def nbytes(self) -> int:
        """Bytes in memory of all streams and their keys; what the pool has reserved beyond is not in memory."""
        return self._records.nbytes()

    def _bring(self, names: list[str]) -> NDArray[np.int64]:
        """The slots of different streams, all of them in memory at once."""
        if self._records.store is None:
            wanted = len(self) + sum(name not in self._records.slots for name in names)
        else:
            wanted = len(names)
        if wanted > self.capacity:
            raise full(self.capacity, None)
        return self._records.bring(names)

    def _known(self, keys: Sequence[str | int]) -> Tensor:
        """Copies of the records of streams that there are, uint8 of shape (n, record_bytes)."""
        names = key_texts(keys)
        known, records = self._records.peek(names)
        if not known.all():
            source = _place(names[int(known.argmin())])
            raise DataError("expected a key that has a stream, received one without", source=source)
        return records


def key_text(key: object) -> str:
    """A key as text.

    Raises:
        TypeError: it is neither text nor a whole number.
        ValueError: it is text that UTF-8, and so a store, cannot hold.
    """
    if isinstance(key, str):
        _require_utf8([key])
        return str(key)
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return str(int(key))
    raise TypeError(f"key: expected text or a whole number, received {key!r} of type {type(key).__name__}")


def _place(key: str | int) -> str:
    return f"stream {key_text(key)!r}"


def key_texts(keys: Any) -> list[str]:
    """Keys as text.

    Raises:
        TypeError: they are not a sequence of text or whole numbers.
        ValueError: one is text that UTF-8 cannot hold.
    """
    if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
        raise TypeError(f"keys: expected a sequence of text or whole numbers, received {type(keys).__name__}")
    given = keys.tolist() if isinstance(keys, np.ndarray) else list(keys)
    if not set(map(type, given)) <= {str}:
        return [key_text(key) for key in given]
    _require_utf8(given)
    return given


def _require_utf8(keys: Sequence[str]) -> None:
    """Refuse keys that could be counted in memory but never written to a store."""
    try:
        "".join(keys).encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            "keys: expected text that UTF-8 can hold, received one with half a surrogate pair "
            f"({error.object[error.start]!r}); replace that character, as text.encode(errors='replace').decode() does"
        ) from None


def _counts(numbers: Any, names: list[str]) -> NDArray[np.int64] | None:
    """Numbers of rows, from 1."""
    if numbers is None:
        return None
    found = np.asarray(numbers)
    if found.shape != (len(names),):
        raise ValueError(f"numbers: expected one for each of {len(names)} keys, received shape {found.shape}")
    if len(found) and (found.dtype.kind not in "iu" or found.min() < 1 or found.max() > _LAST):
        raise ValueError("numbers: expected whole numbers from 1 to 2**63 - 1, received others")
    return found.astype(np.int64)
