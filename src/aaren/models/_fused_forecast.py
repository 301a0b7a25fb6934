"""One row of many streams of a forecaster in a single native call, where nothing stands in the way.

What `Forecaster.forward` does with one token is the definition; this is the same on records, from the user's units to
the user's units, without an array between two operations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from torch import nn

from aaren.data import Scaler
from aaren.models._forecaster import Forecaster
from aaren.nn import AarenEncoder, AarenEncoderLayer, LinearHighway, RunningNorm
from aaren.nn._fused_step import LARGEST_INPUT, Plan, make_plan, may_fuse
from aaren.ops import NativeForecaster, is_plain

_CPU = torch.device("cpu")
_PARTS = {"embed": nn.Linear, "encoder": AarenEncoder, "head": nn.Linear, "norm": RunningNorm, "dropout": nn.Dropout}
_STATE = ("max_score", "normalizer", "weighted_sum")
Places = Mapping[str, tuple[int, str, tuple[int, ...]]]
Said = tuple[
    Float64[np.ndarray, "batch horizon targets"],
    Float64[np.ndarray, "batch horizon targets levels"],
    Bool[np.ndarray, " batch"],
]


class FusedForecast:
    """The native call for one forecaster and one layout of records; it is looked up anew when the model changes.

    Args:
        model: the forecaster.
        scaler: of its inputs.
        places: of "position", "norm.max_score", "highway", "encoder[0].normalizer", ..., the bytes before it in a
            record, its dtype and its shape.
        record_bytes: size of a record.
    """

    def __init__(self, model: Forecaster, scaler: Scaler, places: Places, record_bytes: int) -> None:
        self._model, self._places, self._record_bytes = model, places, record_bytes
        self._scaler = tuple(np.ascontiguousarray(x, dtype=np.float64) for x in (scaler.mean, scaler.deviation))
        self._plan: Plan | None = None
        self._native: NativeForecaster | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For copies: without what was found out, which holds for this model alone and is looked up anew."""
        return {**vars(self), "_plan": None, "_native": None}

    def step(
        self,
        values: Float64[np.ndarray, "batch inputs"],
        calendar: Float32[np.ndarray, "batch features"],
        elapsed: Float32[np.ndarray, " batch"],
        positions: Float32[np.ndarray, "batch d"] | None,
        records: UInt8[np.ndarray, "batch record_bytes"],
    ) -> Said | None:
        """The forecasts after one row of each stream, or None, with nothing done, where the long way must be taken.

        That is: gradients, a compiler or another tracer, autocast, `check_finite`, another dtype than float32, another
        device than the CPU, a batch of more numbers than `LARGEST_INPUT`, active dropout, another encoder than Aaren's,
        and parts that were replaced or hooked.

        Args:
            values: in the user's units, NaN where one is missing.
            calendar: features of the calendar.
            elapsed: time since the row before, in intervals.
            positions: what `model.positions` says of the rows' places; None if it has none.
            records: the states before, which become those after.

        Returns:
            Means and quantiles in the user's units, and whether all means of a row are numbers.
        """
        model, config = self._model, self._model.config
        if torch.is_grad_enabled() or not 0 < len(values) * config.d_model <= LARGEST_INPUT:
            return None
        if (positions is None) != (model.positions is None) or not is_plain() or not may_fuse(_CPU):
            return None
        if self._plan is None or not self._plan.holds():
            self._look_up()
        if self._native is None:
            return None
        means = np.empty((len(values), config.horizon, config.targets))
        quantiles = np.empty((*means.shape, len(config.quantiles)))
        sound = np.empty(len(values), dtype=np.bool_)
        self._native.step(values, calendar, elapsed, positions, records, means, quantiles, sound)
        return means, quantiles, sound

    def _look_up(self) -> None:
        """Find out where everything is, if all of it is as the classes made it."""
        self._plan = self._native = None
        model = self._model
        parts: dict[str, Any] = model._modules
        if type(model) is not Forecaster or any(type(parts.get(name)) is not kind for name, kind in _PARTS.items()):
            return
        plan = make_plan(parts["encoder"], AarenEncoderLayer)
        if plan is None or plan.arguments[0][0] != model.config.d_model:
            return
        plan.add_module({"model": model}, "model", model)
        for name in _PARTS:
            plan.add_module(parts, name, parts[name])
        plan.dropouts.append(vars(parts["dropout"]))
        plan.add_values(model, "config")
        plan.add_values(parts["norm"], "half_life", "epsilon")
        plan.add_values(parts["encoder"], "num_layers")
        weights, places = _weights(plan, model), _places(plan, model, self._places)
        if weights is None or places is None or not plan.holds():
            return
        config, norm = model.config, parts["norm"]
        self._plan = plan
        self._native = NativeForecaster(
            *self._scaler,
            inputs=config.inputs,
            targets=config.targets,
            calendar=config.calendar,
            horizon=config.horizon,
            levels=len(config.quantiles),
            highway_rows=config.highway,
            by_time=config.decay == "time",
            decay=math.log(2) / norm.half_life,
            epsilon=norm.epsilon,
            scaler=tuple(x.ctypes.data for x in self._scaler),
            layers=plan.arguments,
            record_bytes=self._record_bytes,
            **weights,
            **places,
        )


def _weights(plan: Plan, model: Forecaster) -> dict[str, Any] | None:
    """Watch what is around the layers; addresses of its weights, or None if something is not what it should be."""
    config, encoder = model.config, model.encoder
    features = 2 * config.inputs + config.calendar + (config.decay == "time")
    outputs = config.horizon * config.targets * (1 + len(config.quantiles))
    found: dict[str, Any] = {"last": (0, 0, 0.0), "highway": 0}
    wanted = {"embed": (config.d_model, features), "head": (outputs, config.d_model)}
    for name, shape in wanted.items():
        found[name] = _weight_and_bias(plan, getattr(model, name), shape)
    last, highway = encoder.norm, model.highway
    if type(last) is nn.LayerNorm:
        plan.add_module(encoder._modules, "norm", last)
        plan.add_values(last, "eps")
        found["last"] = (*_weight_and_bias(plan, last, (config.d_model,)), last.eps)
    elif "norm" in vars(encoder):
        plan.add_values(encoder, "norm")
    else:
        return None
    if type(highway) is LinearHighway and highway.rows == config.highway:
        plan.add_module(model._modules, "highway", highway)
        plan.add_values(highway, "rows", "horizon")
        found["highway"] = plan.add_weight(highway, "weight", (config.horizon, config.highway), optional=False)
    elif "highway" in vars(model):
        plan.add_values(model, "highway")
    else:
        return None
    if (highway is None) != (not config.highway):
        return None
    addresses = (found["highway"], *found["embed"], *found["head"], *found["last"])
    return None if None in addresses else found


def _weight_and_bias(plan: Plan, module: nn.Module, shape: tuple[int, ...]) -> tuple[int | None, int | None]:
    return plan.add_weight(module, "weight", shape, False), plan.add_weight(module, "bias", shape[:1], True)


def _places(plan: Plan, model: Forecaster, places: Places) -> dict[str, Any] | None:
    """Where in a record the state is; None if it is not of these dtypes and sizes."""
    config = model.config
    wanted = {"position": ("int64", ()), "highway": ("float32", (config.highway, config.targets))}
    wanted |= _sizes("norm", config.inputs, 2)
    for index, (heads, dim) in enumerate(plan.states):
        wanted |= _sizes(f"encoder[{index}]", heads, dim)
    if wanted != {name: (dtype, shape) for name, (_, dtype, shape) in places.items()}:
        return None
    at = {name: place for name, (place, *_) in places.items()}
    return {
        "position": at["position"],
        "highway_place": at["highway"],
        "norm_place": tuple(at[f"norm.{part}"] for part in _STATE),
        "layer_places": tuple(
            tuple(at[f"encoder[{index}].{part}"] for part in _STATE) for index in range(len(plan.states))
        ),
    }


def _sizes(name: str, rows: int, dim: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {f"{name}.{part}": ("float64", (rows, dim)[: 2 if part == "weighted_sum" else 1]) for part in _STATE}
