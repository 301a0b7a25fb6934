"""Events on the command line: from files to a model, errors, predictions and a stream; and what is refused."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Command = Callable[..., Any]
TINY = ["--d-model", "8", "--num-layers", "1", "--dim-feedforward", "8", "--components", "2", "--epochs", "1"]


def table(sequences: int, seed: int) -> str:
    """A table of events whose names of marks are words."""
    random = np.random.default_rng(seed)
    rows = ["sequence,time,mark"]
    for name in range(sequences):
        times = np.cumsum(random.exponential(3.0, 8))
        rows += [f"u{name},{time:.3f},{random.choice(['buy', 'look'])}" for time in times]
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training and a validation table."""
    folder = tmp_path_factory.mktemp("events")
    (folder / "train.csv").write_text(table(10, 0))
    (folder / "valid.csv").write_text(table(4, 1))
    return folder


def test_the_whole_way(files: Path, aaren: Command, tmp_path: Path) -> None:
    """Train on a split file, evaluate its test part, predict, and stream with a restart that changes nothing."""
    model, train = tmp_path / "model", files / "train.csv"
    done = aaren("train", "events", train, "-o", model, *TINY)
    assert done.code == 0, done.err
    assert "10 sequences, 80 events, 2 marks" in done.err
    assert "Poisson" in done.out
    assert f"Next: aaren stream {model} < events.csv" in done.out
    (record,) = [json.loads(line) for line in (model / "record.jsonl").read_text().splitlines()]
    (own,) = aaren("evaluate", model, train, "--json").lines()
    assert own["model"] == record["metrics"]["test"]
    assert own["model"]["events"] == 2 * 7
    (other,) = aaren("evaluate", model, files / "valid.csv", "--json").lines()
    assert other["model"]["events"] == 4 * 7  # another file is evaluated whole
    assert "accuracy" in aaren("evaluate", model, train, "--split", "2,3,5").out
    predicted = aaren("predict", model, train)
    rows = list(csv.DictReader(io.StringIO(predicted.out)))
    assert [row["sequence"] for row in rows] == [f"u{name}" for name in range(10)]
    assert all(float(row["median"]) > float(row["last"]) and row["mark"] in ("buy", "look") for row in rows)
    lines = aaren("predict", model, train, "--json").lines()
    assert lines[3]["next"]["mean"] == float(rows[3]["mean"])

    one = "sequence,time,mark\n" + "".join(f"u0,{time},buy\n" for time in (1, 2, 4, 7))
    whole = aaren("stream", model, stdin=one.encode())
    assert (whole.code, whole.err) == (0, "")
    assert [line["time"] for line in whole.lines()] == [1, 2, 4, 7]
    half = "\n".join(one.splitlines()[:3]) + "\n"
    first = aaren("stream", model, "--state", tmp_path / "state", stdin=half.encode())
    second = aaren("stream", model, "--state", tmp_path / "state", stdin=one.encode())
    assert first.out + second.out == whole.out
    bad = one.replace("u0,4,", "u0,0,")
    assert "line 4, column 'time': expected a time of at least 2.0" in aaren("stream", model, stdin=bad.encode()).err
    skipped = aaren("stream", model, "--on-bad-row", "skip", stdin=bad.encode())
    assert len(skipped.lines()) == 3
    assert "1 of 4 rows were skipped" in skipped.err
    mixed = one + "u1,9,buy\n"
    assert len(aaren("stream", model, "--series", "u0", stdin=mixed.encode()).lines()) == 4


def test_parts_in_files_and_json(files: Path, aaren: Command, tmp_path: Path) -> None:
    """With files for validation and test, all of TRAIN is learned from; --json prints the record."""
    arguments = ["--validation", files / "valid.csv", "--test", files / "valid.csv", "--json"]
    (record,) = aaren("train", "events", files / "train.csv", "-o", tmp_path / "m", *arguments, *TINY).lines()
    assert record["data"]["train"]["sequences"] == 10
    assert record["metrics"]["test"] == record["metrics"]["validation"]
    assert record["data"]["split"] is None


def test_refusals(files: Path, aaren: Command, tmp_path: Path) -> None:
    """What cannot be used is one line and exit code 1, and nothing is written."""
    train = files / "train.csv"
    (tmp_path / "ties.csv").write_text("time\n1\n1\n2\n")
    (tmp_path / "other.csv").write_text("time,mark\n1,buy\n2,sell\n")
    before = sorted(tmp_path.rglob("*"))
    for arguments, words in (
        (["nowhere.json"], "expected a file of events, received no such file"),
        ([tmp_path], "expected a file of events, received a folder"),
        ([tmp_path / "ties.csv"], "duplicates='drop'"),
        ([train, "--test", train], "--test: expected --validation beside it"),
        ([train, "--time", "when"], "column 'when': no such column"),
        ([train, "--seed", 2**40], "--seed: expected"),
    ):
        assert words in aaren("train", "events", *arguments, "-o", tmp_path / "new").refusal()
    for arguments, words in (
        (["--split", "1,1,50"], "at least one sequence in each part"),
        (["--validation", tmp_path / "other.csv"], "expected one of the marks 'buy', 'look', received 'sell'"),
        (["--d-model", 7], "d_model: expected"),
    ):
        done = aaren("train", "events", train, *arguments, "-o", tmp_path / "new")
        assert done.code == 1
        assert words in done.err.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == before


def test_hostile_files(aaren: Command, tmp_path: Path) -> None:
    """A pickle that would run a command is one line, and the command is not run."""
    (tmp_path / "e.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    said = aaren("train", "events", tmp_path / "e.pkl", "-o", tmp_path / "new").refusal()
    assert "received a pickle that calls for 'os.system'" in said
    assert [path.name for path in tmp_path.iterdir()] == ["e.pkl"]
