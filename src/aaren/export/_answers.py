"""What a model's own stream says, as the named arrays of an export, and how far another answer is from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aaren.export._runner import Arrays

LEVELS = (0.1, 0.9)
"""Of the quantiles of the next event's time."""


def answer(stream: Any, row: Any) -> Arrays:
    """Take one row; what the stream says after it, as the outputs of an export.

    Args:
        stream: of a model of any kind.
        row: as the stream takes it.

    Raises:
        DataError: the row was refused.
    """
    said = stream.update(row)
    return _ANSWERS[stream.model.kind](stream, said)


def _forecast(stream: Any, said: Any) -> Arrays:
    return {"mean": said.mean, "quantiles": said.quantiles}


def _class(stream: Any, said: Any) -> Arrays:
    return {"probabilities": np.array(list(said.probabilities.values()))}


@torch.no_grad()
def _event(stream: Any, said: Any) -> Arrays:
    """Intervals come from the distribution, not as differences of times, which would lose digits."""
    known = stream.model.preprocessing
    after = stream.model.distribution(stream.state.hidden)
    levels = [known.unit * float(after.quantile(level)) for level in (0.5, *LEVELS)]
    likelihood = np.nan if said.log_likelihood is None else said.log_likelihood
    return {
        "mean": np.array(known.unit * float(after.mean(known.longest))),
        "median": np.array(levels[0]),
        "quantiles": np.array(levels[1:]),
        "mark_probabilities": after.mark_logits[0].double().softmax(-1).numpy(),
        "log_likelihood": np.array(likelihood),
    }


def _action(stream: Any, said: Any) -> Arrays:
    return {"action": said.action, "return_to_go": np.array(said.return_to_go)}


_ANSWERS = {"classifier": _class, "events": _event, "forecaster": _forecast, "policy": _action}


def in_deviations(kind: str, preprocessing: Mapping[str, Any], outputs: Mapping[str, NDArray[Any]]) -> Arrays:
    """Outputs in units in which 1 is a standard deviation of the training data.

    Forecasts count in deviations of their column. Intervals to the next event count by their logarithm, in deviations
    of the logarithm of the training intervals, which is how the model sees them. Actions count in halves of the range
    between their bounds, returns in the scale of returns; probabilities and log-likelihoods have no unit.

    Args:
        kind: of the model.
        preprocessing: of the model, as plain data.
        outputs: of all rows, each of shape (rows, ...).
    """
    scaled: Arrays = {}
    for name, values in outputs.items():
        if kind == "forecaster":
            deviation = np.array(preprocessing["scaler"]["deviation"])[: values.shape[2]]
            scaled[name] = values / (deviation[:, None] if name == "quantiles" else deviation)
        elif kind == "events" and name in ("mean", "median", "quantiles"):
            scaled[name] = np.log(values) / preprocessing["log_deviation"]
        elif name == "action":
            low, high = np.array(preprocessing["action_low"]), np.array(preprocessing["action_high"])
            scaled[name] = values.astype(np.float64) * 2 / (high - low)
        elif name == "return_to_go":
            scaled[name] = values / preprocessing["return_scale"]
        else:
            scaled[name] = values
    return scaled


def largest_difference(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """The largest absolute difference; 0 where both are NaN or the same infinity, infinite where only one is."""
    if not ours.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(ours.astype(np.float64) - theirs)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    difference = np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))
    return float(difference.max())
