"""A stream gives what one parallel pass gives, with missing values and missing rows too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
import torch

import aaren
from aaren import Forecaster, Stream
from aaren.data import SeriesSet, read_series
from aaren.evaluation import PreparedData, parallel_forecasts, prepare
from aaren.models import future_of

Rows = Callable[..., list[dict[str, Any]]]
pytestmark = pytest.mark.usefixtures("without_shape_checks")  # long streams; test_policies runs with the checks
LIMIT = 1e-4
"""Largest difference that is allowed, in training deviations."""


def _difference(
    stream: Stream, rows: list[dict[str, Any]], mean: np.ndarray, quantiles: np.ndarray, skip: int = 0
) -> float:
    """Largest difference, in training deviations, of the stream's forecasts in user units from scaled ones."""
    deviation = stream.model.preprocessing.scaler.deviation[: len(stream.schema.targets)]
    centre = stream.model.preprocessing.scaler.mean[: len(stream.schema.targets)]
    largest = 0.0
    for index, row in enumerate(rows):
        prediction = stream.update(row)
        if index < skip:
            continue
        streamed = (prediction.mean - centre) / deviation
        levels = (prediction.quantiles - centre[:, None]) / deviation[:, None]
        largest = max(largest, np.abs(streamed - mean[index]).max(), np.abs(levels - quantiles[index]).max())
    return float(largest)


def test_the_test_part_streamed_equals_the_parallel_pass(
    any_model: Forecaster, prepared: PreparedData, etth1: SeriesSet, rows_of: Rows
) -> None:
    """Every row of ETTh1's test part, after priming, gives the parallel forecast within 1e-4 training deviations.

    Decay and the baselines are held to it on a shorter stretch, to save time.
    """
    (start, stop), *_ = prepared.rows("test")
    shorter = {"aaren": stop if any_model.config.decay is None else start + 700, "transformer": start + 100}
    first, stop = start - 100, shorter.get(any_model.config.encoder, start + 700)
    mean, quantiles = parallel_forecasts(any_model, prepared, first, stop)
    assert mean[100:].std() > 0.1, "forecasts that hardly vary would show nothing"
    stream = any_model.stream()
    size = stream.nbytes()
    assert _difference(stream, rows_of(etth1, first, stop), mean, quantiles, skip=100) <= LIMIT
    if any_model.config.encoder != "transformer":
        assert stream.nbytes() == size
    assert (stream.rows, stream.skipped) == (stop - first, 0)
    assert stream.time == etth1.series[0].times[stop - 1]


def test_a_trained_mingru_streams(
    build: Callable[..., Forecaster], prepared: PreparedData, etth1: SeriesSet, rows_of: Rows, tmp_path: Path
) -> None:
    """After a step of training, saved and loaded, cut by a snapshot, minGRU streams to the parallel forecasts."""
    model = build(prepared, encoder="mingru", num_layers=2).train()
    values, calendar = (torch.from_numpy(array[:64])[None] for array in (prepared.values, prepared.calendar))
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(2):
        forecast, _ = model(values[:, :60], calendar[:, :60])
        loss = model.loss(forecast, future_of(values[..., : model.config.targets], 60, model.config.horizon))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())

    model.eval().save(tmp_path / "model")
    loaded = aaren.load(tmp_path / "model")
    mean, quantiles = parallel_forecasts(loaded, prepared, 0, 120)
    rows = rows_of(etth1, 0, 120)
    stream = loaded.stream()
    assert _difference(stream, rows[:70], mean, quantiles) <= LIMIT
    stream.save(tmp_path / "state")
    later = aaren.load(tmp_path / "model").stream(tmp_path / "state")
    assert _difference(later, rows[70:], mean[70:], quantiles[70:]) <= LIMIT


def test_rows_without_names_are_the_same_rows(model: Forecaster, etth1: SeriesSet, rows_of: Rows) -> None:
    """A row as a sequence (time, targets, covariates) is answered like the same row by column."""
    by_name, in_order = model.stream(), model.stream()
    for row in rows_of(etth1, 0, 10):
        assert by_name.update(row).to_dict() == in_order.update([row["date"], *list(row.values())[1:]]).to_dict()


def _with_holes(table: SeriesSet, rows: int) -> polars.DataFrame:
    """The first rows of a table as a frame, in which cells are missing and rows are absent."""
    generator = np.random.default_rng(5)
    one = table.series[0]
    values = one.values[:rows].copy()
    values[generator.random(values.shape) < 0.1] = np.nan
    keep = generator.random(rows) > 0.1
    keep[rows // 2 : rows // 2 + 30] = False
    keep[[0, 1, 2, -1]] = True
    columns = dict(zip(table.schema.inputs, values[keep].T, strict=True))
    return polars.DataFrame({"date": one.times[:rows][keep], **columns})


def test_holes_in_a_stream_equal_the_reindexed_table(any_model: Forecaster, etth1: SeriesSet, rows_of: Rows) -> None:
    """Missing cells and absent rows, streamed, give the parallel forecasts of the table with rows of NaN put in."""
    frame = _with_holes(etth1, 200)
    table = read_series(frame, targets=["OT", "HUFL"], covariates=["MUFL"])
    assert table.sampling.missing_rows > 40
    data = prepare(table, (0.6, 0.2, 0.2), any_model.preprocessing)
    present = np.isin(table.series[0].times, frame["date"].to_numpy())
    rows = [row for row, there in zip(rows_of(table, 0, 200), present, strict=True) if there]
    mean, quantiles = parallel_forecasts(any_model, data, 0, 200)
    assert _difference(any_model.stream(), rows, mean[present], quantiles[present]) <= LIMIT


def test_a_stretch_of_real_air_quality_with_its_missing_values(
    beijing_file: Path, build: Callable[..., Forecaster], rows_of: Rows
) -> None:
    """Beijing's hours, with time in parts and NA as a target, stream to the parallel forecasts."""
    parts = ("year", "month", "day", "hour")
    table = read_series(beijing_file, targets=["pm2.5"], covariates=["TEMP", "PRES"], time=parts)
    data = prepare(table, (0.7, 0.1, 0.2))
    model = build(data)
    missing = np.isnan(table.series[0].values[:150, 0])
    assert 20 < missing.sum() < 130, "the stretch is to have missing and known targets"
    rows = []
    for row, time in zip(rows_of(table, 0, 150), table.series[0].times, strict=False):
        stamp = time.astype("datetime64[s]").item()
        rows.append({**row, "year": stamp.year, "month": stamp.month, "day": stamp.day, "hour": stamp.hour})
    mean, quantiles = parallel_forecasts(model, data, 0, 150)
    assert _difference(model.stream(), rows, mean, quantiles) <= LIMIT


def test_irregular_rows_stream_with_their_elapsed_time(build: Callable[..., Forecaster], rows_of: Rows) -> None:
    """With irregular rows and decay by time, each row's distance counts, and the stream equals the parallel pass."""
    generator = np.random.default_rng(0)
    steps = generator.choice([60, 60, 60, 7, 91, 600], 120)
    times = np.datetime64("2020-01-01", "us") + np.cumsum(steps).astype("timedelta64[s]")
    frame = polars.DataFrame({"date": times, "load": np.cumsum(generator.normal(size=120))})
    table = read_series(frame, targets=["load"])
    assert table.sampling.kind == "irregular"
    data = prepare(table, (0.6, 0.2, 0.2))
    model = build(data, decay="time", look_back=16)
    rows = rows_of(table, 0, 120)
    mean, quantiles = parallel_forecasts(model, data, 0, 120)
    assert _difference(model.stream(), rows, mean, quantiles) <= LIMIT
    even = [{**row, "date": str(times[0] + np.timedelta64(60 * index, "s"))} for index, row in enumerate(rows)]
    assert _difference(model.stream(), even, mean, quantiles) > 100 * LIMIT


@pytest.mark.parametrize("decay", ["learned", "time"])
def test_a_model_without_time(decay: str, build: Callable[..., Forecaster], rows_of: Rows) -> None:
    """Rows without time stream too, in a pool as well, one unit after the other, and their forecasts have no times."""
    values = np.cumsum(np.random.default_rng(1).normal(size=80))
    table = read_series(polars.DataFrame({"load": values}), targets=["load"], time=None)
    data = prepare(table, (0.6, 0.2, 0.2))
    model = build(data, look_back=16, decay=decay)
    mean, quantiles = parallel_forecasts(model, data, 0, 80)
    stream, rows = model.stream(), rows_of(table, 0, 80)
    assert _difference(stream, rows, mean, quantiles) <= LIMIT
    said = model.pool(1).update(["a"] * 80, rows).arrays["mean"]
    scaler = data.preprocessing.scaler
    assert np.abs((said - scaler.mean) / scaler.deviation - mean).max() <= LIMIT
    said = stream.update({"load": 1.0}).to_dict()
    assert said.keys() == {"row", "warming_up", "forecast"}
    assert stream.time is None
    assert stream.time_of({"load": 1.0}) is None


@pytest.mark.parametrize("encoder", ["aaren", "gru", "mingru"])
def test_several_streams_of_one_model_do_not_touch_each_other(
    encoder: str, build: Callable[..., Forecaster], prepared: PreparedData, etth1: SeriesSet, rows_of: Rows
) -> None:
    """Two streams that take turns say what each of them says alone."""
    model = build(prepared, encoder=encoder)
    first, second = rows_of(etth1, 0, 20), rows_of(etth1, 500, 520)
    alone = [
        [Stream.update(stream, row).to_dict() for row in rows]
        for stream, rows in ((model.stream(), first), (model.stream(), second))
    ]
    one, other = model.stream(), model.stream()
    turns = [(one.update(a).to_dict(), other.update(b).to_dict()) for a, b in zip(first, second, strict=True)]
    assert [list(said) for said in zip(*turns, strict=True)] == alone
