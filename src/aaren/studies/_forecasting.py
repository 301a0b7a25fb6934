"""A forecasting run: the paper's protocol, or what a recipe says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aaren.data import SeriesSet, find, read_series
from aaren.studies._recipe import Plan
from aaren.training import TrainingOptions, train_forecaster


def read(plan: Plan) -> SeriesSet:
    """The table of a recipe."""
    settings = plan.part("data")
    return read_series(
        find(plan.recipe.dataset.name),
        targets=settings.get("targets", "all"),
        covariates=settings.get("covariates", []),
        time=None if settings.get("time") == "none" else settings.get("time", "auto"),
        series_id=settings.get("series_id"),
    )


def run(plan: Plan, directory: Path) -> dict[str, Any]:
    """Train and test one forecaster.

    Returns:
        metrics: "mse" and "mae" of every test window, on standardised data; simple: the same of the simple forecasts;
        run: the record of the training.
    """
    result = train_forecaster(
        read(plan),
        directory,
        horizon=plan.variant or plan.part("data")["horizon"],
        split=plan.part("data")["split"],
        options=TrainingOptions(**plan.part("training"), seed=plan.seed),
        resume=True,
        progress=False,
        **plan.model,
    )
    found = dict(result.record)
    metrics = found.pop("metrics")
    return {
        "metrics": {name: metrics["windows"][name] for name in ("mse", "mae")},
        "simple": {name: {"mse": one["mse"], "mae": one["mae"]} for name, one in metrics["baselines"].items()},
        "run": found,
    }
