"""`aaren.export.verify`: whether an export still says what the model says, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from aaren.errors import DataError, ModelFileError
from aaren.export._answers import answer, in_deviations, largest_difference
from aaren.export._manifest import FILE, Manifest, read_manifest
from aaren.export._measure import Measured, read_measured, stream_rows
from aaren.export._metrics import Metric, metric_of

BAR = 1e-5
"""Largest difference of a float32 export, in training deviations."""
LOSS_BAR = 1.0
"""Largest loss of a float16 or int8 export, in percent of the metric."""


@dataclass(frozen=True)
class Verification:
    """What came of rows that were streamed through an export and through its model.

    Args:
        runtime: of the export.
        precision: of its weights.
        rows: that were streamed.
        refused: rows that both refused in the same words.
        disagreed: rows that only one of them refused, or in other words.
        differences: the largest of each output in training deviations; see `in_deviations`.
        latency: processor time of a row in microseconds: median and p99 of "export" and "model".
        peak_memory: bytes that the process of the export had at most.
        torch_loaded: whether PyTorch was in that process.
        file_bytes: of all files of the export.
        state_bytes: of the state of one stream.
        metric: with narrow weights: what is lost.
        holds: whether all differences are within `BAR`, or the loss within `LOSS_BAR` and no number is missing; and no
            row disagreed.
    """

    runtime: str
    precision: str
    rows: int
    refused: int
    disagreed: int
    differences: Mapping[str, float]
    latency: Mapping[str, Mapping[str, float]]
    peak_memory: int
    torch_loaded: bool
    file_bytes: int
    state_bytes: int
    metric: Metric | None
    holds: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**vars(self), "metric": None if self.metric is None else self.metric._asdict()}


def verify(
    directory: str | Path,
    rows: Sequence[Any],
    model: Any = None,
    *,
    resets: Sequence[int] = (),
    labels: Sequence[Any] | None = None,
) -> Verification:
    """Stream rows through an export and through its model, and compare.

    The export runs in a process of its own; times are processor times, so that other work on the machine counts little.

    Args:
        directory: the export.
        rows: as a stream takes them; see `real_rows` for those of a file.
        model: that was exported, or its directory; None if the export holds it, as those for numpy in float32 do.
        resets: numbers of the rows, from 0, with which a new series, sequence or episode begins.
        labels: for exports with narrow weights: classes of a classifier's series, or recorded actions of a policy.

    Raises:
        DataError: there are no rows, or a cell that no file could hold.
        ModelFileError: the export or the model is damaged, or the model is another one.

    Example:
        result = aaren.export.verify("out/", rows, "model/")
        result.holds, result.differences
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    model = model_of(directory, manifest, model)
    plain = [_plain(row) for row in rows]
    if not plain:
        raise DataError("expected rows to stream, received none")
    export = _in_its_process(directory, plain, resets)
    own = _streamed(model, plain, resets)
    disagreed = {n for n in {*export.refusals, *own.refusals} if export.refusals.get(n) != own.refusals.get(n)}
    differences = _differences(manifest, export, own, disagreed)
    metric = None
    if manifest.precision != "float32":
        outputs = (export.outputs, own.outputs)
        metric = metric_of(model, plain, resets, labels, outputs)
    # a metric leaves out what is no number, and would not miss it
    farthest = max(differences.values(), default=np.inf)
    close = farthest <= BAR if metric is None else metric.loss_percent <= LOSS_BAR and np.isfinite(farthest)
    return Verification(
        manifest.runtime,
        manifest.precision,
        len(plain),
        len({*export.refusals, *own.refusals} - disagreed),
        len(disagreed),
        differences,
        {"export": export.latency(), "model": own.latency()},
        export.peak_memory,
        export.torch,
        sum((directory / name).stat().st_size for name in (*manifest.files, FILE)),
        manifest.state_bytes,
        metric,
        bool(close and not disagreed),
    )


def model_of(directory: Path, manifest: Manifest, model: Any = None) -> Any:
    """The model of an export.

    Raises:
        ModelFileError: it is another model, or is needed and was not given.
    """
    from aaren.models import load

    if model is None:
        try:
            return load(directory)
        except ModelFileError:
            raise ModelFileError(
                f"{directory}: expected the model that was exported, to compare with; this export does not hold it: "
                "give its directory (--model)"
            ) from None
    if isinstance(model, str | Path):
        model = load(model)
    if model.fingerprint() != manifest.fingerprint:
        raise ModelFileError(
            f"{directory}: it is an export of another model (fingerprint {manifest.fingerprint[:12]}, this model has "
            f"{model.fingerprint()[:12]}); give the one that was exported"
        )
    return model


def _in_its_process(directory: Path, rows: list[Any], resets: Sequence[int]) -> Measured:
    """Rows through the export, in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        given, answers = Path(folder) / "rows.json", Path(folder) / "answers.npz"
        given.write_text(json.dumps({"rows": rows, "resets": list(map(int, resets))}), encoding="utf-8")
        command = [sys.executable, "-m", "aaren.export._measure", str(directory.absolute()), str(given), str(answers)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise ModelFileError(f"{directory}: the export does not run: {reason[0]}")
        return read_measured(answers)


def _streamed(model: Any, rows: list[Any], resets: Sequence[int]) -> Measured:
    """The same rows through the model's own streams."""
    streams = [model.stream()]
    return stream_rows(
        rows, resets, lambda row: answer(streams[-1], row), lambda: streams.__setitem__(-1, model.stream())
    )


def _differences(manifest: Manifest, export: Measured, own: Measured, disagreed: set[int]) -> dict[str, float]:
    """The largest difference of every output, over the rows that neither refused."""
    taken = np.array(sorted(set(range(len(own.microseconds))) - {*export.refusals, *own.refusals}), dtype=np.int64)
    if not taken.size:
        return {}
    with np.errstate(all="ignore"):
        ours, theirs = (
            in_deviations(manifest.kind, manifest.preprocessing, {k: v[taken] for k, v in one.outputs.items()})
            for one in (export, own)
        )
    return {name: largest_difference(ours[name], theirs[name]) for name in theirs if theirs[name].size}


def _plain(row: Any) -> Any:
    """A row as JSON can carry it to another process: texts, numbers, None."""
    if isinstance(row, Mapping):
        return {str(name): _cell(cell) for name, cell in row.items()}
    if isinstance(row, Sequence | np.ndarray) and not isinstance(row, str | bytes):
        return [_cell(cell) for cell in row]
    return _cell(row)


def _cell(cell: Any) -> Any:
    if isinstance(cell, np.generic) and not isinstance(cell, np.datetime64):
        cell = cell.item()
    if cell is None or isinstance(cell, str | bool | int | float):
        return cell
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, list | tuple | dict):
        return _plain(cell)
    return str(cell)
