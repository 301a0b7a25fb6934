"""One step of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aaren.export.runner._attention import Array
from aaren.export.runner._encoder import State, make_encoder, sinusoidal
from aaren.export.runner._weights import Weights


def softmax(logits: Array) -> Array:
    """exp(x) over its sum."""
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


class ClassifierStep:
    """Embed, encode, and say by the last output and the mean of all of them which class the series is of.

    logits = W [y_k ; mean of y_1 ... y_k] + b

    Args:
        weights: of the model.
        config: of the model.
        preprocessing: of the model.
    """

    def __init__(self, weights: Weights, config: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> None:
        self.width, self.positions = config["d_model"], config["positions"]
        self.embed_weight, self.embed_bias = weights.linear("embed", self.width, 2 * config["channels"])
        self.encoder = make_encoder(weights, config)
        self.head_weight, self.head_bias = weights.linear("head", config["classes"], 2 * self.width)
        self.temperatures = preprocessing["temperatures"]
        scaler = preprocessing["scaler"]
        self.mean, self.deviation = np.array(scaler["mean"]), np.array(scaler["deviation"])

    def __call__(self, token: Mapping[str, Array], state: State) -> tuple[State, State]:
        """Outputs and state after a token `values`."""
        values = ((token["values"] - self.mean) / self.deviation).astype(np.float32)
        observed = np.isfinite(values)
        features = np.concatenate([np.where(observed, values, np.float32(0)), observed.astype(np.float32)])
        x = self.embed_weight @ features + self.embed_bias
        before = int(state["position"])
        if self.positions is not None:
            x = x + sinusoidal(before, self.width)
        encoded, after = self.encoder.step(x, state, 1.0)
        total = state["total"] + encoded
        mean = (total / (before + 1)).astype(np.float32)
        logits = self.head_weight @ np.concatenate([encoded, mean]) + self.head_bias
        after.update(position=np.array(before + 1), total=total, last=encoded)
        temperature = [value for row, value in self.temperatures if row <= before + 1][-1]
        return {"probabilities": softmax(logits.astype(np.float64) / temperature)}, after
