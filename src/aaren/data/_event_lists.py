"""Events as lists: EasyTPP's JSON, the pickles of NHP, THP and ifl-tpp, and the text folds of Du et al."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._event_arrays import Content
from aaren.data._events import Duplicates, EventSequence, checked_sequence, event_error
from aaren.data._plain_pickle import plain_value, read_plain_pickle
from aaren.errors import DataError

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # first of the pickles in PyTorch's files before they were zip files


_SHORT, _SPARE = 256, 1 << 17


class _Lists:
    """Lists that become sequences, with a bound on how many events they may be.

    A list inside a pickle may be named many times. So no more events are taken than the file has bytes. A sequence
    costs memory even if it is empty: one that is too short to be of use counts as `_SHORT` events; `_SPARE` are free.
    """

    def __init__(self, largest: int, number: int | None, source: str, duplicates: Duplicates) -> None:
        self.left, self.number, self.source, self.duplicates = largest, number, source, duplicates
        self.spare = _SPARE
        self.times: list[NDArray[np.float64]] = []
        self.marks: list[NDArray[np.int64] | None] = []
        self.spans: list[tuple[float | None, float | None]] = []

    def add(self, times: Any, marks: Any, start: Any = None, end: Any = None) -> None:
        """One sequence more."""
        name = str(len(self.times))
        self.times.append(self.numbers(times, "times", name))
        if len(self.times[-1]) < 2:
            self.count_short()
        found = None if marks is None else self.numbers(marks, "marks", name)
        if found is not None:
            odd = np.flatnonzero(~(np.isfinite(found) & (np.floor(found) == found) & (np.abs(found) < 2**53)))
            if odd.size:
                at = int(odd[0])
                raise event_error(f"expected a whole number as a mark, received {found[at]}", self.source, name, at)
        self.marks.append(None if found is None else found.astype(np.int64))
        self.spans.append((self.number_of(start, name), self.number_of(end, name)))

    def numbers(self, given: Any, what: str, name: str) -> NDArray[np.float64]:
        """A list, a tuple or an array of numbers."""
        given = plain_value(given, self.source)
        if isinstance(given, np.ndarray) and given.ndim == 1:
            self.count(len(given), name)
            return given.astype(np.float64)
        if not isinstance(given, list | tuple):
            raise event_error(f"expected a list of {what}, received {type(given).__name__}", self.source, name)
        self.count(len(given), name)
        for index, one in enumerate(given):
            if not isinstance(one, int | float) or isinstance(one, bool):
                words = f"expected a number in {what}, received {type(one).__name__}"
                raise event_error(words, self.source, name, index)
        try:
            return np.array(given, dtype=np.float64)
        except OverflowError:
            raise event_error(f"expected {what} that fit float64, received larger ones", self.source, name) from None

    def count(self, events: int, name: str) -> None:
        self.left -= events
        if self.left < 0:
            raise event_error("expected fewer events than the file has bytes, received more", self.source, name)

    def count_short(self) -> None:
        """Charge a sequence that is too short to be of use, unless there are few."""
        self.spare -= 1
        self.left -= 0 if self.spare >= 0 else _SHORT
        if self.left < 0:
            raise DataError(
                f"expected sequences with events, received more than {_SPARE} that are nearly all empty; leave empty "
                "ones out",
                source=self.source,
            )

    def number_of(self, given: Any, name: str) -> float | None:
        return (
            None if given is None else float(self.numbers([plain_value(given, self.source)], "start and end", name)[0])
        )

    def content(self, first: int, padding: int | None, parts: Mapping[str, tuple[int, ...]]) -> Content:
        """Check all; marks are counted from `first` in the file, `padding` (None: one too many) is no mark."""
        marked = {marks is not None for marks in self.marks}
        if len(marked) != 1:
            problem = "some sequences with marks and some without" if marked else "none"
            raise DataError(f"expected sequences of one kind, received {problem}", source=self.source)
        marks = [None if one is None else one - first for one in self.marks]
        highest = max((int(one.max(initial=0)) for one in marks if one is not None), default=-1)
        number = self.number if self.number is not None and marked == {True} else highest + 1
        sequences: list[EventSequence] = []
        for index, (times, own, (start, end)) in enumerate(zip(self.times, marks, self.spans, strict=True)):
            sequences.append(
                checked_sequence(
                    str(index),
                    times,
                    own,
                    number,
                    source=self.source,
                    duplicates=self.duplicates,
                    start=start,
                    end=end,
                    padding=number if padding is None else padding,
                )
            )
        return sequences, number, first, dict(parts)


def events_of_json(data: bytes, number: int | None, source: str, duplicates: Duplicates) -> Content:
    """Events of EasyTPP's JSON: an array of objects with `time_since_start`, `type_event` (from 0), `dim_process`."""
    try:
        listed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected JSON, received text that is none ({error})", source=source) from None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise DataError("expected an array of objects, one for each sequence, received something else", source=source)
    dims = [one["dim_process"] for one in listed if one.get("dim_process") is not None]
    found = _Lists(len(data), _dims(dims, number, source), source, duplicates)
    for index, one in enumerate(listed):
        _require(one, ("time_since_start",), source, index)
        found.add(one["time_since_start"], one.get("type_event"))
    return found.content(0, None, {})


def _dims(dims: Sequence[Any], number: int | None, source: str, name: str = "dim_process") -> int | None:
    """How many marks there are, by what was asked for and what the file says; its values are compared, never hashed."""
    for one in dims:
        whole = isinstance(one, int) and not isinstance(one, bool)
        if not whole or not 0 < one < 2**31 or one != dims[0]:
            shown = reprlib.repr(one) if whole or isinstance(one, str | float) else type(one).__name__
            others = f" after {dims[0]}" if whole and one != dims[0] else ""
            raise DataError(f"expected one positive number {name!r}, received {shown}{others}", source=source)
    return number if number is not None or not dims else int(dims[0])


def _require(one: Any, keys: Iterable[str], source: str, index: int) -> None:
    missing = [key for key in keys if not isinstance(one, Mapping) or key not in one]
    if missing:
        raise event_error(f"expected the entry {missing[0]!r}, received none", source, str(index))


def events_of_text(data: bytes, times: bytes, number: int | None, source: str, duplicates: Duplicates) -> Content:
    """Events of Du et al.: a line of marks (from 1) for each sequence, and a line of times in a second file."""
    lines = [_text(part, source).splitlines() for part in (data, times)]
    if len(lines[0]) != len(lines[1]):
        raise DataError(
            f"expected as many lines of times as of marks, {len(lines[0])}, received {len(lines[1])}", source=source
        )
    found = _Lists(len(data) + len(times), number, source, duplicates)
    for line, (marks, stamps) in enumerate(zip(*lines, strict=True), start=1):
        try:
            found.add([float(one) for one in stamps.split()], [int(one) for one in marks.split()])
        except ValueError as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"expected numbers with blanks between them; {error}", source=source, line=line) from None
    return found.content(1, -1, {})


def _text(data: bytes, source: str) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise DataError("expected a text of numbers, received other bytes", source=source) from None


def events_of_pickle(data: bytes, number: int | None, source: str, duplicates: Duplicates) -> Content:
    """Events of a pickle of plain data, which is read without unpickling; see `read_plain_pickle`."""
    values = read_plain_pickle(data, source)
    if values and values[0] == _TORCH_MAGIC:
        if len(values) != 5:
            raise DataError("expected a file as PyTorch writes it, received a part of one", source=source)
        values = values[3:4]
    value = values[0] if len(values) == 1 else None
    if not isinstance(value, dict):
        raise DataError("expected a dictionary of sequences, received something else", source=source)
    if "sequences" in value:
        return _ifl_tpp(value, len(data), number, source, duplicates)
    return _nhp(value, len(data), number, source, duplicates)


def events_of_objects(
    arrays: Mapping[str, Any], size: int, number: int | None, source: str, duplicates: Duplicates
) -> Content:
    """Events of an `.npz` file with arrays of objects, as ifl-tpp had them first: `arrival_times`, `marks` from 0.

    Args:
        arrays: by name; one of objects is the list of them, one list of numbers for each sequence.
        size: bytes that they have in all.
        number: how many marks exist; None for as many as there are.
        source: file name; for messages.
        duplicates: what becomes of equal times.

    Raises:
        DataError: the arrays are others, or a sequence is not in order.
    """
    times, marks = (_rows(arrays.get(name)) for name in ("arrival_times", "marks"))
    if not isinstance(times, list) or not (marks is None or (isinstance(marks, list) and len(marks) == len(times))):
        raise DataError(
            "expected arrays of objects 'arrival_times' and, if events have marks, 'marks', a list for each sequence, "
            f"received {sorted(arrays)} of other shapes or kinds; save them so, or as flat arrays with 'offsets'",
            source=source,
        )
    sequences = [{"arrival_times": one, "marks": None if marks is None else marks[i]} for i, one in enumerate(times)]
    return _ifl_tpp({"sequences": sequences}, size, number, source, duplicates)


def _rows(array: Any) -> Any:
    """The list of the rows of an array of numbers, as which numpy saves lists of one length."""
    return list(array) if isinstance(array, np.ndarray) and array.ndim == 2 else array


def _ifl_tpp(value: dict[Any, Any], size: int, number: int | None, source: str, duplicates: Duplicates) -> Content:
    """`{"sequences": [{"arrival_times", "marks", "t_start", "t_end"}, ...], "num_marks"}`, marks from 0."""
    sequences, marks = value["sequences"], plain_value(value.get("num_marks"), source)
    if not isinstance(sequences, list):
        raise DataError("expected a list of sequences, received something else", source=source)
    found = _Lists(size, _dims([] if marks is None else [marks], number, source, "num_marks"), source, duplicates)
    for index, one in enumerate(sequences):
        _require(one, ("arrival_times",), source, index)
        own = None if isinstance(marks, int) and marks == 1 else one.get("marks")
        found.add(one["arrival_times"], own, one.get("t_start"), one.get("t_end"))
    return found.content(0, None, {})


def _nhp(value: dict[Any, Any], size: int, number: int | None, source: str, duplicates: Duplicates) -> Content:
    """`{"dim_process", "train" (or another part): [[{"time_since_start", "type_event"}, ...], ...]}`, marks from 0."""
    listed = {name: one for name, one in value.items() if isinstance(one, list) and one and isinstance(one[0], list)}
    if not listed:
        raise DataError(
            f"expected a part with sequences, received the entries {sorted(map(str, value))[:20]}", source=source
        )
    dim = plain_value(value.get("dim_process"), source)
    found = _Lists(size, _dims([] if dim is None else [dim], number, source), source, duplicates)
    parts: dict[str, tuple[int, ...]] = {}
    for name, sequences in listed.items():
        first = len(found.times)
        for one in sequences:
            times, marks = _columns(one, source, len(found.times))
            found.add(times, marks)
        parts[str(name)] = tuple(range(first, len(found.times)))
    return found.content(0, None, parts if len(parts) > 1 else {})


def _columns(events: Any, source: str, sequence: int) -> tuple[Sequence[Any], Sequence[Any]]:
    """Times and marks of a list of events."""
    if not isinstance(events, list):
        raise event_error(f"expected a list of events, received {type(events).__name__}", source, str(sequence))
    for index, one in enumerate(events):
        if not isinstance(one, dict) or not {"time_since_start", "type_event"} <= set(one):
            raise event_error(
                "expected an event with 'time_since_start' and 'type_event', received something else",
                source,
                str(sequence),
                index,
            )
    return [plain_value(one["time_since_start"], source) for one in events], [
        plain_value(one["type_event"], source) for one in events
    ]
