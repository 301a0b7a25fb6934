"""Fixtures of the tests of exports to C: a small model of every kind with its rows, and programs made of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for `c_cases`, which is not a test module

from c_cases import CASES, Case

WARNINGS = """
-std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wdouble-promotion -Wshadow -Wstrict-prototypes -Werror
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, since threads only wait on such small tensors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """A model with its rows: every kind, and every part that only some configurations have."""
    return CASES[request.param]()


@pytest.fixture(scope="session", params=["forecaster", "classifier", "events", "policy"])
def kind(request: pytest.FixtureRequest) -> Case:
    """One model of each kind."""
    return CASES[request.param]()


def compilers() -> list[str]:
    """The C compilers of this machine that the tests know the options of."""
    return [name for name in ("gcc", "clang") if shutil.which(name)]


@pytest.fixture(scope="session")
def compile_c() -> Callable[..., Path]:
    """Compile C files of a folder into a program; further arguments go to the compiler. Skips without a compiler."""

    def run(folder: Path, *options: str, compiler: str = "gcc", to: str = "program") -> Path:
        if not shutil.which(compiler):
            pytest.skip(f"no {compiler} on this machine")
        command = [compiler, *WARNINGS.split(), *options, "-o", to, "-lm"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return folder / to

    return run
