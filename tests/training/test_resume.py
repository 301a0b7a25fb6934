"""Runs that stop: early, by Ctrl-C, by a crash or a kill, and what becomes of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_cases import bits, table, train

from aaren.errors import ModelFileError
from aaren.training import TrainingResult, _record
from aaren.training._checkpoint import SafetensorsCheckpointIO
from aaren.training._fit import _Task

ENDED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from training_cases import train
from aaren.training._fit import _Task
step, number = _Task.training_step, int(sys.argv[3])
if number == signal.SIGINT:  # one that was started in the background inherits that it is ignored
    signal.signal(number, signal.default_int_handler)
handler = signal.getsignal(number)
def training_step(self, batch, index):
    if self.current_epoch == 1 and index == 1:
        os.kill(os.getpid(), number)
    return step(self, batch, index)
_Task.training_step = training_step
try:
    train(sys.argv[2])
except KeyboardInterrupt:
    sys.exit(130 if signal.getsignal(number) is handler else "Ctrl-C no longer works")
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingResult, Path]:
    """A run of three epochs that nothing interrupted; its checkpoints are as before the last line of code."""
    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_record, "remove_checkpoints", lambda directory: None)
        return train(directory), directory


def interrupt(monkeypatch: pytest.MonkeyPatch, hook: str, epoch: int, stop: Callable[[], None]) -> None:
    """Do something at the first step of an epoch, in a step of training or validation."""
    step = getattr(_Task, hook)

    def stopped(self: _Task, batch: Any, index: int) -> Any:
        if self.current_epoch == epoch:
            stop()
        return step(self, batch, index)

    monkeypatch.setattr(_Task, hook, stopped)


def crash() -> None:
    """A fault of the machine."""
    raise RuntimeError("crash")


def same(result: TrainingResult, other: TrainingResult) -> None:
    """Both runs have the same weights, history and errors, bit for bit."""
    assert bits(result.model) == bits(other.model)
    for entry in ("history", "training", "metrics", "fingerprint"):
        assert result.record[entry] == other.record[entry]


@pytest.mark.parametrize(("hook", "epoch"), [("training_step", 1), ("validation_step", 1), ("training_step", 2)])
def test_a_resumed_run_is_an_uninterrupted_one(
    hook: str, epoch: int, whole: tuple[TrainingResult, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that crashed in any epoch and was resumed ends with the bits of a run that did not crash."""
    interrupt(monkeypatch, hook, epoch, crash)
    with pytest.raises(RuntimeError, match="crash"):
        train(tmp_path)
    monkeypatch.undo()
    assert (
        SafetensorsCheckpointIO().load_checkpoint(tmp_path / "checkpoints" / "last.safetensors")["epoch"] == epoch - 1
    )
    same(train(tmp_path, resume=True), whole[0])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_run_that_a_signal_ended_is_resumed(
    number: int, code: int, whole: tuple[TrainingResult, Path], tmp_path: Path
) -> None:
    """Killed or ended by Ctrl-C in its second epoch, a run can be resumed as if it had not been; there is no model yet.

    Ctrl-C ends in `KeyboardInterrupt` and works again afterwards.
    """
    arguments = [sys.executable, "-X", "faulthandler", "-c", ENDED, str(Path(__file__).parent), tmp_path, str(number)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, capture_output=True, timeout=100, check=False, env=environment)
    assert done.returncode == code, done.stderr
    assert not (tmp_path / "config.json").exists()
    same(train(tmp_path, resume=True), whole[0])


def test_a_checkpoint_of_a_version_without_an_option(
    whole: tuple[TrainingResult, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of before an option was there is one with its default: a run with that goes on, another does not."""
    interrupt(monkeypatch, "training_step", 1, crash)
    with pytest.raises(RuntimeError, match="crash"):
        train(tmp_path)
    monkeypatch.undo()
    path = tmp_path / "checkpoints" / "last.safetensors"
    checkpoint = SafetensorsCheckpointIO().load_checkpoint(path)
    del checkpoint["aaren_run"]["options"]["matmul_precision"]
    SafetensorsCheckpointIO().save_checkpoint(checkpoint, path)
    with pytest.raises(ModelFileError, match="same table, configuration and options"):
        train(tmp_path, resume=True, matmul_precision="medium")
    same(train(tmp_path, resume=True), whole[0])


def test_a_finished_run_is_not_trained_again(
    whole: tuple[TrainingResult, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resuming a run that was killed when all but the clearing up was done takes no step, also if it was moved."""
    shutil.copytree(whole[1], tmp_path / "moved")
    shutil.move(whole[1] / "checkpoints", whole[1] / "hidden")
    try:
        interrupt(monkeypatch, "training_step", 0, crash)
        interrupt(monkeypatch, "training_step", 3, crash)
        same(train(tmp_path / "moved", resume=True), whole[0])
    finally:
        shutil.move(whole[1] / "hidden", whole[1] / "checkpoints")


def test_a_finished_run_leaves_no_checkpoints(
    whole: tuple[TrainingResult, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints are there until model and record are, then go; a file of someone else stays where it is."""
    append = _record.append_record

    def there(path: Path, record: dict[str, Any]) -> None:
        assert (tmp_path / "checkpoints" / "last.safetensors").exists()
        append(path, record)

    monkeypatch.setattr(_record, "append_record", there)
    same(train(tmp_path), whole[0])
    assert not (tmp_path / "checkpoints").exists()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "notes.txt").write_text("mine")
    same(train(tmp_path), whole[0])
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["notes.txt"]


def test_a_moved_run_goes_on(
    whole: tuple[TrainingResult, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crashed run whose directory was moved is resumed there, and still knows its best epoch."""
    interrupt(monkeypatch, "training_step", 2, crash)
    with pytest.raises(RuntimeError, match="crash"):
        train(tmp_path / "before")
    monkeypatch.undo()
    shutil.move(tmp_path / "before", tmp_path / "after")
    same(train(tmp_path / "after", resume=True), whole[0])
    assert not (tmp_path / "before").exists()


def test_resume_without_a_checkpoint_starts(whole: tuple[TrainingResult, Path], tmp_path: Path) -> None:
    """`resume=True` in an empty directory trains from the start; `resume=False` ignores a checkpoint that is there."""
    same(train(tmp_path, resume=True), whole[0])
    same(train(tmp_path), whole[0])
    assert len((tmp_path / "record.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"epochs": 5}, {"learning_rate": 2e-3}, {"model": {"half_life": 3.0}}, {"data": None}],
    ids=str,
)
def test_another_run_is_not_resumed(change: dict[str, Any], whole: tuple[TrainingResult, Path], tmp_path: Path) -> None:
    """A checkpoint of another table, configuration or options is refused, and left as it is."""
    change = {"data": table(scale=3.0)} if "data" in change else change
    shutil.copytree(whole[1] / "checkpoints", tmp_path / "checkpoints")
    before = (tmp_path / "checkpoints" / "last.safetensors").read_bytes()
    with pytest.raises(ModelFileError, match="expected one of a run with the same table, configuration and options"):
        train(tmp_path, resume=True, **change)
    assert (tmp_path / "checkpoints" / "last.safetensors").read_bytes() == before


def test_damaged_checkpoints_are_not_resumed(whole: tuple[TrainingResult, Path], tmp_path: Path) -> None:
    """A checkpoint that is cut off, a pickle, a model's weights, or of other tensors is refused with a reason."""
    last = tmp_path / "checkpoints" / "last.safetensors"
    shutil.copytree(whole[1] / "checkpoints", tmp_path / "checkpoints")
    sound = SafetensorsCheckpointIO().load_checkpoint(last)
    bad = [last.read_bytes()[:-1], (whole[1] / "model.safetensors").read_bytes()]
    torch.save(sound, tmp_path / "pickle")
    bad.append((tmp_path / "pickle").read_bytes())
    for content in bad:
        last.write_bytes(content)
        with pytest.raises(ModelFileError, match="not a checkpoint, or damaged"):
            train(tmp_path, resume=True)
    SafetensorsCheckpointIO().save_checkpoint({**sound, "state_dict": {"w": torch.zeros(1)}}, last)
    with pytest.raises(ModelFileError, match="checkpoint: missing tensors"):
        train(tmp_path, resume=True)


def test_an_exit_is_an_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`SystemExit` from elsewhere is passed on as what it is."""

    def leave() -> None:
        sys.exit(7)

    interrupt(monkeypatch, "training_step", 0, leave)
    with pytest.raises(SystemExit) as caught:
        train(tmp_path)
    assert caught.value.code == 7


def test_early_stopping_restores_the_best_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training stops after `patience` epochs without a better loss, with the weights of the best epoch."""
    losses = iter([3.0, 1.0, 2.0, 2.0])
    seen: list[dict[str, bytes]] = []

    def validation_step(self: _Task, batch: Any, index: int) -> None:
        if index == 0:
            seen.append(bits(self.model))
        self.log("validation_loss", torch.tensor(next(losses)), batch_size=1)

    monkeypatch.setattr(_Task, "validation_step", validation_step)
    result = train(tmp_path, epochs=50, patience=2)
    assert len(seen) == result.record["training"]["epochs"] == 4
    assert result.record["training"]["best_epoch"] == 1
    assert result.record["training"]["validation_loss"] == 1.0
    assert bits(result.model) == seen[1]
    assert seen[1] != seen[3]


def worsening(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch validates worse than the one before."""

    def validation_step(self: _Task, batch: Any, index: int) -> None:
        self.log("validation_loss", torch.tensor(1.0 + self.current_epoch), batch_size=1)

    monkeypatch.setattr(_Task, "validation_step", validation_step)


def test_epochs_that_are_no_better_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that crashed long after its best epoch goes on from its last one, and still knows the best."""
    worsening(monkeypatch)
    straight = train(tmp_path / "straight", epochs=5, patience=5)
    with monkeypatch.context() as patch:
        interrupt(patch, "training_step", 4, crash)
        with pytest.raises(RuntimeError, match="crash"):
            train(tmp_path / "crashed", epochs=5, patience=5)
    interrupt(monkeypatch, "training_step", 3, crash)  # an epoch that is done is not run again
    same(train(tmp_path / "crashed", epochs=5, patience=5, resume=True), straight)
    assert straight.record["training"]["best_epoch"] == 0


def test_a_run_that_was_stopped_early_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after early stopping, when all but the clearing up was done, a resumed run takes no step."""
    worsening(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(_record, "remove_checkpoints", lambda directory: None)
        straight = train(tmp_path, epochs=50, patience=2)
    assert straight.record["training"]["epochs"] == 3
    interrupt(monkeypatch, "training_step", 3, crash)
    same(train(tmp_path, epochs=50, patience=2, resume=True), straight)


def test_a_run_that_diverged_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ended a run may also be a loss that is not finite, long before patience did."""

    def validation_step(self: _Task, batch: Any, index: int) -> None:
        loss = (2.0, 1.0, float("nan"), 1.0)[self.current_epoch]
        self.log("validation_loss", torch.tensor(loss), batch_size=1)

    monkeypatch.setattr(_Task, "validation_step", validation_step)
    with monkeypatch.context() as patch:
        patch.setattr(_record, "remove_checkpoints", lambda directory: None)
        straight = train(tmp_path, epochs=4, patience=3)
    assert (straight.record["training"]["epochs"], straight.record["training"]["best_epoch"]) == (3, 1)
    interrupt(monkeypatch, "training_step", 3, crash)
    resumed = train(tmp_path, epochs=4, patience=3, resume=True)
    assert bits(resumed.model) == bits(straight.model)
    assert resumed.record["training"] == straight.record["training"]


def test_a_best_epoch_that_cannot_be_read_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose best weights are damaged or gone is refused before it trains the epochs that are left."""
    with monkeypatch.context() as patch:
        interrupt(patch, "training_step", 2, crash)
        with pytest.raises(RuntimeError, match="crash"):
            train(tmp_path)
    best = tmp_path / "checkpoints" / "best.safetensors"
    interrupt(monkeypatch, "training_step", 2, crash)
    best.write_bytes(best.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match=r"best\.safetensors: not a checkpoint, or damaged.*without resuming"):
        train(tmp_path, resume=True)
    best.unlink()
    with pytest.raises(ModelFileError, match=r"best\.safetensors: not a checkpoint, or damaged.*without resuming"):
        train(tmp_path, resume=True)


def test_the_score_is_that_of_the_weights_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch that was killed right after its weights were kept may be worse the next time; its score is theirs."""
    losses = iter([3.0, 2.0, 3.5, 4.0])  # the second epoch twice

    def validation_step(self: _Task, batch: Any, index: int) -> None:
        if index == 0:
            self.found = torch.tensor(next(losses))
        self.log("validation_loss", self.found, batch_size=1)

    save = SafetensorsCheckpointIO.save_checkpoint

    def stopped(self: SafetensorsCheckpointIO, checkpoint: dict[str, Any], path: Any, **more: Any) -> None:
        if checkpoint["epoch"] == 1 and Path(path).stem == "last":
            crash()
        save(self, checkpoint, path, **more)

    monkeypatch.setattr(_Task, "validation_step", validation_step)
    with monkeypatch.context() as patch:
        patch.setattr(SafetensorsCheckpointIO, "save_checkpoint", stopped)
        with pytest.raises(RuntimeError, match="crash"):
            train(tmp_path)
    training = train(tmp_path, resume=True).record["training"]
    assert (training["epochs"], training["best_epoch"], training["validation_loss"]) == (3, 1, 2.0)
