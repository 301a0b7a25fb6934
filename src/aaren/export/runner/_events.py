"""One step of an event model: the distribution of the next event, after an event."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from aaren.export.runner._attention import Array
from aaren.export.runner._classifier import softmax
from aaren.export.runner._encoder import State, make_encoder, sinusoidal
from aaren.export.runner._mixture import Mixture, logsumexp
from aaren.export.runner._weights import Weights

LEVELS = (0.5, 0.1, 0.9)
"""Of the median and the quantiles."""


class EventStep:
    """Embed mark and interval, encode with the time added to every layer, and say when and what comes next.

    Args:
        weights: of the model.
        config: of the model.
        preprocessing: of the model.
    """

    def __init__(self, weights: Weights, config: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> None:
        self.width, self.marks = config["d_model"], config["marks"]
        self.embedding = weights.take("mark_embedding.weight", max(1, self.marks), self.width)
        self.interval = weights.linear("interval_embedding", self.width, 2) if config["intervals"] else None
        self.encoder = make_encoder(weights, config)
        self.head_weight, self.head_bias = weights.linear("interval_head", 3 * config["components"], self.width)
        self.mark_head = weights.linear("mark_head", self.marks, self.width) if self.marks else None
        self.unit, self.floor, self.longest, self.log_mean, self.log_deviation = (
            preprocessing[name] for name in ("unit", "floor", "longest", "log_mean", "log_deviation")
        )

    def __call__(self, token: Mapping[str, Array], state: State) -> tuple[State, State]:
        """Outputs and state after a token `time`, and `mark` where events have one."""
        time, last = float(token["time"]) / self.unit, float(state["time"])
        mark = int(token["mark"]) if self.marks else 0
        begun = math.isfinite(last)
        interval = time - last if begun else 0.0
        floored = interval if interval > 0 else self.floor  # an interval of 0 counts as a small one
        x = self.embedding[mark]
        if self.interval is not None:
            log = (math.log(floored) - self.log_mean) / self.log_deviation if begun else 0.0
            weight, bias = self.interval
            x = x + (weight @ np.array([log, begun], dtype=np.float32) + bias)
        encoded, after = self.encoder.step(x, state, float(np.float32(interval)), sinusoidal(time, self.width))

        said_before, logits_before = self._distribution(state["hidden"])
        likelihood = math.nan
        if begun:
            likelihood = said_before.log_density(floored) - math.log(self.unit)
            if self.marks:
                likelihood += float(logits_before[mark]) - logsumexp(logits_before)
        said, logits = self._distribution(encoded)
        median, *quantiles = self.unit * said.quantiles(LEVELS)
        outputs = {
            "mean": np.array(self.unit * said.mean(self.longest)),
            "median": np.array(median),
            "quantiles": np.array(quantiles),
            "mark_probabilities": softmax(logits) if self.marks else logits,
            "log_likelihood": np.array(likelihood),
        }
        after.update(time=np.array(time), hidden=encoded)
        return outputs, after

    def _distribution(self, encoded: Array) -> tuple[Mixture, Array]:
        """The mixture of the interval in mean training intervals, and the logits of the mark in float64."""
        weights, locations, scales = np.split((self.head_weight @ encoded + self.head_bias).astype(np.float64), 3)
        mixture = Mixture(
            np.log(softmax(weights)),
            self.log_mean + self.log_deviation * locations,
            self.log_deviation * np.exp(np.clip(scales, -5.0, 1.0)),
        )
        if self.mark_head is None:
            return mixture, np.zeros(0)
        weight, bias = self.mark_head
        return mixture, (weight @ encoded + bias).astype(np.float64)
