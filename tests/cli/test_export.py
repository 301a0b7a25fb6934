"""`aaren export` and `aaren verify`: the story of the docs, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aaren.export import RUNTIMES

Command = Callable[..., Any]


@pytest.mark.usefixtures("without_shape_checks")
def test_from_a_model_to_a_program(
    aaren: Command, trained: Path, table: Path, etth1_lines: list[bytes], tmp_path: Path
) -> None:
    """Export, verify, run: the program writes what `aaren stream` writes, and the check says that it holds."""
    out = tmp_path / "out"
    done = aaren("export", trained, out, "--to", "numpy")
    assert (done.code, done.err) == (0, "")
    assert f"Next: python {out}/run.py < rows.csv" in done.out
    assert f"Check: aaren verify {out}\n" in done.out
    shown = aaren("verify", out, "--data", table, "--rows", 300)
    assert shown.code == 0
    said = " ".join(shown.out.split())  # a long path breaks the lines
    for words in ("out (numpy, float32), 300 rows of", "without PyTorch", "largest difference of mean", "It holds."):
        assert words in said
    (told,) = aaren("verify", out, "--data", table, "--rows", 50, "--json").lines()
    assert (told["holds"], told["rows"], told["torch_loaded"], told["metric"]) == (True, 50, False, None)
    text = b"".join(etth1_lines[:20])
    ran = subprocess.run([sys.executable, out / "run.py"], input=text, capture_output=True, check=True)
    lines = aaren("stream", trained, stdin=text).out.splitlines()
    assert len(ran.stdout.decode().splitlines()) == len(lines) == 19


def test_the_help_names_every_runtime(aaren: Command) -> None:
    """`aaren export --help` says of each runtime what the directory holds."""
    said = " ".join(aaren("export", "--help").out.split())
    for name in RUNTIMES:
        assert re.search(rf"\b{name}\W+\(", said)


@pytest.mark.usefixtures("without_shape_checks")
def test_narrow_weights(aaren: Command, trained: Path, table: Path, tmp_path: Path) -> None:
    """An int8 export does not hold the model: the model is asked for, and the loss is told."""
    out = tmp_path / "out"
    done = aaren("export", trained, out, "--precision", "int8")
    assert f"Check: aaren verify {out} --model {trained}" in done.out
    assert "give its directory (--model)" in aaren("verify", out, "--data", table).refusal()
    shown = aaren("verify", out, "--data", table, "--rows", 120, "--model", trained)
    assert "mean squared error" in shown.out
    assert shown.code == (0 if "It holds." in shown.out else 1)
    (told,) = aaren("verify", out, "--data", table, "--rows", 120, "--model", trained, "--json").lines()
    assert told["metric"]["name"] == "mean squared error"


@pytest.mark.parametrize(
    ("line", "words", "code"),
    [
        ("export MODEL", "expected DIRECTORY, which has no default", 2),
        ("export MODEL NEW --precision int3", "int3", 1),
        ("export MODEL NEW --to abacus", "to: expected one of numpy", 1),
        ("export nowhere NEW", "nowhere: no such model directory", 1),
        ("export MODEL TABLE", "expected a directory to export into, received a file", 1),
        ("verify", "expected DIRECTORY, which has no default", 2),
        ("verify nowhere --data TABLE", "manifest.json: no such file", 1),
        ("verify MODEL --data TABLE", "manifest.json: no such file", 1),
        ("verify OUT --data TABLE --rows 0", "--rows: expected at least 1", 1),
        ("verify OUT --data nowhere.csv", "nowhere.csv: no such file", 1),
        ("verify OUT --data TABLE --model nowhere", "nowhere: no such model directory", 1),
        ("verify OUT", "expected data to stream, received none", 1),
    ],
)
def test_refusals(
    line: str, words: str, code: int, aaren: Command, trained: Path, table: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """What cannot be done is said in one line, with the exit code of its kind, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    if "OUT" in line:
        assert aaren("export", trained, "out").code == 0
    for name, place in {"MODEL": trained, "TABLE": table, "NEW": "new", "OUT": "out"}.items():
        line = line.replace(name, str(place))
    before = sorted(tmp_path.rglob("*"))
    assert words in aaren(*line.split()).refusal(code)
    assert sorted(tmp_path.rglob("*")) == before
