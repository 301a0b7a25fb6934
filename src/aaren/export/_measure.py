"""Rows through an export in a process of its own, in which PyTorch is not loaded unless the runtime needs it.

`python -m aaren.export._measure EXPORT ROWS ANSWERS` is what `aaren.export.verify` starts.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aaren.errors import DataError
from aaren.export._runner import Arrays

_WARM_UP = 100


class Measured(NamedTuple):
    """What came of some rows.

    Args:
        outputs: by name, shape (rows, ...); NaN (0 for whole numbers) for rows that were refused.
        refusals: message and column by number of the row, from 0.
        microseconds: processor time of each row.
        peak_memory: bytes that the process had at most, and 0 if this was not a process of its own.
        torch: whether PyTorch was loaded in it.
    """

    outputs: Arrays
    refusals: dict[int, list[str | None]]
    microseconds: NDArray[np.float64]
    peak_memory: int = 0
    torch: bool = True

    def latency(self) -> dict[str, float]:
        """Median and 99th percentile of a row in microseconds, the first rows left out."""
        times = self.microseconds[min(_WARM_UP, len(self.microseconds) // 10) :]
        return {"median": float(np.median(times)), "p99": float(np.percentile(times, 99))}


def stream_rows(
    rows: Sequence[Any], resets: Sequence[int], take: Callable[[Any], Arrays | None], reset: Callable[[], Any]
) -> Measured:
    """Give rows, one after another, and keep what is said.

    Args:
        rows: as a stream takes them.
        resets: numbers of the rows before which `reset` is called.
        take: a row in, outputs by name out.
        reset: begins a new series.
    """
    answers: list[Arrays | None] = []
    refusals: dict[int, list[str | None]] = {}
    spent = np.zeros(len(rows))
    begins = set(resets)
    for number, row in enumerate(rows):
        if number in begins:
            reset()
        start = time.process_time_ns()
        try:
            said = take(row)
        except DataError as error:
            said, refusals[number] = None, [error.message, error.column]
        spent[number] = (time.process_time_ns() - start) / 1000
        answers.append(said)
    return Measured(_stacked(answers), refusals, spent)


def read_measured(path: Path) -> Measured:
    """What `main` wrote."""
    with np.load(path, allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    told = json.loads(arrays.pop("told.json").tobytes())
    spent = arrays.pop("told.microseconds")
    refusals = {int(number): refusal for number, refusal in told["refusals"].items()}
    return Measured(arrays, refusals, spent, told["peak_memory"], told["torch"])


def main(directory: str, rows_file: str, answers_file: str) -> None:
    """Stream the rows of a JSON file through an export, and write outputs, times and memory."""
    from aaren.export._export import open_export

    given = json.loads(Path(rows_file).read_text(encoding="utf-8"))
    with open_export(directory) as runner:
        measured = stream_rows(given["rows"], given["resets"], runner.update, runner.reset)
    told = {"refusals": measured.refusals, "peak_memory": _peak_memory(), "torch": "torch" in sys.modules}
    text = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
    arrays: dict[str, Any] = {**measured.outputs, "told.json": text, "told.microseconds": measured.microseconds}
    np.savez(answers_file, **arrays)


def _stacked(answers: list[Arrays | None]) -> Arrays:
    """Outputs of all rows; where a row was refused, NaN."""
    first = next((one for one in answers if one is not None), None)
    if first is None:
        return {}
    empty = {name: np.full_like(array, np.nan if array.dtype.kind == "f" else 0) for name, array in first.items()}
    return {name: np.stack([(empty if one is None else one)[name] for one in answers]) for name in first}


def _peak_memory() -> int:
    """Bytes that this process had at most, as Linux tells; elsewhere as the system counts its children."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource  # not on Linux, where it counts the memory of the process that started this one

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(*sys.argv[1:])
