"""Help, version, doctor, and what happens without the extra."""

from __future__ import annotations

import re
import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import aaren as library
from aaren.cli import main
from aaren.cli._common import json_line
from aaren.cli._doctor import advise
from aaren.ops import _registry, choose_backend, instruction_set

Command = Callable[..., Any]
VERBS = {
    "train classifier": ["TRAIN", "--test", "--output", "--validation", "--encoder", "--early-weight", "--json"],
    "train forecaster": ["--target", "--horizon", "--output", "--split", "--encoder", "--resume", "--json"],
    "train events": ["TRAIN", "--validation", "--test", "--output", "--split", "--times", "--duplicates", "--json"],
    "train policy": [
        "DATA",
        "--environment",
        "--output",
        "--steps",
        "--context",
        "--target-return",
        "--resume",
        "--json",
    ],
    "data regenerate": ["ENVIRONMENT", "LEVEL", "--policies", "--output", "--steps", "--seed"],
    "evaluate": [
        "MODEL",
        "DATA",
        "--part",
        "--split",
        "--windows",
        "--label",
        "--episodes",
        "--mode",
        "--target-return",
        "--seed",
        "--json",
    ],
    "predict": ["MODEL", "DATA", "--windows", "--output", "--json"],
    "export": ["MODEL", "DIRECTORY", "--to", "--precision"],
    "verify": ["DIRECTORY", "--data", "--rows", "--model", "--json"],
    "stream": ["MODEL", "--follow", "--state", "--save-every", "--on-bad-row", "--max-gap", "--series"],
    "serve": ["--host", "--port", "--tokens", "--new-token", "--store", "--capacity", "--on-bad-row", "--max-wait-ms"],
    "doctor": ["--json"],
    "demo": ["--output"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_every_verb_is_described(verb: str, aaren: Command) -> None:
    """The help of a verb names its options, each with words of its own beside the default."""
    done = aaren(*verb.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: aaren {verb}")
    for name in VERBS[verb]:
        assert name in done.out
    text = re.sub(r"[│\n]+", "\n", done.out)
    entries = re.split(r"\n\s*\*?\s*(?=--[a-z]|[A-Z]{4,} )", text)[1:]
    assert len(entries) >= len(VERBS[verb])
    for entry in entries:
        words = re.sub(r"\[[^]]*\]|--?[a-z-]+|\b[A-Z]{3,}\b|\s+|[─╭╮╰╯.]", " ", entry).split()
        assert words, f"no description: {entry}"


def test_the_first_page(aaren: Command) -> None:
    """`aaren --help`, and `aaren` alone, name every verb, a first command and the exit codes."""
    page = aaren("--help")
    assert page.code == 0
    assert aaren().out == page.out
    for verb in ("demo", "train", "evaluate", "predict", "stream", "serve", "doctor"):
        assert re.search(rf"│ {verb} +[A-Z]", page.out)
    assert "aaren train forecaster data.csv --target load --horizon 24" in page.out
    assert "Exit codes: 0 done" in page.out
    assert "forecaster" in aaren("train").out


def test_version(aaren: Command) -> None:
    """`aaren --version` prints the package's version."""
    assert aaren("--version").out == f"{library.__version__}\n"


def test_doctor_as_text_and_json(aaren: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Doctor lists versions, backends, machine and data sets, the same in text and in JSON."""
    monkeypatch.setenv("AAREN_DATA", str(tmp_path))
    monkeypatch.setattr("aaren.cli._doctor.products", lambda: "fast and exact")  # no two measurements are the same
    done = aaren("doctor", "--json")
    (found,) = done.lines()
    assert set(found) == {
        "versions",
        "optional packages",
        "backends of prefix_attention",
        "machine",
        "data sets",
    }
    assert found["versions"]["aaren"] == library.__version__
    operator = found["backends of prefix_attention"]
    assert operator["auto, here"] == choose_backend("auto", torch.device("cpu")).name
    assert all(operator[name].startswith("ready: ") for name in ("native", "blocks", operator["auto, here"]))
    assert found["machine"]["instruction set"] == instruction_set()
    assert found["machine"]["float32 products"] == "fast and exact"
    assert found["data sets"]["found"].startswith("1 of ")  # the one that comes with the package
    text = aaren("doctor").out
    for title, entries in found.items():
        assert f"{title}\n" in text
        for name, value in entries.items():
            assert re.search(rf"^  {re.escape(name)} +{re.escape(str(value))}$", text, re.MULTILINE)


def test_doctor_measures_products(aaren: Command) -> None:
    """Doctor says how fast products are, how far off the faster ones, and what to do; PyTorch's setting stays."""
    torch.set_float32_matmul_precision("high")
    try:
        (found,) = aaren("doctor", "--json").lines()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    said = re.fullmatch(
        r'(\d+) GFLOP/s; as "medium" (\d+), error (\de-\d\d): (.+)', found["machine"]["float32 products"]
    )
    assert said
    assert 0 < float(said[3]) < 0.1
    assert "--matmul-precision" in said[4]


@pytest.mark.parametrize(
    ("gain", "error", "advice"),
    [
        (1.29, 1e-7, "leave --matmul-precision as it is"),
        (0.5, 1e-2, "leave --matmul-precision as it is"),
        (1.3, 1e-5, "train with --matmul-precision medium"),
        (2.3, 6e-7, "train with --matmul-precision medium"),
        (8.0, 2e-3, "--matmul-precision medium is faster but less exact"),
    ],
)
def test_doctor_advises_products_that_are_faster_and_as_exact(gain: float, error: float, advice: str) -> None:
    """Only products that are 1.3 times as fast with errors of float32 are advised; less exact ones are named so."""
    assert advise(gain, error) == advice


def test_doctor_says_why_a_backend_or_package_is_missing(aaren: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that cannot run here is shown with its reason, a missing package with the command that installs it."""
    imaginary = _registry.Backend("imaginary", "none", lambda: None, missing="not built: no compiler")
    elsewhere = _registry.Backend("elsewhere", "none", lambda: None, devices=frozenset({"moon"}))
    known = {**_registry._BACKENDS, "imaginary": imaginary, "elsewhere": elsewhere}
    monkeypatch.setattr(_registry, "_BACKENDS", known)
    found_spec = sys.modules["importlib.util"].find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "rich" else found_spec(name))
    (found,) = aaren("doctor", "--json").lines()
    assert found["backends of prefix_attention"]["imaginary"] == "missing: not built: no compiler"
    assert found["backends of prefix_attention"]["elsewhere"] == "missing: does not run on cpu"
    assert found["optional packages"]["rich"] == "missing: pip install 'aaren[cli]'"


def test_entry_points(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`aaren` and `python -m aaren.cli` end with the code of the command."""
    for arguments, code in ((["--version"], 0), (["juggle"], 2)):
        monkeypatch.setattr(sys, "argv", ["aaren", *arguments])
        for start in (main, lambda: runpy.run_module("aaren.cli", run_name="__main__")):
            with pytest.raises(SystemExit) as end:
                start()
            assert end.value.code == code
    assert capsys.readouterr().out == 2 * f"{library.__version__}\n"


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without cyclopts the command says in one line what to install, and ends with 1."""
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    monkeypatch.delitem(sys.modules, "aaren.cli._app")
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert said == "aaren: the command line needs 'cyclopts'; install it with: pip install 'aaren[cli]'\n"


def test_interrupted_before_the_command_began(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C while the command line is still being imported is one line and 130, too."""

    class Interrupted(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "aaren.cli._app", Interrupted("aaren.cli._app"))
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "aaren: stopped\n"


def test_json_has_no_nan() -> None:
    """Numbers that JSON lacks are null, at any depth."""
    assert json_line({"a": [float("nan"), (1.5, {"b": float("-inf")})]}) == '{"a": [null, [1.5, {"b": null}]]}'
