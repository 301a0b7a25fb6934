"""Real files for the tests of the data floor."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the modules of cases, which are not test modules


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real files; a test that needs it fails without it, because a skipped check is no check."""
    folder = os.environ.get("AAREN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.fail("set AAREN_DATA to the folder with the real data sets (it has forecasting/ and streaming/)")
    return Path(folder)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write text or bytes to a new file and return its path."""

    def write_file(content: str | bytes, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file
