"""A small forecaster with random weights, and rows of many keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from aaren import Forecaster
from aaren.data import Scaler, Schema
from aaren.models import Preprocessing

collect_ignore = ["spark_job.py"]  # a script that imports Spark, which need not be there
HOUR, START = np.timedelta64(3600, "s"), np.datetime64("2026-01-01", "us")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads only wait on such small tensors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_forecaster(seed: int, **fields: Any) -> Forecaster:
    """Two inputs, one target, hourly; a name of a column that is no identifier."""
    names = ("PM2.5", "wind")
    schema = Schema(names[:1], names[1:], ("date",))
    between = Preprocessing(schema, Scaler(names, np.zeros(2), np.ones(2)), (), HOUR.astype("timedelta64[us]"))
    sizes = {"look_back": 24, "horizon": 2, "d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Forecaster(preprocessing=between, inputs=2, targets=1, **{**sizes, **fields}).eval()


@pytest.fixture(scope="session")
def forecaster() -> Callable[..., Forecaster]:
    """Makes a forecaster from a seed."""
    return make_forecaster


def make_rows(keys: int, steps: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows in the order of time, all keys in each hour; each has its number."""
    random, rows = np.random.default_rng(seed), []
    for step in range(steps):
        for key in range(keys):
            date = str((START + step * HOUR).astype("datetime64[s]"))
            one, two = random.standard_normal(2).tolist()
            rows.append(
                {
                    "key": f"sensor {key}",
                    "number": step + 1,
                    "date": date,
                    "PM2.5": one,
                    "wind": two,
                }
            )
    return rows


@pytest.fixture(scope="session")
def sensor_rows() -> Callable[..., list[dict[str, Any]]]:
    """Makes rows of keys."""
    return make_rows
