"""Event files in every layout, written from the same sequences."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

TIMES = [[0.0, 1.5, 2.25, 7.0], [3.0, 3.5, 10.0]]
MARKS = [[0, 2, 1, 2], [2, 0, 0]]


def easytpp(times: Any = TIMES, marks: Any = MARKS, dim: Any = 3) -> bytes:
    """EasyTPP's JSON."""
    listed = []
    for index, (own, kinds) in enumerate(zip(times, marks, strict=True)):
        entry = {"dim_process": dim, "seq_idx": index, "seq_len": len(own), "time_since_start": own}
        listed.append({**entry, "type_event": kinds})
    return json.dumps(listed).encode()


def nhp(times: Any = TIMES, marks: Any = MARKS, dim: Any = 3, part: str = "train") -> dict[str, Any]:
    """The dictionary of NHP and THP pickles."""
    sequences = [
        [{"time_since_start": t, "type_event": m} for t, m in zip(own, kinds, strict=True)]
        for own, kinds in zip(times, marks, strict=True)
    ]
    return {"dim_process": dim, "args": None, "devtest": [], part: sequences}


def ifl_tpp(times: Any = TIMES, marks: Any = MARKS) -> dict[str, Any]:
    """The dictionary of ifl-tpp."""
    sequences = [
        {"arrival_times": own, "marks": kinds, "t_start": 0.0, "t_end": 20.0}
        for own, kinds in zip(times, marks, strict=True)
    ]
    return {"sequences": sequences, "num_marks": 3}


def torch_zip(value: Any) -> bytes:
    """A file as torch.save writes it, of a value without tensors."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value, 2))
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def torch_legacy(value: Any) -> bytes:
    """A file as older versions of torch.save wrote it."""
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, value, []]
    return b"".join(pickle.dumps(part, 2) for part in parts)


def npz(**arrays: Any) -> bytes:
    """An `.npz` file."""
    file = io.BytesIO()
    np.savez_compressed(file, **{name: np.asarray(array) for name, array in arrays.items()})
    return file.getvalue()


def objects(*given: Any) -> Any:
    """An array of objects."""
    array = np.empty(len(given), dtype=object)
    for index, one in enumerate(given):
        array[index] = one
    return array


def flat() -> dict[str, Any]:
    """The arrays of the flat layout."""
    return {"times": [*TIMES[0], *TIMES[1]], "marks": [*MARKS[0], *MARKS[1]], "offsets": [0, 4, 7]}


def padded() -> dict[str, Any]:
    """The arrays of the padded layout, marks from 1."""
    times, marks, masks = np.zeros((2, 5)), np.zeros((2, 5), dtype=int), np.zeros((2, 5))
    for row, (own, kinds) in enumerate(zip(TIMES, MARKS, strict=True)):
        times[row, : len(own)], marks[row, : len(own)], masks[row, : len(own)] = own, np.array(kinds) + 1, 1
    return {"times": times, "marks": marks, "masks": masks}


def csv(times: Any = TIMES, marks: Any = MARKS) -> str:
    """A table with names of marks."""
    rows = [
        f"{name},{time},{'abc'[mark]}"
        for name, own, kinds in zip("xy", times, marks, strict=True)
        for time, mark in zip(own, kinds, strict=True)
    ]
    return "\n".join(["sequence,time,mark", *rows]) + "\n"


def text(folder: Path) -> Path:
    """The two files of Du et al.; gives that of the marks."""
    (folder / "time-1-train.txt").write_text("\n".join(" ".join(map(str, own)) for own in TIMES) + "\n")
    path = folder / "event-1-train.txt"
    path.write_text("\n".join(" ".join(str(mark + 1) for mark in own) for own in MARKS) + "\n")
    return path
