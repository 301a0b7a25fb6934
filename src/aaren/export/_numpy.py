"""The export for numpy: the model's own files, and the runner beside them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import aaren
from aaren.export._runtimes import Written
from aaren.export._tensors import step_tensors
from aaren.export.runner._safetensors import read_safetensors, to_safetensors
from aaren.export.runner._weights import SCALE
from aaren.models import Model

_SOURCE = Path(aaren.__file__).parent
_SHARED = (
    "_interruption.py",
    "_standard_streams.py",
    "_words.py",
    "errors.py",
    "data/_bytes.py",
    "data/_calendar.py",
    "data/_cells.py",
    "data/_checked_event.py",
    "data/_checked_observation.py",
    "data/_checked_order.py",
    "data/_checked_row.py",
    "data/_csv.py",
    "data/_optional.py",
    "data/_rows.py",
    "data/_scale.py",
    "data/_series.py",
    "data/_table.py",
    "data/_times.py",
    "export/_manifest.py",
    "export/_runner.py",
)
"""Files of the library that an export needs: numpy and the standard library are all that they import."""

_IMPORT = re.compile(r"^(\s*)from aaren\.(?:\w+\.)*(\w+) import ", re.MULTILINE)
_RUN = '''"""Rows as CSV with a header in, a JSON line out after each row; needs numpy alone."""

import sys
from pathlib import Path

from runner._run import main

sys.exit(main(Path(__file__).parent))
'''


def write(model: Model[Any, Any], directory: Path, precision: str) -> Written:
    """Write the model's files, the runner and `run.py`.

    Args:
        model: of any kind, with preprocessing.
        directory: an empty one.
        precision: "float32"; "float16" or "int8" make the file of weights smaller, products stay in float32.
    """
    model.save(directory)
    if precision != "float32":
        path = directory / "model.safetensors"
        arrays = read_safetensors(path)[0]
        path.write_bytes(to_safetensors(_narrowed(arrays, precision), {"precision": precision}))
    runner = directory / "runner"
    runner.mkdir()
    own = sorted((_SOURCE / "export" / "runner").glob("*.py"))
    for source in [*(_SOURCE / name for name in _SHARED), *own]:
        # a package of its own, flat: `aaren` itself need not be there
        text = _IMPORT.sub(r"\1from .\2 import ", source.read_text(encoding="utf-8"))
        (runner / source.name).write_text(text, encoding="utf-8")
    (directory / "run.py").write_text(_RUN, encoding="utf-8")
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return Written(files, *step_tensors(model))


def _narrowed(arrays: dict[str, NDArray[Any]], precision: str) -> dict[str, NDArray[Any]]:
    """Weights in float16; or matrices in int8 with a scale for each row, and vectors as they are."""
    if precision == "float16":
        return {name: array.astype(np.float16) for name, array in arrays.items()}
    narrow = {}
    for name, array in arrays.items():
        if array.ndim < 2:
            narrow[name] = array
            continue
        rows = array.reshape(len(array), -1)
        scale = np.maximum(np.abs(rows).max(1, initial=0.0), np.float32(1e-30)) / np.float32(127)
        narrow[name] = np.rint(rows / scale[:, None]).astype(np.int8).reshape(array.shape)
        narrow[name + SCALE] = scale.astype(np.float32)
    return narrow
