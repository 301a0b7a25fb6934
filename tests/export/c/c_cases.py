"""Small models of every kind with random weights, rows for them, and what their own streams say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aaren import Classifier, EventModel, Forecaster, Policy
from aaren.data import EventColumns, Scaler, SeriesSet, find, observation_names, read_series
from aaren.evaluation import prepare
from aaren.models import ClassifierPreprocessing, EventPreprocessing, Model, PolicyPreprocessing

ROWS = 2000
FEW = 300


@dataclass
class Case:
    """A model, rows as a user feeds them, and the size of a deviation of each of its outputs."""

    model: Any
    rows: list[dict[str, Any]]
    units: Callable[[str, NDArray[Any]], NDArray[Any]]

    @cached_property
    def expected(self) -> list[dict[str, NDArray[Any]]]:
        """What the model's own stream says after each row."""
        stream = self.model.stream()
        return [answer(stream, row) for row in self.rows]

    @property
    def csv(self) -> str:
        """The rows as text with a header."""
        lines = [",".join(self.rows[0])]
        lines += [",".join("" if cell is None else str(cell) for cell in row.values()) for row in self.rows]
        return "\n".join(lines) + "\n"


def shaken(build: Callable[[], Model[Any, Any]]) -> Any:
    """A model with random weights everywhere, so that no output is constant."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        model = build()
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


SMALL: dict[str, Any] = {"d_model": 16, "nhead": 2, "num_layers": 2, "dim_feedforward": 32}


@cache
def _etth1() -> SeriesSet:
    return read_series(find("ETTh1"), targets=["OT", "HUFL"], covariates=["MUFL"])


def _rows(table: SeriesSet, count: int, *, gaps: bool) -> list[dict[str, Any]]:
    """Rows of a real table, one cell in twenty missing; with gaps, some rows are not there."""
    one, chance = table.series[0], np.random.default_rng(0).random((count, len(table.schema.inputs)))
    rows = []
    for number in range(count):
        if gaps and number % 50 in (7, 8):
            continue
        cells = [None if c < 0.05 else v for c, v in zip(chance[number], one.values[number].tolist(), strict=True)]
        time = {} if one.times is None or not table.schema.time else {table.schema.time[0]: str(one.times[number])}
        rows.append({**time, **dict(zip(table.schema.inputs, cells, strict=True))})
    return rows


def forecaster(rows: int = ROWS, *, timed: bool = True, gaps: bool = True, **fields: Any) -> Case:
    """A forecaster of ETTh1."""
    table = _etth1() if timed else read_series(find("ETTh1"), targets=["OT", "HUFL"], covariates=["MUFL"], time=None)
    data = prepare(table, (8640, 2880, 2880))
    sizes = {**SMALL, "look_back": 48, "horizon": 4, "highway": 8, "quantiles": (0.1, 0.5, 0.9), **fields}
    calendar = data.calendar.shape[1]
    model = shaken(
        lambda: Forecaster(preprocessing=data.preprocessing, inputs=3, targets=2, calendar=calendar, **sizes)
    )
    deviation = data.preprocessing.scaler.deviation[:2]
    scale = {"mean": deviation, "quantiles": deviation[:, None]}
    return Case(model, _rows(table, rows, gaps=gaps), lambda name, x: x / scale[name])


def classifier(count: int = ROWS, **fields: Any) -> Case:
    """A classifier of waves."""
    rng = np.random.default_rng(1)
    scaler = Scaler(("a", "b"), np.array([0.5, -3.0]), np.array([2.0, 0.1]))
    temperatures = ((1, 1.7), (4, 0.6), (900, 2.3))
    between = ClassifierPreprocessing(("slow", 'quick "very"', "no\\ne"), scaler, temperatures)
    model = shaken(lambda: Classifier(channels=2, classes=3, preprocessing=between, **{**SMALL, **fields}))
    values = rng.normal(size=(count, 2)) * [2.0, 0.1] + [0.5, -3.0]
    missing = rng.random((count, 2)) < 0.05
    rows = [
        {name: None if gone else v for name, v, gone in zip("ab", row, lost, strict=True)}
        for row, lost in zip(values.tolist(), missing.tolist(), strict=True)
    ]
    return Case(model, rows, lambda name, x: x)


def events(count: int = ROWS, *, marks: int = 3, duplicates: Any = "keep", dated: bool = False, **fields: Any) -> Case:
    """An event model with intervals over five orders of magnitude."""
    rng = np.random.default_rng(2)
    names = tuple(f"mark {k}" for k in range(marks))
    columns = EventColumns("time", "mark" if marks else None, None)
    between = EventPreprocessing(names, (1,) * marks, 2.5, 0.4, -0.7, 1.6, 1e-4, 60.0, duplicates, dated, columns)
    sizes = {**SMALL, "components": 4, **fields}
    model = shaken(lambda: EventModel(marks=marks, preprocessing=between, **sizes))
    intervals = 2.5 * np.exp(rng.normal(-0.7, 1.6, count))
    if duplicates == "keep":
        intervals[::40] = 0
    times: list[Any] = (1000 + np.cumsum(intervals)).tolist()
    if dated:
        times = [str(np.datetime64(round(1e6 * time), "us")) for time in times]
    rows: list[dict[str, Any]] = [{"time": time} for time in times]
    if marks:
        rows = [{**row, "mark": names[k]} for row, k in zip(rows, rng.integers(0, marks, count), strict=True)]

    def units(name: str, x: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.log(x) / 1.6) if name in ("mean", "median", "quantiles") else x

    return Case(model, rows, units)


def policy(count: int = ROWS, **fields: Any) -> Case:
    """A policy for an environment of three numbers and two actions."""
    rng = np.random.default_rng(3)
    scaler = Scaler(observation_names(3), np.arange(3) / 3, 1 + np.arange(3) / 7)
    between = PolicyPreprocessing("Tiny-v0", scaler, (-2.0, -1.0), (2.0, 1.0), 10.0, 500.0)
    sizes = {**SMALL, "max_episode_steps": ROWS, **fields}
    model = shaken(lambda: Policy(observations=3, actions=2, preprocessing=between, **sizes))
    rows = [
        {**dict(zip(scaler.names, values, strict=True)), "reward": None if not number else reward}
        for number, (*values, reward) in enumerate(rng.normal(size=(count, 4)).tolist())
    ]
    half = {"action": np.array([2.0, 1.0]), "return_to_go": 10.0}
    return Case(model, rows, lambda name, x: x / half[name])


CASES: dict[str, Callable[[], Case]] = {
    "forecaster": cache(forecaster),
    "forecaster-decay": cache(partial(forecaster, FEW, decay="learned", norm_first=True, activation="relu", highway=0)),
    "forecaster-odd": cache(
        partial(forecaster, FEW, d_model=18, nhead=3, dim_feedforward=21, positions="sinusoidal", quantiles=())
    ),
    "forecaster-untimed": cache(partial(forecaster, FEW, timed=False, gaps=False)),
    "forecaster-elapsed": cache(partial(forecaster, FEW, decay="time")),
    "classifier": cache(classifier),
    "classifier-decay": cache(partial(classifier, FEW, decay="learned", positions=None, norm_first=True)),
    "events": cache(events),
    "events-decay": cache(partial(events, FEW, decay="time", intervals=False, duplicates="error", norm_first=True)),
    "events-unmarked": cache(partial(events, FEW, marks=0, dated=True)),
    "policy": cache(policy),
    "policy-decay": cache(partial(policy, FEW, decay="learned", norm_first=False, activation="gelu")),
}


@torch.no_grad()
def answer(stream: Any, row: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """What a model's own stream says after a row, as an export says it."""
    said = stream.update(row)
    if stream.model.kind == "forecaster":
        return {"mean": said.mean, "quantiles": said.quantiles}
    if stream.model.kind == "classifier":
        return {"probabilities": np.array(list(said.probabilities.values()))}
    if stream.model.kind == "policy":
        return {"action": said.action.astype(np.float64), "return_to_go": np.array(said.return_to_go)}
    known, after = stream.model.preprocessing, stream.model.distribution(stream.state.hidden)
    levels = [known.unit * float(after.quantile(level)) for level in (0.5, 0.1, 0.9)]
    return {
        "mean": np.array(known.unit * float(after.mean(known.longest))),
        "median": np.array(levels[0]),
        "quantiles": np.array(levels[1:]),
        "mark_probabilities": after.mark_logits[0].double().softmax(-1).numpy(),
        "log_likelihood": np.array(np.nan if said.log_likelihood is None else said.log_likelihood),
    }
