"""What the live page draws of a stream: what was said before a row, what came, and what is said now."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from aaren.streaming import ClassPrediction, EventPrediction, Prediction

_LONGEST = 96


def band(prediction: Any) -> dict[str, Any]:
    """What a prediction says of what comes next, as lists of numbers.

    Returns:
        `low`, `mid` and `high` of the first target, a list for each row ahead; or of the time until the next event;
        or `classes`, the probabilities by name. Without quantiles `low` and `high` are `mid`.
    """
    if isinstance(prediction, Prediction):
        mid, levels = prediction.mean[:_LONGEST, 0], prediction.quantiles[:_LONGEST, 0]
        wide = levels.shape[-1] > 1
        low, high = (levels[:, 0], levels[:, -1]) if wide else (mid, mid)
        return {"low": _numbers(low), "mid": _numbers(mid), "high": _numbers(high)}
    if isinstance(prediction, EventPrediction):
        times = [*sorted(prediction.quantiles.items())]
        first, last = (times[0][1], times[-1][1]) if len(times) > 1 else (prediction.mean, prediction.mean)
        after = np.array([first, prediction.median, last]) - prediction.time
        return {name: [number] for name, number in zip(("low", "mid", "high"), _numbers(after), strict=True)}
    if isinstance(prediction, ClassPrediction):
        top = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:8]
        return {"classes": {name: round(chance, 4) for name, chance in top}}
    return {}


def truth(prediction: Any, before: Any, row: Any, target: str | None) -> float | None:
    """What came, in the same units: the first target's cell, or the time since the event before."""
    if isinstance(prediction, EventPrediction):
        return None if before is None else _number(prediction.time - before.time)
    if isinstance(prediction, Prediction) and isinstance(row, dict):
        return _number(row.get(target))
    return None


def _numbers(values: Any) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _number(cell: Any) -> float | None:
    try:
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else None
