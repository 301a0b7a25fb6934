"""Records: one JSON line for each run, from which tables and plots are made."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aaren._version import __version__
from aaren.models import Model
from aaren.training._checkpoint import remove_checkpoints
from aaren.training._options import TrainingOptions


def save_with_record(
    model: Model[Any, Any],
    directory: Path,
    *,
    data: dict[str, Any],
    options: TrainingOptions,
    training: dict[str, Any],
    metrics: dict[str, Any],
    summary: dict[str, str],
) -> dict[str, Any]:
    """Save a trained model, append the record of its run to `record.jsonl` beside it, and remove its checkpoints.

    Args:
        model: trained and evaluated.
        directory: of the model.
        data: what it was trained on: source, sha256, sizes, split.
        options: how it was trained.
        training: what `fit` returned.
        metrics: on the test part.
        summary: the metrics in words, for the model card.

    Returns:
        The record; plain data.
    """
    trained = {name: value for name, value in training.items() if name not in ("history", "seconds")}
    model.metadata = {
        "data": data,
        "training": {**dataclasses.asdict(options), **trained, "seconds": round(training["seconds"], 1)},
        "metrics": summary,
        "versions": versions(),
    }
    model.save(directory)
    record = {
        "kind": model.kind,
        "data": data,
        "seed": options.seed,
        "config": model.config.to_dict(),
        "options": dataclasses.asdict(options),
        "training": trained,
        "history": training["history"],
        "metrics": metrics,
        "seconds": training["seconds"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "fingerprint": model.fingerprint(),
        "versions": versions(),
        "hardware": hardware(),
    }
    append_record(directory / "record.jsonl", record)
    remove_checkpoints(directory)  # last: whoever is killed before can still resume
    return record


def missing_shares(rows: NDArray[Any], names: Sequence[str]) -> dict[str, float]:
    """Share of missing values of each column that has any, for the record; a drift report compares with it.

    Args:
        rows: shape (rows, columns), NaN where a value is missing.
        names: of the columns.
    """
    shares = np.isnan(rows).mean(0).tolist()
    return {name: round(share, 6) for name, share in zip(names, shares, strict=True) if share}


def versions() -> dict[str, str]:
    """Versions of this package and of what its numbers depend on."""
    found = {"aaren": __version__, "python": platform.python_version(), "torch": torch.__version__}
    for name in ("numpy", "lightning", "safetensors"):
        found[name] = metadata.version(name)
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores, threads and accelerator of this machine."""
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Append one line of JSON; an unfinished last line of a killed run stays a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if unfinished else "") + json.dumps(record, sort_keys=True) + "\n")
