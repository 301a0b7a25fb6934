"""From a file of labelled series to a `CaseSet`: .ts, .arff and .tsv, also packed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aaren.data._arff import read_arff
from aaren.data._bytes import decode, file_bytes
from aaren.data._case_text import CaseText, numbered, without_tail
from aaren.data._cases import CaseSet, channel_names, check_classes, sorted_classes
from aaren.data._ts import read_ts
from aaren.errors import DataError


def read_cases(
    path: str | os.PathLike[str], *, classes: Sequence[str] | None = None, unlabelled: bool = False
) -> CaseSet:
    r"""Read a file of labelled series.

    Args:
        path: a .ts file (UEA and UCR archives; lengths may differ), an .arff file with a relational attribute (UEA), or
            a .tsv file (UCR: the class, then the values, separated by tabs); each also as .gz. In .arff and .tsv, whose
            lines have one width, values that are missing in all channels at the end of a case are padding.
        classes: names of the classes of the training data, so that labels mean the same; by default those of the
            header, in its order, and those of a .tsv file sorted.
        unlabelled: take "?" for a class that is not known; its label is -1.

    Returns:
        The cases. Channels are called "channel_1", "channel_2", ...

    Raises:
        DataError: the file, its header, a case, a value or a class is not as expected; with the line.

    Example:
        >>> folder = Path(getfixture("tmp_path"))
        >>> _ = (folder / "two.ts").write_text("@classLabel true up down\n@data\n1,2,?:5,6,7:up\n4,3:8,7:down\n")
        >>> cases = read_cases(folder / "two.ts")
        >>> cases.lengths, cases.classes, cases.cases[0][2]
        (array([3, 2]), ('up', 'down'), array([nan,  7.]))
    """
    place = Path(path)
    label, lower = str(place), place.name.lower()
    packed = lower.endswith(".gz")
    kind = Path(lower.removesuffix(".gz")).suffix
    if kind not in (".ts", ".arff", ".tsv"):
        hint = "; read one labelled recording as windows (--windows, or read_recording)" if kind == ".csv" else ""
        raise DataError(f"expected a file that ends in .ts, .arff, .tsv, or one of these and .gz{hint}", source=label)
    data, digest = file_bytes(place, packed=packed)
    found = CaseText(label, None if classes is None else check_classes(classes, label), unlabelled)
    own = {".ts": read_ts, ".arff": read_arff, ".tsv": read_tsv}[kind](decode(data, label), found)
    names = own if found.classes is None else found.classes
    labels = found.labels(names)
    return CaseSet(tuple(found.cases), labels, names, channel_names(found.cases[0].shape[1]), label, digest)


def read_tsv(text: str, found: CaseText) -> tuple[str, ...]:
    """Read the cases of a text into `found`: the class, then the values of the one channel, separated by tabs.

    Returns:
        The classes, sorted.

    Raises:
        DataError: a line has another number of cells than the first one, or a value is not a number.
    """
    width: int | None = None
    for line, row in numbered(text, "\r\n"):  # a tab at an end parts cells
        name, *cells = row.split("\t")
        width = len(cells) if width is None else width
        if len(cells) != width or not cells:
            raise found.error(
                f"expected a class and {width or 'at least 1'} values, separated by tabs, received {len(cells)}; "
                "the line may have been cut off",
                line,
            )
        values = found.values(cells, line, "channel_1")
        found.add(without_tail(np.asarray(values)[:, None]), name, line)
    return sorted_classes([text for text in found.texts if text != "?" or not found.unlabelled])
