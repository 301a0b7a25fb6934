"""The export to OpenVINO: it says what PyTorch says, without PyTorch, and tells nobody."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import export_cases as cases
import numpy as np
import pytest

from aaren.errors import DataError, MissingDependencyError, ModelFileError
from aaren.export import export, open_export, read_manifest, verify
from aaren.export._manifest import TensorSpec, digest_of
from aaren.export._pairs import joined, pair_specs, paired, split

# not importorskip: an import of OpenVINO by itself sends word to its makers
pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")

WRITTEN = [cases.BY_NAME[name] for name in ("forecaster", "classifier", "events", "policy")]
OTHER_ENCODERS = [cases.BY_NAME[name] for name in ("forecaster-learned", "forecaster-gru", "forecaster-mingru")]
Out = Callable[[cases.Case], Path]


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Out:
    """The export of a case, written at its first use; not to be changed."""
    folder, done = tmp_path_factory.mktemp("openvino"), {}

    def directory(case: cases.Case) -> Path:
        if case.name not in done:
            done[case.name] = export(case.model(), folder / case.name, to="openvino").directory
        return done[case.name]

    return directory


@pytest.mark.parametrize("case", [*WRITTEN, *OTHER_ENCODERS], ids=lambda case: case.name)
def test_it_says_what_pytorch_says(case: cases.Case, out: Out) -> None:
    """Every output of real rows, with gaps and missing values, is within 1e-5; PyTorch is not loaded to say it."""
    found = case.rows(120)
    rows, resets = (found.rows, found.resets)
    if case.name.startswith("forecaster"):
        rows, resets = cases.with_holes(list(rows), 3), []
    result = verify(out(case), rows, case.model(), resets=resets)
    assert max(result.differences.values()) <= 1e-5
    assert (result.holds, result.disagreed, result.torch_loaded) == (True, 0, False)


@pytest.mark.parametrize("case", [WRITTEN[0], WRITTEN[3]], ids=lambda case: case.name)
def test_the_network_has_the_names_of_the_manifest(case: cases.Case, out: Out) -> None:
    """In a program of one's own, tensors are found by name, also those that pass unchanged or come out twice."""
    from aaren.export._openvino_runner import openvino

    manifest = read_manifest(out(case))
    network = openvino().Core().read_model(out(case) / "model.xml")
    state = [spec.name for spec in manifest.state if 0 not in spec.shape]
    given = [spec.name for spec in manifest.inputs] + [f"state.{name}" for name in state]
    said = [spec.name for spec in manifest.outputs if 0 not in spec.shape] + [f"next.{name}" for name in state]
    assert [port.get_any_name() for port in network.inputs] == given
    assert [port.get_any_name() for port in network.outputs] == said
    assert {"next.encoder.0.normalizer", "next.encoder.0.normalizer.low"} < {n.replace("memory.", "") for n in said}


def test_a_state_goes_on(out: Out, tmp_path: Path) -> None:
    """A state that is saved and read is the same to the last bit, and leads to the same answers."""
    case = WRITTEN[0]
    rows = case.rows(12).rows
    one, other = open_export(out(case)), open_export(out(case))
    for row in rows[:8]:
        one.update(row)
    one.save(tmp_path / "live.state")
    other.read(tmp_path / "live.state")
    said, again = [[runner.update(row) for row in rows[8:]] for runner in (one, other)]
    assert all((ours[name] == theirs[name]).all() for ours, theirs in zip(said, again, strict=True) for name in ours)
    assert {name: value.tobytes() for name, value in one.state().items()} == {
        name: value.tobytes() for name, value in other.state().items()
    }
    one.reset()
    assert one.state()["position"] == 0


def test_the_end_of_its_numbers(out: Out) -> None:
    """OpenVINO counts in 32 bits: the row after the last that it can count is refused, and the state stays."""
    case = WRITTEN[1]
    runner = open_export(out(case))
    runner.set_state({**runner.state(), **dict.fromkeys(("position", "front.length"), np.array(2**31 - 2))})
    runner.update(case.rows(2).rows[0])
    with pytest.raises(DataError, match="at most 2,147,483,647 rows"):
        runner.update(case.rows(2).rows[1])
    assert runner.state()["position"] == 2**31 - 1


def test_int8(out: Out, tmp_path: Path) -> None:
    """Matrices in int8 make a smaller file that says nearly the same; the model that was exported stays as it was."""
    case, model = WRITTEN[1], WRITTEN[1].model()
    before = model.fingerprint()
    export(model, tmp_path / "out", to="openvino", precision="int8")
    assert model.fingerprint() == before
    sizes = [(directory / "model.bin").stat().st_size for directory in (tmp_path / "out", out(case))]
    assert sizes[0] < 0.75 * sizes[1]
    found = case.rows(60)
    result = verify(tmp_path / "out", found.rows, model, resets=found.resets, labels=found.labels)
    assert result.metric is not None
    assert 1e-6 < result.differences["probabilities"] < 0.1


def test_ctrl_c_after_runners_have_ended(out: Out) -> None:
    """However many runners there were, and in whatever order they ended, a signal is one and not a crash."""
    code = """
import signal, sys
from aaren.export import open_export
first, second = open_export(sys.argv[1]), open_export(sys.argv[1])
del first
del second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("stopped")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(out(WRITTEN[0]))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")


def test_nothing_is_sent_and_pytorch_is_not_needed(out: Out, tmp_path: Path) -> None:
    """An export opens and streams without PyTorch; OpenVINO's telemetry is not loaded and leaves no file."""
    case = WRITTEN[0]
    code = """
import json, sys
from aaren.export import open_export
runner = open_export(sys.argv[1])
for row in json.loads(sys.argv[2]):
    said = runner.update(row)
assert said["mean"].shape == (4, 2), said["mean"].shape
assert "torch" not in sys.modules
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(out(case)), json.dumps(case.rows(5).rows)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_other_tensors_is_refused(out: Out, tmp_path: Path) -> None:
    """A network that is damaged, or of another model, is named, however well it is signed."""
    copy = shutil.copytree(out(WRITTEN[1]), tmp_path / "out")
    other = {name: (out(WRITTEN[3]) / name).read_bytes() for name in ("model.xml", "model.bin")}
    for files, words in ((other, "of another model"), ({**other, "model.xml": b"no xml"}, "OpenVINO cannot read it")):
        plain = json.loads((copy / "manifest.json").read_text())
        for name, data in files.items():
            (copy / name).write_bytes(data)
            plain["files"][name] = digest_of(copy / name)
        (copy / "manifest.json").write_text(json.dumps(plain))
        with pytest.raises(ModelFileError, match=words):
            open_export(copy)


def test_without_openvino(out: Out, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, the error names the extra that has it; nothing is written."""
    real, there = importlib.import_module, out(WRITTEN[1])

    def without(name: str, *more: Any) -> Any:
        if name == "openvino":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", without)
    for use in (partial(open_export, there), partial(export, WRITTEN[1].model(), tmp_path / "out", to="openvino")):
        with pytest.raises(MissingDependencyError, match=r"pip install 'aaren\[openvino\]'"):
            use()
    assert list(tmp_path.iterdir()) == []


def test_numbers_in_pairs() -> None:
    """float64 as two float32 keeps 48 digits; infinity and NaN stay; starts of a state are split with their tensors."""
    x = np.array([1 / 3, -1e10 / 7, 0.0, -np.inf, np.nan])
    high, low = split(x)
    back = joined({"x": high, "x.low": low})["x"]
    assert np.abs(back[:3] - x[:3]).max() <= 2.0**-47 * 1e10
    assert np.array_equal(back[3:], x[3:], equal_nan=True)
    specs = pair_specs(
        (
            TensorSpec("x", "float64", (2,), "m", [1 / 3, 1.0]),
            TensorSpec("top", "float64", (2,), "m", "-inf"),
            TensorSpec("count", "int64", (), "rows", 0),
            TensorSpec("none", "float64", (0,), "m", 0.0),
        )
    )
    assert [spec.name for spec in specs] == ["x", "x.low", "top", "top.low", "count", "none"]
    first = {spec.name: spec.first() for spec in specs}
    assert {first[name].dtype.name for name in ("x", "x.low", "top", "top.low")} == {"float32"}
    assert abs(joined(first)["x"][0] - 1 / 3) < 1e-15
    assert (joined(first)["top"] == -np.inf).all()
    again = paired(joined(first), specs)
    assert {name: value.tobytes() for name, value in again.items()} == {n: v.tobytes() for n, v in first.items()}
