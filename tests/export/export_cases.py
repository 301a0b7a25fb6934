"""Small models of every kind with random weights everywhere, and real rows for them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from aaren import Classifier, EventModel, Forecaster, Policy
from aaren.data import find, find_parts, observation_scaler, read_cases, read_episodes, read_events, read_series
from aaren.evaluation import prepare, prepare_classes
from aaren.export import RealRows, real_rows
from aaren.models import EventPreprocessing, Model, PolicyPreprocessing

SIZES: dict[str, Any] = {"d_model": 16, "nhead": 2, "num_layers": 2, "dim_feedforward": 24}


class Case(NamedTuple):
    """A model, and the data set whose rows it takes."""

    name: str
    build: Callable[..., Model[Any, Any]]
    fields: dict[str, Any]
    data: str

    def model(self) -> Model[Any, Any]:
        """The model, always the same."""
        return drawn(self.build, **SIZES, **self.fields)

    def rows(self, count: int) -> RealRows:
        """Its rows."""
        return _rows(self.name, count)


@functools.cache
def _rows(name: str, count: int) -> RealRows:
    case = BY_NAME[name]
    return real_rows(case.model(), case.data, count)


def drawn(build: Callable[..., Model[Any, Any]], **fields: Any) -> Model[Any, Any]:
    """A model in evaluation mode whose outputs all differ."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(4)
        model = build(**fields)
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@functools.cache
def _etth1() -> Any:
    table = read_series(find("ETTh1"), targets=["OT", "HUFL"], covariates=["MUFL"])
    return prepare(table, (8640, 2880, 2880))


def forecaster(**fields: Any) -> Forecaster:
    """Of ETTh1: two targets, one covariate."""
    data = _etth1()
    sizes = {"inputs": 3, "targets": 2, "calendar": data.calendar.shape[1], "horizon": 4, "look_back": 48}
    return Forecaster(preprocessing=data.preprocessing, **{**sizes, **fields})


@functools.cache
def _vowels() -> Any:
    known = prepare_classes(read_cases(find_parts("JapaneseVowels")["train"]))
    return dataclasses.replace(known, temperatures=((1, 100.0), (4, 1.5), (20, 0.3)))


def classifier(**fields: Any) -> Classifier:
    """Of JapaneseVowels: twelve channels, nine speakers."""
    return Classifier(preprocessing=_vowels(), channels=12, classes=9, **fields)


@functools.cache
def _events(name: str) -> EventPreprocessing:
    return EventPreprocessing.fit(read_events(find_parts(name)["validation"], duplicates="keep").take(range(50)))


def event_model(name: str = "StackOverflow-EasyTPP", **fields: Any) -> EventModel:
    """Of questions on StackOverflow: marks, and equal times."""
    known = _events(name)
    return EventModel(marks=len(known.marks), preprocessing=known, components=3, **fields)


@functools.cache
def _hopper() -> PolicyPreprocessing:
    episodes = read_episodes(find("Hopper-medium-regenerated")).episodes[:20]
    return PolicyPreprocessing("Hopper-v4", observation_scaler(episodes), (-1.0,) * 3, (1.0,) * 3, 1000.0, 3600.0)


def policy(**fields: Any) -> Policy:
    """Of Hopper: eleven numbers of an observation, three of an action."""
    return Policy(preprocessing=_hopper(), observations=11, actions=3, **fields)


EVENTS, HOPPER = "StackOverflow-EasyTPP", "Hopper-medium-regenerated"
CASES = [
    Case("forecaster", forecaster, {"highway": 8, "quantiles": (0.1, 0.5, 0.9)}, "ETTh1"),
    Case(
        "forecaster-learned", forecaster, {"decay": "learned", "positions": "sinusoidal", "norm_first": True}, "ETTh1"
    ),
    Case("forecaster-time", forecaster, {"decay": "time", "highway": 5, "activation": "relu"}, "ETTh1"),
    Case("forecaster-gru", forecaster, {"encoder": "gru"}, "ETTh1"),
    Case("forecaster-mingru", forecaster, {"encoder": "mingru", "quantiles": (0.5,)}, "ETTh1"),
    Case("classifier", classifier, {}, "JapaneseVowels"),
    Case("classifier-learned", classifier, {"decay": "learned", "positions": None}, "JapaneseVowels"),
    Case("classifier-gru", classifier, {"encoder": "gru"}, "JapaneseVowels"),
    Case("events", event_model, {}, EVENTS),
    Case("events-time", event_model, {"decay": "time", "intervals": False}, EVENTS),
    Case("events-learned", event_model, {"decay": "learned", "norm_first": True}, EVENTS),
    Case("events-mingru", event_model, {"encoder": "mingru"}, EVENTS),
    Case("policy", policy, {}, HOPPER),
    Case("policy-learned", policy, {"decay": "learned", "norm_first": False, "activation": "gelu"}, HOPPER),
    Case("policy-gru", policy, {"encoder": "gru"}, HOPPER),
]
BY_NAME = {case.name: case for case in CASES}
KINDS = [BY_NAME[name] for name in ("forecaster", "classifier", "events", "policy")]


def with_holes(rows: list[Any], inputs: int) -> list[Any]:
    """The same rows with a tenth of their last `inputs` cells missing, and a row in twelve left out."""
    generator = np.random.default_rng(2)
    holed = []
    for row in rows:
        if generator.random() < 1 / 12:
            continue
        cells = list(row)
        for place in range(len(cells) - inputs, len(cells)):
            if generator.random() < 0.1:
                cells[place] = None
        holed.append(cells)
    return holed
