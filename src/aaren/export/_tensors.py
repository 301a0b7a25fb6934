"""The named tensors of one step of a model: inputs, outputs, state."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from torch.utils import _pytree as pytree

from aaren.export._manifest import TensorSpec
from aaren.models import Model, Policy, begin_episodes


class StepTensors(NamedTuple):
    """Inputs, outputs and state of one step; shapes are without a batch dimension."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: tuple[TensorSpec, ...]


def step_tensors(model: Model[Any, Any]) -> StepTensors:
    """The tensors of one step, the same in every runtime that keeps float64.

    Args:
        model: of any kind, with preprocessing.
    """
    inputs, outputs = _TENSORS[model.kind](model)
    return StepTensors(tuple(inputs), tuple(outputs), state_tensors(model))


def state_tensors(model: Model[Any, Any]) -> tuple[TensorSpec, ...]:
    """The state, named as the model's own: attribute names and list indices joined by dots."""
    state = begin_episodes(model, 1) if isinstance(model, Policy) else model.init_state(1)
    leaves, _ = pytree.tree_flatten_with_path(state)
    specs = []
    for path, leaf in leaves:
        name = pytree.keystr(path).replace("[", ".").replace("]", "").lstrip(".")
        array = leaf[0].cpu().numpy()
        specs.append(TensorSpec(name, str(array.dtype), array.shape, _UNITS.get(name, "of the model"), _plain(array)))
    return tuple(specs)


def _plain(array: Any) -> Any:
    """One number if all are equal, else nested lists; words for what JSON has not."""
    first = array.flat[0] if array.size else array.dtype.type(0)
    if np.isnan(first) and np.isnan(array).all():
        return "nan"
    if not (array == first).all():
        return array.tolist()
    return "-inf" if np.isneginf(first) else first.item()


_UNITS = {
    "position": "tokens so far",
    "highway": "training deviations",
    "return_to_go": "of the return",
    "time": "mean training intervals since the start",
}


def _forecaster(model: Any) -> tuple[list[TensorSpec], list[TensorSpec]]:
    config = model.config
    inputs = [TensorSpec("values", "float64", (config.inputs,), "of the data; NaN is a missing value")]
    if config.calendar:
        names = ", ".join(model.preprocessing.calendar)
        inputs.append(TensorSpec("calendar", "float32", (config.calendar,), f"sine and cosine of {names}"))
    if config.decay == "time":
        inputs.append(TensorSpec("elapsed", "float32", (), "intervals since the row before; 0 for the first"))
    shape = (config.horizon, config.targets)
    outputs = [
        TensorSpec("mean", "float64", shape, "of the data"),
        TensorSpec("quantiles", "float64", (*shape, len(config.quantiles)), "of the data"),
    ]
    return inputs, outputs


def _classifier(model: Any) -> tuple[list[TensorSpec], list[TensorSpec]]:
    config = model.config
    inputs = [TensorSpec("values", "float64", (config.channels,), "of the data; NaN is a missing value")]
    return inputs, [TensorSpec("probabilities", "float64", (config.classes,), "calibrated; they sum to 1")]


def _events(model: Any) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Time goes in as the time since the start, out as intervals after the event, both in the user's unit."""
    marks = model.config.marks
    inputs = [TensorSpec("time", "float64", (), "of the data, since the start of the sequence")]
    if marks:
        inputs.append(TensorSpec("mark", "int64", (), "number of the mark in the preprocessing, from 0"))
    outputs = [
        TensorSpec("mean", "float64", (), "of the data, from this event to the next one"),
        TensorSpec("median", "float64", (), "of the data, from this event to the next one"),
        TensorSpec("quantiles", "float64", (2,), "of the data, from this event to the next one; levels 0.1 and 0.9"),
        TensorSpec("mark_probabilities", "float64", (marks,), "of the next event; they sum to 1"),
        TensorSpec("log_likelihood", "float64", (), "of this event by those before it; NaN for the first"),
    ]
    return inputs, outputs


def _policy(model: Any) -> tuple[list[TensorSpec], list[TensorSpec]]:
    config = model.config
    inputs = [
        TensorSpec("observation", "float64", (config.observations,), "of the environment"),
        TensorSpec("reward", "float64", (), "of the action before; NaN at the start of an episode"),
    ]
    outputs = [
        TensorSpec("action", "float32", (config.actions,), "of the environment"),
        TensorSpec("return_to_go", "float64", (), "of the return: what it still asks for"),
    ]
    return inputs, outputs


_TENSORS = {"classifier": _classifier, "events": _events, "forecaster": _forecaster, "policy": _policy}
