"""What an export with narrow weights loses: one metric of each kind of model, by the export and by the model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aaren.errors import DataError
from aaren.export._answers import in_deviations
from aaren.export._runner import Arrays

_LABELS = {"classifier": "labels of the series", "policy": "the recorded actions"}


class Metric(NamedTuple):
    """A metric of an export beside that of its model.

    Args:
        name: "mean squared error", "accuracy", "negative log-likelihood" or "mean squared error of actions".
        export: of the export.
        model: of the model.
        loss_percent: how much worse the export is, in percent of the model's; negative where it is better.
    """

    name: str
    export: float
    model: float
    loss_percent: float


def metric_of(
    model: Any,
    rows: Sequence[Any],
    resets: Sequence[int],
    labels: Sequence[Any] | None,
    outputs: Sequence[Arrays],
) -> Metric:
    """The metric of the kind: error of forecasts, accuracy, log-likelihood of events, or error of actions.

    Returns in an environment are not compared: two episodes of one policy that differ in the seventh digit of an action
    go apart, and their returns by tens of percent, so that some episodes say nothing about a loss of 1 %.

    Args:
        model: of the export.
        rows: that were streamed.
        resets: numbers of the rows with which a new series begins.
        labels: classes of a classifier's series, or recorded actions of a policy, shape (rows, actions).
        outputs: of the export and of the model, each of shape (rows, ...).

    Raises:
        DataError: rows of a classifier or a policy came without labels, or there is nothing to measure on.
    """
    bounds = [0, *resets, len(rows)]
    if model.kind in ("classifier", "policy") and labels is None:
        raise DataError(f"expected {_LABELS[model.kind]} to compare with, received none")
    if model.kind == "classifier":
        return _metric("accuracy", [_accuracy(one["probabilities"], bounds, labels) for one in outputs], 1)
    if model.kind == "policy":
        return _metric("mean squared error of actions", [_action_error(model, one, labels) for one in outputs], -1)
    if model.kind == "events":
        return _metric("negative log-likelihood", [-_mean(one["log_likelihood"]) for one in outputs], -1)
    truth = _targets(model, rows)
    return _metric("mean squared error", [_squared_error(model, one["mean"], truth, bounds) for one in outputs], -1)


def _metric(name: str, values: Sequence[float], better: int) -> Metric:
    """`values` are the export's and the model's; `better` is 1 where more is better, and -1 where less is."""
    export, model = values
    if not np.isfinite(values).all():
        raise DataError(f"expected rows on which the {name} is known, received none; give more rows, or labelled ones")
    return Metric(name, export, model, 100 * better * (model - export) / max(abs(model), 1e-12))


def _accuracy(probabilities: NDArray[Any], bounds: Sequence[int], labels: Any) -> float:
    """Share of the labelled series whose last answer is right."""
    last = probabilities[np.array(bounds[1:]) - 1].argmax(-1)
    known = np.array(labels) >= 0
    return float((last == labels)[known].mean()) if known.any() else np.nan


def _action_error(model: Any, said: Arrays, recorded: Any) -> float:
    """Mean squared error of the actions, in halves of their range."""
    known = model.preprocessing.to_dict()
    ours, theirs = (
        in_deviations("policy", known, {"action": np.asarray(one)})["action"] for one in (said["action"], recorded)
    )
    return _mean(np.square(ours - theirs))


def _targets(model: Any, rows: Sequence[Any]) -> NDArray[np.float64]:
    """Values of the targets in every row, NaN where one is missing, shape (rows, targets)."""
    from aaren.data import parse_row

    schema = model.preprocessing.schema
    values = np.full((len(rows), len(schema.targets)), np.nan)
    for number, row in enumerate(rows):
        try:
            values[number] = parse_row(schema, row, row=number).values[: values.shape[1]]
        except DataError:
            continue
    return np.where(np.isfinite(values), values, np.nan)


def _squared_error(model: Any, mean: NDArray[Any], truth: NDArray[np.float64], bounds: Sequence[int]) -> float:
    """Mean squared error of all forecasts whose rows came, in training deviations."""
    known = model.preprocessing.to_dict()
    found = []
    for start, stop in pairwise(bounds):
        for ahead in range(1, mean.shape[1] + 1):
            last = max(start, stop - ahead)
            said = in_deviations("forecaster", known, {"mean": mean[start:last, ahead - 1 : ahead]})["mean"]
            came = in_deviations("forecaster", known, {"mean": truth[start + ahead : last + ahead, None]})["mean"]
            found.append(np.square(said - came).ravel())
    return _mean(np.concatenate(found))


def _mean(values: NDArray[Any]) -> float:
    """The mean of those that are known; NaN if none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else np.nan
