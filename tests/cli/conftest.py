"""Fixtures of the command line's tests: commands in this process, real tables cut short, a trained model."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch

from aaren import Forecaster
from aaren.cli._app import run
from aaren.data import SeriesSet, find
from aaren.evaluation import prepare

TINY = "--look-back 24 --highway 12 --d-model 8 --nhead 2 --num-layers 1 --dim-feedforward 16 --horizon 3 --epochs 1"


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    def lines(self) -> list[dict[str, Any]]:
        """Standard output, read as lines of JSON and nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]

    def refusal(self, code: int = 1) -> str:
        """The one line of a command that was refused; checks that there is nothing else."""
        assert self.code == code, (self.code, self.err)
        assert self.out == ""
        assert self.err.startswith("aaren: ")
        assert self.err.count("\n") == 1
        assert self.err.endswith("\n")
        assert "Traceback" not in self.err
        return self.err


@pytest.fixture(autouse=True)
def repeatable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, since threads only wait on such small tensors; no debugging switch from outside."""
    monkeypatch.delenv("AAREN_DEBUG", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """Switch jaxtyping's run-time checks off, for long streams."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def aaren(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Done]:
    """Run one command line in this process; `stdin` is what it reads."""
    pipe = tmp_path_factory.mktemp("stdin") / "stdin"

    def command(*arguments: object, stdin: bytes = b"") -> Done:
        capsys.readouterr()
        pipe.write_bytes(stdin)
        with pipe.open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return command


@pytest.fixture(scope="session")
def etth1_lines() -> list[bytes]:
    """Header and 600 rows of the bundled series, line by line."""
    with gzip.open(find("ETTh1")) as file:
        return [file.readline() for _ in range(601)]


@pytest.fixture(scope="session")
def table(etth1_lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 600 rows of ETTh1 as a CSV file."""
    path = tmp_path_factory.mktemp("table") / "etth1.csv"
    path.write_bytes(b"".join(etth1_lines))
    return path


@pytest.fixture(scope="session")
def beijing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,500 hours of air quality; a test that needs it fails without it: a skipped check is no check."""
    folder = os.environ.get("AAREN_DATA")
    path = Path(folder or ".") / "streaming/beijing-pm25/PRSA_data_2010-2014.csv.gz"
    if not folder or not path.is_file():
        pytest.fail("set AAREN_DATA to the folder with the real data sets; streaming/beijing-pm25 must be in it")
    cut = tmp_path_factory.mktemp("beijing") / "beijing.csv"
    with gzip.open(path) as file:
        cut.write_bytes(b"".join(file.readline() for _ in range(1501)))
    return cut


@pytest.fixture(scope="session")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that the command line trained on the table; of OT and HUFL, with MUFL beside them."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    columns = ["--target", "OT,HUFL", "--covariates", "MUFL"]
    assert run(["train", "forecaster", str(table), *columns, *TINY.split(), "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def save_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Save an untrained model for a table; further arguments are fields of its configuration."""

    def save(table: SeriesSet, **fields: Any) -> Path:
        data = prepare(table, (0.6, 0.2, 0.2))
        sizes = {"look_back": 8, "horizon": 2, "d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 8}
        schema = data.preprocessing.schema
        model = Forecaster(
            preprocessing=data.preprocessing,
            inputs=len(schema.inputs),
            targets=len(schema.targets),
            calendar=data.calendar.shape[1],
            **{**sizes, **fields},
        )
        folder = tmp_path_factory.mktemp("saved") / "model"
        model.save(folder)
        return folder

    return save
