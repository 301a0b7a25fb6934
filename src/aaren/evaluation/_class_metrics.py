"""Metrics of classification, each an average over cases; numpy only."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def accuracy(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Share of the cases whose likeliest class is the right one.

    Args:
        probabilities: or logits, shape (cases, classes); of equally likely classes the first counts.
        labels: shape (cases,).

    Example:
        >>> accuracy(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]))
        0.5
    """
    return float((probabilities.argmax(1) == labels).mean())


def log_loss(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean of -log of the right class's probability, which counts as at least 1e-15.

    Example:
        >>> round(log_loss(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1])), 4)
        0.4904
    """
    right = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(right, 1e-15)).mean())


def calibration_error(probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int = 15) -> float:
    r"""Expected calibration error: how far confidence is from accuracy, over bins of confidence.

    .. math:: \sum_b \frac{n_b}{n} \left| \text{accuracy}_b - \text{confidence}_b \right|

    Args:
        probabilities: shape (cases, classes).
        labels: shape (cases,).
        bins: of equal width.

    Source: Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599, equation 3.

    Example:
        >>> calibration_error(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1]))  # right in half of the cases
        0.3
    """
    confidence = probabilities.max(1).astype(np.float64)
    right = (probabilities.argmax(1) == labels).astype(np.float64)
    places = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(places, right - confidence, minlength=bins)
    return round(float(np.abs(gaps).sum() / len(labels)), 12)


def confusion_matrix(guesses: NDArray[np.integer], labels: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """How many cases of each class (rows) were taken for each class (columns), shape (classes, classes).

    Example:
        >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)
        array([[1, 1],
               [0, 1]])
    """
    return np.bincount(labels * classes + guesses, minlength=classes * classes).reshape(classes, classes)


def softmax(logits: NDArray[np.floating], temperature: float | NDArray[np.floating] = 1.0) -> NDArray[np.float64]:
    """Probabilities of logits divided by a temperature, one or one for each case, over the last axis."""
    scaled = logits.astype(np.float64) / np.asarray(temperature, dtype=np.float64)[..., None]
    weights = np.exp(scaled - scaled.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer], cases: int | None = None) -> float:
    """The temperature at which the log loss of cases that were not trained on is least.

    The loss is convex in 1 / temperature, so bisection finds it. A temperature below 1 makes a model surer than its
    training did, though the cases have chosen its weights, too, and a model that is right in all of them would become
    certain. So there, as if one case more were of any class: of c cases each label is worth c / (c + 1), the rest is
    spread over all classes, and the temperature is at most 1.

    Args:
        logits: n answers, shape (n, classes).
        labels: shape (n,).
        cases: how many cases the answers are of; by default n.

    Returns:
        Between 0.01 and 100.

    Source: Guo et al., arXiv 1706.04599, section 4.2; the labels below 1 after Platt, Probabilistic Outputs for Support
    Vector Machines, 1999, section 2.2.

    Example:
        >>> logits = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
        >>> fit_temperature(logits, np.array([0, 0, 1, 1])) > 1  # too sure: one of four is wrong
        True
    """
    answers, classes = logits.shape
    count = answers if cases is None else cases
    right = np.eye(classes)[labels]

    def slope(inverse: float, targets: NDArray[np.float64]) -> float:
        """The derivative of the loss to 1 / temperature."""
        return float(((softmax(logits, 1 / inverse) - targets) * logits).sum())

    targets, low, high = right, 0.01, 1.0
    if slope(1.0, right) <= 0:
        targets, low, high = (count * right + 1 / classes) / (count + 1), 1.0, 100.0
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle, targets) < 0 else (low, middle)
    return 1 / math.sqrt(low * high)


def fit_temperatures(
    logits: NDArray[np.floating], rows: NDArray[np.integer], labels: NDArray[np.integer]
) -> tuple[tuple[int, float], ...]:
    """A temperature for each tenth of the answers in the order of how many rows of their series they come after.

    A model that has seen little of a series is as sure as at its end, and more often wrong. Where series are so short
    that several parts have the same rows, they are one answer.

    Args:
        logits: after several parts of n cases, shape (n, parts, classes).
        rows: how many rows each part has, shape (n, parts).
        labels: shape (n,).

    Returns:
        At most ten pairs: from which row on, from 1 up, and the temperature, as `fit_temperature` has it.
    """
    cases, parts = rows.shape
    pairs = np.stack([np.repeat(np.arange(cases), parts), rows.ravel()], 1)
    different, places = np.unique(pairs, axis=0, return_index=True)
    case, row = different.T
    answers = logits.reshape(-1, logits.shape[-1])[places]
    starts = np.unique(np.sort(row)[np.arange(10) * len(row) // 10]).tolist()
    found: list[tuple[int, float]] = []
    for start, end in itertools.pairwise([*starts, math.inf]):
        chosen = (row >= start) & (row < end)
        own = case[chosen]
        temperature = fit_temperature(answers[chosen], labels[own], len(np.unique(own)))
        if not found or temperature != found[-1][1]:
            found.append((int(start) if found else 1, temperature))
    return tuple(found)


def class_metrics(
    logits: NDArray[np.floating], labels: NDArray[np.integer], temperature: float | NDArray[np.floating] = 1.0
) -> dict[str, Any]:
    """All metrics of the last answers; plain data.

    Args:
        logits: shape (cases, classes).
        labels: shape (cases,).
        temperature: of the calibration, one or one for each case; the metrics are given with it and without.
    """
    calibrated, raw = softmax(logits, temperature), softmax(logits)
    return {
        "accuracy": accuracy(logits, labels),
        "log_loss": log_loss(calibrated, labels),
        "log_loss_uncalibrated": log_loss(raw, labels),
        "calibration_error": calibration_error(calibrated, labels),
        "calibration_error_uncalibrated": calibration_error(raw, labels),
        "confusion": confusion_matrix(logits.argmax(1), labels, logits.shape[1]).tolist(),
        "cases": len(labels),
    }
