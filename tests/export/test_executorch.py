"""The export to ExecuTorch: it says what PyTorch says."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import export_cases as cases
import pytest

from aaren.errors import MissingDependencyError, ModelFileError
from aaren.export import export, open_export, verify
from aaren.export._manifest import digest_of

WRITTEN = [cases.BY_NAME[name] for name in ("forecaster", "classifier", "events", "policy")]
Out = Callable[[cases.Case], Path]
needs_executorch = pytest.mark.skipif(find_spec("executorch") is None, reason="ExecuTorch is not installed")


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Out:
    """The export of a case, written at its first use; not to be changed."""
    folder, done = tmp_path_factory.mktemp("executorch"), {}

    def directory(case: cases.Case) -> Path:
        if case.name not in done:
            done[case.name] = export(case.model(), folder / case.name, to="executorch").directory
        return done[case.name]

    return directory


@needs_executorch
@pytest.mark.parametrize("case", WRITTEN, ids=lambda case: case.name)
def test_it_says_what_pytorch_says(case: cases.Case, out: Out) -> None:
    """Every output of real rows, with gaps and missing values, is within 1e-5."""
    found = case.rows(200)
    rows, resets = (found.rows, found.resets)
    if case.name.startswith("forecaster"):
        rows, resets = cases.with_holes(list(rows), 3), []
    result = verify(out(case), rows, case.model(), resets=resets)
    assert max(result.differences.values()) <= 1e-5
    assert (result.holds, result.disagreed) == (True, 0)


@needs_executorch
def test_a_program_of_other_tensors_is_refused(out: Out, tmp_path: Path) -> None:
    """A program that is damaged, or of another model, is named, however well it is signed."""
    copy = shutil.copytree(out(WRITTEN[1]), tmp_path / "out")
    other = (out(WRITTEN[3]) / "step.pte").read_bytes()
    for data, words in ((other, "of another model"), (b"no program" * 100, "ExecuTorch cannot read it")):
        (copy / "step.pte").write_bytes(data)
        plain = json.loads((copy / "manifest.json").read_text())
        plain["files"]["step.pte"] = digest_of(copy / "step.pte")
        (copy / "manifest.json").write_text(json.dumps(plain))
        with pytest.raises(ModelFileError, match=words):
            open_export(copy)


def test_without_executorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, the error names the extra that has it; nothing is written."""
    real = importlib.import_module

    def without(name: str, *more: Any) -> Any:
        if name.startswith("executorch"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingDependencyError, match=r"pip install 'aaren\[executorch\]'"):
        export(WRITTEN[1].model(), tmp_path / "out", to="executorch")
    assert list(tmp_path.iterdir()) == []
