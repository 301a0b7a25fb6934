"""The streaming part of the demo: the table row by row, its forecasts beside the parallel ones and beside what came."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from aaren.data import SeriesSet
from aaren.evaluation import ForecastWeek, PreparedData, StreamCheck
from aaren.models import Forecaster
from aaren.streaming import Stream

LIMIT = 1e-4
SHOWN_BLOCKS = 7


@dataclass(frozen=True, eq=False)
class Streamed:
    """What a stream said from the row before the test part on.

    Args:
        rows: rows that the stream took in all.
        first: row, from 0, of the first forecast below.
        mean: shape (forecasts, horizon, targets), in the table's units.
        quantiles: shape (forecasts, horizon, targets, levels).
        nbytes: of the state after the first and after the last row.
        microseconds: of each of these rows.
    """

    rows: int
    first: int
    mean: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    nbytes: tuple[int, int]
    microseconds: list[float]


def stream_rows(model: Forecaster, table: SeriesSet, start: int, stop: int) -> Streamed:
    """Feed the table from its first row, as a user would, and keep the forecasts of the test part."""
    live, series, first = Stream(model), table.series[0], start - 1
    means, quantiles, microseconds, nbytes = [], [], [], 0
    console = Console(stderr=True)
    for row in track(range(stop), "streaming", console=console, transient=True, disable=not console.is_terminal):
        cells = [*([] if series.times is None else [series.times[row]]), *series.values[row].tolist()]
        begin = time.perf_counter()
        prediction = live.update(cells)
        spent = time.perf_counter() - begin
        assert prediction is not None, "on_bad_row='error' leaves no row out"
        nbytes = nbytes or live.nbytes()
        if row >= first:
            means.append(prediction.mean)
            quantiles.append(prediction.quantiles)
            microseconds.append(1e6 * spent)
    return Streamed(stop, first, np.stack(means), np.stack(quantiles), (nbytes, live.nbytes()), microseconds)


def stream_check(
    prepared: PreparedData,
    streamed: Streamed,
    parallel: tuple[NDArray[np.float32], NDArray[np.float32]],
    times: Sequence[str],
    column: str,
) -> StreamCheck:
    """Compare both ways, mean and quantiles, in training deviations.

    Args:
        prepared: the table, with the scaling of the model.
        streamed: what the stream said.
        parallel: mean and quantiles from every row, as `parallel_forecasts` gives them, scaled.
        times: ISO times of all rows that were streamed.
        column: the one that is shown.

    Raises:
        RuntimeError: they differ by more than rounding.
    """
    scaler, targets = prepared.preprocessing.scaler, len(prepared.preprocessing.schema.targets)
    center, deviation = scaler.mean[:targets], scaler.deviation[:targets]
    mean, quantiles = (forecasts[streamed.first :] for forecasts in parallel)
    scaled = np.concatenate(
        [
            ((streamed.mean - center) / deviation)[..., None],
            (streamed.quantiles - center[:, None]) / deviation[:, None],
        ],
        -1,
    )
    difference = np.abs(scaled - np.concatenate([mean[..., None], quantiles], -1)).max((1, 2, 3))
    largest = float(difference.max())
    if not largest <= LIMIT:
        raise RuntimeError(f"streaming differs from parallel by {largest:.1e} deviations, more than {LIMIT:.0e}")
    block, horizon = max(1, len(difference) // 240), streamed.mean.shape[1]
    shown, index = SHOWN_BLOCKS * horizon, prepared.preprocessing.schema.targets.index(column)
    # the forecast of a row, made `horizon` rows ahead, was made that many rows before it
    made = slice(-shown - horizon, -horizon)
    return StreamCheck(
        rows=streamed.rows,
        compared=len(difference),
        largest_difference=largest,
        limit=LIMIT,
        state_bytes_first=streamed.nbytes[0],
        state_bytes_last=streamed.nbytes[1],
        median_microseconds=statistics.median(streamed.microseconds),
        column=column,
        times=list(times[-shown:]),
        ahead=horizon,
        streamed=streamed.mean[made, -1, index].tolist(),
        parallel=prepared.preprocessing.to_units(mean[made, -1])[:, index].tolist(),
        block=block,
        differences=[float(difference[at : at + block].max()) for at in range(0, len(difference), block)],
    )


def forecast_week(
    table: SeriesSet, streamed: Streamed, times: Sequence[str], column: str, levels: Sequence[float]
) -> ForecastWeek:
    """The last blocks of the test part, each forecast from the row before it."""
    index, horizon = table.schema.targets.index(column), streamed.mean.shape[1]
    shown = SHOWN_BLOCKS * horizon
    first = len(times) - shown
    origins = [row - 1 - streamed.first for row in range(first, len(times), horizon)]
    quantiles = streamed.quantiles[origins, :, index].reshape(shown, -1)
    return ForecastWeek(
        column=column,
        times=list(times[first:]),
        truth=table.series[0].values[first : len(times), index].tolist(),
        mean=streamed.mean[origins, :, index].ravel().tolist(),
        lower=quantiles[:, 0].tolist(),
        upper=quantiles[:, -1].tolist(),
        levels=[levels[0], levels[-1]],
        horizon=horizon,
    )


def iso_times(table: SeriesSet, stop: int) -> list[str]:
    """Times of the first rows, to the second."""
    times = table.series[0].times
    assert times is not None, "ETTh1 has times"
    return [str(time) for time in times[:stop].astype("datetime64[s]")]
