"""From a file to sequences of events, whichever of the published layouts it has."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aaren.data._event_arrays import Content, events_of_arrays
from aaren.data._event_lists import events_of_json, events_of_objects, events_of_pickle, events_of_text
from aaren.data._event_table import events_of_table
from aaren.data._events import Duplicates, EventColumns, EventSet, Short, long_enough, mark_names
from aaren.data._stored import arrays_of, read_stored, read_zip
from aaren.errors import DataError

LARGEST_MARKS = 1 << 20
"""Marks that a file may have; each has a name in memory, and a weight in a model."""

_TABLES = (".csv", ".parquet")
_ENDINGS = ".csv, .parquet, .json, .npz, .pkl or .txt (all but .parquet and .npz also with .gz)"


def read_events(
    source: Any,
    *,
    times: str | os.PathLike[str] | None = None,
    marks: Sequence[str] | int | None = None,
    duplicates: Duplicates = "error",
    short: Short = "error",
    time: str = "auto",
    mark: str | None = "auto",
    sequence: str | None = "auto",
) -> EventSet:
    """Read the sequences of events of a file or a frame.

    Args:
        source: path of a file, or a frame. A table (`.csv`, `.csv.gz`, `.parquet`) has a row for each event. EasyTPP's
            JSON (`.json`, `.json.gz`), the text folds of Du et al. (`event-1-train.txt` with `time-1-train.txt`), flat
            or padded `.npz` or ifl-tpp's, which has a list for each sequence, and the pickles of NHP, THP and ifl-tpp
            (`.pkl`). Pickles, those inside an `.npz` too, are not unpickled but read by an interpreter that knows plain
            data only.
        times: of a text fold, the file of the times; by default the one whose name begins with "time" in place of
            "event".
        marks: names of the marks that may occur, or how many there are (then called by their numbers: from 0, or from
            1 where the file counts so); by default what the file says or has.
        duplicates: for two events of one sequence at the same time: "error" refuses the file, "drop" leaves the later
            event out, "keep" takes both. A simple point process has no such events; see `EventModel` for what their
            interval of 0 counts as.
        short: for a sequence of fewer than two events, which has no interval: "error" refuses the file, "drop" leaves
            the sequence out.
        time: of a table, the column of the times: numbers, or dates, which count in seconds; "auto" is the one called
            time, date, timestamp, datetime or ds.
        mark: of a table, the column of the marks; None for none; "auto" is the one called mark, if there is one.
        sequence: the column that tells sequences apart; None for none; "auto" is the one called sequence, if there
            is one.

    Returns:
        The sequences, each with its events in order of time.

    Raises:
        DataError: the file or an event is not as expected; with sequence and index, or line and column. `marks` are
            named twice, are no number of at least 1, or are given for events without marks.
        MissingDependencyError: polars (tables) or narwhals (frames) is not installed.

    Example:
        >>> import polars
        >>> frame = polars.DataFrame({"time": [0.0, 1.5, 2.0], "mark": ["buy", "sell", "buy"]})
        >>> read_events(frame).marks, read_events(frame).sequences[0].times
        (('buy', 'sell'), array([0. , 1.5, 2. ]))
    """
    if duplicates not in ("error", "drop", "keep"):
        raise ValueError(f"duplicates: expected 'error', 'drop' or 'keep', received {duplicates!r}")
    if short not in ("error", "drop"):
        raise ValueError(f"short: expected 'error' or 'drop', received {short!r}")
    return long_enough(_read(source, times, marks, duplicates, EventColumns(time, mark, sequence)), short)


def _read(
    source: Any,
    times: str | os.PathLike[str] | None,
    marks: Sequence[str] | int | None,
    duplicates: Duplicates,
    columns: EventColumns,
) -> EventSet:
    """All sequences, however short."""
    if marks is not None:
        _check_marks(marks)
    number = marks if isinstance(marks, int) else None if marks is None else len(marks)
    names = None if marks is None or isinstance(marks, int) else tuple(marks)
    of_table = mark_names(number) if names is None and number is not None else names
    if not isinstance(source, str | os.PathLike):
        return _with_marks(events_of_table(source, of_table, columns, duplicates), number)
    label = str(source)
    lower = Path(source).name.lower().removesuffix(".gz")
    if times is not None or lower.endswith(".txt"):
        return _with_marks(_read_text(source, times, names, number, duplicates), number)
    if lower.endswith(_TABLES):
        return _with_marks(events_of_table(source, of_table, columns, duplicates), number)
    stored = read_stored(source)
    content = _content(stored.data, lower, number, label, duplicates)
    return _with_marks(_event_set(content, names, label, stored.sha256, duplicates), number)


def _check_marks(marks: Sequence[str] | int) -> None:
    """Refuse a number of marks that cannot be, and names that are given twice."""
    if isinstance(marks, int):
        if isinstance(marks, bool) or not 1 <= marks <= LARGEST_MARKS:
            raise DataError(f"marks: expected names, or a number from 1 to {LARGEST_MARKS}, received {marks!r}")
    elif isinstance(marks, str) or not all(isinstance(name, str) for name in marks):
        raise DataError(f"marks: expected a list of names, each a text, received {reprlib.repr(marks)}")
    elif not marks or len(set(marks)) != len(marks):
        raise DataError(f"marks: expected different names, at least one, received {reprlib.repr(list(marks))}")


def _with_marks(events: EventSet, asked: int | None) -> EventSet:
    """The set, unless marks were asked for and it has none."""
    if asked is not None and not events.marks:
        raise DataError(
            f"expected events with marks, of which there are {asked}, received events without; give a file with "
            "marks, or expect none",
            source=events.source,
        )
    return events


def _content(data: bytes, name: str, number: int | None, source: str, duplicates: Duplicates) -> Content:
    """Recognise the layout by the first bytes, and where these do not tell, by the ending."""
    if data[:4] == b"PK\x03\x04":
        if name.endswith(".npz"):
            members = read_zip(data, source)
            arrays = arrays_of(members, source, objects=True)
            if "arrival_times" in arrays or any(isinstance(one, list) for one in arrays.values()):
                return events_of_objects(arrays, sum(map(len, members.values())), number, source, duplicates)
            return events_of_arrays(arrays, number, source, duplicates)
        return events_of_pickle(_torch_pickle(data, source), number, source, duplicates)
    if name.endswith((".json", ".jsonl")) or data[:1] in (b"[", b"{"):
        return events_of_json(data, number, source, duplicates)
    if name.endswith((".pkl", ".pickle")) or data[:1] == b"\x80":
        return events_of_pickle(data, number, source, duplicates)
    if name.endswith(".npz"):
        raise DataError("expected a zip archive of arrays, received other bytes; fetch or save it again", source=source)
    raise DataError(f"expected a file that ends in {_ENDINGS}; rename or convert it", source=source)


def _torch_pickle(data: bytes, source: str) -> bytes:
    """The pickle inside a zip file as PyTorch writes it."""
    found = [content for name, content in read_zip(data, source).items() if name.split("/")[-1] == "data.pkl"]
    if len(found) != 1:
        raise DataError("expected a zip file as PyTorch writes it, received another", source=source)
    return found[0]


def _read_text(
    source: str | os.PathLike[str],
    times: str | os.PathLike[str] | None,
    names: tuple[str, ...] | None,
    number: int | None,
    duplicates: Duplicates,
) -> EventSet:
    path = Path(source)
    if times is None:
        times = path.with_name(path.name.replace("event", "time", 1))
        if times == path or not times.exists():
            raise DataError(
                f"expected a file of times, {times.name}, beside a text of marks, received none; name it with times=",
                source=str(source),
            )
    marked, timed = read_stored(source), read_stored(times)
    content = events_of_text(marked.data, timed.data, number, str(source), duplicates)
    return _event_set(content, names, str(source), f"{marked.sha256}+{timed.sha256}", duplicates)


def _event_set(
    content: Content, names: tuple[str, ...] | None, source: str, sha256: str, duplicates: Duplicates
) -> EventSet:
    sequences, number, first, parts = content
    if not sequences:
        raise DataError("expected at least one sequence of events, received none", source=source)
    if number > LARGEST_MARKS:
        raise DataError(f"expected at most {LARGEST_MARKS} marks, received {number}; number them anew", source=source)
    if names is None or not number:
        names = mark_names(number, first)
    return EventSet(tuple(sequences), names, source, sha256, duplicates, parts=MappingProxyType(parts))
