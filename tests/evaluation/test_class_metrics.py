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
    fit_temperatures,
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


@pytest.mark.parametrize("factor", [0.25, 1.5, 4.0])
def test_the_temperature_undoes_a_factor(factor):
    """Logits a factor too large or too small get that factor within the sample's noise, and become calibrated."""
    logits, labels = drawn(1, cases=4000)
    temperature = fit_temperature(factor * logits, labels)
    assert temperature == pytest.approx(factor, rel=0.1)
    before, after = (calibration_error(softmax(factor * logits, t), labels) for t in (1.0, temperature))
    assert after < before / 2


def test_the_temperature_is_the_minimum():
    """No temperature of a fine grid has a lower log loss where a model is too sure."""
    logits, labels = drawn(3, cases=50)
    best = fit_temperature(3.0 * logits, labels)
    assert 1 < best < 100
    least = log_loss(softmax(3.0 * logits, best), labels)
    assert all(least <= log_loss(softmax(3.0 * logits, t), labels) + 1e-9 for t in np.geomspace(0.1, 100, 400))


def test_a_faultless_model_does_not_become_certain():
    """Right in all of n cases it is as sure as n + 1 cases with one of any class allow; one of noise is flattened."""
    labels = np.arange(20) % 2
    found = softmax(np.eye(2)[labels], fit_temperature(np.eye(2)[labels], labels))
    np.testing.assert_allclose(found.max(1), (20 + 0.5) / 21)
    assert fit_temperature(9.0 * np.eye(2)[labels], labels) == pytest.approx(1)  # sure enough, and never wrong
    logits, labels = drawn(1, cases=4000)
    assert fit_temperature(-logits, labels) == pytest.approx(100, rel=1e-6)


def test_temperatures_by_rows():
    """Answers after a part of a series get the factor of that part; where lengths differ, that of their rows."""
    logits, labels = drawn(1, cases=4000)
    factors = np.array([8.0, 4.0, 2.0, 1.0, 0.5])
    parts = np.stack([factor * logits for factor in factors], 1)
    found = fit_temperatures(parts, np.tile([3, 6, 9, 12, 15], (4000, 1)), labels)
    assert [row for row, _ in found] == [1, 6, 9, 12, 15]
    np.testing.assert_allclose([temperature for _, temperature in found], factors, rtol=0.1)
    lengths = np.random.default_rng(0).integers(1, 40, size=(4000, 5))
    unequal = logits[:, None] * np.where(lengths < 20, 4.0, 1.0)[..., None]
    found = fit_temperatures(unequal, lengths, labels)
    assert len(found) == 10
    assert all(abs(temperature / 4 - 1) < 0.3 for row, temperature in found if row < 16)
    assert all(abs(temperature - 1) < 0.2 for row, temperature in found if row >= 20)


def test_the_last_temperature_is_that_of_the_end():
    """Ten parts of series of one length have ten temperatures, each that of its own answers alone."""
    logits, labels = drawn(2, cases=100)
    parts = np.stack([factor * logits for factor in np.geomspace(8, 0.5, 10)], 1)
    found = fit_temperatures(parts, np.tile(np.arange(10, 101, 10), (100, 1)), labels)
    expected = [fit_temperature(parts[:, part], labels) for part in range(10)]
    assert found == tuple(zip([1, *range(20, 101, 10)], expected, strict=True))


@pytest.mark.parametrize("length", [1, 2, 4, 25])
def test_parts_of_one_row_are_one_answer(length):
    """However often short series are asked, a faultless model is as sure as its number of cases allows, no surer."""
    labels = np.arange(6) % 2
    logits = np.broadcast_to(np.eye(2)[labels][:, None], (6, 10, 2))
    rows = np.ceil(length * np.tile(np.arange(1, 11) / 10, (6, 1))).astype(int)
    for _, temperature in fit_temperatures(logits, rows, labels):
        np.testing.assert_allclose(softmax(logits[:, -1], temperature).max(1), (6 + 0.5) / 7)


def test_one_case_has_temperatures():
    """A single answer gives one temperature for all rows."""
    assert [row for row, _ in fit_temperatures(np.zeros((1, 1, 2)), np.array([[7]]), np.array([0]))] == [1]


def test_class_metrics_with_and_without_temperature():
    """The summary has both log losses and both calibration errors, and the temperature changes no accuracy."""
    logits, labels = drawn(5)
    found = class_metrics(3 * logits, labels, temperature=3.0)
    assert found["log_loss"] == pytest.approx(log_loss(softmax(logits), labels))
    assert found["log_loss_uncalibrated"] == pytest.approx(log_loss(softmax(3 * logits), labels))
    assert found["calibration_error"] < found["calibration_error_uncalibrated"]
    assert found["accuracy"] == accuracy(logits, labels) == np.trace(found["confusion"]) / found["cases"]
