"""A classification run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aaren.data import CaseSet, find_parts, read_cases, read_recording, split_windows
from aaren.studies._recipe import Plan
from aaren.training import TrainingOptions, train_classifier

METRICS = ("accuracy", "log_loss", "calibration_error")


def read(plan: Plan) -> tuple[CaseSet, CaseSet]:
    """Training and test cases of a recipe: two files, or windows of one recording."""
    files = find_parts(plan.recipe.dataset.name)
    if "windows" in plan.part("data"):
        return split_windows(read_recording(files["data"]), **plan.part("data")["windows"])
    train = read_cases(files["train"])
    return train, read_cases(files["test"], classes=train.classes)


def run(plan: Plan, directory: Path) -> dict[str, Any]:
    """Train and test one classifier.

    Returns:
        metrics: accuracy, log loss and calibration error after the last row of each test case; early and
        early_calibration_error: accuracy and calibration error after 10 %, 20 %, ... of each case; simple: the
        accuracy without an encoder; run: the record of the training.
    """
    train, test = read(plan)
    result = train_classifier(
        train,
        directory,
        test=test,
        options=TrainingOptions(**plan.part("training"), seed=plan.seed),
        resume=True,
        progress=False,
        **{name: value for name, value in plan.part("data").items() if name != "windows"},
        **plan.model,
    )
    found = dict(result.record)
    metrics = found.pop("metrics")
    return {
        "metrics": {name: metrics["test"][name] for name in METRICS},
        "early": metrics["test"]["early"],
        "early_calibration_error": metrics["test"]["early_calibration_error"],
        "simple": {name: {"accuracy": one["accuracy"]} for name, one in metrics["baselines"].items()},
        "run": found,
    }
