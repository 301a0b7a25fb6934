"""One call of a pool: rows in rounds, the k-th row of every key in round k; plain ones together, others one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aaren.errors import DataError
from aaren.streaming._base import ModelStream
from aaren.streaming._pool_form import Places, PoolForm, RowTable
from aaren.streaming._pool_gaps import GapBudget
from aaren.streaming._pool_records import PoolRecords, full
from aaren.streaming._pool_result import PoolResult, RowStatus
from aaren.streaming._pool_slots import Slots

_CHUNK = 1024  # rows in one step of the model; more would only leave the processor's cache


class PoolCall:
    """The rows of one call and what has become of them so far.

    Args:
        form: the fast form of the streams.
        records: of the pool.
        stream: any stream of the model, to go through for rows that are not plain.
        keys: of the rows.
        table: the rows.
        numbers: of the rows in their streams, or None.
        hold_back: whether a refused row stops those of its key that come after it.
        gaps: of missing rows; None: as many as each stream allows.
    """

    def __init__(
        self,
        form: PoolForm[Any],
        records: PoolRecords,
        stream: ModelStream[Any, Any],
        keys: list[str],
        table: RowTable,
        numbers: NDArray[np.int64] | None,
        *,
        hold_back: bool,
        gaps: GapBudget | None = None,
    ) -> None:
        self._hold_back, self._gaps = hold_back, gaps
        self._form, self._records, self._stream = form, records, stream
        self._keys, self._table, self._numbers = keys, table, numbers
        known: dict[str, int] = {}
        self._stream_of = np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)
        self._distinct = list(known)
        self._slots = np.full(len(known), -1, dtype=np.int64)
        self._stopped = np.zeros(len(known), dtype=np.bool_)  # a row was refused: later ones must not pass it
        self._status = np.full(len(keys), RowStatus.TAKEN, dtype=np.uint8)
        self._rows = np.zeros(len(keys), dtype=np.int64)
        self._errors: dict[int, DataError] = {}
        self._damaged: dict[str, DataError] = {}
        self._arrays = form.empty(len(keys))
        self._parsed = form.parse(table, keys)

    def run(self) -> PoolResult:
        """Take the rows; if there are more keys than slots, one part of the keys after another."""
        capacity = self._records.slots.capacity
        for first in range(0, len(self._distinct), capacity):
            group = slice(first, first + capacity)
            self._records.slots.tick()
            self._slots[group] = self._records.bring(self._distinct[group], self._damaged)
            for places in self._rounds(group):
                self._round(places)
            self._records.remove_empty(self._slots[group])
        return self._result()

    def run_at_once(self) -> PoolResult | None:
        """Take the rows if all of them that are to be taken are plain, and of different streams; else none."""
        if len(self._distinct) < len(self._keys) or self._records.store is not None:
            return None
        if len(self._distinct) > self._records.slots.capacity:  # one part of the keys after another is not one step
            return None
        self._records.slots.tick()
        self._slots = self._records.bring(self._distinct, self._damaged)
        try:
            others = self._together(self._next_rows(np.arange(len(self._keys))), all_or_none=True)
        finally:
            self._records.remove_empty(self._slots)
        return None if len(others) else self._result()

    def _result(self) -> PoolResult:
        return PoolResult(self._status, self._rows, dict(sorted(self._errors.items())), self._arrays, self._form.make)

    def _rounds(self, group: slice) -> Iterator[Places]:
        """Places of rows of the group's streams, those of a round all of different ones."""
        places = np.arange(len(self._keys))
        if len(self._keys) == len(self._distinct):
            yield places[group]
            return
        places = places[(self._stream_of >= group.start) & (self._stream_of < group.stop)]
        order = places[np.argsort(self._stream_of[places], kind="stable")]
        streams = self._stream_of[order]
        first = np.flatnonzero(np.diff(streams, prepend=-1))
        turn = np.arange(len(order)) - np.repeat(first, np.diff(first, append=len(order)))
        by_turn = np.argsort(turn, kind="stable")
        yield from np.split(order[by_turn], np.flatnonzero(np.diff(turn[by_turn])) + 1)

    def _round(self, places: Places) -> None:
        """Rows of different streams."""
        for start in range(0, len(places), _CHUNK):
            chunk = self._next_rows(places[start : start + _CHUNK])
            for place in self._together(chunk).tolist():
                self._alone(place)

    def _next_rows(self, places: Places) -> Places:
        """Those of the rows that are the next ones of their streams; the others are done with."""
        streams = self._stream_of[places]
        slots = self._slots[streams]
        absent, stopped = slots < 0, self._stopped[streams]
        rows = np.where(absent, 0, self._records.rows(slots))
        self._rows[places] = rows
        for place in places[absent & ~stopped].tolist():
            damaged = self._damaged.get(self._keys[place])
            self._refuse(place, damaged or full(self._records.slots.capacity, self._place(place)))
        for place in places[stopped].tolist():
            why = "expected rows in order, received one after a refused row; send it again after that one is mended"
            self._refuse(place, DataError(why, source=self._place(place)))
        wanted = ~absent & ~stopped
        if self._numbers is None:
            return places[wanted]
        numbers = self._numbers[places]
        self._status[places[wanted & (numbers <= rows)]] = RowStatus.DUPLICATE
        for place in places[wanted & (numbers > rows + 1)].tolist():
            expected = int(self._rows[place]) + 1
            why = f"expected row number {expected}, received {self._numbers[place]}; send the rows between first"
            self._refuse(place, DataError(why, source=self._place(place), line=int(self._numbers[place])))
        return places[wanted & (numbers == rows + 1)]

    def _together(self, places: Places, *, all_or_none: bool = False) -> Places:
        """Take the plain rows in one step of the model, or none if there are others; the places of the others."""
        if not len(places):
            return places
        layout, slots = self._form.layout, self._slot(places)
        records = self._records.read(slots)
        plain = self._form.plain(self._parsed, places, records)
        others = places[~plain]
        if not plain.all():
            places, slots, records = places[plain], slots[plain], records[torch.from_numpy(plain)]
        if not len(places) or (all_or_none and len(others)):
            return others
        said, sound = self._form.advance(self._parsed, places, records)
        rows = layout.column(records, "rows")
        rows += 1
        layout.column(records, "last_taken")[:] = rows
        if not sound.all():
            others = np.sort(np.concatenate([others, places[~sound]]))
            if all_or_none:
                return others
            places, slots, records = places[sound], slots[sound], records[torch.from_numpy(sound)]
            said = {name: array[sound] for name, array in said.items()}
        self._records.write(slots, records)
        self._rows[places] = layout.column(records, "rows")
        for name, array in said.items():
            self._arrays[name][places] = array
        return others

    def _alone(self, place: int) -> None:
        """Take one row through a stream of its own, which says what becomes of it."""
        layout, slot, stream = self._form.layout, self._slot(np.array([place])), self._stream
        layout.to_stream(self._records.read(slot), self._keys[place], stream)
        row = self._table.row(place)
        why = None if self._gaps is None else self._gaps.refusal(place, stream.missing_before(row))
        if why is not None:
            self._refuse(place, DataError(why, source=self._place(place), line=stream.rows + 1))
            return
        try:
            said = stream.update(row)
        except DataError as error:
            told = DataError(error.message, source=self._place(place), line=error.line, column=error.column)
            self._refuse(place, told)
            return
        except ValueError as error:  # the model's own, such as a position beyond its table
            self._refuse(place, DataError(str(error), source=self._place(place), line=stream.rows + 1))
            return
        self._records.write(slot, torch.frombuffer(bytearray(layout.of_stream(stream)), dtype=torch.uint8)[None])
        self._rows[place] = stream.rows
        if said is None:
            self._status[place] = RowStatus.SKIPPED
        else:
            self._form.put(self._arrays, place, said)

    def _refuse(self, place: int, error: DataError) -> None:
        self._status[place], self._errors[place] = RowStatus.REFUSED, error
        self._stopped[self._stream_of[place]] = self._hold_back

    def _slot(self, places: Places) -> Slots:
        return self._slots[self._stream_of[places]]

    def _place(self, place: int) -> str:
        return f"stream {self._keys[place]!r}"
