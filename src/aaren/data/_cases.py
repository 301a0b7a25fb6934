"""Labelled series for classification: a tuple of cases, their classes, and how they are divided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aaren.data._table import listed
from aaren.errors import DataError

UNKNOWN = -1
"""The label of a case whose class is not known."""


@dataclass(frozen=True)
class WindowCut:
    """How cases were cut out of a recording, so that others can be cut alike.

    Args:
        length: rows of each case.
        label: column of the class.
        rows: the part of the recording's rows that was cut, from 0: the first one, and the one behind the last.
        bounds: of every channel, the lowest and the highest value that was not taken as missing, or None if all were
            kept; None if those of all channels were.
    """

    length: int
    label: str
    rows: tuple[int, int]
    bounds: tuple[tuple[float, float] | None, ...] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        bounds = None if self.bounds is None else [None if pair is None else list(pair) for pair in self.bounds]
        return {"length": self.length, "label": self.label, "rows": list(self.rows), "bounds": bounds}


@dataclass(frozen=True, eq=False)
class CaseSet:
    """Series with a class each; their lengths may differ.

    Args:
        cases: float64 of shape (length, channels), length at least 1; NaN is missing.
        labels: int64 of shape (cases,), positions in `classes`; -1 where the class is not known.
        classes: names of the classes.
        channels: names of the channels.
        source: file name, or another origin.
        sha256: digest of the file's bytes as stored; None for arrays.
        cut: how they were cut out of a recording; None for others.
    """

    cases: tuple[NDArray[np.float64], ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    source: str
    sha256: str | None
    cut: WindowCut | None = None

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of every case, shape (cases,)."""
        return np.array([len(case) for case in self.cases], dtype=np.int64)

    def select(self, indices: Sequence[int] | NDArray[Any]) -> CaseSet:
        """The cases at some positions, in that order."""
        chosen = np.asarray(indices)
        if chosen.dtype == np.bool_ and chosen.shape == (len(self),):
            chosen = np.flatnonzero(chosen)
        if not chosen.size or chosen.dtype.kind not in "iu":
            raise DataError(f"expected positions of cases or a mask of {len(self)}, received {indices!r}")
        return replace(self, cases=tuple(self.cases[index] for index in chosen), labels=self.labels[chosen])

    def describe(self) -> str:
        """Say in a few lines what was read: size, lengths, classes and missing values."""
        lengths = self.lengths
        span = str(lengths.min()) if lengths.min() == lengths.max() else f"{lengths.min()} to {lengths.max()}"
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))
        sizes = ", ".join(f"{name} ({count})" for name, count in zip(self.classes, counts.tolist(), strict=True))
        missing = sum(int(np.isnan(case).sum()) for case in self.cases)
        return "\n".join(
            [
                f"{self.source}: {len(self)} cases of {len(self.channels)} channels, length {span}",
                f"classes: {sizes}",
                f"missing values: {missing or 'none'}",
            ]
        )


def cases_from_arrays(
    arrays: Sequence[ArrayLike],
    labels: Sequence[Any] | NDArray[Any],
    *,
    classes: Sequence[Any] | None = None,
    channels: Sequence[str] | None = None,
    source: str = "arrays",
) -> CaseSet:
    """Make a `CaseSet` of arrays.

    Args:
        arrays: cases of shape (length, channels), or (length,) for one channel; NaN is missing.
        labels: class of every case, text or numbers.
        classes: names of the classes, such as those of the training data; by default the labels, sorted.
        channels: names of the channels; by default "channel_1", "channel_2", ...
        source: where they come from; for messages.

    Returns:
        The cases, copied to float64.

    Raises:
        DataError: there is no case, numbers of cases and labels differ, a case is empty, infinite or of other
            channels than the first one, or a class is unknown.

    Example:
        >>> cases = cases_from_arrays([[1.0, 2.0, 3.0], [4.0]], ["up", "down"])
        >>> cases.classes, cases.labels, cases.lengths
        (('down', 'up'), array([1, 0]), array([3, 1]))
    """
    if len(arrays) != len(labels):
        raise DataError(f"expected a label for each of {len(arrays)} arrays, received {len(labels)}", source=source)
    places = [f"{source}, case {number}" for number in range(1, len(arrays) + 1)]
    cases = [_case(array, place) for array, place in zip(arrays, places, strict=True)]
    if not cases:
        raise DataError("expected at least one case, received none", source=source)
    width = cases[0].shape[1]
    for case, place in zip(cases, places, strict=True):
        if case.shape[1] != width:
            raise DataError(f"expected {width} channels as in the first case, received {case.shape[1]}", source=place)
    for name, given in (("classes", classes), ("channels", channels)):
        if isinstance(given, str):
            raise DataError(f"expected a list of names as {name}, received {given!r}", source=source)
    names = channel_names(width) if channels is None else tuple(channels)
    if len(set(names)) < len(names):
        raise DataError(f"expected different names of channels, received {names}", source=source)
    if len(names) != width:
        raise DataError(f"expected names of {width} channels, received {len(names)}", source=source)
    for label, place in zip(labels, places, strict=True):
        if label is None or label != label or not str(label):  # NaN differs from itself
            raise DataError(f"expected a class, received {label!r}; leave the case out", source=place)
    texts = [str(label) for label in labels]
    known = sorted_classes(texts) if classes is None else check_classes([str(name) for name in classes], source)
    found = [label_of(text, known, place) for text, place in zip(texts, places, strict=True)]
    return CaseSet(tuple(cases), np.array(found, dtype=np.int64), known, names, source, None)


def _case(array: ArrayLike, place: str) -> NDArray[np.float64]:
    try:
        case = np.array(array, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("expected an array of numbers, received something else", source=place) from None
    if case.ndim == 1:
        case = case[:, None]
    if case.ndim != 2 or 0 in case.shape:
        raise DataError(f"expected a case of shape (length >= 1, channels >= 1), received {case.shape}", source=place)
    if np.isinf(case).any():
        raise DataError("expected finite values, received infinity; give NaN where one is missing", source=place)
    return case


def channel_names(count: int) -> tuple[str, ...]:
    """Names for channels that have none: "channel_1", "channel_2", ..."""
    return tuple(f"channel_{number}" for number in range(1, count + 1))


def sorted_classes(texts: Sequence[str]) -> tuple[str, ...]:
    """The different texts, by value where all are numbers."""
    different = sorted(set(texts))
    try:
        return tuple(sorted(different, key=float))
    except ValueError:
        return tuple(different)


def check_classes(classes: Sequence[str], source: str, line: int | None = None) -> tuple[str, ...]:
    """Refuse a list of classes that is empty or names one twice.

    Raises:
        DataError: with the class.
    """
    names = tuple(classes)
    if not names:
        raise DataError("expected the names of the classes, received none", source=source, line=line)
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise DataError(f"expected different classes, received {name!r} twice", source=source, line=line)
    return names


def label_of(text: str, classes: tuple[str, ...], source: str, line: int | None = None) -> int:
    """The position of a class.

    Raises:
        DataError: it is none of the classes.
    """
    if text not in classes:
        raise DataError(
            f"expected one of the classes {listed(classes)}, received {text!r}; correct the label, or train with that "
            "class",
            source=source,
            line=line,
        )
    return classes.index(text)


def stratified_split(
    labels: Sequence[int] | NDArray[Any], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide cases so that every class is on both sides in about the same share.

    Args:
        labels: class of every case, shape (cases,).
        fraction: share of the second side, between 0 and 1.
        seed: decides which cases.

    Returns:
        Positions of the first side and of the second side, both ascending. A class of at least two cases has at
        least one on each side; the only case of a class is on the first.

    Raises:
        ValueError: the fraction or the seed is out of range.
        DataError: no class has two cases.

    Example:
        >>> first, second = stratified_split([0, 0, 0, 0, 1, 1], 0.25, seed=0)
        >>> len(first), len(second)
        (4, 2)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: expected a number between 0 and 1, received {fraction}")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or a positive number, received {seed}")
    known = np.asarray(labels, dtype=np.int64)
    generator = np.random.default_rng(seed)
    chosen: list[int] = []
    for label in np.unique(known):
        members = generator.permutation(np.flatnonzero(known == label))
        if len(members) > 1:
            count = min(max(round(fraction * len(members)), 1), len(members) - 1)
            chosen += members[:count].tolist()
    if not chosen:
        raise DataError(
            "expected a class with at least two cases to divide, received none; give more, or others as validation="
        )
    second = np.sort(np.array(chosen, dtype=np.int64))
    return np.setdiff1d(np.arange(len(known)), second), second
