"""What a stream says: times, units, quantiles, JSON; and that it goes on for long without growing."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from aaren import Forecaster, Stream
from aaren.data import SeriesSet
from aaren.evaluation import PreparedData
from aaren.streaming import Prediction, time_texts

Rows = Callable[..., list[dict[str, Any]]]


def test_times_units_and_quantiles(model: Forecaster, etth1: SeriesSet, rows_of: Rows) -> None:
    """A prediction has the next times, the model's numbers in the user's units, and ascending quantiles."""
    stream = model.stream()
    rows = rows_of(etth1, 0, 30)
    predictions = [stream.update(row) for row in rows]
    last, preprocessing = predictions[-1], model.preprocessing
    assert [prediction.row for prediction in predictions] == list(range(1, 31))
    assert last.time == etth1.series[0].times[29]
    assert (last.times == etth1.series[0].times[30:34]).all()
    values = preprocessing.scaler.transform(etth1.series[0].values[:30]).astype(np.float32)
    calendar = preprocessing.features(etth1.series[0].times[:30], 30)
    with torch.no_grad():
        forecast, _ = model(torch.from_numpy(values)[None], torch.from_numpy(calendar)[None])
    for target in range(2):
        scale, centre = preprocessing.scaler.deviation[target], preprocessing.scaler.mean[target]
        by_hand = forecast.mean[0, -1, :, target].double().numpy() * scale + centre
        assert last.mean[:, target] == pytest.approx(by_hand, abs=1e-4 * scale)
        levels = forecast.quantiles[0, -1, :, target].double().numpy() * scale + centre
        assert last.quantiles[:, target] == pytest.approx(levels, abs=1e-4 * scale)
    assert all((np.diff(prediction.quantiles, axis=-1) >= 0).all() for prediction in predictions)
    assert np.diff(last.quantiles, axis=-1).max() > 0


def test_plain_data_is_valid_json(model: Forecaster, etth1: SeriesSet, rows_of: Rows) -> None:
    """`to_dict` is JSON with row, times and a list for each target and level, the numbers to seven digits."""
    prediction = model.stream().update(rows_of(etth1, 0, 1)[0])
    said = json.loads(json.dumps(prediction.to_dict(), allow_nan=False))
    assert said["time"] == "2016-07-01T00:00:00"
    assert said["times"] == [f"2016-07-01T0{hour}:00:00" for hour in range(1, 5)]
    assert list(said["forecast"]) == ["OT", "HUFL"]
    assert list(said["forecast"]["OT"]) == ["mean", "q0.1", "q0.5", "q0.9"]
    assert said["forecast"]["HUFL"]["q0.9"] == pytest.approx(prediction.quantiles[:, 1, 2], rel=1e-6)


def test_numbers_that_json_lacks_become_null() -> None:
    """NaN and infinity in a forecast are null in plain data."""
    mean = np.array([[np.nan], [np.inf], [1.23456789]])
    prediction = Prediction(1, None, None, ("load",), mean, (), np.zeros((3, 1, 0)))
    assert prediction.to_dict() == {
        "row": 1,
        "warming_up": False,
        "forecast": {"load": {"mean": [None, None, 1.234568]}},
    }


def test_times_are_written_to_the_second_or_finer() -> None:
    """Midnight is written like every other time, and fractions of a second are kept."""
    day = np.datetime64("2020-01-01", "us")
    assert time_texts(np.array([day])) == ["2020-01-01T00:00:00"]
    finer = time_texts(day + np.timedelta64(250, "ms") * np.arange(2))
    assert finer == ["2020-01-01T00:00:00.000000", "2020-01-01T00:00:00.250000"]


def test_no_quantiles_is_an_empty_last_axis(
    build: Callable[..., Forecaster], prepared: PreparedData, etth1: SeriesSet, rows_of: Rows
) -> None:
    """A model without quantile levels gives the mean alone."""
    prediction = build(prepared, quantiles=()).stream().update(rows_of(etth1, 0, 1)[0])
    assert prediction.quantiles.shape == (4, 2, 0)
    assert list(prediction.to_dict()["forecast"]["OT"]) == ["mean"]


def test_the_state_is_a_value(
    model: Forecaster, etth1: SeriesSet, rows_of: Rows, bits: Callable[[Stream], Any]
) -> None:
    """A state taken from a stream is not changed by later rows, and gives the same forecast when used again."""
    stream = model.stream()
    for row in rows_of(etth1, 0, 10):
        stream.update(row)
    kept, before = stream.state, bits(stream)
    times, preprocessing = etth1.series[0].times[10:11], model.preprocessing
    x = torch.from_numpy(preprocessing.scaler.transform(etth1.series[0].values[10:11]).astype(np.float32))[None]
    calendar = torch.from_numpy(preprocessing.features(times, 1))[None]
    with torch.no_grad():
        first, _ = model(x, calendar, kept)
        streamed = stream.update(rows_of(etth1, 10, 11)[0])
        stream.update(rows_of(etth1, 11, 12)[0])
        again, _ = model(x, calendar, kept)
    assert torch.equal(first.mean, again.mean)
    assert streamed.mean == pytest.approx(preprocessing.to_units(first.mean[0, -1].double().numpy()))
    assert bits(stream) != before
    assert [leaf.numpy().tobytes() for leaf in torch.utils._pytree.tree_leaves(kept)] == before


def test_a_stream_works_inside_inference_mode(model: Forecaster, etth1: SeriesSet, rows_of: Rows) -> None:
    """Rows fed inside `torch.inference_mode` are answered as outside, and the stream goes on outside."""
    rows = rows_of(etth1, 0, 3)
    plain, stream = model.stream(), model.stream()
    with torch.inference_mode():
        said = [stream.update(row).to_dict() for row in rows[:2]]
    said.append(stream.update(rows[2]).to_dict())
    assert said == [plain.update(row).to_dict() for row in rows]


@pytest.mark.usefixtures("without_shape_checks")
def test_memory_is_flat(build: Callable[..., Forecaster], prepared: PreparedData) -> None:
    """Thousands of rows leave the state's bytes as they were and the process no larger."""
    model = build(prepared, d_model=4, highway=2, horizon=1, quantiles=())
    stream, process = model.stream(), psutil.Process()
    size, time = stream.nbytes(), np.datetime64("2020-01-01", "us")
    wave = np.sin(np.arange(24))

    def feed(first: int, count: int) -> int:
        for row in range(first, first + count):
            stream.update([time + np.timedelta64(row, "h"), 10 + wave[row % 24], 5.0, None if row % 7 else 3.0])
        gc.collect()
        return process.memory_info().rss

    before = feed(0, 300)
    after = feed(300, 1500)
    assert stream.nbytes() == size
    assert stream.rows == 1800
    assert after - before < 1500 * 1000, "a kilobyte for each row would be a leak"
