"""Fixtures of the streaming tests: small forecasters with real preprocessing, rows of real tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

from aaren import Forecaster, Stream
from aaren.data import SeriesSet, find, read_series
from aaren.evaluation import PreparedData, prepare

ENCODERS: dict[str, dict[str, Any]] = {
    "aaren": {"encoder": "aaren"},
    "aaren-learned-decay": {"encoder": "aaren", "decay": "learned"},
    "gru": {"encoder": "gru"},
    "mingru": {"encoder": "mingru"},
    "transformer": {"encoder": "transformer"},
}


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    """The same random numbers whichever tests ran before; one thread, since threads only wait on such small tensors."""
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """Switch jaxtyping's run-time checks off: for long streams, and to see the library's own words."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def etth1() -> SeriesSet:
    """The bundled series: 17,420 hourly rows without a hole; two targets and a covariate."""
    return read_series(find("ETTh1"), targets=["OT", "HUFL"], covariates=["MUFL"])


@pytest.fixture(scope="session")
def prepared(etth1: SeriesSet) -> PreparedData:
    """ETTh1 in the usual parts."""
    return prepare(etth1, (8640, 2880, 2880))


@pytest.fixture(scope="session")
def beijing_file() -> Path:
    """Hourly air quality with missing values; a test that needs it fails without it: a skipped check is no check."""
    folder = os.environ.get("AAREN_DATA")
    path = Path(folder or ".") / "streaming/beijing-pm25/PRSA_data_2010-2014.csv.gz"
    if not folder or not path.is_file():
        pytest.fail("set AAREN_DATA to the folder with the real data sets; streaming/beijing-pm25 must be in it")
    return path


def _model(data: PreparedData, **fields: Any) -> Forecaster:
    """A forecaster with random weights everywhere, so that no output is constant."""
    schema = data.preprocessing.schema
    sizes = {"look_back": 48, "horizon": 4, "d_model": 16, "nhead": 2, "num_layers": 1, "dim_feedforward": 32}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Forecaster(
            preprocessing=data.preprocessing,
            inputs=len(schema.inputs),
            targets=len(schema.targets),
            calendar=data.calendar.shape[1],
            **{**sizes, "highway": 8, "quantiles": (0.1, 0.5, 0.9), **fields},
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="session")
def build() -> Callable[..., Forecaster]:
    """Make a small forecaster for a prepared table; further arguments are fields of its configuration."""
    return _model


@pytest.fixture(scope="session", params=ENCODERS)
def any_model(request: pytest.FixtureRequest, prepared: PreparedData) -> Forecaster:
    """A forecaster of ETTh1 with every kind of encoder."""
    return _model(prepared, **ENCODERS[request.param])


@pytest.fixture(scope="session")
def model(prepared: PreparedData) -> Forecaster:
    """A forecaster of ETTh1 with Aaren and learned decay."""
    return _model(prepared, **ENCODERS["aaren-learned-decay"])


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., list[dict[str, Any]]]:
    """Rows of a table as a user feeds them: by column, with the time, None where a value is missing."""

    def rows(table: SeriesSet, start: int, stop: int, series: int = 0) -> list[dict[str, Any]]:
        one, inputs = table.series[series], table.schema.inputs
        found = []
        for row in range(start, stop):
            cells = [None if np.isnan(value) else value for value in one.values[row].tolist()]
            time = {} if one.times is None else {table.schema.time[0]: str(one.times[row])}
            found.append({**time, **dict(zip(inputs, cells, strict=True))})
        return found

    return rows


@pytest.fixture(scope="session")
def bits() -> Callable[[Stream], list[bytes]]:
    """All tensors of a stream's state, bit by bit."""

    def state_bits(stream: Stream) -> list[bytes]:
        return [leaf.numpy().tobytes() for leaf in pytree.tree_leaves(stream.state)]

    return state_bits


@pytest.fixture(scope="session")
def answers() -> Callable[..., list[dict[str, Any] | None]]:
    """What a stream says to each row, as plain data."""

    def said(stream: Stream, rows: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
        predictions = [stream.update(row) for row in rows]
        return [None if prediction is None else prediction.to_dict() for prediction in predictions]

    return said
