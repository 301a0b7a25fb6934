"""From a table to a model directory: what is learned, what is left, what is refused before time is spent."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_cases import MODEL, bits, fit_table, options, table, train

import aaren
from aaren.data import find, read_series
from aaren.errors import DataError, ModelFileError
from aaren.evaluation import evaluate, prepare
from aaren.models import Forecaster
from aaren.training import TrainingResult, train_forecaster


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingResult, Path]:
    """One run of three epochs, with quantiles."""
    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("run") / "model"
    return train(directory, model={"quantiles": (0.1, 0.9)}), directory


def test_the_loss_falls(tmp_path: Path) -> None:
    """On a series of noisy days, training halves the validation loss and beats repeating the last value."""
    result = train(tmp_path, epochs=8, learning_rate=1e-2, stride=1, learning_rate_decay=0.9, model={"d_model": 16})
    losses = [epoch["validation_loss"] for epoch in result.record["history"]]
    assert min(losses) < losses[0] / 2
    assert result.record["training"]["validation_loss"] == min(losses)
    assert result.metrics["streamed"]["mse"] < 0.5 * result.metrics["baselines"]["last value"]["mse"]


def test_what_a_run_leaves(run: tuple[TrainingResult, Path]) -> None:
    """A run leaves a model directory with its record and nothing else; the loaded model has the recorded errors."""
    result, directory = run
    assert {path.name for path in directory.iterdir()} == {
        *("config.json", "model.safetensors", "preprocessing.json", "MODEL_CARD.md"),
        "record.jsonl",
    }
    loaded = aaren.load(directory)
    assert bits(loaded) == bits(result.model)
    assert evaluate(loaded, result.data) == {key: result.metrics[key] for key in ("windows", "streamed")}
    assert not result.model.training


def test_the_record_is_one_valid_line(run: tuple[TrainingResult, Path]) -> None:
    """The record is one line of strict JSON that has the data, all settings, the errors, versions and hardware."""
    result, directory = run

    def strict(name: str) -> float:
        raise ValueError(f"not JSON: {name}")

    lines = (directory / "record.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    record = json.loads(lines[0], parse_constant=strict)
    assert record == json.loads(json.dumps(result.record))
    fields = "kind data seed config options training history metrics seconds parameters fingerprint versions hardware"
    assert set(record) == set(fields.split())
    assert record["config"] == result.model.config.to_dict()
    assert record["fingerprint"] == result.model.fingerprint()
    assert record["parameters"] == sum(p.numel() for p in result.model.parameters())
    assert record["data"]["rows"] == 160
    assert record["data"]["split"] == [0.7, 0.1, 0.2]
    assert set(record["metrics"]) == {"windows", "streamed", "baselines"}
    assert len(record["history"]) == record["training"]["epochs"] == 3
    assert set(record["history"][0]) == {"epoch", "training_loss", "validation_loss"}
    assert record["seconds"] > 0


def test_the_card_has_data_metrics_and_versions(run: tuple[TrainingResult, Path]) -> None:
    """The model card names the errors on the test part, of the simple forecasts too, and how it was trained."""
    result, directory = run
    text = (directory / "MODEL_CARD.md").read_text(encoding="utf-8")
    for line in ("## Data", "## Training", "## Metrics", "## Versions", "| epochs | 3 |", "| seed | 0 |"):
        assert line in text
    for name in ("windows", "streamed", "last value", "seasonal naive", "linear"):
        assert f"| {name} (test, standardised) | MSE " in text
    assert f"MSE {result.metrics['windows']['mse']:.4f}, MAE {result.metrics['windows']['mae']:.4f}" in text


def test_the_same_seed_is_the_same_model(run: tuple[TrainingResult, Path], tmp_path: Path) -> None:
    """The same seed gives the same weights bit for bit, whatever the user drew before; another seed gives others."""
    torch.rand(17)
    model = {"quantiles": (0.1, 0.9)}
    assert bits(train(tmp_path / "a", model=model).model) == bits(run[0].model)
    assert bits(train(tmp_path / "b", model=model, seed=1).model) != bits(run[0].model)


def test_the_users_random_numbers_are_left_alone(tmp_path: Path, without_shape_checks: None) -> None:
    """Training changes neither PyTorch's nor NumPy's nor Python's random state (the shape checks would)."""
    torch.manual_seed(3)
    before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
    train(tmp_path, epochs=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]


def test_training_without_progress_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`progress=False` prints nothing; `progress=True` shows the epochs on standard error alone."""
    train(tmp_path / "silent", epochs=1)
    assert capfd.readouterr() == ("", "")
    train_forecaster(table(), tmp_path / "loud", options=options(epochs=1), **MODEL)
    loud = capfd.readouterr()
    assert loud.out == ""
    assert "Epoch" in loud.err


@pytest.mark.parametrize("encoder", ["transformer", "gru", "mingru"])
def test_every_encoder_trains(encoder: str, tmp_path: Path) -> None:
    """The baselines train by the same call, with windows normalised by themselves."""
    result = train(tmp_path, epochs=1, model={"encoder": encoder, "normalization": "window"}, clip=0.0)
    assert list(result.metrics) == ["windows", "baselines"]
    assert math.isfinite(result.metrics["windows"]["mse"])


def test_mixed_precision(run: tuple[TrainingResult, Path], tmp_path: Path) -> None:
    """bfloat16 trains on the CPU, near the full precision, and leaves weights in float32."""
    result = train(tmp_path, precision="bf16-mixed", model={"quantiles": (0.1, 0.9)})
    assert {p.dtype for p in result.model.parameters()} == {torch.float32}
    assert bits(result.model) != bits(run[0].model)
    losses = [one.record["training"]["validation_loss"] for one in (result, run[0])]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_numpy_parts_are_parts(tmp_path: Path, without_shape_checks: None) -> None:
    """A split of NumPy's whole numbers trains and is written as plain ones."""
    split = tuple(np.array([100, 30, 30]))
    result = train_forecaster(table(), tmp_path, split=split, options=options(epochs=1), progress=False, **MODEL)
    assert result.record["data"]["split"] == [100, 30, 30]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"look_back": 200}, DataError, "room for look-back 200"),
        ({"horizon": 40}, DataError, "room for look-back 12 and horizon 40"),
        ({"split": (0.7, 0.1)}, DataError, "three parts"),
        ({"split": (130, 25, 2)}, DataError, "room for look-back 12 and horizon 3"),
        ({"nhead": 3}, ValueError, "nhead: expected a divisor"),
        ({"encoder": "lstm"}, ValueError, "encoder: expected one of"),
    ],
    ids=str,
)
def test_mistakes_are_found_before_training(
    change: dict[str, Any], error: type[Exception], message: str, tmp_path: Path, without_shape_checks: None
) -> None:
    """A table that does not allow the split or the lengths, or a wrong field, is refused before the first step."""
    with pytest.raises(error, match=message):
        train_forecaster(table(), tmp_path / "model", **{"options": options(), "progress": False, **MODEL, **change})
    assert not (tmp_path / "model" / "checkpoints" / "last.safetensors").exists()


def test_a_directory_that_cannot_be_is_refused_before_training(tmp_path: Path) -> None:
    """A path that is a file, or lies below one, is refused before the first step."""
    file = tmp_path / "file"
    file.write_text("mine")
    for directory in (file, file / "below"):
        with pytest.raises(ModelFileError, match="cannot be written: Not a directory"):
            train(directory)
    assert file.read_text() == "mine"


def test_fit_trains_a_model_in_place(tmp_path: Path) -> None:
    """`fit` alone changes the given model and saves nothing but checkpoints."""
    data = prepare(table(), (0.7, 0.1, 0.2))
    model = Forecaster(inputs=1, targets=1, calendar=data.calendar.shape[1], **MODEL)
    before = bits(model)
    found = fit_table(model, data, options(epochs=1), tmp_path)
    assert bits(model) != before
    assert found["epochs"] == 1
    assert found["samples"] == math.ceil((112 - 12 - 3 + 1) / 2)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_a_real_series_trains(tmp_path: Path) -> None:
    """On two months of ETTh1, one epoch is enough to leave a model whose errors are those of real data."""
    data = read_series(find("ETTh1"), targets="OT", covariates="all")
    result = train_forecaster(
        data, tmp_path, split=(960, 240, 240), options=options(epochs=1), progress=False, **{**MODEL, "look_back": 24}
    )
    assert result.record["data"]["source"] == "ETTh1.csv.gz"
    assert result.record["data"]["sha256"] == data.sha256
    assert result.model.config.inputs == 7
    assert 0 < result.metrics["streamed"]["mse"] < 5


def test_without_the_trainer_training_says_what_to_install() -> None:
    """Without Lightning, `import aaren` works and `aaren.training` names the extra that brings it."""
    code = (
        "import sys\n"
        "sys.modules['lightning'] = None\n"
        "import aaren\n"
        "from aaren.errors import MissingDependencyError\n"
        "try:\n    import aaren.training\n"
        "except MissingDependencyError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.strip() == "training needs the package 'lightning'; install it with: pip install 'aaren[train]'"
