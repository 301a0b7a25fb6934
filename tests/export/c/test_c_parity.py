"""An export to C says what the model says, row by row."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_cases import Case
from numpy.typing import NDArray

import aaren.export
from aaren.export._c import write_c
from conftest import compilers

BAR = 1e-5

pytestmark = pytest.mark.skipif(not compilers(), reason="no C compiler on this machine")


def _largest(case: Case, ours: dict[str, NDArray[Any]], theirs: dict[str, NDArray[Any]]) -> float:
    """The largest difference in deviations; a NaN on one side only counts as endless."""
    worst = 0.0
    for name, expected in theirs.items():
        a, b = case.units(name, np.asarray(ours[name], dtype=np.float64)), case.units(name, expected)
        difference = np.where(np.isnan(a) & np.isnan(b), 0, np.nan_to_num(np.abs(a - b), nan=np.inf))
        worst = max(worst, float(difference.max(initial=0)))
    return worst


def test_two_thousand_rows(case: Case, tmp_path: Path) -> None:
    """Missing cells, gaps, calendar, marks, rewards: every output stays within 1e-5 of a training deviation."""
    aaren.export.export(case.model, tmp_path / "out", to="c")
    with aaren.export.open_export(tmp_path / "out") as runner:
        worst = max(
            _largest(case, runner.update(row), theirs) for row, theirs in zip(case.rows, case.expected, strict=True)
        )
        assert worst < BAR
        named = {spec.name: spec for spec in runner.manifest.outputs}
        assert set(named) == set(case.expected[0])


@pytest.mark.parametrize("compiler", compilers())
@pytest.mark.parametrize("options", ["-O3 -march=native", "-O1 -DMODEL_DOUBLE=0 -DAAREN_PLAIN"])
def test_the_program(kind: Case, tmp_path: Path, compile_c: Callable[..., Path], compiler: str, options: str) -> None:
    """The program on standard input says the same, with sums in double and in two floats, with vectors and without."""
    write_c(kind.model, tmp_path)
    program = compile_c(tmp_path, *options.split(), "main.c", "model.c", compiler=compiler)
    done = subprocess.run([program], input=kind.csv, capture_output=True, text=True, check=True)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    for number, (line, theirs) in enumerate(zip(said, kind.expected, strict=True), 1):
        ours = _arrays(kind.model, line)
        assert line["row"] == number
        assert _largest(kind, ours, {name: theirs[name] for name in ours}) < BAR


def _arrays(model: Any, line: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """A line of the program as an export's outputs."""
    if model.kind == "forecaster":
        told = list(line["forecast"].values())
        mean = np.stack([one["mean"] for one in told], 1)
        levels = [np.stack([one[f"q{level:g}"] for one in told], 1) for level in model.config.quantiles]
        return {"mean": mean, "quantiles": np.stack(levels, -1)}
    if model.kind == "classifier":
        assert line["class"] == max(line["probabilities"], key=line["probabilities"].get)
        return {"probabilities": np.array(list(line["probabilities"].values()))}
    if model.kind == "policy":
        return {"action": np.array(line["action"]), "return_to_go": np.array(line["return_to_go"])}
    coming, time = line["next"], line["time"]
    found = {"mean": np.array(coming["mean"] - time), "mark_probabilities": np.array(list(coming["marks"].values()))}
    return {**found, "median": np.array(coming["median"] - time)}


def test_int8(kind: Case, tmp_path: Path, compile_c: Callable[..., Path]) -> None:
    """int8 weights change an output by a little, with vectors and without by the same."""
    write_c(kind.model, tmp_path, "int8")
    said = []
    for options in (["-O3", "-march=native"], ["-O1", "-DAAREN_PLAIN"]):
        program = compile_c(tmp_path, *options, "main.c", "model.c")
        done = subprocess.run([program], input=kind.csv, capture_output=True, text=True, check=True)
        said.append([_arrays(kind.model, json.loads(line)) for line in done.stdout.splitlines()])
    for fast, plain, theirs in zip(*said, kind.expected, strict=True):
        assert _largest(kind, fast, plain) < 0.02  # an input that rounds to the other side is one step of 127
        assert _largest(kind, fast, {name: theirs[name] for name in fast}) < 0.3
