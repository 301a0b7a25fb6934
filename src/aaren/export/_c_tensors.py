"""What the C program keeps and says, as named tensors: the fields of a saved state, and the numbers of its answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from aaren.export._manifest import TensorSpec

HEADER = 8 + 4 + 4 + 32
"""Bytes of a saved state before its first field: magic, version, form of the sums, fingerprint."""

_UNITS = {
    "c.time": "microseconds since 1970, or the user's unit",
    "c.start": "of the data",
    "time": "mean training intervals since the start",
    "position": "tokens so far",
    "highway": "training deviations",
    "return_to_go": "of the return",
}


def state_specs(kind: str, config: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """The fields of a saved state, in its order, named as the model's state where they are of it.

    Sums are written as float64 by a build that keeps them so, as every one of this machine does. What the model's state
    has and a stream does not need is not there: the maximum of the running statistics, always 0, and a classifier's
    last output.
    """
    prefix = "memory." if kind == "policy" else ""
    fields = [*_FIELDS[kind](config, preprocessing), *_encoder(config, prefix)]
    return tuple(TensorSpec(n, dtype, shape, _UNITS.get(n, "of the model"), first) for n, dtype, shape, first in fields)


_Field = tuple[str, str, tuple[int, ...], Any]


def _encoder(config: Mapping[str, Any], prefix: str) -> list[_Field]:
    heads = (config["nhead"],)
    fields: list[_Field] = []
    for layer in range(config["num_layers"]):
        fields += [
            (f"{prefix}encoder.{layer}.max_score", "float64", heads, "-inf"),
            (f"{prefix}encoder.{layer}.normalizer", "float64", heads, 0),
            (f"{prefix}encoder.{layer}.weighted_sum", "float64", (*heads, config["d_model"] // heads[0]), 0),
        ]
    return fields


def _forecaster(config: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> list[_Field]:
    inputs, rows = config["inputs"], config["highway"]
    fields: list[_Field] = [
        ("position", "int64", (), 0),
        ("norm.normalizer", "float64", (inputs,), 8),
        ("norm.weighted_sum", "float64", (inputs, 2), [[0, 8]] * inputs),
    ]
    if preprocessing["schema"]["time"]:
        fields += [("c.time", "int64", (), 0), ("front.begun", "int64", (), 0)]
    if rows:
        fields.append(("highway", "float32", (rows, config["targets"]), "nan"))
    return fields


def _classifier(config: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> list[_Field]:
    return [("position", "int64", (), 0), ("total", "float64", (config["d_model"],), 0)]


def _events(config: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> list[_Field]:
    return [
        ("c.start", "float64", (), 0),
        ("c.time", "float64", (), 0),
        ("time", "float64", (), 0),
        ("c.begun", "int64", (), 0),
        ("hidden", "float32", (config["d_model"],), 0),
    ]


def _policy(config: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> list[_Field]:
    return [
        ("memory.timestep", "int64", (), 0),
        ("return_to_go", "float64", (), preprocessing["target_return"]),
        ("c.awaits_reward", "int64", (), 0),
        ("action", "float32", (config["actions"],), 0),
    ]


_FIELDS = {"classifier": _classifier, "events": _events, "forecaster": _forecaster, "policy": _policy}


def answer_fields(kind: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The members of the struct that an update fills, all of them double, in its order, with their shapes."""
    if kind == "forecaster":
        shape = (config["horizon"], config["targets"])
        return {"mean": shape, "quantiles": (*shape, len(config["quantiles"]))}
    if kind == "classifier":
        return {"probabilities": (config["classes"],)}
    if kind == "policy":
        return {"action": (config["actions"],), "return_to_go": ()}
    mixture = dict.fromkeys(("log_weights", "locations", "scales"), (config["components"],))
    return {"mean": (), "median": (), "log_likelihood": (), **mixture, "mark_probabilities": (config["marks"],)}


def sizes(fields: Mapping[str, tuple[int, ...]]) -> np.ndarray[Any, Any]:
    """Where each member begins, in doubles, and the number of all."""
    return np.cumsum([0, *(math.prod(shape) for shape in fields.values())])
