"""What an export with narrow weights loses: one metric of each kind of model, by the export and by the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aaren.data import make_environment
from aaren.errors import DataError
from aaren.export._answers import in_deviations
from aaren.export._runner import Arrays, Runner

_EPISODES = 3


class Metric(NamedTuple):
    """A metric of an export beside that of its model.

    Args:
        name: "mean squared error", "accuracy", "negative log-likelihood" or "return".
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
    labels: Sequence[int] | None,
    outputs: Sequence[Arrays],
    open_runner: Callable[[], Runner],
) -> Metric:
    """The metric of the kind: error of forecasts, accuracy, log-likelihood of events, or return in the environment.

    Args:
        model: of the export.
        rows: that were streamed.
        resets: numbers of the rows with which a new series begins.
        labels: of a classifier's series.
        outputs: of the export and of the model, each of shape (rows, ...).
        open_runner: opens the export, for a policy, which plays.

    Raises:
        DataError: a classifier's rows came without labels, or there is nothing to measure on.
        MissingDependencyError: a policy's environment needs a package that is not there.
    """
    bounds = [0, *resets, len(rows)]
    if model.kind == "policy":
        own = model.stream()
        with open_runner() as runner:
            export = _returns(model, lambda row: (runner.update(row) or {})["action"], runner.reset)
        return _metric("return", [export, _returns(model, lambda row: own.update(row).action, own.reset)], 1)
    if model.kind == "classifier":
        if labels is None:
            raise DataError("expected labels of the series to compare accuracies, received none")
        return _metric("accuracy", [_accuracy(one["probabilities"], bounds, labels) for one in outputs], 1)
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


def _accuracy(probabilities: NDArray[Any], bounds: Sequence[int], labels: Sequence[int]) -> float:
    """Share of the labelled series whose last answer is right."""
    last = probabilities[np.array(bounds[1:]) - 1].argmax(-1)
    known = np.array(labels) >= 0
    return float((last == labels)[known].mean()) if known.any() else np.nan


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


def _returns(model: Any, act: Callable[[Any], NDArray[Any]], reset: Callable[[], Any]) -> float:
    """Mean return of some episodes in the environment of the training data."""
    environment = make_environment(model.preprocessing.environment)
    total = 0.0
    try:
        for seed in range(_EPISODES):
            observation, reward = environment.reset(seed=seed)[0], None
            for _ in range(model.config.max_episode_steps):
                # 27 numbers of an Ant fill the first of D4RL's 111, as in `aaren.models.choose_actions`
                padding = [0.0] * (model.config.observations - len(observation))
                action = act([*observation.tolist(), *padding, reward])
                observation, reward, terminated, truncated, _ = environment.step(action)
                reward = float(reward)
                total += reward
                if terminated or truncated:
                    break
            reset()
    finally:
        environment.close()
    return total / _EPISODES
