"""Fixtures of the tests of studies: a small table under the name of a real set, and recipes that run in seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for `study_cases`, which is not a test module


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors here are small: a second thread would only wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
