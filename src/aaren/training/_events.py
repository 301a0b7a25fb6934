"""From event sequences to an event model's directory: the Python twin of `aaren train events`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aaren.data import EventSet
from aaren.evaluation import EventDataset, evaluate_events, event_baselines, mark_transitions
from aaren.models import EventConfig, EventModel, EventPreprocessing
from aaren.training._fit import Batch, TrainingData, fit
from aaren.training._options import TrainingOptions
from aaren.training._record import save_with_record

PAPER_OPTIONS = TrainingOptions(epochs=100, batch_size=16, learning_rate=1e-4, learning_rate_decay=1.0, patience=10)
"""How the paper trains: Adam with 1e-4, batches of 16; the number of epochs is this project's."""

EVENT_OPTIONS = TrainingOptions(epochs=20, batch_size=16, learning_rate=2e-3, learning_rate_decay=0.9, patience=4)
"""How an event model is trained where nothing is said: a larger rate that falls, which needs fewer epochs."""


@dataclass(frozen=True, eq=False)
class EventResult:
    """What training leaves.

    Args:
        model: with the best weights, on the CPU.
        record: data, hyperparameters, metrics, time, versions and hardware; plain data, also in `record.jsonl`.
    """

    model: EventModel
    record: dict[str, Any]

    @property
    def metrics(self) -> dict[str, Any]:
        """Errors by name: "validation", "test" if there was one, and "baselines" of the test (or validation) part."""
        return self.record["metrics"]


def train_events(
    train: EventSet,
    directory: str | Path,
    *,
    validation: EventSet,
    test: EventSet | None = None,
    split: tuple[float | int, ...] | None = None,
    options: TrainingOptions | None = None,
    resume: bool = False,
    progress: bool = True,
    **config: Any,
) -> EventResult:
    """Train an event model and save it with its record.

    Args:
        train: what it learns from, from `aaren.data.read_events`.
        directory: model directory to write.
        validation: decides when to stop and which weights to keep.
        test: read once, at the end.
        split: if the three are parts of one file, its split; for the record.
        options: how to train; by default `EVENT_OPTIONS`. `PAPER_OPTIONS` are the paper's.
        resume: go on from the last checkpoint in the directory.
        progress: show a progress bar on standard error.
        **config: further fields of `EventConfig`, such as `encoder`, `decay`, `intervals`.

    Returns:
        The model and the record.

    Raises:
        DataError: the parts do not have the same marks, or all events have the same time.
        ValueError: a field of the configuration is out of range.
        ModelFileError: the directory cannot be written, or the checkpoint is not of this run.
    """
    options = options or EVENT_OPTIONS
    directory = Path(directory)
    preprocessing = EventPreprocessing.fit(train)
    parts = {"train": train, "validation": validation, **({} if test is None else {"test": test})}
    sets = {name: EventDataset(part, preprocessing) for name, part in parts.items()}
    configuration = EventConfig(marks=len(train.marks), **config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = EventModel(configuration, preprocessing=preprocessing)
        data = TrainingData(sets["train"], sets["validation"], event_loss)
        training = fit(model, data, options, directory, resume=resume, progress=progress)
    metrics: dict[str, Any] = {name: evaluate_events(model, part) for name, part in parts.items() if name != "train"}
    metrics["baselines"] = event_baselines(preprocessing, validation if test is None else test, mark_transitions(train))
    record = save_with_record(
        model,
        directory,
        data={
            "source": Path(train.source).name,
            "sha256": train.sha256,
            "split": None if split is None else list(split),
            **{name: _sizes(part) for name, part in parts.items()},
        },
        options=options,
        training=training,
        metrics=metrics,
        summary=_summary(metrics),
    )
    return EventResult(model, record)


def event_loss(model: EventModel, batch: Batch) -> tuple[Tensor, int]:
    """Negative log-likelihood per event, and the number of events that it is a mean of."""
    found, _ = model.log_likelihood(batch["times"], batch.get("marks"), batch["mask"], end=batch["end"])
    events = int(found.scored.sum())
    return -found.total().sum() / events, events


def _sizes(part: EventSet) -> dict[str, Any]:
    return {
        "source": Path(part.source).name,
        "sha256": part.sha256,
        "sequences": len(part.sequences),
        "events": part.events,
    }


def _summary(metrics: dict[str, Any]) -> dict[str, str]:
    """Metrics for the model card, by part and baseline."""
    groups = {name: value for name, value in metrics.items() if name != "baselines"} | metrics["baselines"]
    return {
        group: ", ".join(f"{name} {value:.4g}" for name, value in errors.items()) for group, errors in groups.items()
    }
