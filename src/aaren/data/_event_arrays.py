"""Events in `.npz` files: flat arrays with offsets, and the padded arrays of the Meta-TPP code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._events import Duplicates, EventSequence, checked_sequence, event_error
from aaren.errors import DataError

Arrays = Mapping[str, NDArray[Any]]
Content = tuple[list[EventSequence], int, int, dict[str, tuple[int, ...]]]
"""Sequences, number of marks (0 for none), number of the first mark in the file, and parts."""

_SPARE = 1 << 17  # sequences that may be empty


def events_of_arrays(arrays: Arrays, number: int | None, source: str, duplicates: Duplicates) -> Content:
    """Events of an `.npz` file, by the arrays that it has.

    Args:
        arrays: by name. `times`, `offsets` and, if events have marks, `marks`: flat, one sequence after the other,
            marks from 0; `t_max` is the end of the observation, which then starts at 0. Or `times`, `marks` and `masks`
            of shape (sequences, steps): padded at the end, marks from 1 and 0 for padding; without `masks` nothing is.
        number: how many marks exist; None for as many as there are.
        source: file name; for messages.
        duplicates: what becomes of equal times.

    Raises:
        DataError: the arrays are not as above, or a sequence is not in order.
    """
    if "minute" in arrays and "base" in arrays:
        raise DataError("expected sequences of events, received pick-ups; read them with uber_sequences", source=source)
    if "times" not in arrays:
        raise DataError(f"expected an array 'times', received {sorted(arrays)}", source=source)
    times, marks = arrays["times"], arrays.get("marks")
    _require_numbers(times, "times", "iuf", source)
    if marks is not None:
        _require_numbers(marks, "marks", "iuf", source)
        if marks.shape != times.shape:
            raise DataError(
                f"expected marks of the shape of times, {times.shape}, received {marks.shape}", source=source
            )
    if times.ndim == 2:
        return _padded(times, marks, arrays.get("masks"), number, source, duplicates)
    if times.ndim != 1 or "offsets" not in arrays:
        raise DataError(
            f"expected flat times with 'offsets', or times of shape (sequences, steps), received shape {times.shape} "
            f"and the arrays {sorted(arrays)}",
            source=source,
        )
    return _flat(arrays, times, marks, number, source, duplicates)


def _require_numbers(array: NDArray[Any], name: str, kinds: str, source: str) -> None:
    if array.dtype.kind not in kinds:
        raise DataError(f"expected numbers in {name!r}, received {array.dtype}", source=source)


def _whole(marks: NDArray[Any] | None, first: int, source: str) -> NDArray[np.int64] | None:
    """Marks as whole numbers, counted from 0."""
    if marks is None:
        return None
    odd = ~(np.isfinite(marks) & (np.floor(marks) == marks) & (np.abs(marks) < 2**53))
    if odd.any():
        raise DataError(f"expected whole numbers in 'marks', received {marks[odd][0]}", source=source)
    return marks.astype(np.int64) - first


def _flat(
    arrays: Arrays,
    times: NDArray[Any],
    marks: NDArray[Any] | None,
    number: int | None,
    source: str,
    duplicates: Duplicates,
) -> Content:
    offsets = arrays["offsets"]
    bounds_fit = offsets.ndim == 1 and offsets.dtype.kind in "iu" and len(offsets) > 1
    if not bounds_fit or offsets[0] != 0 or offsets[-1] != len(times) or (np.diff(offsets.astype(np.int64)) < 0).any():
        raise DataError(
            f"expected 'offsets' that rise from 0 to {len(times)}, the number of times; correct them", source=source
        )
    _require_rows(len(offsets) - 1, times, source)
    status = arrays.get("time_status")
    known = range(len(offsets) - 1)
    if status is not None:  # of the rebuilt StackOverflow folds: 2 where the times are exact
        if status.shape != (len(offsets) - 1,):
            raise DataError("expected one 'time_status' for each sequence", source=source)
        known = [int(one) for one in np.flatnonzero(status == 2)]  # type: ignore[assignment]
    first = 0 if status is None else 1
    whole = _whole(marks, first, source)
    number = _number_of_marks(whole, number)
    end = None
    if "t_max" in arrays and arrays["t_max"].ndim == 0:
        _require_numbers(arrays["t_max"], "t_max", "iuf", source)
        end = float(arrays["t_max"])
    sequences = []
    for index in known:
        place = slice(int(offsets[index]), int(offsets[index + 1]))
        sequences.append(
            checked_sequence(
                str(index),
                times[place].astype(np.float64),
                None if whole is None else whole[place],
                number,
                source=source,
                duplicates=duplicates,
                start=None if end is None else 0.0,
                end=end,
                padding=-1,
            )
        )
    return sequences, number, first, _folds(arrays.get("fold1_is_test"), known, len(offsets) - 1, source)


def _number_of_marks(marks: NDArray[np.int64] | None, number: int | None) -> int:
    """As many as were asked for or are there; 0 where events have none, whatever was asked for."""
    if marks is None:
        return 0
    return int(marks.max(initial=0)) + 1 if number is None else number


def _require_rows(sequences: int, times: NDArray[Any], source: str) -> None:
    """Refuse far more sequences than events: empty ones take no bytes in a file, but memory here."""
    if sequences > times.size + _SPARE:
        raise DataError(
            f"expected sequences with events, received {sequences} with {times.size} in all; leave empty ones out",
            source=source,
        )


def _folds(is_test: NDArray[Any] | None, known: Any, sequences: int, source: str) -> dict[str, tuple[int, ...]]:
    """The parts of the rebuilt StackOverflow folds."""
    if is_test is None:
        return {}
    if is_test.shape != (sequences,) or is_test.dtype.kind not in "biu":
        raise DataError(
            f"expected one 'fold1_is_test' for each of {sequences} sequences, received {is_test.dtype} {is_test.shape}",
            source=source,
        )
    test = [bool(is_test[index]) for index in known]
    return {
        "train": tuple(place for place, one in enumerate(test) if not one),
        "test": tuple(place for place, one in enumerate(test) if one),
    }


def _padded(
    times: NDArray[Any],
    marks: NDArray[Any] | None,
    masks: NDArray[Any] | None,
    number: int | None,
    source: str,
    duplicates: Duplicates,
) -> Content:
    _require_rows(len(times), times, source)
    if masks is None:
        with np.errstate(invalid="ignore"):
            falls = np.argwhere(~(np.diff(times.astype(np.float64)) >= 0))
        if falls.size:
            row, step = falls[0].tolist()
            raise event_error(
                "expected 'masks', 1 for an event and 0 for padding, or times that never fall, received no masks and "
                f"{times[row, step + 1]} after {times[row, step]}; if that is padding, add masks, else sort by time",
                source,
                str(row),
                step + 1,
            )
        masks = np.ones(times.shape, dtype=bool)
    if masks.shape != times.shape or masks.dtype.kind not in "biuf" or not np.isin(masks, (0, 1)).all():
        raise DataError(
            f"expected 'masks' of 0 and 1 in the shape of times, {times.shape}, received {masks.dtype} {masks.shape}",
            source=source,
        )
    present = masks.astype(bool)
    whole = _whole(None if marks is None else np.where(present, marks, 1), 1, source)
    number = _number_of_marks(whole, number)
    sequences = []
    for index, row in enumerate(present):
        sequences.append(
            checked_sequence(
                str(index),
                times[index][row].astype(np.float64),
                None if whole is None else whole[index][row],
                number,
                source=source,
                duplicates=duplicates,
                padding=-1,
            )
        )
    return sequences, number, 1, {}
