"""Fixtures of the service's tests: a small model, real rows, a real server on a free port in a thread."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aaren import Forecaster
from aaren.data import find
from aaren.serving import Limits, OwnedStreams, Service, Tokens, open_streams

sys.path.insert(0, str(Path(__file__).parent))  # for `serving_cases`, which is not a test module

from serving_cases import Running, untrained


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads only wait on such small tensors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def rows() -> list[dict[str, Any]]:
    """400 rows of ETTh1: date and oil temperature."""
    with gzip.open(find("ETTh1"), "rt") as file:
        text = "".join(file.readline() for _ in range(401))
    return [{"date": row["date"], "OT": float(row["OT"])} for row in csv.DictReader(io.StringIO(text))]


@pytest.fixture(scope="session")
def model() -> Forecaster:
    """A forecaster of the oil temperature, whose weights nobody has trained."""
    return untrained()


@pytest.fixture
def served(model: Forecaster) -> Iterator[Callable[..., Running]]:
    """Start a service; all are stopped at the end."""
    running: list[Running] = []

    def start(
        tokens: Tokens | None = None,
        store: Path | None = None,
        of: Any = None,
        wrap: Callable[[OwnedStreams], OwnedStreams] = lambda streams: streams,
        **limits: Any,
    ) -> Running:
        def make() -> Service:
            return Service(of or model, lambda: wrap(open_streams(of or model, 1000, store)), tokens, Limits(**limits))

        running.append(Running(make))
        return running[-1]

    yield start
    for one in running:
        one.stop()
