"""Metrics of classification against their definitions, and the temperature against a search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaren.evaluation import (
    accuracy,
    calibration_error,
    class_metrics,
    confusion_matrix,
    fit_temperature,
    log_loss,
    softmax,
)


def drawn(seed, cases=200, classes=4, scale=2.0):
    """Logits, and labels drawn from their softmax: a calibrated model."""
    generator = np.random.default_rng(seed)
    logits = scale * generator.standard_normal((cases, classes))
    labels = np.array([generator.choice(classes, p=row) for row in softmax(logits)])
    return logits, labels


@settings(deadline=None)
@given(seed=st.integers(0, 1000), cases=st.integers(1, 40), classes=st.integers(2, 5))
def test_metrics_are_their_definitions(seed, cases, classes):
    """Accuracy, log loss, calibration error and confusion equal loops over the cases."""
    logits, labels = drawn(seed, cases, classes)
    probabilities = softmax(logits)
    assert np.allclose(probabilities.sum(1), 1)
    guesses = [int(np.argmax(row)) for row in probabilities]
    right = [guess == label for guess, label in zip(guesses, labels, strict=True)]
    assert accuracy(probabilities, labels) == pytest.approx(sum(right) / cases)
    losses = [-np.log(row[label]) for row, label in zip(probabilities, labels, strict=True)]
    assert log_loss(probabilities, labels) == pytest.approx(np.mean(losses))
    expected = 0.0
    for low in range(15):
        inside = [i for i in range(cases) if low / 15 <= probabilities[i].max() < (low + 1) / 15 + (low == 14)]
        if inside:
            gap = np.mean([right[i] for i in inside]) - np.mean([probabilities[i].max() for i in inside])
            expected += abs(gap) * len(inside) / cases
    assert calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-9)
    confusion = confusion_matrix(np.array(guesses), labels, classes)
    assert confusion.sum() == cases
    assert all(
        confusion[row, column] == sum((labels == row) & (np.array(guesses) == column))
        for row in range(classes)
        for column in range(classes)
    )


def test_a_certain_mistake_has_a_finite_loss():
    """A probability of 0 for the right class does not make the log loss infinite."""
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-15))


@pytest.mark.parametrize("factor", [1.5, 4.0])
def test_the_temperature_undoes_a_factor(factor):
    """Logits that are a factor too large get that factor within the sample's noise, and become calibrated."""
    logits, labels = drawn(1, cases=4000)
    temperature = fit_temperature(factor * logits, labels)
    assert temperature == pytest.approx(factor, rel=0.1)
    before, after = (calibration_error(softmax(factor * logits, t), labels) for t in (1.0, temperature))
    assert after < before / 2


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_the_temperature_is_the_minimum(factor):
    """No temperature from 1 on of a fine grid has a lower log loss."""
    logits, labels = drawn(3, cases=50)
    best = fit_temperature(factor * logits, labels)
    assert 1 <= best <= 100
    least = log_loss(softmax(factor * logits, best), labels)
    assert all(least <= log_loss(softmax(factor * logits, t), labels) + 1e-9 for t in np.geomspace(1, 100, 400))


def test_no_model_is_made_surer():
    """A faultless model, and one that is too unsure, keep their probabilities; one of noise is flattened."""
    labels = np.arange(20) % 2
    assert fit_temperature(4.0 * np.eye(2)[labels], labels) == 1
    logits, labels = drawn(1, cases=4000)
    assert fit_temperature(0.25 * logits, labels) == 1
    assert fit_temperature(-logits, labels) == pytest.approx(100, rel=1e-6)


def test_class_metrics_with_and_without_temperature():
    """The summary has both log losses and both calibration errors, and the temperature changes no accuracy."""
    logits, labels = drawn(5)
    found = class_metrics(3 * logits, labels, temperature=3.0)
    assert found["log_loss"] == pytest.approx(log_loss(softmax(logits), labels))
    assert found["log_loss_uncalibrated"] == pytest.approx(log_loss(softmax(3 * logits), labels))
    assert found["calibration_error"] < found["calibration_error_uncalibrated"]
    assert found["accuracy"] == accuracy(logits, labels) == np.trace(found["confusion"]) / found["cases"]
