"""An event forecasting run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aaren.data import EventSet, find, find_parts, read_events, sine_events, split_sequences, uber_sequences
from aaren.studies._recipe import Plan
from aaren.training import TrainingOptions, train_events

METRICS = ("nll", "nll_time", "nll_mark", "rmse", "accuracy", "ks")


def read(plan: Plan) -> tuple[EventSet, EventSet, EventSet]:
    """Training, validation and test sequences of a recipe."""
    settings = plan.part("data")
    name = plan.recipe.dataset.name
    rules = {name: settings[name] for name in ("duplicates", "short", "marks") if name in settings}
    if settings.get("source") == "sine":
        return _split(sine_events(settings["seed"], sequences=settings["sequences"]), settings)
    if settings.get("source") == "uber":
        return _split(uber_sequences(find(name)), settings)
    files = find_parts(name)
    if "train" in files:
        train = read_events(files["train"], times=files.get("train_times"), **rules)
        test = read_events(files["test"], times=files.get("test_times"), **rules)
        if "validation" in files:
            return train, read_events(files["validation"], **rules), test
        return *_last_aside(train, settings["validation"]), test
    whole = read_events(files["data"], **rules)
    if "test" in whole.parts:
        return *_last_aside(whole.part("train"), settings["validation"]), whole.part("test")
    return _split(whole, settings)


def _last_aside(events: EventSet, fraction: float) -> tuple[EventSet, EventSet]:
    """A training part without its last sequences, and these, as the folds of Du et al. are used."""
    cut = len(events.sequences) - round(fraction * len(events.sequences))
    return events.take(range(cut)), events.take(range(cut, len(events.sequences)))


def _split(events: EventSet, settings: dict[str, Any]) -> tuple[EventSet, EventSet, EventSet]:
    train, validation, test = split_sequences(events, settings["split"])
    return train, validation, test


def run(plan: Plan, directory: Path) -> dict[str, Any]:
    """Train and test one event model.

    Returns:
        metrics: negative log-likelihood per event and its parts, the true root mean squared error of the next time,
        accuracy of the next mark, and the Kolmogorov-Smirnov distance of the rescaled times; simple: the same of
        simple processes; run: the record of the training.
    """
    train, validation, test = read(plan)
    result = train_events(
        train,
        directory,
        validation=validation,
        test=test,
        options=TrainingOptions(**plan.part("training"), seed=plan.seed),
        resume=True,
        progress=False,
        **plan.model,
    )
    found = dict(result.record)
    metrics = found.pop("metrics")
    return {
        "metrics": {name: metrics["test"].get(name) for name in METRICS},
        "simple": {
            name: {metric: one[metric] for metric in METRICS if metric in one}
            for name, one in metrics["baselines"].items()
        },
        "run": found,
    }
