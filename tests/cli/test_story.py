"""Train, evaluate, predict, stream: the verbs as a user meets them, one after the other."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

import aaren as library
from aaren.data import read_series

TINY = "--look-back 24 --highway 12 --d-model 8 --nhead 2 --num-layers 1 --dim-feedforward 16 --horizon 3 --epochs 1"
Command = Callable[..., Any]


def test_training_writes_a_whole_model(trained: Path) -> None:
    """The folder holds what the help promises, and the model loads with the columns that were named."""
    names = {path.name for path in trained.iterdir()}
    assert names >= {"config.json", "model.safetensors", "preprocessing.json", "MODEL_CARD.md", "record.jsonl"}
    assert not [name for name in names if name.startswith(".")]
    model = library.load(trained)
    assert model.preprocessing.schema.targets == ("OT", "HUFL")
    assert model.preprocessing.schema.covariates == ("MUFL",)
    assert (model.config.decay, model.config.quantiles, model.config.horizon) == ("learned", (0.1, 0.5, 0.9), 3)


def test_the_error_table_and_what_to_do_next(aaren: Command, table: Path, tmp_path: Path) -> None:
    """Training without --json says what was read, prints errors beside simple forecasts, and names the next command."""
    folder = tmp_path / "model"
    done = aaren("train", "forecaster", table, "--target", "OT", *TINY.split(), "--quantiles", "", "-o", folder)
    assert done.code == 0
    assert done.out.startswith("Errors on the test part, in training deviations\n")
    for name in ("aaren, streamed", "aaren, from windows", "last value", "linear"):
        assert name in done.out
    assert f"aaren stream {folder} < rows.csv" in done.out.replace("\n", " ")
    assert "600 rows, 1 inputs" in done.err
    assert library.load(folder).config.quantiles == ()


@pytest.mark.parametrize("encoder", ["gru", "mingru", "transformer"])
def test_training_a_baseline_as_json(encoder: str, aaren: Command, table: Path, tmp_path: Path) -> None:
    """With --json the output is the record and nothing else; options that only Aaren has do not stop a baseline."""
    options = [*TINY.split(), "--encoder", encoder, "--target", "OT", "--target", "HUFL", "--json"]
    done = aaren("train", "forecaster", table, *options, "-o", tmp_path / "model")
    assert done.code == 0
    (record,) = done.lines()
    assert record["config"]["encoder"] == encoder
    assert record["metrics"]["streamed"]["mse"] > 0
    assert record == json.loads((tmp_path / "model" / "record.jsonl").read_text())


def test_evaluate(aaren: Command, trained: Path, table: Path) -> None:
    """Errors are those of training for the same part, as a table or as JSON; another part or split gives others."""
    recorded = json.loads((trained / "record.jsonl").read_text())["metrics"]
    (metrics,) = aaren("evaluate", trained, table, "--json").lines()
    assert metrics["streamed"]["mse"] == pytest.approx(recorded["streamed"]["mse"], rel=1e-5)
    assert set(metrics) == {"windows", "streamed", "baselines"}
    (validation,) = aaren("evaluate", trained, table, "--json", "--part", "validation").lines()
    (resplit,) = aaren("evaluate", trained, table, "--json", "--split", "300,100,200").lines()
    assert len({found["streamed"]["mse"] for found in (metrics, validation, resplit)}) == 3
    shown = aaren("evaluate", trained, table)
    assert shown.code == 0
    assert "Errors on the test part of etth1.csv" in shown.out
    assert f"{metrics['streamed']['mse']:.4f}" in shown.out


def test_evaluate_says_what_the_training_saw(aaren: Command, trained: Path, table: Path) -> None:
    """A split whose part holds rows of the training is told, one that is the training's in other words is not."""
    for split, part, seen in (
        ("300,100,200", "test", True),
        ("0.1,0.1,0.8", "validation", True),
        ("0.7,0.1,0.2", "test", False),
        ("420,60,120", "test", False),
        ("420,60,120", "validation", False),
        ("480,20,100", "test", False),
    ):
        done = aaren("evaluate", trained, table, "--json", "--split", split, "--part", part)
        assert done.code == 0
        words = (
            f"aaren: --split: the training had other parts of this file, and saw some of what is the {part} part here"
        )
        assert (words in done.err) == seen, (split, part)


def test_evaluate_tells_another_file(aaren: Command, trained: Path, table: Path, tmp_path: Path) -> None:
    """A file with other bytes than the training table is told on standard error, and evaluated all the same."""
    assert aaren("evaluate", trained, table, "--json").err == ""
    other = tmp_path / table.name
    other.write_bytes(b"".join(table.read_bytes().splitlines(keepends=True)[:-1]))
    done = aaren("evaluate", trained, other, "--json")
    assert (done.code, done.err.count("\n")) == (0, 1)
    assert done.err.startswith(f"aaren: {other} (SHA-256 ")
    assert ") is not the file that the model was trained on, etth1.csv (SHA-256 " in done.err


def test_predict_as_csv(aaren: Command, trained: Path, table: Path, tmp_path: Path) -> None:
    """Predict prints a table of the next times, each target and level; --output writes the same bytes to a file."""
    done = aaren("predict", trained, table)
    assert (done.code, done.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert list(rows[0]) == [
        "time",
        *(f"{name}{level}" for name in ("OT", "HUFL") for level in ("", " q0.1", " q0.5", " q0.9")),
    ]
    assert [row["time"] for row in rows] == [f"2016-07-26T0{hour}:00:00" for hour in range(3)]
    assert all(float(row["OT q0.1"]) <= float(row["OT q0.9"]) for row in rows)
    written = aaren("predict", trained, table, "--output", tmp_path / "forecast.csv")
    assert (written.code, written.out, written.err) == (0, "", "")
    assert (tmp_path / "forecast.csv").read_text() == done.out
    assert [path.name for path in tmp_path.iterdir()] == ["forecast.csv"]


def test_predict_as_json_is_the_last_word_of_the_stream(
    aaren: Command, trained: Path, table: Path, etth1_lines: list[bytes], tmp_path: Path
) -> None:
    """The forecast from the last row of a table is what the stream says after that row."""
    short = tmp_path / "short.csv"
    short.write_bytes(b"".join(etth1_lines[:61]))
    done = aaren("predict", trained, short, "--json")
    assert done.err == ""
    (prediction,) = done.lines()
    assert prediction.pop("series") == "short"
    last = aaren("stream", trained, stdin=short.read_bytes()).lines()[-1]
    assert (last["row"], last["time"], last["times"]) == (60, prediction["time"], prediction["times"])
    for name in ("OT", "HUFL"):
        for level, values in prediction["forecast"][name].items():
            assert values == pytest.approx(last["forecast"][name][level], abs=1e-3)
    aaren("predict", trained, short, "--json", "-o", tmp_path / "lines")
    assert (tmp_path / "lines").read_text() == done.out


def test_predict_several_series_and_fractions_of_a_second(
    aaren: Command, save_model: Callable[..., Path], tmp_path: Path
) -> None:
    """With several series the table has a first column for them, and times keep their fractions."""
    times = np.datetime64("2020-01-01", "us") + np.arange(30) * np.timedelta64(250, "ms")
    columns = {"time": np.tile(np.datetime_as_string(times), 2), "site": ["a"] * 30 + ["b"] * 30}
    polars.DataFrame({**columns, "load": np.arange(60.0) % 7}).write_csv(tmp_path / "sites.csv")
    table = read_series(tmp_path / "sites.csv", targets=["load"], series_id="site")
    rows = list(csv.DictReader(io.StringIO(aaren("predict", save_model(table), tmp_path / "sites.csv").out)))
    assert [row["series"] for row in rows] == ["a", "a", "b", "b"]
    assert [row["time"] for row in rows[:2]] == ["2020-01-01T00:00:07.500000", "2020-01-01T00:00:07.750000"]


def test_rows_without_time(aaren: Command, table: Path, tmp_path: Path) -> None:
    """With --time none, rows count as equally spaced: steps instead of times, in the table and in the stream."""
    folder = tmp_path / "model"
    options = ["--target", "OT", "--time", "none", "--decay", "none", *TINY.split(), "-o", folder, "--json"]
    assert aaren("train", "forecaster", table, *options).code == 0
    assert aaren("predict", folder, table).out.splitlines()[0].startswith("step,OT,")
    first = aaren("stream", folder, stdin=b"OT\n30.5\n27.8\n").lines()[0]
    assert first.keys() == {"row", "warming_up", "forecast"}


def test_air_quality_with_time_in_parts_and_missing_values(aaren: Command, beijing: Path, tmp_path: Path) -> None:
    """Beijing's file trains, evaluates, predicts and streams as it is, with its four time columns and its NA."""
    folder = tmp_path / "model"
    options = ["--target", "pm2.5", "--covariates", "TEMP,PRES", "--time", "year,month,day,hour", *TINY.split()]
    done = aaren("train", "forecaster", beijing, *options, "-o", folder, "--json")
    assert done.code == 0
    assert "missing values: pm2.5" in done.err
    assert done.lines()[0]["metrics"]["streamed"]["mse"] > 0
    assert aaren("evaluate", folder, beijing, "--json").code == 0
    assert len(aaren("predict", folder, beijing).out.splitlines()) == 4
    lines = beijing.read_bytes().splitlines(keepends=True)[:41]
    assert b",NA," in lines[1]
    said = aaren("stream", folder, stdin=b"".join(lines)).lines()
    assert [line["row"] for line in said] == list(range(1, 41))
    assert said[-1]["time"] == "2010-01-02T15:00:00"
    assert None not in said[-1]["forecast"]["pm2.5"]["mean"]
