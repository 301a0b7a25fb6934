"""What a classifier is to judge, as its training had it: labelled series, or windows of a recording."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aaren.data import CaseSet, read_cases, read_recording
from aaren.models import Classifier

_SEEN = "is what the model was trained on: how well it does there says little of other data"


class Cut(NamedTuple):
    """What a model's record says of the windows that it was trained on; if it was trained on other cases, the digest.

    Args:
        length: rows of a window.
        label: column of the class.
        test: first row of the test part and the one behind its last, from 0, where it is of the same recording.
        bounds: lowest and highest value of each channel beyond which values are missing; infinite where all are kept.
        sha256: digest of the file.
    """

    length: int | None = None
    label: str | None = None
    test: tuple[int, int] | None = None
    bounds: tuple[tuple[float, float], ...] | None = None
    sha256: str | None = None


def cases_for(
    model: Classifier, path: Path, windows: int | None = None, label: str | None = None, *, unlabelled: bool = False
) -> tuple[CaseSet, list[str]]:
    """Read what a classifier is to judge, with the channels and classes of its training.

    Args:
        model: the classifier.
        path: labelled series; or a recording, where windows are asked for, or the model was trained on some.
        windows: rows of a window; None for the length of the training, if it had windows.
        label: column of the class; None for that of the training, or else the last one.
        unlabelled: the classes need not be known. A recording is then cut without a look at them: one window behind
            the other. Otherwise it is cut as in training, and of the recording of the training only the test part.

    Returns:
        The cases, and what a user should know of how they were taken.

    Raises:
        ValueError: an option cannot be.
        DataError: the file is not as expected.
    """
    known = model.preprocessing
    if known is None:
        raise ValueError("expected a model with preprocessing, as `aaren train` writes it")
    cut = cut_in_training(model.metadata, len(known.channels))
    length = cut.length if windows is None else windows
    if length is None:
        if label is not None:
            raise ValueError(f"--label: expected only with --windows, received {label}")
        cases = read_cases(path, classes=known.classes, unlabelled=unlabelled)
        return cases, [] if unlabelled or cases.sha256 != cut.sha256 else [f"{path} {_SEEN}"]
    if length < 1:
        raise ValueError(f"--windows: expected at least 1 row, received {length}")
    recording = read_recording(
        path,
        label=cut.label if label is None else label,
        classes=known.classes,
        channels=known.channels,
        unlabelled=unlabelled,
    )
    notes = []
    if not unlabelled and recording.sha256 == cut.sha256:
        if cut.test is None:
            notes.append(f"{path} {_SEEN}")
        else:
            start, stop = cut.test
            recording = recording.part(start, stop, f"rows {start + 1} to {stop}")
            notes.append(f"{path} is the recording of the training; only its test part is taken")
    if cut.bounds is not None:
        bounded = recording.within(np.array(cut.bounds).T)
        beyond = int((np.isnan(bounded.values) & ~np.isnan(recording.values)).sum())
        recording = bounded
        notes += [f"{beyond} outliers are taken as missing, as in training"] if beyond else []
    return recording.windows(length), notes


def cut_in_training(metadata: dict[str, Any], channels: int) -> Cut:
    """The windows of the training, from a model's record; no checksum covers the record, so it may hold anything."""
    data = metadata.get("data")
    if not isinstance(data, dict):
        return Cut()
    said, digest = data.get("windows"), data.get("sha256")
    digest = digest if isinstance(digest, str) else None
    if not isinstance(said, dict) or not _is_count(said.get("length"), least=1):
        return Cut(sha256=digest)
    label, rows, bounds = said.get("label"), said.get("test_rows"), said.get("bounds")
    return Cut(
        said["length"],
        label if isinstance(label, str) else None,
        tuple(rows) if isinstance(rows, list) and len(rows) == 2 and all(map(_is_count, rows)) else None,
        _bounds(bounds) if isinstance(bounds, list) and len(bounds) == channels else None,
        digest,
    )


def _is_count(given: Any, least: int = 0) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given >= least


def _bounds(given: list[Any]) -> tuple[tuple[float, float], ...] | None:
    found = [[-math.inf, math.inf] if pair is None else pair for pair in given]
    if all(isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, float) for x in pair) for pair in found):
        return tuple((low, high) for low, high in found)
    return None
