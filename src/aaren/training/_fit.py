"""The fit loop, on Lightning's trainer: early stopping, checkpoints, resume, seeds, any device and precision."""

from __future__ import annotations

import dataclasses
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from torch import Tensor, nn
from torch.optim.lr_scheduler import ExponentialLR, LinearLR
from torch.utils.data import DataLoader, Dataset, Sampler

from aaren._matmul_precision import matmul_precision
from aaren.errors import ModelFileError, TrainingError
from aaren.evaluation import take_batch
from aaren.models import Model, check_tensors
from aaren.training._checkpoint import SafetensorsCheckpointIO, checkpoints_folder
from aaren.training._options import TrainingOptions

Batch = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a model learns from.

    Args:
        train: the training part, whose `__getitems__` gathers a whole batch of indices.
        validation: the same for the part that decides when to stop and which weights to keep.
        loss: from model and batch, the mean loss and the number of samples that it is a mean of.
        score: the same, what validation minimises in place of the loss.
        drawn: samples of an epoch, drawn with replacement; None takes each sample of the training part once.
    """

    train: Dataset[Batch]
    validation: Dataset[Batch]
    loss: Callable[[Any, Batch], tuple[Tensor, int]]
    score: Callable[[Any, Batch], tuple[Tensor, int]] | None = None
    drawn: int | None = None


class _Shuffled(Sampler[int]):
    """Windows in an order that seed and epoch decide, so that a resumed run goes on as if it had not stopped."""

    def __init__(self, size: int, seed: int, drawn: int | None = None) -> None:
        self.size, self.seed, self.drawn, self.epoch = size, seed, drawn, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size if self.drawn is None else self.drawn

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        if self.drawn is not None:
            return iter(torch.randint(self.size, (self.drawn,), generator=generator).tolist())
        return iter(torch.randperm(self.size, generator=generator).tolist())


class _Checkpoint(ModelCheckpoint):
    """The best epoch or, without a monitor, the last, in a folder that may have been moved before a resumed run."""

    FILE_EXTENSION = ".safetensors"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        here = {key: self._here(value) if key.endswith("_path") else value for key, value in state_dict.items()}
        here["best_k_models"] = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**here, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath), Path(path).name)) if path else path


class _Stopping(EarlyStopping):
    """Early stopping; a run that it had ended takes no further step when it is resumed."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.should_stop = self.stopped_epoch > 0


class _Task(lightning.LightningModule):
    """A model with its loss and optimizer, as the trainer wants it."""

    def __init__(self, model: Model[Any, Any], data: TrainingData, options: TrainingOptions) -> None:
        super().__init__()
        self.model, self.data, self.options = model, data, options
        self.history: list[dict[str, float]] = []
        self.begin, self.seconds_before = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """Time of training so far, that of attempts before a resumed one included."""
        return self.seconds_before + time.perf_counter() - self.begin

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(self.options.seed * 1_000_003 + self.current_epoch)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss, samples = self.data.loss(self.model, batch)
        self.log("training_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=samples)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        loss, samples = self.data.loss(self.model, batch)
        self.log("validation_loss", loss, prog_bar=True, batch_size=samples)
        if self.data.score is not None:
            score, samples = self.data.score(self.model, batch)
            self.log("validation_score", score, prog_bar=True, batch_size=samples)

    def on_train_epoch_end(self) -> None:
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        self.history.append({"epoch": float(self.current_epoch), **metrics})

    def configure_optimizers(self) -> Any:
        options = self.options
        arguments: dict[str, Any] = {"lr": options.learning_rate, "weight_decay": options.weight_decay}
        optimizer: torch.optim.Optimizer
        if options.optimizer == "radam":
            optimizer = torch.optim.RAdam(self.parameters(), **arguments, decoupled_weight_decay=True)
        else:
            optimizer = torch.optim.AdamW(self.parameters(), **arguments)
        schedules: list[dict[str, Any]] = [
            {"scheduler": ExponentialLR(optimizer, options.learning_rate_decay), "interval": "epoch"}
        ]
        if options.warmup_steps:
            # both multiply the rate that they find, so that they go together
            warmup = LinearLR(optimizer, 1 / options.warmup_steps, total_iters=options.warmup_steps)
            schedules.append({"scheduler": warmup, "interval": "step"})
        return [optimizer], schedules

    def _run(self) -> dict[str, Any]:
        preprocessing = self.model.preprocessing
        return {
            "config": self.model.config.to_dict(),
            "options": dataclasses.asdict(self.options),
            "samples": [len(self.data.train), self.data.drawn],  # type: ignore[arg-type]
            "preprocessing": None if preprocessing is None else preprocessing.to_dict(),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["aaren_run"] = self._run()
        checkpoint["aaren_history"] = self.history
        checkpoint["aaren_seconds"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if _with_all_options(checkpoint.get("aaren_run")) != self._run():
            raise ModelFileError(
                "checkpoint: expected one of a run with the same table, configuration and options; "
                "resume with the same arguments, or train without resuming"
            )
        expected = {name: (tuple(x.shape), x.dtype) for name, x in self.state_dict().items()}
        check_tensors(Path("checkpoint"), checkpoint["state_dict"], expected)
        self.history = list(checkpoint["aaren_history"])
        self.seconds_before = float(checkpoint["aaren_seconds"])


def _with_all_options(run: Any) -> Any:
    """What a checkpoint says of its run; an option that its version did not have has the default."""
    if isinstance(run, dict) and isinstance(run.get("options"), dict):
        return {**run, "options": {**dataclasses.asdict(TrainingOptions()), **run["options"]}}
    return run


def fit(
    model: Model[Any, Any],
    data: TrainingData,
    options: TrainingOptions,
    directory: Path,
    *,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a model in place and leave it with the weights of the epoch that validated best.

    Args:
        model: the model.
        data: its parts, loss and score.
        options: how to train.
        directory: checkpoints are written to its folder "checkpoints".
        resume: go on from the last checkpoint if there is one.
        progress: show a progress bar on standard error.

    Returns:
        What happened: epochs, the best validation score, the history of losses and the seconds; plain data.

    Raises:
        ModelFileError: the checkpoint to resume from is damaged or of another run, or the directory cannot be written.
        TrainingError: the loss is not finite.
    """
    samples = len(data.train)  # type: ignore[arg-type]
    order = _Shuffled(samples, options.seed, data.drawn)
    # loaders draw from a generator of their own, or a resumed run would find another state for its dropout
    shared: dict[str, Any] = {"collate_fn": take_batch, "generator": torch.Generator()}
    loaders = (
        DataLoader(data.train, options.batch_size, sampler=order, **shared),
        DataLoader(data.validation, 4 * options.batch_size, **shared),
    )
    monitor = "validation_loss" if data.score is None else "validation_score"
    folder = checkpoints_folder(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelFileError(f"{folder}: cannot be written: {error.strerror or error}") from None
    checkpoint = _Checkpoint(folder, "best", monitor=monitor, enable_version_counter=False)
    each = _Checkpoint(folder, "last", enable_version_counter=False)
    last = folder / "last.safetensors"
    # the last epoch is written after the best one, which it knows
    callbacks: list[Callback] = [checkpoint, each, _Stopping(monitor, patience=options.patience)]
    if progress:
        callbacks.append(RichProgressBar(leave=True, console_kwargs={"stderr": True}))
    task = _Task(model, data, options)
    with _quiet():
        trainer = lightning.Trainer(
            max_epochs=options.epochs,
            accelerator=options.accelerator,
            devices=1,
            precision=options.precision,  # type: ignore[arg-type]
            callbacks=callbacks,
            plugins=[SafetensorsCheckpointIO()],
            gradient_clip_val=options.clip or None,
            logger=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        resuming = resume and last.exists()
        if resuming:  # what is read in the end is refused before hours of training
            SafetensorsCheckpointIO().load_checkpoint(folder / "best.safetensors")
        try:
            with matmul_precision(options.matmul_precision), _compiled(cast(nn.Module, model.encoder), options.compile):
                trainer.fit(task, *loaders, ckpt_path=str(last) if resuming else None, weights_only=True)
        except SystemExit as error:  # the trainer's answer to Ctrl-C
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
    if checkpoint.best_model_score is None or not bool(torch.isfinite(checkpoint.best_model_score)):
        raise TrainingError(
            "the validation loss is not finite: training diverged; lower learning_rate=, or look for values in the "
            "data that are far beyond the others"
        )
    best = SafetensorsCheckpointIO().load_checkpoint(checkpoint.best_model_path)
    # of these weights, which an attempt that was killed right after it had written them may have left
    score = best["callbacks"][checkpoint.state_key]["best_model_score"]
    task.load_state_dict(best["state_dict"])
    model.to("cpu").eval()
    return {
        "epochs": len(task.history),
        "best_epoch": int(best["epoch"]),
        monitor: float(score),
        "samples": samples,
        "history": task.history,
        "seconds": task.seconds,
    }


@contextmanager
def _compiled(module: nn.Module, enabled: bool) -> Iterator[None]:
    """Calls of the module run through `torch.compile` within this context; its parameters keep their names."""
    if not enabled:
        yield
        return
    from torch._inductor.exc import InductorError

    module.compile()
    try:
        yield
    except InductorError as error:
        reason = str(error).strip().splitlines()[0]
        raise TrainingError(
            f"torch.compile failed: {reason}; train without compile, or install a C++ compiler"
        ) from error
    finally:
        module._compiled_call_impl = None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the trainer's banners and advice about workers off the screen."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
