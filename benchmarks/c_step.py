"""Time of one row in generated C beside PyTorch: `python benchmarks/c_step.py [--json FILE]`.

What is measured: processor time of one step at batch 1 on one thread, four layers of width 128 (8 heads, feed-forward
512). In C: a whole row of a forecaster with that encoder (one input, one target), by `model_step`, with weights in
float32 and in int8, built by every compiler that is there with -O3 -march=native. In eager PyTorch without gradients:
`step` of the encoders alone, Aaren, GRU, and the Transformer with a key-value cache of 1,000 and of 20,000 tokens.

Limit: reading the float32 weights once, a sum over as many numbers.

What it does not say: the C program runs alone in its loop, so its weights stay in the caches that they fit into; a
program that does much else between two rows reads them from memory. Nothing is timed before the C has been found to
say what PyTorch says: exit code 1 if it does not.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _gate import model_faults
from _harness import Case, Ratio, Setup, Work, run, timing_parser
from _peers import AAREN, D_MODEL, FEEDFORWARD, GRU, HEADS, LAYERS, TRANSFORMER
from aaren import Forecaster
from aaren.data import Scaler, Schema
from aaren.export._c import write_c
from aaren.models import Preprocessing
from step import WEIGHTS, reading_weights, steps, steps_of_module

BARS = {"float32": 0.064, "int8": 0.032}
"""Milliseconds."""
CACHED = (1_000, 20_000)
COMPILERS = tuple(name for name in ("gcc", "clang") if shutil.which(name))
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


def faults(quick: bool) -> list[str]:
    """Where the C says something else than PyTorch, or an encoder is wrong."""
    found, model = model_faults(quick), forecaster()
    values = np.random.default_rng(0).normal(size=20 if quick else 200)
    stream = model.stream()
    expected = np.array([stream.update([value]).mean[0, 0] for value in values])
    for precision, bar in BAR.items():
        for compiler in COMPILERS:
            made, said = library(precision, compiler), np.zeros(len(values))
            made.begin()
            pointers = [array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in (values, said)]
            made.rows(len(values), *pointers)
            difference = float(np.abs(said - expected).max())
            if not difference < bar:
                found.append(f"C, {precision}, {compiler}: differs from PyTorch by {difference:.3g}, the bar is {bar}")
    return found


def case(quick: bool) -> Case:
    """One step of every contender."""
    count = 2 if quick else 20
    contenders: dict[str, Setup] = {
        f"C, {precision}, {compiler}": partial(rows_in_c, precision, compiler, count)
        for precision in BARS
        for compiler in COMPILERS
    }
    in_c = list(contenders)
    contenders |= {AAREN: partial(steps, AAREN, count), GRU: partial(steps, GRU, count)}
    for cached in CACHED:
        contenders[f"{TRANSFORMER}, {cached:,} cached"] = partial(steps_of_module, cached, count)
    eager = [name for name in contenders if name not in in_c]
    contenders[WEIGHTS] = partial(reading_weights, AAREN, count)
    ratios = {f"{name} / {label}": Ratio(name, label) for label in in_c for name in eager}
    ratios |= {f"{label} / {WEIGHTS}": Ratio(label, WEIGHTS) for label in in_c}
    clock = time.process_time
    return Case("one row, one thread", WEIGHTS, contenders, ratios, calls=count, rounds=25, clock=clock)


def main(argv: Sequence[str] | None = None) -> int:
    """Gate, then times, then one JSON line."""
    parser = timing_parser(__doc__)
    parser.set_defaults(threads=1)
    chosen = parser.parse_args(argv)
    if not COMPILERS:
        print("expected gcc or clang, found none; nothing to measure", file=sys.stderr)
        return 2
    return run("c_step", chosen, faults, iter([case(chosen.quick)]), lambda: {"bars_ms": BARS})


if __name__ == "__main__":
    sys.exit(main())
