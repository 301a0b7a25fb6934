"""The frame: what an export writes, what it refuses, and that a damaged or half-written one does not open."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import export_cases as cases
import pytest

import aaren
from aaren import Forecaster
from aaren.errors import ModelFileError
from aaren.export import RUNTIMES, Runtime, export, open_export, read_manifest
from aaren.export import _export as frame

Exported = Callable[[cases.Case], Path]
FORECASTER = cases.BY_NAME["forecaster"]


@pytest.fixture
def copy(exported: Exported, tmp_path: Path) -> Path:
    """A copy of an export, to be damaged."""
    return shutil.copytree(exported(FORECASTER), tmp_path / "out")


def rewrite(directory: Path, **entries: Any) -> None:
    """Change entries of a manifest; None takes one away."""
    path = directory / "manifest.json"
    data = {**json.loads(path.read_text()), **entries}
    path.write_text(json.dumps({name: value for name, value in data.items() if value is not None}))


@pytest.mark.parametrize("case", cases.KINDS, ids=lambda case: case.name)
def test_the_manifest_tells_one_step(case: cases.Case, exported: Exported) -> None:
    """Inputs, outputs and state have names, shapes, dtypes and units; the state is the model's own, by its names."""
    model, out = case.model(), exported(case)
    manifest, plain = read_manifest(out), json.loads((out / "manifest.json").read_text())
    assert manifest.to_dict() == plain
    assert (plain["format"], plain["version"], plain["runtime"]) == ("aaren-export", 1, "numpy")
    assert (manifest.kind, manifest.fingerprint) == (model.kind, model.fingerprint())
    assert (manifest.config, manifest.preprocessing) == (model.config.to_dict(), model.preprocessing.to_dict())
    assert sorted(plain["files"]) == sorted(
        path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file() and path.name != "manifest.json"
    )
    for spec in (*manifest.inputs, *manifest.outputs, *manifest.state):
        assert spec.units
        assert spec.to_dict()["shape"] == list(spec.shape)
    names = [spec.name for spec in manifest.state]
    assert any(name.endswith("encoder.0.max_score") for name in names)
    starts = {spec.name: spec.initial for spec in manifest.state}
    assert starts[next(name for name in names if name.endswith("encoder.0.max_score"))] == "-inf"
    if case is FORECASTER:
        assert names[:5] == ["position", "norm.max_score", "norm.normalizer", "norm.weighted_sum", "highway"]
        assert starts["highway"] == "nan"
        assert starts["norm.weighted_sum"] == [[0.0, 8.0]] * 3
    first = {spec.name: spec.first() for spec in manifest.state}
    assert sum(array.nbytes for array in first.values()) == manifest.state_bytes
    kept = {name: value for name, value in open_export(out).state().items() if name in first}
    assert {name: value.tobytes() for name, value in kept.items()} == {n: v.tobytes() for n, v in first.items()}


def test_export_from_a_directory_is_the_same(tmp_path: Path, exported: Exported) -> None:
    """A model directory exports as its model does, into folders that were not there; an export replaces an export."""
    model = FORECASTER.model()
    model.save(tmp_path / "model")
    done = export(tmp_path / "model", str(tmp_path / "new" / "out"))
    assert done.manifest == read_manifest(exported(FORECASTER))
    assert done.nbytes == sum(path.stat().st_size for path in done.directory.rglob("*") if path.is_file())
    again = export(cases.BY_NAME["forecaster-gru"].model(), done.directory)
    assert read_manifest(done.directory) == again.manifest
    assert [path.name for path in done.directory.parent.iterdir()] == ["out"]
    (tmp_path / "empty").mkdir()
    export(model, tmp_path / "empty")


def test_the_attribute_is_lazy() -> None:
    """`import aaren` does not import the floor; `aaren.export.open_export` needs no PyTorch to run a model on numpy."""
    code = "import aaren, sys; assert 'aaren.export' not in sys.modules; aaren.export.read_manifest; print(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'aaren.export._manifest'" in done.stdout
    assert "'torch'" not in done.stdout
    assert "open_export" in dir(aaren.export)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        aaren.export.nonsense  # noqa: B018


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    """A state that grows, a window, no preprocessing, another dtype, an unknown runtime: refused, nothing written."""
    model = FORECASTER.model()
    refused: list[tuple[Any, dict[str, Any], str]] = [
        (cases.drawn(cases.forecaster, encoder="transformer", **cases.SIZES), {}, "expected a state of constant size"),
        (cases.drawn(cases.forecaster, normalization="window", **cases.SIZES), {}, "expected normalization='running'"),
        (cases.drawn(cases.policy, encoder="transformer", **cases.SIZES), {}, "expected a state of constant size"),
        (Forecaster(inputs=1, targets=1, horizon=1), {}, "expected preprocessing"),
        (cases.drawn(cases.classifier, **cases.SIZES).double(), {}, "expected weights in float32"),
        (model, {"to": "abacus"}, "to: expected one of numpy"),
        (model, {"precision": "int4"}, "precision: expected one of float32"),
    ]
    for one, options, words in refused:
        with pytest.raises(ValueError, match=words):
            export(one, tmp_path / "out", **options)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").touch()
    for name, words in (("file", "received a file"), ("folder", "with other files"), ("file/out", "cannot be written")):
        with pytest.raises(ModelFileError, match=words):
            export(model, tmp_path / name)
    with pytest.raises(ModelFileError, match="no such file"):
        export(tmp_path / "folder", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "thesis.tex"]


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["thesis.tex", "runner/notes.txt", ".hidden", "__pycache__/mine"])
@pytest.mark.parametrize("manifest", [None, '{"name": "a web page"}', '{"format": "aaren-export", "files": 3}', "["])
def test_files_of_others_are_never_deleted(name: str, manifest: str | None, copy: Path) -> None:
    """A manifest.json of something else is no export, and an export in which others keep a file is not replaced."""
    if manifest is not None:
        (copy / "manifest.json").write_text(manifest)
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("mine")
    before = content(copy)
    with pytest.raises(ModelFileError, match="received a directory with other files"):
        export(FORECASTER.model(), copy)
    assert content(copy) == before
    assert [path.name for path in copy.parent.iterdir()] == ["out"]


def test_what_an_export_makes_of_itself_is_replaced(tmp_path: Path) -> None:
    """The program that `make` builds and the bytecode of Python are in no next export's way, and are gone."""
    model, out = FORECASTER.model(), tmp_path / "out"
    export(model, out, to="c")
    (out / "model").touch()
    export(model, out)
    (out / "runner" / "__pycache__").mkdir()
    (out / "runner" / "__pycache__" / "_run.cpython-312.pyc").touch()
    done = export(model, out, to="c")
    assert sorted(content(out)) == sorted(done.files)


def test_the_directory_is_as_open_as_the_user_wants(tmp_path: Path) -> None:
    """A user whose files are his alone gets a directory that is his alone."""
    before = os.umask(0o077)
    try:
        done = export(FORECASTER.model(), tmp_path / "out")
    finally:
        os.umask(before)
    assert done.directory.stat().st_mode & 0o777 == 0o700


def test_links_and_the_directory_one_is_in(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link stays a link, and what it leads to is replaced; the directory that one is in is refused by name."""
    link = tmp_path / "link"
    link.symlink_to("out")
    export(cases.BY_NAME["forecaster-gru"].model(), link)
    assert link.is_symlink()
    assert read_manifest(copy).config["encoder"] == "gru"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "out"]
    monkeypatch.chdir(copy / "runner")
    for name in (".", "..", copy):
        with pytest.raises(ModelFileError, match="expected another directory than the one you are in"):
            export(FORECASTER.model(), name)
    open_export(copy)


def test_a_name_that_is_taken_meanwhile(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the new export cannot take the name, the old one keeps it."""
    replace = Path.replace

    def refused(self: Path, target: Path) -> Path:
        if ".exporting-" in self.name:
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(ModelFileError, match="Input/output error"):
        export(cases.BY_NAME["forecaster-gru"].model(), copy)
    open_export(copy)
    assert [path.name for path in copy.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("over", ["nothing", "an export"])
def test_a_failed_export_leaves_what_was_there(over: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that ends in the middle leaves no directory, or the one that was there, and no other file."""
    model, out = FORECASTER.model(), tmp_path / "out"
    if over == "an export":
        export(model, out)

    def write(model: Any, directory: Path, precision: str) -> Any:
        (directory / "half").touch()
        assert not (directory / "manifest.json").exists()
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(RUNTIMES, "numpy", Runtime("numpy", write, RUNTIMES["numpy"].open))
    with pytest.raises(ModelFileError, match="out: cannot be written: No space left on device"):
        export(model, out)
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if over == "an export" else [])
    if over == "an export":
        open_export(out)


def test_a_killed_export_leaves_nothing_that_opens(tmp_path: Path) -> None:
    """A kill before the last file leaves a hidden folder without a manifest; the next export is not in its way."""
    model = FORECASTER.model()
    model.save(tmp_path / "model")
    code = (
        "import os, sys, signal\nfrom aaren.export import _export, export\n"
        "_export.Manifest.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"export({str(tmp_path / 'model')!r}, {str(tmp_path / 'out')!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -9
    left = [path for path in tmp_path.iterdir() if path.name != "model"]
    assert [path.name.startswith(".out.exporting-") for path in left] == [True]
    with pytest.raises(ModelFileError, match=r"manifest\.json: no such file"):
        open_export(left[0])
    open_export(export(model, tmp_path / "out").directory)


def test_every_file_is_checked(copy: Path) -> None:
    """A file that is missing or has one changed byte is named, whichever it is."""
    for name in json.loads((copy / "manifest.json").read_text())["files"]:
        path = copy / name
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(ModelFileError, match=f"{path.name}: the file was changed after the export"):
            open_export(copy)
        path.unlink()
        with pytest.raises(ModelFileError, match=f"{path.name}: no such file; the export is not whole"):
            open_export(copy)
        path.write_bytes(data)
    open_export(copy)


STATE = {"name": "a", "dtype": "float64", "shape": [2], "units": "of the model", "initial": 0}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"format": "zip"}, "expected a manifest of the format 'aaren-export'"),
        ({"version": 2}, "expected version 1, received 2; it was written by aaren"),
        ({"kind": None}, "missing or unknown entries: kind"),
        ({"extra": 1}, "missing or unknown entries: extra"),
        ({"kind": "oracle"}, "kind: expected one of classifier"),
        ({"precision": "int4"}, "precision: expected one of float32"),
        ({"runtime": 3}, "runtime: expected text, received int"),
        ({"runtime": "abacus"}, "expected a runtime from numpy"),
        ({"files": []}, "files: expected an object, received list"),
        ({"state": {}}, "state: expected a list of tensors, received dict"),
        ({"state": [{**STATE, "shape": [1 << 30]}]}, "state_bytes: expected 8589934592"),
        ({"state": [{"name": "a"}]}, "state: expected tensors with dtype, initial, name, shape, units"),
        ({"state": [{**STATE, "dtype": "object"}]}, "state: expected tensors with"),
        ({"state": [{**STATE, "shape": [-1]}]}, "state: a: expected a shape, received [-1]"),
        ({"state": [{**STATE, "shape": [1 << 20, 1 << 20]}]}, "state: a: expected a shape"),
        ({"state": [{**STATE, "initial": [1, 2, 3]}]}, "state: a: initial: expected numbers of its shape"),
        ({"state": [{**STATE, "initial": "much"}]}, "state: a: initial: expected numbers of its shape"),
        ({"state": [STATE, STATE]}, "state: expected tensors of different names"),
        ({"state": [STATE]}, "state_bytes: expected 16"),
        ({"files": {"../secret": "0"}}, "files: expected names inside the directory, received '../secret'"),
        ({"files": {"/etc/passwd": "0"}}, "files: expected names inside the directory, received '/etc/passwd'"),
        ({"files": {"": "0"}}, "files: expected names inside the directory, received ''"),
        ({"fingerprint": "0"}, "config.json: it is of another model than"),
        ({"config": {}}, "config.json: it is of another model than"),
        ({"preprocessing": {}}, "preprocessing.json: it is of another model than"),
    ],
)
def test_manifests_that_cannot_be(entries: dict[str, Any], words: str, copy: Path) -> None:
    """What a manifest may not say is refused by its name, before a number is used."""
    rewrite(copy, **entries)
    with pytest.raises(ModelFileError) as caught:
        open_export(copy)
    assert words in str(caught.value)


def test_files_that_are_no_manifest(copy: Path, tmp_path: Path) -> None:
    """Text that is no JSON, a list, a folder without a manifest and a link out of the directory are refused."""
    secret = tmp_path / "secret"
    secret.write_bytes((copy / "run.py").read_bytes())
    (copy / "run.py").unlink()
    (copy / "run.py").symlink_to(secret)
    with pytest.raises(ModelFileError, match=r"run\.py: no such file"):
        open_export(copy)
    for text in ("{", "[]", "3", "[" * 100_000, "\xff"):
        (copy / "manifest.json").write_text(text, encoding="latin-1")
        with pytest.raises(ModelFileError, match=r"manifest\.json: "):
            open_export(copy)
    for path in (tmp_path, secret, tmp_path / "nowhere"):
        with pytest.raises(ModelFileError, match="expected a directory that `aaren export` wrote"):
            open_export(path)


def signed(directory: Path) -> None:
    """Give a manifest the digests of the files as they are."""
    names = json.loads((directory / "manifest.json").read_text())["files"]
    rewrite(directory, files={name: frame.digest_of(directory / name) for name in names})


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "cut", "json", "config"])
def test_crafted_weights(damage: str, copy: Path) -> None:
    """Files that agree with a manifest but with no model are refused by name as well."""
    from aaren.export.runner._safetensors import read_safetensors, to_safetensors

    path = copy / "model.safetensors"
    arrays = read_safetensors(path)[0]
    if damage == "missing":
        del arrays["head.bias"]
    elif damage == "extra":
        arrays["backdoor"] = arrays["head.bias"]
    elif damage == "shape":
        arrays["head.bias"] = arrays["head.bias"][:-1]
    path.write_bytes(to_safetensors(arrays, {})[: -4 if damage == "cut" else None])
    if damage == "json":
        (copy / "config.json").write_text("[]")
    if damage == "config":
        header = json.loads((copy / "config.json").read_text())
        header["config"]["encoder"] = "transformer"
        (copy / "config.json").write_text(json.dumps(header))
        rewrite(copy, config=header["config"])
    signed(copy)
    with pytest.raises(ModelFileError) as caught:
        open_export(copy)
    words = {"missing": "'head.bias'", "extra": "['backdoor']", "shape": "'head.bias'", "cut": "damaged"}
    assert words.get(damage, "config.json") in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"calendar": False},
        {"calendar": ["hour_of_day"]},
        {"calendar": [["x"]]},
        {"scaler": 0},
        {"schema": True},
        {"interval_microseconds": {}},
        {"interval_microseconds": -1e308},
        {"interval_microseconds": ""},
    ],
)
def test_preprocessing_that_cannot_be(change: dict[str, Any], copy: Path) -> None:
    """Preprocessing that was changed, and signed again, is refused in words, whatever it became."""
    plain = {**json.loads((copy / "preprocessing.json").read_text()), **change}
    (copy / "preprocessing.json").write_text(json.dumps(plain))
    rewrite(copy, preprocessing=plain)
    signed(copy)
    with pytest.raises(ModelFileError, match="preprocessing: expected what `save` writes"):
        open_export(copy)
