"""Fixtures of the export's tests: one thread, exports that are written once, a Python with numpy and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for `export_cases`, which is not a test module

from export_cases import Case

from aaren.export import export


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """One thread, since threads only wait on such small tensors; no shape checks, which take most of a step's time."""
    threads, checks = torch.get_num_threads(), jaxtyping.config.jaxtyping_disable
    torch.set_num_threads(1)
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    torch.set_num_threads(threads)
    jaxtyping.config.update("jaxtyping_disable", checks)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Path]:
    """The export of a case for numpy, written at its first use; not to be changed."""
    folder, done = tmp_path_factory.mktemp("exports"), {}

    def directory(case: Case) -> Path:
        if case.name not in done:
            done[case.name] = export(case.model(), folder / case.name).directory
        return done[case.name]

    return directory


@pytest.fixture(scope="session")
def numpy_alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Run a Python script in a process that finds numpy and the standard library, and no other package."""
    site = tmp_path_factory.mktemp("site")
    spec = find_spec("numpy")
    assert spec is not None
    assert spec.origin is not None
    for folder in Path(spec.origin).parents[1].glob("numpy*"):
        if folder.name in ("numpy", "numpy.libs"):
            (site / folder.name).symlink_to(folder)

    def run(*arguments: object, stdin: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        # -S: without site-packages
        command = [sys.executable, "-S", *map(str, arguments)]
        return subprocess.run(
            command,
            input=stdin,
            text=True,
            check=False,
            env={**environment, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    return run
