"""Metrics of classification, each an average over cases; numpy only."""

from __future__ import annotations

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


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities of logits divided by a temperature, over the last axis."""
    scaled = logits.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The temperature of at least 1 at which the log loss of cases that were not trained on is least.

    The loss is convex in 1 / temperature, so bisection finds it. A temperature below 1 would make a model surer than
    its training did; the cases that choose its weights make it look better than it is, and a faultless model would
    become certain. So it is 1 there.

    Args:
        logits: of n cases, shape (n, classes).
        labels: shape (n,).

    Returns:
        Between 1 and 100.

    Source: Guo et al., arXiv 1706.04599, section 4.2; the limit is this library's.

    Example:
        >>> logits = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
        >>> fit_temperature(logits, np.array([0, 0, 1, 1])) > 1  # too sure: one of four is wrong
        True
    """
    right = np.eye(logits.shape[1])[labels]

    def slope(inverse: float) -> float:
        """The derivative of the loss to 1 / temperature."""
        return float(((softmax(logits, 1 / inverse) - right) * logits).sum())

    low, high = 0.01, 1.0
    if slope(high) <= 0:
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2 / (low + high)


def class_metrics(
    logits: NDArray[np.floating], labels: NDArray[np.integer], temperature: float = 1.0
) -> dict[str, Any]:
    """All metrics of the last answers; plain data.

    Args:
        logits: shape (cases, classes).
        labels: shape (cases,).
        temperature: of the calibration; the metrics are given with it and without.
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
