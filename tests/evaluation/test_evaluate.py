"""Errors of a forecaster against the plainest loops: window by window, and row by row."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_cases import HORIZON, LOOK_BACK, forecaster, table, values

from aaren.data import find, read_series
from aaren.evaluation import (
    ForecastErrors,
    PreparedData,
    evaluate,
    evaluate_streamed,
    evaluate_windows,
    parallel_forecasts,
    prepare,
)
from aaren.models import Forecast, Forecaster

SPLIT = (60, 30, 40)
ENCODERS: list[dict[str, Any]] = [
    {},
    {"decay": "time"},
    {"encoder": "transformer"},
    {"encoder": "gru"},
    {"encoder": "mingru"},
]
LEVELS = (0.1, 0.9)


@pytest.fixture(scope="module")
def data() -> PreparedData:
    """Two series with gaps."""
    return prepare(table([values(130, 3, 0.1), values(140, 3, 0.1, seed=1)], targets=["a", "b"]), SPLIT)


def rows_of(data: PreparedData, start: int, stop: int) -> dict[str, torch.Tensor]:
    """Arguments of `forward` for some rows, as a batch of one."""
    arrays = {"values": data.values, "calendar": data.calendar, "elapsed": data.elapsed}
    return {name: torch.from_numpy(array[start:stop])[None] for name, array in arrays.items()}


def add(errors: ForecastErrors, forecast: Forecast, truth: np.ndarray) -> None:
    """Count the forecast from the last token."""
    errors.add(forecast.mean[0, -1].numpy(), truth, forecast.quantiles[0, -1].numpy())


@torch.no_grad()
def by_windows(model: Forecaster, data: PreparedData, part: str) -> dict[str, float]:
    """Every window by itself."""
    model.eval()
    errors = ForecastErrors(model.config.quantiles)
    for (start, stop), offset in zip(data.rows(part), data.offsets, strict=True):
        for first in range(start, stop - HORIZON + 1):
            if first - LOOK_BACK >= offset:
                forecast, _ = model(**rows_of(data, first - LOOK_BACK, first))
                add(errors, forecast, data.values[first : first + HORIZON, : model.config.targets])
    return errors.summary()


@torch.no_grad()
def by_rows(model: Forecaster, data: PreparedData, part: str) -> dict[str, float]:
    """Every row by itself, from the first one of each series on."""
    model.eval()
    errors = ForecastErrors(model.config.quantiles)
    for (start, stop), offset in zip(data.rows(part), data.offsets, strict=True):
        state = model.init_state(1)
        for row in range(offset, stop - HORIZON):
            forecast, state = model(**rows_of(data, row, row + 1), state=state)
            if row + 1 >= max(start, offset + LOOK_BACK):
                add(errors, forecast, data.values[row + 1 : row + 1 + HORIZON, : model.config.targets])
    return errors.summary()


@pytest.mark.parametrize("normalization", ["running", "window"])
@pytest.mark.parametrize("part", ["validation", "test"])
def test_windows_against_a_loop(normalization: str, part: str, data: PreparedData) -> None:
    """`evaluate_windows` has the errors of a loop over all windows, whatever the batches."""
    model = forecaster(data, normalization=normalization, quantiles=LEVELS, highway=3)
    assert evaluate_windows(model, data, part) == pytest.approx(by_windows(model, data, part), rel=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_streamed_against_a_loop(encoder: dict[str, Any], data: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    """`evaluate_streamed` has the errors of feeding row by row, wherever its chunks end."""
    monkeypatch.setattr("aaren.evaluation._evaluate._CHUNK", 37)
    model = forecaster(data, **encoder, quantiles=LEVELS, highway=3)
    assert evaluate_streamed(model, data, "test") == pytest.approx(by_rows(model, data, "test"), rel=1e-4)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("split", [SPLIT, (20, 20, 60)])
def test_both_protocols_judge_the_same_forecasts(part: str, split: tuple[int, ...]) -> None:
    """Windows and stream count the same truths, also where the look-back reaches beyond the start of the series."""
    data = prepare(table([values(130, 2, 0.1), values(140, 2, 0.1, seed=1)]), split)
    model = forecaster(data, look_back=LOOK_BACK if split == SPLIT or part == "train" else 30)
    found = evaluate(model, data, part)
    assert found["windows"]["count"] == found["streamed"]["count"] > 0


def test_a_series_without_a_window_is_left_out() -> None:
    """A series that is too short for a window has no say in either protocol."""
    data = prepare(table([values(130), values(40, seed=1)]), (0.7, 0.15, 0.15))
    alone = prepare(table([values(130)]), (0.7, 0.15, 0.15), data.preprocessing)
    model = forecaster(data, horizon=8)
    assert evaluate(model, data) == evaluate(model, alone)


def test_a_window_model_does_not_stream(data: PreparedData) -> None:
    """A model that normalises by windows has errors of windows alone."""
    assert list(evaluate(forecaster(data, normalization="window"), data)) == ["windows"]
    assert list(evaluate(forecaster(data), data)) == ["windows", "streamed"]


def test_dropout_is_off(data: PreparedData) -> None:
    """A model in training mode is evaluated as in evaluation mode."""
    model = forecaster(data, dropout=0.5)
    expected = evaluate(model.eval(), data)
    assert evaluate(model.train(), data) == expected


def spoiled(data: PreparedData, rows: slice) -> PreparedData:
    """The same table with garbage in some rows."""
    array = data.values.copy()
    array[rows] = np.random.default_rng(3).standard_normal(array[rows].shape) * 99
    return dataclasses.replace(data, values=array)


def test_validation_errors_know_nothing_of_the_test_part() -> None:
    """Garbage after the validation part leaves both validation errors as they were, bit for bit."""
    data = prepare(table([values(130)]), SPLIT)
    model = forecaster(data)
    assert evaluate(model, spoiled(data, slice(90, None)), "validation") == evaluate(model, data, "validation")


def test_what_lies_before_the_look_back_counts_for_the_stream_alone() -> None:
    """Garbage before the first look-back leaves the errors of windows as they were, and not those of the stream."""
    data = prepare(table([values(130)]), SPLIT)
    model = forecaster(data)
    clean, dirty = evaluate(model, data), evaluate(model, spoiled(data, slice(0, 90 - LOOK_BACK)))
    assert dirty["windows"] == clean["windows"]
    assert dirty["streamed"] != clean["streamed"]


def test_forecasts_are_independent_of_the_truth_they_meet() -> None:
    """Other rows in the test part change no forecast that was made before them."""
    data = prepare(table([values(130)]), SPLIT)
    model = forecaster(data, quantiles=LEVELS)
    before, after = (parallel_forecasts(model, one, 0, 130) for one in (data, spoiled(data, slice(100, None))))
    assert before[0].shape == (130, HORIZON, 2)
    assert before[1].shape == (130, HORIZON, 2, 2)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other[:100], one[:100], rtol=1e-5, atol=1e-5)
        assert np.abs(other[101:] - one[101:]).max() > 1


def test_shuffled_truth_cannot_score_well() -> None:
    """The best forecast there is, the truth's own mean, has an error of its variance on shuffled rows."""
    shuffled = np.random.default_rng(0).permutation(values(2000, 1))
    data = prepare(table([shuffled]), (1000, 400, 600))
    model = forecaster(data)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    variance = float(np.nanvar(data.targets_inside("test")))
    for errors in evaluate(model, data).values():
        assert errors["mse"] > 0.98 * variance


def test_no_window_of_etth1_is_dropped() -> None:
    """On the test part of ETTh1 at 96/96 both protocols judge all 2785 windows of 96 rows and 7 targets."""
    data = prepare(read_series(find("ETTh1"), targets="all"), (8640, 2880, 2880))
    model = forecaster(data, look_back=96, horizon=96, encoder="gru", d_model=4)
    found = evaluate(model, data)
    assert found["windows"]["count"] == found["streamed"]["count"] == 2785 * 96 * 7
