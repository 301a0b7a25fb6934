"""One step of a forecaster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aaren.export.runner._attention import Array, running_norm
from aaren.export.runner._encoder import State, attention_state, make_encoder, sinusoidal
from aaren.export.runner._weights import Weights


class ForecasterStep:
    """Normalise, embed, encode, and forecast `horizon` steps of the targets.

    Args:
        weights: of the model.
        config: of the model.
        preprocessing: of the model.
    """

    def __init__(self, weights: Weights, config: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> None:
        self.inputs, self.targets, self.horizon = config["inputs"], config["targets"], config["horizon"]
        self.by_time, self.width = config["decay"] == "time", config["d_model"]
        self.half_life = float(config["half_life"] or config["look_back"])
        self.positions, self.outputs = config["positions"], 1 + len(config["quantiles"])
        features = 2 * self.inputs + config["calendar"] + self.by_time
        self.embed_weight, self.embed_bias = weights.linear("embed", self.width, features)
        self.encoder = make_encoder(weights, config)
        self.head_weight, self.head_bias = weights.linear(
            "head", self.horizon * self.targets * self.outputs, self.width
        )
        rows = config["highway"]
        self.highway = weights.take("highway.weight", self.horizon, rows) if rows else None
        scaler = preprocessing["scaler"]
        self.mean, self.deviation = np.array(scaler["mean"]), np.array(scaler["deviation"])

    def __call__(self, token: Mapping[str, Array], state: State) -> tuple[State, State]:
        """Outputs and state after a token `values`, with `calendar` and `elapsed` where the model has them."""
        values = ((token["values"] - self.mean) / self.deviation).astype(np.float32)
        observed = np.isfinite(values)
        values = np.where(observed, values, np.float32(0))  # a missing value enters nowhere
        mean, deviation, norm = running_norm(attention_state(state, "norm"), values, observed, self.half_life)

        parts = [np.where(observed, (values - mean) / deviation, np.float32(0)), observed.astype(np.float32)]
        if "calendar" in token:
            parts.append(token["calendar"])
        elapsed = float(token["elapsed"]) if self.by_time else 1.0
        if self.by_time:
            parts.append(np.log1p(token["elapsed"], dtype=np.float32)[None])
        x = self.embed_weight @ np.concatenate(parts) + self.embed_bias
        position = int(state["position"])
        if self.positions is not None:
            x = x + sinusoidal(position, self.width)
        encoded, after = self.encoder.step(x, state, elapsed)

        n = self.targets
        base, rows = self._base(values[:n], observed[:n], mean[:n], state["highway"])
        raw = (self.head_weight @ encoded + self.head_bias).reshape(self.horizon, self.targets, self.outputs)
        raw = raw * deviation[:n, None] + base[..., None]
        units = raw.astype(np.float64) * self.deviation[:n, None] + self.mean[:n, None]
        after.update({f"norm.{name}": value for name, value in norm._asdict().items()})
        after.update(position=np.array(position + 1), highway=rows)
        return {"mean": units[..., 0], "quantiles": np.sort(units[..., 1:], -1)}, after

    def _base(self, x: Array, observed: Array, mean: Array, before: Array) -> tuple[Array, Array]:
        """What the head's outputs are added to: the running mean, or a linear map of the last rows (the highway).

        y_h = last + sum over p of W_hp (x_{k-p} - last); last is the last known value, or the mean if none is known.
        """
        if self.highway is None:
            return mean[None], before
        rows = np.concatenate([before[1:], np.where(observed, x, np.float32(np.nan))[None]])
        known = np.isfinite(rows)[::-1]  # the latest first
        latest = known.argmax(0)
        last = np.where(known.any(0), rows[::-1][latest, np.arange(self.targets)], mean)
        differences = np.where(known, rows[::-1] - last, np.float32(0))
        return last + self.highway @ differences, rows
