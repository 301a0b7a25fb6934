"""Event sets that are made here: the synthetic Sin, and sequences from New York's Uber pick-ups."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from aaren.data._events import EventSequence, EventSet
from aaren.data._stored import read_npz, read_stored
from aaren.errors import DataError

SINE_END = 32 * np.pi
_CELL = 100  # a place cell in units of 1e-4 degrees: about 1.1 km north to south and 0.85 km east to west


def sine_events(seed: int, sequences: int = 1000) -> EventSet:
    r"""Generate the synthetic set Sin: Poisson processes whose intensity is a sine of period 4π on [0, 32π].

    .. math:: \lambda(t) = r\,(1 + \sin(t / 2)), \qquad 0 \le t \le 32\pi, \qquad r \sim U(0.3, 1.7)

    By thinning of a Poisson process of rate 2r; a sequence of less than 20 or more than 200 events is drawn anew.
    Period, span, number and lengths are those of Meta-TPP; the form of the intensity and the range of r are this
    project's.

    Args:
        seed: decides all events.
        sequences: how many.

    Returns:
        The set, without marks.

    Source: Lewis and Shedler (1979) for thinning; arXiv 2301.12023, appendix, for the set.

    Example:
        >>> events = sine_events(seed=0, sequences=3)
        >>> len(events.sequences), events.marks, bool(events.sequences[0].end == 32 * np.pi)
        (3, (), True)
    """
    random = np.random.default_rng(seed)
    found: list[EventSequence] = []
    while len(found) < sequences:
        rate = random.uniform(0.3, 1.7)
        times = _thinned(random, rate)
        if 20 <= len(times) <= 200:
            found.append(EventSequence(str(len(found)), times, None, 0.0, float(SINE_END)))
    return EventSet(tuple(found), (), f"sine_events(seed={seed}, sequences={sequences})", None)


def _thinned(random: np.random.Generator, rate: float) -> NDArray[np.float64]:
    """Times of one process: candidates at the largest rate, each kept with the share of the intensity in it."""
    candidates = np.sort(random.uniform(0, SINE_END, random.poisson(2 * rate * SINE_END)))
    return candidates[2 * random.uniform(size=len(candidates)) < 1 + np.sin(candidates / 2)]


def uber_sequences(path: str | os.PathLike[str], *, fewest: int = 100, most: int = 500) -> EventSet:
    """Sequences from the Uber pick-ups of April 2014: one for each base and place, times in minutes, without marks.

    Pick-ups of the same minute count once. A place is a cell of 0.01 degrees. Meta-TPP's set is of January to June
    2015, by base and location id: this one stands for it and is not it.

    Args:
        path: the file `uber_raw_apr14.npz`, with `minute`, `lat_e4`, `lon_e4`, `base` and `base_names`.
        fewest: events of a sequence at least; shorter ones are left out.
        most: events of a sequence at most; longer ones are left out.

    Returns:
        The set; the month, 0 to 43200 minutes, is observed.

    Raises:
        DataError: the file is not as above.
    """
    label = str(path)
    stored = read_stored(path)
    arrays = read_npz(stored.data, label)
    names = ("minute", "lat_e4", "lon_e4", "base", "base_names")
    if not set(names) <= set(arrays):
        raise DataError(f"expected the arrays {', '.join(names)}, received {sorted(arrays)}", source=label)
    for name in names:
        kinds, what = ("US", "text") if name == "base_names" else ("iu", "whole numbers")
        array = arrays[name]
        if array.dtype.kind not in kinds or array.ndim != 1:
            raise DataError(
                f"expected {what} of one dimension, received {array.dtype} {array.shape}", source=f"{label}: {name}"
            )
    minute, latitude, longitude, base = (arrays[name].astype(np.int64) for name in names[:4])
    if len({len(array) for array in (minute, latitude, longitude, base)}) != 1:
        raise DataError("expected arrays of one length, received several", source=label)
    bases = arrays["base_names"]
    if len(base) and not 0 <= base.min() <= base.max() < len(bases):
        raise DataError(f"expected bases from 0 to {len(bases) - 1}, received others", source=label)
    rows = np.unique(np.stack([base, latitude // _CELL, longitude // _CELL, minute], 1), axis=0)  # sorted, no doubles
    edges = np.flatnonzero((np.diff(rows[:, :3], axis=0) != 0).any(1)) + 1
    found = []
    for part in np.split(rows, edges):
        if fewest <= len(part) <= most:
            name = f"{bases[part[0, 0]]} {part[0, 1] / 100:.2f} {part[0, 2] / 100:.2f}"
            end = max(43200.0, float(part[-1, 3]))
            found.append(EventSequence(name, part[:, 3].astype(np.float64), None, 0.0, end))
    if not found:
        raise DataError(f"expected a sequence of {fewest} to {most} events, received none", source=label)
    return EventSet(tuple(found), (), label, stored.sha256, "drop")
