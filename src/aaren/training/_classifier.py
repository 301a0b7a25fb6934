"""From labelled series to a classifier's directory: the Python twin of `aaren train classifier`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from aaren.data import CaseSet, stratified_split
from aaren.errors import DataError
from aaren.evaluation import (
    CaseDataset,
    case_baselines,
    case_logits,
    evaluate_cases,
    fit_temperatures,
    prepare_classes,
    rows_of_parts,
)
from aaren.models import Classifier, ClassifierConfig
from aaren.training._fit import Batch, TrainingData, fit
from aaren.training._options import TrainingOptions
from aaren.training._record import missing_shares, save_with_record

CLASSIFIER_OPTIONS = TrainingOptions(
    epochs=100,
    batch_size=16,
    optimizer="radam",
    learning_rate=1e-3,
    learning_rate_decay=1.0,
    patience=10,
    clip=4.0,
)
"""How the paper trains its classifiers."""


@dataclass(frozen=True, eq=False)
class ClassifierResult:
    """What training leaves.

    Args:
        model: calibrated, with the best weights, on the CPU.
        record: data, hyperparameters, metrics, time, versions and hardware; plain data, also in `record.jsonl`.
    """

    model: Classifier
    record: dict[str, Any]

    @property
    def metrics(self) -> dict[str, Any]:
        """Metrics by name: "validation"; with a test part "test" and "baselines"."""
        return self.record["metrics"]


def train_classifier(
    train: CaseSet,
    directory: str | Path,
    *,
    test: CaseSet | None = None,
    validation: float = 0.2,
    options: TrainingOptions | None = None,
    resume: bool = False,
    progress: bool = True,
    **config: Any,
) -> ClassifierResult:
    """Train a classifier, calibrate it, and save it with its record.

    A part of every class of two cases or more is set aside: it decides which epoch's weights are kept, by the share of
    wrong answers at the end of the series and among equals by the log loss, and then the temperatures of the
    probabilities, by how much of a series was seen. The test part is read once, at the end, and decides nothing.

    Args:
        train: labelled series, from `aaren.data.read_cases`.
        directory: model directory to write.
        test: labelled series of the same channels, read with `classes=train.classes`.
        validation: share of the training cases that is set aside.
        options: how to train; by default `CLASSIFIER_OPTIONS`.
        resume: go on from the last checkpoint in the directory.
        progress: show a progress bar on standard error.
        **config: further fields of `ClassifierConfig`, such as `encoder`, `positions`, `early_weight`.

    Returns:
        The model and the record.

    Raises:
        DataError: there are not two classes with enough cases, a case has no class, or the test part is unlike.
        ValueError: a field of the configuration, or the share, is out of range.
        ModelFileError: the directory cannot be written, or the checkpoint is not of this run.
    """
    options = options or CLASSIFIER_OPTIONS
    directory = Path(directory)
    for cases in (train, *([] if test is None else [test])):
        if (cases.labels < 0).any():
            raise DataError("expected a class for every case, received some without", source=cases.source)
    first, second = stratified_split(train.labels, validation, options.seed)
    learned, aside = train.select(first), train.select(second)
    preprocessing = prepare_classes(learned)
    if test is not None:
        CaseDataset(test, preprocessing)  # a test part of another kind is refused before training
    configuration = ClassifierConfig(channels=len(train.channels), classes=len(train.classes), **config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = Classifier(configuration, preprocessing=preprocessing)
        data = classification_data(model, learned, aside)
        training = fit(model, data, options, directory, resume=resume, progress=progress)
    temperatures = fit_temperatures(case_logits(model, aside), rows_of_parts(aside.lengths), aside.labels)
    model.preprocessing = dataclasses.replace(preprocessing, temperatures=temperatures)
    metrics: dict[str, Any] = {"validation": evaluate_cases(model, aside)}
    if test is not None:
        metrics["test"] = evaluate_cases(model, test)
        metrics["baselines"] = case_baselines(train, test)
    record = save_with_record(
        model,
        directory,
        data=_data(train, test, validation),
        options=options,
        training=training,
        metrics=metrics,
        summary=_summary(metrics),
    )
    return ClassifierResult(model, record)


def classification_data(model: Classifier, train: CaseSet, validation: CaseSet) -> TrainingData:
    """The training and validation parts, and loss and score of a classifier."""
    assert model.preprocessing is not None, "training makes it"
    cases = len(validation)

    def loss(model: Classifier, batch: Batch) -> tuple[Tensor, int]:
        said, _ = model(batch["values"], batch["mask"])
        return model.loss(said, batch["labels"], batch["mask"]), len(batch["labels"])

    def score(model: Classifier, batch: Batch) -> tuple[Tensor, int]:
        """Share of wrong answers, and, worth less than one of them in sum, the loss of each case as l / (1 + l)."""
        said, _ = model(batch["values"], batch["mask"])
        last, labels = said.logits[:, -1], batch["labels"]
        wrong = (last.argmax(-1) != labels).double()
        each = F.cross_entropy(last, labels, reduction="none").double()
        return (wrong + each / (1 + each) / cases).mean(), len(labels)

    return TrainingData(
        CaseDataset(train, model.preprocessing), CaseDataset(validation, model.preprocessing), loss, score
    )


def _data(train: CaseSet, test: CaseSet | None, validation: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "source": Path(train.source).name,
        "sha256": train.sha256,
        "cases": len(train),
        "validation": validation,
        "classes": len(train.classes),
        "channels": len(train.channels),
        "lengths": [int(train.lengths.min()), int(train.lengths.max())],
        "missing": missing_shares(np.concatenate(train.cases), train.channels),
        "class_counts": np.bincount(train.labels, minlength=len(train.classes)).tolist(),
    }
    if test is not None:
        found |= {"test_source": Path(test.source).name, "test_sha256": test.sha256, "test_cases": len(test)}
    if train.cut is not None:
        found["windows"] = train.cut.to_dict()
        if test is not None and test.cut is not None and test.sha256 == train.sha256:
            apart = test.cut.rows[0] >= train.cut.rows[1] or test.cut.rows[1] <= train.cut.rows[0]
            found["windows"] |= {"test_rows": list(test.cut.rows)} if apart else {}
    return found


def _summary(metrics: dict[str, Any]) -> dict[str, str]:
    """Metrics for the model card."""
    lines = {
        part: f"accuracy {found['accuracy']:.4f}, log loss {found['log_loss']:.4f}, calibration error "
        f"{found['calibration_error']:.4f} ({found['cases']} cases)"
        for part, found in metrics.items()
        if part != "baselines"
    }
    simple = metrics.get("baselines", {})
    return lines | {f"{name} (test)": f"accuracy {found['accuracy']:.4f}" for name, found in simple.items()}
