"""Fixtures of the tests of evaluation."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for helpers, which are no test modules


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors here are small: a second thread would only wait, and on a busy machine for long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real files; a test that needs it fails without it, because a skipped check is no check."""
    folder = os.environ.get("AAREN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.fail("set AAREN_DATA to the folder with the real data sets (it has forecasting/ and streaming/)")
    return Path(folder)
