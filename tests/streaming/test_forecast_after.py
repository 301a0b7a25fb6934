"""What comes after a table, in one pass: the stream's last word, or that of the window pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars
import pytest
import torch

from aaren import Forecaster
from aaren.data import SeriesSet, read_series
from aaren.errors import DataError
from aaren.evaluation import PreparedData, WindowDataset, model_inputs, prepare
from aaren.streaming import forecast_after

Rows = Callable[..., list[dict[str, Any]]]


def _head(table: SeriesSet, rows: int, sites: tuple[str, ...] = ()) -> SeriesSet:
    """The first rows of ETTh1; with sites, one stretch for each."""
    one = table.series[0]
    frames = []
    for index, site in enumerate(sites or ("",)):
        start = 10 * index
        stretch = dict(zip(table.schema.inputs, one.values[start : start + rows].T, strict=True))
        frames.append(polars.DataFrame({"date": one.times[start : start + rows], "site": site, **stretch}))
    return read_series(
        polars.concat(frames), targets=["OT", "HUFL"], covariates=["MUFL"], series_id="site" if sites else None
    )


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("rows", [2, 40, 520])
def test_running_equals_the_last_word_of_the_stream(
    rows: int, model: Forecaster, etth1: SeriesSet, rows_of: Rows
) -> None:
    """With running normalisation it is the stream's last prediction, for tables shorter and longer than a chunk."""
    table = _head(etth1, rows)
    stream = model.stream()
    for row in rows_of(table, 0, rows):
        last = stream.update(row)
    (prediction,) = forecast_after(model, table).values()
    scale = model.preprocessing.scaler.deviation[:2]
    assert (prediction.row, prediction.time) == (rows, last.time)
    assert (prediction.times == last.times).all()
    assert np.abs((prediction.mean - last.mean) / scale).max() <= 1e-4
    assert np.abs((prediction.quantiles - last.quantiles) / scale[:, None]).max() <= 1e-4


def test_window_equals_the_pass_over_the_last_window(
    build: Callable[..., Forecaster], prepared: PreparedData, etth1: SeriesSet
) -> None:
    """With window normalisation it is the forecast from the last `look_back` rows, as the evaluation makes it."""
    model = build(prepared, normalization="window")
    table = _head(etth1, 400)
    windows = WindowDataset(prepare(table, (0.5, 0.2, 0.3), model.preprocessing), "test", 48, 4)
    last = model_inputs(windows.__getitems__([len(windows) - 1]))
    with torch.no_grad():
        expected, _ = model(**last)
    (prediction,) = forecast_after(model, _head(etth1, 396)).values()
    units = model.preprocessing.to_units(expected.mean[0, -1].double().numpy())
    assert prediction.mean == pytest.approx(units, rel=1e-5)
    assert prediction.row == 396


def test_a_table_shorter_than_the_window(
    build: Callable[..., Forecaster], prepared: PreparedData, etth1: SeriesSet
) -> None:
    """A table with fewer rows than the window is forecast from all it has."""
    model = build(prepared, normalization="window")
    (short,) = forecast_after(model, _head(etth1, 20)).values()
    (other,) = forecast_after(model, _head(etth1, 30)).values()
    assert np.isfinite(short.mean).all()
    assert not np.allclose(short.mean, other.mean)


def test_every_series_by_its_name(build: Callable[..., Forecaster], etth1: SeriesSet) -> None:
    """A table of several series gives a prediction for each, as each alone would."""
    table = _head(etth1, 60, ("north", "south"))
    model = build(prepare(table, (0.6, 0.2, 0.2)), look_back=8)
    predictions = forecast_after(model, table)
    assert list(predictions) == ["north", "south"]
    for index, name in enumerate(predictions):
        stream = model.stream()
        one = table.series[index]
        for time, values in zip(one.times, one.values, strict=True):
            last = stream.update([time, *values.tolist()])
        assert predictions[name].mean == pytest.approx(last.mean, rel=1e-4)


def test_tables_and_models_that_do_not_fit(model: Forecaster, etth1: SeriesSet) -> None:
    """A table of another interval, and a model without preprocessing, are refused."""
    one = etth1.series[0]
    frame = polars.DataFrame(
        {"date": one.times[:40:2], **dict(zip(etth1.schema.inputs, one.values[:40:2].T, strict=True))}
    )
    with pytest.raises(DataError, match="expected rows every 3600 s as in training, received 7200 s"):
        forecast_after(model, read_series(frame, targets=["OT", "HUFL"], covariates=["MUFL"]))
    with pytest.raises(ValueError, match="expected preprocessing"):
        forecast_after(Forecaster(inputs=3, targets=2, horizon=1), etth1)
