"""The fit loop, on Lightning's trainer: early stopping, checkpoints, resume, seeds, any device and precision."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from aaren.errors import ModelFileError, TrainingError
from aaren.evaluation import PreparedData, WindowDataset, model_inputs, take_batch
from aaren.models import Forecaster, check_tensors, future_of
from aaren.training._checkpoint import SafetensorsCheckpointIO


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Args:
        epochs: passes over the training windows, at most.
        batch_size: windows in a step.
        learning_rate: of Adam, in the first epoch.
        learning_rate_decay: factor after each epoch (the paper's forecasting protocol has 0.5).
        weight_decay: decoupled, as in AdamW.
        patience: epochs without a better validation loss before stopping.
        clip: largest norm of the gradient; 0 for no limit.
        stride: rows between the starts of two training windows; None is 1 for windows that give one forecast, and an
            eighth of the look-back for those that give one at every token.
        seed: decides initial weights, order of windows and dropout.
        accelerator: "auto", "cpu", "gpu", ... as Lightning names them.
        precision: "32-true", "bf16-mixed", ... as Lightning names them.
        compile: run the encoder through `torch.compile`, which needs a C++ compiler and some minutes at the start.
    """

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    learning_rate_decay: float = 0.8
    weight_decay: float = 0.0
    patience: int = 3
    clip: float = 1.0
    stride: int | None = None
    seed: int = 0
    accelerator: str = "auto"
    precision: str = "32-true"
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "stride"):
            value = getattr(self, name)
            if (value is not None or name != "stride") and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name}: expected a whole number of at least 1, received {value!r}")
        if not isinstance(self.seed, int):
            raise ValueError(f"seed: expected a whole number, received {self.seed!r}")
        for name in ("learning_rate", "learning_rate_decay"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, received {getattr(self, name)}")
        for name in ("weight_decay", "clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected 0 or a positive number, received {getattr(self, name)}")

    def stride_for(self, model: Forecaster) -> int:
        """The stride that None stands for."""
        if self.stride is not None:
            return self.stride
        return 1 if model.config.normalization == "window" else max(1, model.config.look_back // 8)


class _Shuffled(Sampler[int]):
    """Windows in an order that seed and epoch decide, so that a resumed run goes on as if it had not stopped."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(torch.randperm(self.size, generator=generator).tolist())


class _Checkpoints(ModelCheckpoint):
    """The best and the last epoch, in a folder that may have been moved before a resumed run."""

    FILE_EXTENSION = ".safetensors"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        here = {key: self._here(value) if key.endswith("_path") else value for key, value in state_dict.items()}
        here["best_k_models"] = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**here, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath), Path(path).name)) if path else path


class _Task(lightning.LightningModule):
    """A forecaster with its loss and optimizer, as the trainer wants it."""

    def __init__(self, model: Forecaster, options: TrainingOptions) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.history: list[dict[str, float]] = []

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        config = self.model.config
        forecast, _ = self.model(**model_inputs(batch))
        if config.normalization == "window":
            future = batch["block"][:, -config.horizon :][:, None]
        else:
            future = future_of(batch["block"], config.look_back, config.horizon)
        return self.model.loss(forecast, future)

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(self.options.seed * 1_000_003 + self.current_epoch)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        loss = self._loss(batch)
        self.log("training_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch["values"]))
        return loss

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        self.log("validation_loss", self._loss(batch), prog_bar=True, batch_size=len(batch["values"]))

    def on_train_epoch_end(self) -> None:
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        self.history.append({"epoch": float(self.current_epoch), **metrics})

    def configure_optimizers(self) -> Any:
        options = self.options
        optimizer = torch.optim.AdamW(self.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, options.learning_rate_decay)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _run(self) -> dict[str, Any]:
        preprocessing = self.model.preprocessing
        return {
            "config": self.model.config.to_dict(),
            "options": dataclasses.asdict(self.options),
            "preprocessing": None if preprocessing is None else preprocessing.to_dict(),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["aaren_run"] = self._run()
        checkpoint["aaren_history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if checkpoint.get("aaren_run") != self._run():
            raise ModelFileError(
                "checkpoint: expected one of a run with the same table, configuration and options; "
                "resume with the same arguments, or train without resuming"
            )
        expected = {name: (tuple(x.shape), x.dtype) for name, x in self.state_dict().items()}
        check_tensors(Path("checkpoint"), checkpoint["state_dict"], expected)
        self.history = list(checkpoint["aaren_history"])


def fit(
    model: Forecaster,
    data: PreparedData,
    options: TrainingOptions,
    directory: Path,
    *,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a model in place and leave it with the weights of the epoch that validated best.

    Args:
        model: the forecaster.
        data: the prepared table; its validation part decides when to stop and which weights to keep.
        options: how to train.
        directory: checkpoints are written to its folder "checkpoints".
        resume: go on from the last checkpoint if there is one.
        progress: show a progress bar on standard error.

    Returns:
        What happened: epochs, the best validation loss and the history of losses; plain data.

    Raises:
        ModelFileError: the checkpoint to resume from is damaged or of another run, or the directory cannot be written.
        DataError: a part has no window.
        TrainingError: the loss is not finite.
    """
    config = model.config
    stride = options.stride_for(model)
    train = WindowDataset(data, "train", config.look_back, config.horizon, stride)
    validation = WindowDataset(data, "validation", config.look_back, config.horizon, stride)
    order = _Shuffled(len(train), options.seed)
    # loaders draw from a generator of their own, or a resumed run would find another state for its dropout
    shared: dict[str, Any] = {"collate_fn": take_batch, "generator": torch.Generator()}
    loaders = (
        DataLoader(train, options.batch_size, sampler=order, **shared),
        DataLoader(validation, 4 * options.batch_size, **shared),
    )
    folder = directory / "checkpoints"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelFileError(f"{folder}: cannot be written: {error.strerror or error}") from None
    checkpoint = _Checkpoints(folder, "best", monitor="validation_loss", save_last=True, enable_version_counter=False)
    last = folder / "last.safetensors"
    stop = EarlyStopping("validation_loss", patience=options.patience)
    callbacks: list[Callback] = [checkpoint, stop]
    if progress:
        callbacks.append(RichProgressBar(leave=True, console_kwargs={"stderr": True}))
    task = _Task(model, options)
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
        try:
            with _compiled(model.encoder, options.compile):
                trainer.fit(task, *loaders, ckpt_path=str(last) if resuming else None, weights_only=True)
        except SystemExit as error:  # the trainer's answer to Ctrl-C
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
    score = checkpoint.best_model_score
    if score is None or not bool(torch.isfinite(score)):
        raise TrainingError("the validation loss is not finite: training diverged; lower the learning rate or the clip")
    best = SafetensorsCheckpointIO().load_checkpoint(checkpoint.best_model_path)
    task.load_state_dict(best["state_dict"])
    model.to("cpu").eval()
    return {
        "epochs": len(task.history),
        "best_epoch": int(best["epoch"]),
        "validation_loss": float(score),
        "windows": len(train),
        "history": task.history,
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
