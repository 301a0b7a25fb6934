"""The example for a Cortex-M4, and the kept state over a long stream."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from c_cases import classifier, forecaster

from aaren.export._c import write_c

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def run() -> Any:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("cortex_m", ROOT / "examples" / "cortex-m" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cortex_m4(run: Any, tmp_path: Path) -> None:
    """A model of two layers of width 32 fits 256 KB of flash and 16 KB of RAM, and says what PyTorch says."""
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool} on this machine")
    sizes = {"d_model": 32, "nhead": 4, "num_layers": 2, "dim_feedforward": 128, "horizon": 24}
    one = forecaster(120, **sizes, decay="learned")
    result = run.measure(one.model, one.rows, tmp_path)
    assert result["largest_difference"] < 1e-5
    assert result["flash_bytes"] < 256 * 1024
    assert result["ram_bytes"] < 16 * 1024
    assert 0 < result["state_bytes"] < 2048
    assert result["instructions"]["most"] > result["instructions"]["least"] > 10_000


def test_what_the_example_cannot_do(run: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A model that is not there, rows that are not, and a model too large for the flash end with a line and code 1."""
    rows = tmp_path / "rows.csv"
    assert run.main([str(tmp_path / "nowhere"), str(rows)]) == 1
    assert "nowhere" in capfd.readouterr().err
    one = forecaster(10, d_model=256, nhead=4, num_layers=2, dim_feedforward=256)
    one.model.save(tmp_path / "model")
    assert run.main([str(tmp_path / "model"), str(rows)]) == 1
    assert "rows.csv" in capfd.readouterr().err
    if shutil.which("arm-none-eabi-gcc"):
        rows.write_text(one.csv, encoding="utf-8")
        assert run.main([str(tmp_path / "model"), str(rows)]) == 1
        assert capfd.readouterr().err.endswith("run.py: arm-none-eabi-gcc ended with exit code 1; see above\n")


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
