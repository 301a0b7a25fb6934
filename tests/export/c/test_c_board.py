"""The example for a Cortex-M4, and the kept state over a long stream."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from c_cases import classifier, forecaster

from aaren.export._c import write_c

ROOT = Path(__file__).parents[3]


def test_cortex_m4(tmp_path: Path) -> None:
    """A model of two layers of width 32 fits 256 KB of flash and 16 KB of RAM, and says what PyTorch says."""
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool} on this machine")
    spec = importlib.util.spec_from_file_location("cortex_m", ROOT / "examples" / "cortex-m" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    sizes = {"d_model": 32, "nhead": 4, "num_layers": 2, "dim_feedforward": 128, "horizon": 24}
    one = forecaster(120, **sizes, decay="learned")
    result = run.measure(one.model, one.rows, tmp_path)
    assert result["largest_difference"] < 1e-5
    assert result["flash_bytes"] < 256 * 1024
    assert result["ram_bytes"] < 16 * 1024
    assert 0 < result["state_bytes"] < 2048
    assert result["instructions"]["most"] > result["instructions"]["least"] > 10_000


@pytest.mark.parametrize("decay", ["0", "-0.0007", "-0.17"])
def test_long_run(tmp_path: Path, compile_c: Callable[..., Path], decay: str) -> None:
    """A million steps of the state in two floats stay within 1e-6 of float64; benchmarks/c_long_run.c does 1e8."""
    sizes = {"d_model": 8, "nhead": 1, "num_layers": 1, "dim_feedforward": 8}
    write_c(classifier(1, **sizes).model, tmp_path)
    source = ROOT / "benchmarks" / "c_long_run.c"
    options = ["-O2", "-DMODEL_DOUBLE=0", "-Wno-unused-function", "-I.", str(source)]
    program = compile_c(tmp_path, *options)
    done = subprocess.run([program, "1000000", decay], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["largest_error"] < 1e-6
