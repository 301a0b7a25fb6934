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
    assert f"Next: aaren stream {model} --series u0 < events.csv" in done.out
    (record,) = [json.loads(line) for line in (model / "record.jsonl").read_text().splitlines()]
    (own,) = aaren("evaluate", model, train, "--json").lines()
    assert own["model"] == record["metrics"]["test"]
    assert own["model"]["events"] == 2 * 7
    (other,) = aaren("evaluate", model, files / "valid.csv", "--json").lines()
    assert other["model"]["events"] == 4 * 7  # another file is evaluated whole
    refused = aaren("evaluate", model, files / "valid.csv", "--part", "validation").refusal()
    assert "--part: expected only with --split" in refused
    assert "taken whole" in refused
    for split, seen in (("2,3,5", True), ("6,2,2", False), ("8,1,1", False)):
        done = aaren("evaluate", model, train, "--split", split)
        assert "accuracy" in done.out
        assert ("saw some of what is the test part here" in done.err) == seen
    assert "--seed: expected only with a policy, received an" in aaren("evaluate", model, train, "--seed", 1).refusal()
    assert "--warmup: expected only with a forecaster, received an" in aaren("stream", model, "--warmup", 1).refusal()
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
    done = aaren("evaluate", tmp_path / "m", files / "train.csv", "--split", "6,2,2")
    assert "saw some of what is the test part here" in done.err


def test_refusals(files: Path, aaren: Command, tmp_path: Path) -> None:
    """What cannot be used is one line and exit code 1, and nothing is written."""
    train = files / "train.csv"
    (tmp_path / "ties.csv").write_text("time\n1\n1\n2\n")
    (tmp_path / "other.csv").write_text("time,mark\n1,buy\n2,sell\n")
    before = sorted(tmp_path.rglob("*"))
    for arguments, words in (
        (["nowhere.json"], "expected a file of events, received no such file"),
        ([tmp_path], "expected a file of events, received a folder"),
        ([tmp_path / "ties.csv"], "read with --duplicates drop to"),
        ([train, "--test", train], "--test: expected --validation beside it"),
        ([train, "--time", "when"], "column 'when': no such column"),
        ([train, "--seed", 2**40], "--seed: expected"),
        ([train, "--encoder", "gru", "--decay", "time"], "--decay: expected none for --encoder gru, received time"),
        ([train, "--validation", train, "--split", "1,1,1"], "--split: expected it without --validation"),
    ):
        assert words in aaren("train", "events", *arguments, "-o", tmp_path / "new").refusal()
    for arguments, words in (
        (["--split", "1,1,50"], "at least one sequence in each part"),
        (["--validation", tmp_path / "other.csv"], "expected one of the marks 'buy', 'look', received 'sell'"),
        (["--d-model", 7], "aaren: --d-model: expected"),
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


def test_parts_that_a_file_names(aaren: Command, tmp_path: Path) -> None:
    """A file's own parts are trained, validated and tested on; --split overrides them, and evaluation follows."""
    random = np.random.default_rng(0)
    times = np.cumsum(random.exponential(1.0, (30, 6)), 1)
    fold = np.arange(30) % 3 == 2
    path = tmp_path / "folds.npz"
    np.savez(path, times=times.ravel(), offsets=np.arange(31) * 6, fold1_is_test=fold)
    done = aaren("train", "events", path, "-o", tmp_path / "m", "--json", *TINY)
    assert "parts that the file names: train, test" in done.err
    (record,) = done.lines()
    assert [record["data"][part]["sequences"] for part in ("train", "validation", "test")] == [18, 2, 10]
    (own,) = aaren("evaluate", tmp_path / "m", path, "--json").lines()
    assert own["model"] == record["metrics"]["test"]
    (own,) = aaren("evaluate", tmp_path / "m", path, "--part", "validation", "--json").lines()
    assert own["model"] == record["metrics"]["validation"]
    assert "the test part of folds.npz" in aaren("evaluate", tmp_path / "m", path).out
    (record,) = aaren("train", "events", path, "-o", tmp_path / "n", "--split", "10,10,10", "--json", *TINY).lines()
    assert [record["data"][part]["sequences"] for part in ("train", "validation", "test")] == [10, 10, 10]
    (own,) = aaren("evaluate", tmp_path / "n", path, "--json").lines()
    assert own["model"] == record["metrics"]["test"]


def test_marks_on_one_side_only(files: Path, aaren: Command, tmp_path: Path) -> None:
    """A file without marks for a model with, and the other way round, is one line for evaluate and predict."""
    random = np.random.default_rng(0)
    flat = {"times": np.cumsum(random.exponential(1.0, (10, 6)), 1).ravel(), "offsets": np.arange(11) * 6}
    np.savez(tmp_path / "bare.npz", **flat)
    np.savez(tmp_path / "marked.npz", **flat, marks=np.arange(60) % 2)
    for name in ("bare", "marked"):
        done = aaren("train", "events", tmp_path / f"{name}.npz", "-o", tmp_path / name, *TINY)
        assert done.code == 0, done.err
        assert f"Next: aaren stream {tmp_path / name} < events.csv" in done.out  # no sequences to choose from
    for verb in ("evaluate", "predict"):
        said = aaren(verb, tmp_path / "marked", tmp_path / "bare.npz").refusal()
        assert "expected events with marks, of which there are 2, received events without" in said
        said = aaren(verb, tmp_path / "bare", tmp_path / "marked.npz").refusal()
        assert "expected events without marks as in training, received events with marks" in said


def test_short_sequences(files: Path, aaren: Command, tmp_path: Path) -> None:
    """Sequences without an interval stop training or are dropped, and evaluate and predict do as training did."""
    path = tmp_path / "short.csv"
    path.write_text((files / "train.csv").read_text() + "alone,1,buy\n")
    assert "read with --short drop" in aaren("train", "events", path, "-o", tmp_path / "m", *TINY).refusal()
    done = aaren("train", "events", path, "-o", tmp_path / "m", "--short", "drop", *TINY)
    assert "10 sequences, 80 events" in done.err
    assert aaren("evaluate", tmp_path / "m", path).code == 0
    assert "alone" not in aaren("predict", tmp_path / "m", path).out


def test_times_since_1970(aaren: Command, tmp_path: Path) -> None:
    """Milliseconds since 1970 are predicted in full: the next event comes after the last, and near it."""
    random = np.random.default_rng(0)
    rows = ["sequence,time"]
    for name in range(10):
        rows += [f"u{name},{time}" for time in 1_700_000_000_000 + np.cumsum(random.integers(1, 40, 8))]
    (tmp_path / "ms.csv").write_text("\n".join(rows) + "\n")
    assert aaren("train", "events", tmp_path / "ms.csv", "-o", tmp_path / "m", *TINY).code == 0
    said = list(csv.DictReader(io.StringIO(aaren("predict", tmp_path / "m", tmp_path / "ms.csv").out)))
    lasts = {row.split(",")[0]: float(row.split(",")[1]) for row in rows[1:]}
    for row in said:
        assert float(row["last"]) == lasts[row["sequence"]]
        assert 0 < float(row["q0.1"]) - float(row["last"]) < float(row["q0.9"]) - float(row["last"]) < 1000
