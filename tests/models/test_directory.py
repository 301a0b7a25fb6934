"""Model directories: saved as a whole, loaded bit for bit, known by their fingerprint."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from forecaster_cases import ALL, SMALL, forecaster, inputs, name, preprocessing
from torch.utils import _pytree as pytree

import aaren
from aaren.errors import ModelFileError
from aaren.models import Forecaster

FILES = {"config.json", "model.safetensors", "preprocessing.json", "MODEL_CARD.md"}


def saved(model: Forecaster, directory: Path) -> Path:
    """The directory, with the model in it."""
    model.save(directory)
    return directory


@pytest.mark.parametrize("case", ALL[::7], ids=name)
def test_a_loaded_model_is_the_saved_one(case: dict[str, Any], tmp_path: Path) -> None:
    """Configuration, preprocessing, metadata, fingerprint, forecasts and state come back bit for bit."""
    model = forecaster(**case, preprocessing=preprocessing(), metadata={"data": {"source": "a.csv"}})
    loaded = aaren.load(saved(model, tmp_path / "deep" / "model"))
    assert loaded.config == model.config
    assert loaded.preprocessing is not None
    assert loaded.preprocessing.to_dict() == preprocessing().to_dict()
    assert loaded.metadata == model.metadata
    assert loaded.fingerprint() == model.fingerprint()
    arguments = inputs(missing=0.2)
    before, after = (pytree.tree_leaves(m(**arguments)) for m in (model, loaded))
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_a_loaded_model_is_ready_and_has_drawn_nothing(tmp_path: Path) -> None:
    """`load` gives a model in evaluation mode and leaves the user's random numbers as they were."""
    saved(forecaster(dropout=0.5).train(), tmp_path)
    before = torch.get_rng_state()
    loaded = aaren.load(str(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module.training for module in loaded.modules())
    assert loaded.preprocessing is None


def test_the_files_of_a_directory(tmp_path: Path) -> None:
    """A directory holds the four files, JSON readable by anyone, and no leftovers."""
    saved(forecaster(preprocessing=preprocessing()), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    header = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert header["kind"] == "forecaster"
    assert header["aaren_version"] == aaren.__version__
    assert json.loads((tmp_path / "preprocessing.json").read_text(encoding="utf-8"))["calendar"] == ["hour_of_day"]


def test_the_fingerprint_is_of_all_that_decides_numbers() -> None:
    """The fingerprint changes with a weight, a field or the preprocessing, and not with the metadata."""
    base = {**SMALL, "preprocessing": preprocessing()}
    prints = [
        forecaster(**base).fingerprint(),
        forecaster(**base, half_life=3.0).fingerprint(),
        forecaster(**base, dropout=0.2).fingerprint(),
        forecaster(**{**base, "preprocessing": None}).fingerprint(),
        forecaster(**{**base, "preprocessing": preprocessing(("load", "OT"))}).fingerprint(),
    ]
    touched = forecaster(**base)
    with torch.no_grad():
        touched.head.bias[0] += 1e-6
    assert len({*prints, touched.fingerprint()}) == 6
    assert forecaster(**base, metadata={"data": {}}).fingerprint() == prints[0]


def test_saving_again_replaces_the_model_alone(tmp_path: Path) -> None:
    """A second save replaces the model and keeps every other file of the directory."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last").write_text("mine")
    (tmp_path / "record.jsonl").write_text("{}\n")
    saved(forecaster(), tmp_path)
    other = forecaster(d_model=16)
    assert aaren.load(saved(other, tmp_path)).fingerprint() == other.fingerprint()
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, "checkpoints", "record.jsonl"}
    assert (tmp_path / "checkpoints" / "last").read_text() == "mine"


def test_a_failed_save_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while saving leaves the model that was there, and nothing else."""
    old = forecaster()
    saved(old, tmp_path)

    def full(path: Path, *args: Any, **kwargs: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ModelFileError, match=r"cannot be written: No space left on device$"):
        forecaster(d_model=16).save(tmp_path)
    monkeypatch.undo()
    assert aaren.load(tmp_path).fingerprint() == old.fingerprint()
    assert {path.name for path in tmp_path.iterdir()} == FILES


@pytest.mark.parametrize("moved", [1, 2, 3])
def test_a_save_that_was_cut_off_is_noticed(moved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that was killed between two files is never loaded as a mixture of two models."""
    saved(forecaster(preprocessing=preprocessing()), tmp_path)
    replace, calls = Path.replace, []

    def killed(path: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) > moved:
            raise OSError(5, "killed")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    other = forecaster(preprocessing=preprocessing(("load", "OT")), quantiles=())
    with torch.no_grad():
        other.head.bias += 1
    with pytest.raises(ModelFileError, match="killed"):
        other.save(tmp_path)
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match="fingerprint"):
        aaren.load(tmp_path)


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    """Saving into a file, or below one, is refused and leaves the file as it was."""
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ModelFileError, match="expected a directory to save into, received a file"):
        forecaster().save(file)
    with pytest.raises(ModelFileError, match="cannot be written: Not a directory"):
        forecaster().save(file / "below")
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


def test_device_is_the_users_choice(tmp_path: Path) -> None:
    """`load(device=...)` puts the weights there."""
    loaded = aaren.load(saved(forecaster(), tmp_path), device=torch.device("cpu"))
    assert {p.device.type for p in loaded.parameters()} == {"cpu"}
    assert {p.device.type for p in aaren.load(tmp_path, device="meta").parameters()} == {"meta"}


def test_nothing_is_pickled_or_unpickled() -> None:
    """No module of the package imports a pickler, or calls PyTorch's or NumPy's functions that unpickle."""
    picklers = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    sources = sorted(Path(aaren.__file__).parent.rglob("*.py"))
    assert len(sources) > 40
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert picklers.isdisjoint(alias.name.split(".")[0] for alias in node.names), source
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in picklers, source
                if node.module == "torch":
                    assert {"load", "save"}.isdisjoint(alias.name for alias in node.names), source
            elif isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in {"torch.load", "torch.save", "torch.serialization", "pl.read_pickle"}
            elif isinstance(node, ast.keyword):
                allowed = {"allow_pickle": "False", "weights_only": "True"}
                assert node.arg not in allowed or ast.unparse(node.value) == allowed[node.arg], source


def test_stream_is_found_on_the_model() -> None:
    """`model.stream()` is a stream of that model."""
    model = forecaster(preprocessing=preprocessing())
    stream = model.stream()
    assert isinstance(stream, aaren.Stream)
    assert stream.model is model
