"""Time of one row in exported models beside PyTorch: `python benchmarks/export_step.py [--json FILE]`.

What is measured: processor time of one step at batch 1 on one thread, four layers of width 128 (8 heads, feed-forward
512). Exports, of a forecaster with that encoder (one input, one target), a whole row each: in C by `model_step`, with
weights in float32 and in int8, built by every compiler that is there with -O3 -march=native; in numpy, and in ONNX
Runtime, OpenVINO and ExecuTorch where they are installed, by the runner's `step`, called from Python. In
eager PyTorch without gradients: `step` of the encoders alone, Aaren, GRU, and the Transformer with a key-value cache of
1,000 and of 20,000 tokens.

Limit: reading the float32 weights once, a sum over as many numbers.

What it does not say: each contender runs alone in its loop, so its weights stay in the caches that they fit into; a
program that does much else between two rows reads them from memory. Nothing is timed before the exports have been found
to say what PyTorch says: exit code 1 if one does not.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _gate import model_faults
from _harness import Case, Ratio, Setup, Work, run, timing_parser
from _peers import AAREN, D_MODEL, FEEDFORWARD, GRU, HEADS, LAYERS, TRANSFORMER
from aaren import Forecaster
from aaren.data import Scaler, Schema
from aaren.export import Runner, export, open_export
from aaren.export._c import write_c
from aaren.models import Preprocessing
from step import WEIGHTS, reading_weights, steps, steps_of_module

BARS = {"float32": 0.064, "int8": 0.032}
"""Milliseconds, of the exports to C."""
CACHED = (1_000, 20_000)
COMPILERS = tuple(name for name in ("gcc", "clang") if shutil.which(name))
NEEDS = {
    "numpy": ("numpy",),
    "onnx": ("onnxruntime", "onnxscript"),
    "openvino": ("openvino",),
    "executorch": ("executorch",),
}
IN_PYTHON = tuple(name for name, packages in NEEDS.items() if all(map(find_spec, packages)))
PRECISIONS = {
    "numpy": ("float32",),
    "onnx": ("float32", "int8"),
    "openvino": ("float32", "int8"),
    "executorch": ("float32",),
}
"""numpy has no products of int8: weights become float32 where they are read."""
RUNTIME_NAMES = {"numpy": "numpy", "onnx": "ONNX Runtime", "openvino": "OpenVINO", "executorch": "ExecuTorch"}
BAR = {"float32": 1e-5, "int8": 0.3}
_LOOP = """
#include "model.h"
static model_state state;
int begin(void) { return model_init(&state); }
int rows(int count, const double *values, double *said)
{
    int error = 0;
    for (int row = 0; row < count; row++) {
        model_forecast forecast;
        error |= model_step(&state, values + row, &forecast);
        said[row] = forecast.mean[0][0];
    }
    return error;
}
"""


def forecaster() -> Forecaster:
    """One input, one target, one step ahead, random weights."""
    between = Preprocessing(Schema(("x",)), Scaler(("x",), np.zeros(1), np.ones(1)))
    sizes: dict[str, Any] = {"d_model": D_MODEL, "nhead": HEADS, "num_layers": LAYERS, "dim_feedforward": FEEDFORWARD}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Forecaster(inputs=1, targets=1, horizon=1, activation="relu", preprocessing=between, **sizes).eval()


def library(precision: str, compiler: str) -> ctypes.CDLL:
    """The generated sources and a loop around `model_step`."""
    with tempfile.TemporaryDirectory() as folder:
        write_c(forecaster(), folder, precision)
        (Path(folder) / "loop.c").write_text(_LOOP, encoding="utf-8")
        made = Path(folder) / "loop.so"
        command = [compiler, "-std=c99", "-O3", "-march=native", "-fPIC", "-shared", "-o", str(made)]
        subprocess.run([*command, f"{folder}/loop.c", f"{folder}/model.c", "-lm"], check=True)
        return ctypes.CDLL(str(made))


def rows_in_c(precision: str, compiler: str, count: int) -> Work:
    """`count` rows one after another, going on where the call before ended."""
    made = library(precision, compiler)
    made.begin()
    values, said = np.random.default_rng(0).normal(size=count), np.zeros(count)
    pointers = [array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in (values, said)]
    kept = (values, said)

    def work() -> None:
        if made.rows(len(kept[0]), *pointers):
            raise RuntimeError("the C program refused a row")

    return work


@cache
def runner(runtime: str, precision: str) -> Any:
    """The export to a runtime that is called from Python."""
    with tempfile.TemporaryDirectory() as folder:
        return open_export(export(forecaster(), Path(folder) / "out", runtime, precision).directory)


def rows_in_python(runtime: str, precision: str, count: int) -> Work:
    """`count` rows one after another, from the start."""
    made: Any = runner(runtime, precision)
    tokens = [{"values": value} for value in np.random.default_rng(0).normal(size=(count, 1))]

    def work() -> None:
        state = first(made)
        for token in tokens:
            _, state = made.step(token, state)

    return work


def first(made: Runner) -> dict[str, Any]:
    """The state at the start."""
    return {spec.name: spec.first() for spec in made.manifest.state}


def said_in_c(precision: str, compiler: str, values: np.ndarray) -> np.ndarray:
    """The forecasts of a C program, from the start."""
    made, said = library(precision, compiler), np.zeros(len(values))
    made.begin()
    made.rows(len(values), *(array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in (values, said)))
    return said


def said_in_python(runtime: str, precision: str, values: np.ndarray) -> np.ndarray:
    """The forecasts of an export that is called from Python, from the start."""
    made: Any = runner(runtime, precision)
    state, said = first(made), []
    for value in values:
        outputs, state = made.step({"values": np.array([value])}, state)
        said.append(outputs["mean"][0, 0])
    return np.array(said)


def exports() -> dict[str, tuple[str, Callable[[int], Work], Callable[[np.ndarray], np.ndarray]]]:
    """Each export by its label: its precision, the work to time, and what it says of values."""
    found: dict[str, Any] = {}
    for precision in BARS:
        for compiler in COMPILERS:
            said = partial(said_in_c, precision, compiler)
            found[f"C, {precision}, {compiler}"] = precision, partial(rows_in_c, precision, compiler), said
    for runtime in IN_PYTHON:
        for precision in PRECISIONS[runtime]:
            label = f"{RUNTIME_NAMES[runtime]}, {precision}"
            given = (runtime, precision)
            found[label] = precision, partial(rows_in_python, *given), partial(said_in_python, *given)
    return found


def faults(quick: bool) -> list[str]:
    """Where an export says something else than PyTorch, or an encoder is wrong."""
    found, model = model_faults(quick), forecaster()
    values = np.random.default_rng(0).normal(size=20 if quick else 200)
    stream = model.stream()
    expected = np.array([stream.update([value]).mean[0, 0] for value in values])
    for label, (precision, _, say) in exports().items():
        difference = float(np.abs(say(values) - expected).max())
        if not difference < BAR[precision]:
            found.append(f"{label}: differs from PyTorch by {difference:.3g}, the bar is {BAR[precision]}")
    return found


def case(quick: bool) -> Case:
    """One step of every contender."""
    count = 2 if quick else 20
    contenders: dict[str, Setup] = {label: partial(work, count) for label, (_, work, _) in exports().items()}
    exported = list(contenders)
    contenders |= {AAREN: partial(steps, AAREN, count), GRU: partial(steps, GRU, count)}
    for cached in CACHED:
        contenders[f"{TRANSFORMER}, {cached:,} cached"] = partial(steps_of_module, cached, count)
    eager = [name for name in contenders if name not in exported]
    contenders[WEIGHTS] = partial(reading_weights, AAREN, count)
    ratios = {f"{name} / {label}": Ratio(name, label) for label in exported for name in eager}
    ratios |= {f"{label} / {WEIGHTS}": Ratio(label, WEIGHTS) for label in exported}
    clock = time.process_time
    return Case("one row, one thread", WEIGHTS, contenders, ratios, calls=count, rounds=25, clock=clock)


def main(argv: Sequence[str] | None = None) -> int:
    """Gate, then times, then one JSON line."""
    parser = timing_parser(__doc__)
    parser.set_defaults(threads=1)
    chosen = parser.parse_args(argv)
    return run("export_step", chosen, faults, iter([case(chosen.quick)]), lambda: {"bars_ms": BARS})


if __name__ == "__main__":
    sys.exit(main())
