"""The simple forecasts against plain loops, and against the numbers that others published."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from evaluation_cases import HORIZON, HOUR, LOOK_BACK, table, values

from aaren.data import find, read_series
from aaren.evaluation import PreparedData, baselines, prepare, season_length

SPLIT = (60, 30, 30)


def last_known(column: list[float]) -> list[float]:
    """Gaps filled by the value before them, or 0."""
    filled, last = [], 0.0
    for value in column:
        last = last if math.isnan(value) else value
        filled.append(last)
    return filled


def windows_of(data: PreparedData, part: str) -> list[tuple[list[float], list[float]]]:
    """Filled past and future of every window and target, by plain loops."""
    found = []
    for (start, stop), offset in zip(data.rows(part), data.offsets, strict=True):
        for first in range(start, stop - HORIZON + 1):
            begin = first - LOOK_BACK
            if begin < (start if part == "train" else offset):
                continue
            for target in range(len(data.preprocessing.schema.targets)):
                column = data.values[begin : first + HORIZON, target].astype(float).tolist()
                found.append((target, last_known(column[:LOOK_BACK]), column[LOOK_BACK:]))
    return found


def mean_errors(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Mean squared and absolute error over the pairs whose truth is known."""
    errors = [forecast - truth for forecast, truth in pairs if not math.isnan(truth)]
    return {
        "mse": math.fsum(e * e for e in errors) / len(errors),
        "mae": math.fsum(abs(e) for e in errors) / len(errors),
        "count": len(errors),
    }


@pytest.fixture(params=[0.0, 0.1], ids=["complete", "missing"])
def data(request: pytest.FixtureRequest) -> PreparedData:
    """Two series of two targets and a covariate; a share of the values is missing."""
    arrays = [values(120, 3, request.param), values(140, 3, request.param, seed=1)]
    return prepare(table(arrays, targets=["a", "b"]), SPLIT)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_naive_forecasts_against_a_loop(data: PreparedData, part: str) -> None:
    """The last value and the last day, repeated, have the errors of a plain loop over all windows."""
    found = baselines(data, part, LOOK_BACK, HORIZON)
    assert list(found) == ["last value", "seasonal naive", "linear"]
    last, season = [], []
    for _, past, future in windows_of(data, part):
        last += [(past[-1], truth) for truth in future]
        season += [(past[-8 + step % 8], truth) for step, truth in enumerate(future)]
    assert found["last value"] == pytest.approx(mean_errors(last), rel=1e-5)
    assert found["seasonal naive"] == pytest.approx(mean_errors(season), rel=1e-5)


def test_a_season_shorter_than_the_horizon_repeats() -> None:
    """A horizon of more than one day repeats the last day, and is exact on a series that does."""
    days = np.tile(np.array([1.0, 5.0, 2.0, 8.0, 3.0, 3.0, 9.0, 0.0]), 20)[:, None]
    found = baselines(prepare(table([days]), SPLIT), "test", 8, 19)
    assert found["seasonal naive"]["mse"] == pytest.approx(0, abs=1e-10)
    assert found["last value"]["mse"] > 0.5


def test_linear_against_least_squares(data: PreparedData) -> None:
    """The linear forecast is ridge regression on the complete training windows, as NumPy's least squares finds it."""
    pairs = []
    for target in (0, 1):
        train = [(p, f) for t, p, f in windows_of(data, "train") if t == target and not np.isnan(f).any()]
        x = np.array([np.array(past) - past[-1] for past, _ in train])
        y = np.array([np.array(future) - past[-1] for past, future in train])
        penalised = np.concatenate([x, np.eye(LOOK_BACK)]), np.concatenate([y, np.zeros((LOOK_BACK, HORIZON))])
        weights = np.linalg.lstsq(*penalised, rcond=None)[0]
        for t, past, future in windows_of(data, "test"):
            if t == target:
                pairs += list(zip((np.array(past) - past[-1]) @ weights + past[-1], future, strict=True))
    assert baselines(data, "test", LOOK_BACK, HORIZON)["linear"] == pytest.approx(mean_errors(pairs), rel=1e-4)


def test_linear_learns_from_training_alone(data: PreparedData) -> None:
    """A linear map that is true in training and false in the test part scores badly there."""
    array = values(120, 1)
    array[90:] = -array[90:] + 3 * np.random.default_rng(2).standard_normal((30, 1))
    prepared = prepare(table([array]), SPLIT)
    found = [baselines(prepared, part, LOOK_BACK, HORIZON)["linear"]["mse"] for part in ("validation", "test")]
    assert found[0] < 0.3
    assert found[1] > 2 * found[0]


def test_noise_cannot_be_forecast() -> None:
    """On white noise no simple forecast has an error below the noise, so none has seen the future."""
    noise = np.random.default_rng(0).standard_normal((900, 1))
    prepared = prepare(table([noise]), (500, 200, 200))
    variance = float(np.nanvar(prepared.targets_inside("test")))
    for errors in baselines(prepared, "test", 8, 4).values():
        assert errors["mse"] > 0.97 * variance


def test_etth1_has_the_published_errors() -> None:
    """On ETTh1 at 96/96 no window is dropped, and repeating the last value has the published 1.295 and 0.713."""
    prepared = prepare(read_series(find("ETTh1"), targets="all"), (8640, 2880, 2880))
    assert len(prepared.windows("test", 96, 96)) == 2785
    found = baselines(prepared, "test", 96, 96)
    assert {errors["count"] for errors in found.values()} == {2785 * 96 * 7}
    # "Repeat" in table 2 of arXiv 2205.13504
    assert found["last value"]["mse"] == pytest.approx(1.295, abs=0.002)
    assert found["last value"]["mae"] == pytest.approx(0.713, abs=0.002)
    assert 0.36 < found["linear"]["mse"] < 0.40
    assert found["linear"]["mse"] < found["seasonal naive"]["mse"] < found["last value"]["mse"]


def test_beijing_has_missing_values(real_data: Path) -> None:
    """On the real hourly record of Beijing the missing truth is left out, and the linear forecast is the best."""
    series = read_series(
        real_data / "streaming/beijing-pm25/PRSA_data_2010-2014.csv.gz",
        targets="pm2.5",
        time=("year", "month", "day", "hour"),
    )
    prepared = prepare(series, (0.7, 0.1, 0.2))
    found = baselines(prepared, "test", 48, 12)
    ((start, stop),) = prepared.rows("test")
    truth = prepared.values[start:stop, 0]
    known = sum(int(np.isfinite(truth[row : row + 12]).sum()) for row in range(len(truth) - 11))
    assert {errors["count"] for errors in found.values()} == {known}
    assert known < 12 * (len(truth) - 11)
    assert 0 < found["linear"]["mse"] < found["last value"]["mse"]


@pytest.mark.parametrize(
    ("interval", "look_back", "season"),
    [
        (HOUR, 96, 24),
        (HOUR, 24, 24),
        (HOUR, 23, None),
        (np.timedelta64(15, "m"), 96, 96),
        (np.timedelta64(1, "D"), 30, 7),
        (np.timedelta64(1, "D"), 6, None),
        (np.timedelta64(7, "D"), 96, None),
        (12 * HOUR, 96, 2),
        (7 * HOUR, 96, None),
        (None, 96, None),
    ],
)
def test_season(interval: np.timedelta64 | None, look_back: int, season: int | None) -> None:
    """The season is a whole day in rows, a week for daily rows, and none where it does not fit."""
    assert season_length(interval, look_back) == season


def test_no_season_no_seasonal_forecast() -> None:
    """Where no day fits into the look-back, there is no seasonal forecast."""
    assert list(baselines(prepare(table([values(120)]), SPLIT), "test", 7, 4)) == ["last value", "linear"]
