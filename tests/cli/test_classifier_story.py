"""The classifier on the command line: train, evaluate, predict, stream, and what is refused."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aaren as library
from aaren.cli._app import run
from aaren.data import find_parts, read_cases
from aaren.evaluation import evaluate_cases

Command = Callable[..., Any]
TINY = "--d-model 8 --nhead 2 --num-layers 1 --dim-feedforward 8 --epochs 2 --accelerator cpu"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real motions: training and test file, each cut to 20 cases of 12 rows."""
    folder, found = tmp_path_factory.mktemp("motions"), {}
    for part, path in find_parts("BasicMotions").items():
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        begin = lines.index("@data") + 1
        rows = []
        for line in lines[begin::2]:
            *channels, name = line.split(":")
            rows.append(":".join([*(",".join(channel.split(",")[:12]) for channel in channels), name]))
        head = [line for line in lines[:begin] if "seriesLength" not in line]
        found[part] = folder / f"{part}.ts"
        found[part].write_text("\n".join([*head, *rows]) + "\n")
    return found


@pytest.fixture(scope="module")
def model(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that the command line trained."""
    folder = tmp_path_factory.mktemp("classifier") / "model"
    line = ["train", "classifier", str(files["train"]), "--test", str(files["test"]), "-o", str(folder), *TINY.split()]
    assert run(line) == 0
    return folder


def test_train_shows_a_table(aaren: Command, files: dict[str, Path], tmp_path: Path) -> None:
    """Training says what was read, shows accuracies beside simple classifiers, and names the next command."""
    out = tmp_path / "model"
    done = aaren("train", "classifier", files["train"], "--test", files["test"], "-o", out, *TINY.split())
    assert done.code == 0
    assert "20 cases of 6 channels, length 12" in done.err
    for words in ("Accuracy on test.ts", "most frequent class", "nearest neighbour", f"aaren stream {out}"):
        assert words in done.out.replace("\n", " ")
    assert sorted(path.name for path in out.iterdir()) == [
        "MODEL_CARD.md",
        "config.json",
        "model.safetensors",
        "preprocessing.json",
        "record.jsonl",
    ]


def test_train_without_a_test_file(aaren: Command, files: dict[str, Path], tmp_path: Path) -> None:
    """Without a test file the validation part is shown; with --json the record is the one line of output."""
    done = aaren("train", "classifier", files["train"], "-o", tmp_path / "a", *TINY.split())
    assert "Accuracy on the validation part" in done.out
    (record,) = aaren("train", "classifier", files["train"], "-o", tmp_path / "b", "--json", *TINY.split()).lines()
    assert set(record["metrics"]) == {"validation"}
    assert record["data"]["source"] == "train.ts"


def test_windows_of_a_recording(aaren: Command, tmp_path: Path) -> None:
    """One recording with a class in each row trains and tests, cut in time; a second one may be the test."""
    path = tmp_path / "eyes.csv"
    rows = [
        f"{(i // 20) % 2 + (i * 7 % 10) / 10},{i * 3 % 5},{'open' if (i // 20) % 2 else 'shut'}" for i in range(200)
    ]
    path.write_text("\n".join(["AF3,F7,eye", *rows]) + "\n")
    done = aaren("train", "classifier", path, "--windows", 5, "-o", tmp_path / "m", "--json", *TINY.split())
    (record,) = done.lines()
    assert record["data"]["source"] == "eyes.csv, first 140 rows"
    assert (record["data"]["cases"], record["data"]["test_cases"]) == (28, 12)
    assert record["data"]["lengths"] == [5, 5]
    assert "28 cases of 2 channels, length 5" in done.err
    said = aaren("stream", tmp_path / "m", stdin=b"AF3,F7\n1,2\n").lines()
    assert set(said[0]["probabilities"]) == {"open", "shut"}
    options = ["--windows", 5, "--test", path, "--outliers", 3, *TINY.split()]
    done = aaren("train", "classifier", path, *options, "-o", tmp_path / "n", "--json")
    assert done.lines()[0]["data"]["test_cases"] == 40


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A recording with a class in each row and one spike at its end, and a model of windows of its first part."""
    folder = tmp_path_factory.mktemp("recorded")
    rows = [
        f"{(i // 20) % 2 + (i * 7 % 10) / 10},{i * 3 % 5},{'open' if (i // 20) % 2 else 'shut'}" for i in range(200)
    ]
    rows[190] = "1000,0,open"
    (folder / "eyes.csv").write_text("\n".join(["AF3,F7,eye", *rows]) + "\n")
    options = ["--windows", "5", "--outliers", "3", *TINY.split(), "-o", str(folder / "model")]
    assert run(["train", "classifier", str(folder / "eyes.csv"), *options]) == 0
    return {"recording": folder / "eyes.csv", "model": folder / "model"}


def test_evaluate_windows(aaren: Command, recorded: dict[str, Path], tmp_path: Path) -> None:
    """The recording of the training gives the metrics of the training's test part; another one is taken whole."""
    model, path = recorded["model"], recorded["recording"]
    record = json.loads((model / "record.jsonl").read_text())
    done = aaren("evaluate", model, path, "--json")
    assert done.lines()[0] == record["metrics"]["test"]
    assert done.err.splitlines() == [
        f"aaren: {path} is the recording of the training; only its test part is taken",
        "aaren: 1 outliers are taken as missing, as in training",
    ]
    assert aaren("evaluate", model, path, "--windows", 5, "--label", "eye", "--json").lines() == done.lines()
    assert aaren("evaluate", model, path, "--windows", 4, "--json").lines()[0]["cases"] == 15
    assert "windows of 5 rows of eyes.csv, rows 141 to 200" in aaren("evaluate", model, path).out.replace("\n", " ")
    rows = path.read_text().splitlines()[1:]
    other = tmp_path / "other.csv"
    swapped = [",".join([row.split(",")[2], "x", *row.split(",")[:2]]) for row in rows]
    other.write_text("\n".join(["state,note,AF3,F7", *swapped]) + "\n")
    done = aaren("evaluate", model, other, "--label", "state", "--json")
    assert done.lines()[0]["cases"] == 40
    assert "is not the file that the model was trained on" in done.err


SEEN = "is what the model was trained on: how well it does there says little of other data"


def test_evaluate_says_that_the_model_has_seen_the_cases(aaren: Command, files: dict[str, Path], model: Path) -> None:
    """The file of the training is judged with a word, the test file and a prediction go without."""
    assert f"aaren: {files['train']} {SEEN}" in aaren("evaluate", model, files["train"]).err.splitlines()
    for verb, part in (("evaluate", "test"), ("predict", "train")):
        assert SEEN not in aaren(verb, model, files[part]).err


def test_evaluate_says_that_the_model_has_seen_the_recording(
    aaren: Command, recorded: dict[str, Path], tmp_path: Path
) -> None:
    """A recording that was trained on as a whole, with another one or itself for the test, is judged with a word."""
    path, other = recorded["recording"], tmp_path / "other.csv"
    other.write_text(path.read_text() + "0.5,1,open\n")
    for test in (other, path):
        model = tmp_path / test.stem
        done = aaren("train", "classifier", path, "--test", test, "--windows", 5, *TINY.split(), "-o", model)
        assert done.code == 0
        done = aaren("evaluate", model, path, "--json")
        assert f"aaren: {path} {SEEN}" in done.err.splitlines()
        assert done.lines()[0]["cases"] == 40
        assert SEEN not in aaren("evaluate", model, other).err


def test_verify_windows(aaren: Command, recorded: dict[str, Path], tmp_path: Path) -> None:
    """An export of a model of windows is checked on the windows of its test part, as `evaluate` takes them."""
    aaren("export", recorded["model"], tmp_path / "out", "--to", "numpy")
    (found,) = aaren("verify", tmp_path / "out", "--data", recorded["recording"], "--json").lines()
    assert found["holds"]
    (judged,) = aaren("evaluate", recorded["model"], recorded["recording"], "--json").lines()
    assert found["rows"] == 5 * judged["cases"]


def test_predict_windows(aaren: Command, recorded: dict[str, Path], tmp_path: Path) -> None:
    """A recording is cut without a look at its class, which may be anything, or not be there."""
    model, path = recorded["model"], recorded["recording"]
    said = aaren("predict", model, path).out
    assert len(said.splitlines()) == 1 + 200 // 5
    rows = [row.split(",") for row in path.read_text().splitlines()]
    bare, unknown = tmp_path / "bare.csv", tmp_path / "unknown.csv"
    bare.write_text("\n".join(",".join(row[1::-1]) for row in rows) + "\n")
    unknown.write_text("\n".join([",".join(rows[0]), *(",".join([*row[:2], "?"]) for row in rows[1:])]) + "\n")
    for other in (bare, unknown):
        assert aaren("predict", model, other).out == said
    assert len(aaren("predict", model, path, "--windows", 7, "--json").lines()) == 200 // 7
    window = "\n".join(",".join(row) for row in [rows[0], *rows[1:6]]) + "\n"
    streamed = aaren("stream", model, stdin=window.encode()).lines()[-1]
    first = aaren("predict", model, path, "--json").lines()[0]
    assert streamed["class"] == first["class"]


def test_a_model_whose_record_says_nothing_of_windows(
    aaren: Command, recorded: dict[str, Path], tmp_path: Path
) -> None:
    """Where the record has no windows, or nonsense, --windows has to say that a file is a recording."""
    model = tmp_path / "model"
    shutil.copytree(recorded["model"], model)
    config = json.loads((model / "config.json").read_text())
    known = config["metadata"]["data"]
    nonsense = {"length": 5, "label": 3, "test_rows": [1, "x"], "bounds": [[1.0], None]}
    for windows in (None, "5", {"length": 0}, {"length": True}):
        config["metadata"]["data"] = {**known, "windows": windows}
        (model / "config.json").write_text(json.dumps(config))
        for verb in ("evaluate", "predict"):
            assert "as windows (--windows," in aaren(verb, model, recorded["recording"]).refusal()
        assert "--label: expected only with --windows" in aaren("evaluate", model, "x", "--label", "eye").refusal()
        (found,) = aaren("evaluate", model, recorded["recording"], "--windows", 5, "--json").lines()
        assert found["cases"] == 40
    config["metadata"]["data"] = {**known, "windows": nonsense}
    (model / "config.json").write_text(json.dumps(config))
    assert aaren("evaluate", model, recorded["recording"], "--json").lines()[0]["cases"] == 40


def test_evaluate(aaren: Command, model: Path, files: dict[str, Path]) -> None:
    """Evaluate gives the library's metrics as JSON, and a table beside the most frequent class."""
    (found,) = aaren("evaluate", model, files["test"], "--json").lines()
    loaded = library.load(model)
    cases = read_cases(files["test"], classes=loaded.preprocessing.classes)
    assert found == json.loads(json.dumps(evaluate_cases(loaded, cases)))
    shown = aaren("evaluate", model, files["test"]).out
    assert "its most frequent class" in shown
    assert f"{found['accuracy']:.4f}" in shown


def test_predict_as_csv_and_json(aaren: Command, model: Path, files: dict[str, Path], tmp_path: Path) -> None:
    """Predict writes a line for each case, the same in both formats and to a file; unknown classes may be '?'."""
    done = aaren("predict", model, files["test"])
    table = list(csv.DictReader(io.StringIO(done.out)))
    lines = aaren("predict", model, files["test"], "--json").lines()
    classes = library.load(model).preprocessing.classes
    assert list(table[0]) == ["case", "class", *(f"p({name})" for name in classes)]
    assert len(table) == len(lines) == 20
    for row, line in zip(table, lines, strict=True):
        assert (int(row["case"]), row["class"]) == (line["case"], line["class"])
        assert {name: float(row[f"p({name})"]) for name in classes} == line["probabilities"]
        assert line["length"] == 12
    aaren("predict", model, files["test"], "-o", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == done.out
    text = files["test"].read_text()
    unknown = tmp_path / "unknown.ts"
    unknown.write_text(text.replace(":Standing", ":?").replace(":Walking", ":?"))
    assert aaren("predict", model, unknown).out == done.out
    assert "expected one of the classes" in aaren("evaluate", model, unknown).refusal()


def test_stream_is_predict(aaren: Command, model: Path, files: dict[str, Path], tmp_path: Path) -> None:
    """Rows of a case through a pipe end with what predict says of it; a state goes on after a restart."""
    case = read_cases(files["test"]).cases[2]
    header = ",".join(f"channel_{number}" for number in range(1, 7))
    rows = [",".join(map(repr, row)) for row in case.tolist()]
    done = aaren("stream", model, stdin="\n".join([header, *rows, ""]).encode())
    assert (done.code, done.err) == (0, "")
    said = done.lines()
    assert [line["row"] for line in said] == list(range(1, 13))
    expected = aaren("predict", model, files["test"], "--json").lines()[2]
    assert said[-1]["class"] == expected["class"]
    for name, value in expected["probabilities"].items():
        assert said[-1]["probabilities"][name] == pytest.approx(value, abs=1e-5)
    state = tmp_path / "state"
    parts = [
        aaren("stream", model, "--state", state, stdin="\n".join([header, *part, ""]).encode())
        for part in (rows[:5], rows[5:])
    ]
    assert [line for part in parts for line in part.lines()] == said


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train classifier nowhere.ts -o NEW", "nowhere.ts: the file cannot be read"),
        ("train classifier TABLE -o NEW", "expected a file that ends in .ts"),
        ("train classifier TRAIN --test nowhere.ts -o NEW", "nowhere.ts: the file cannot be read"),
        ("train classifier TRAIN --test OTHER -o NEW", "other.ts, line 3: expected one of the classes"),
        ("train classifier TRAIN --validation 0 -o NEW", "--validation: expected a share between 0 and 1"),
        ("train classifier TRAIN --seed -1 -o NEW", "--seed: expected a number from 0"),
        ("train classifier TRAIN --outliers 3 -o NEW", "--outliers: expected only with --windows, received 3"),
        ("train classifier TABLE --windows 0 -o NEW", "--windows: expected at least 1 row, received 0"),
        ("train classifier TABLE --windows 2 --test-share 1 -o NEW", "--test-share: expected a share between"),
        ("train classifier TABLE --windows 2 --outliers 0 -o NEW", "--outliers: expected a positive number"),
        ("train classifier TRAIN --windows 2 -o NEW", "expected a recording that ends in .arff, .csv"),
        ("train classifier TRAIN --encoder gru --decay learned -o NEW", "--decay: expected none for --encoder gru"),
        ("train classifier TRAIN -o TABLE", "expected a folder, but"),
        ("evaluate MODEL TABLE", "expected a file that ends in .ts"),
        ("evaluate MODEL TABLE --windows 0", "--windows: expected at least 1 row, received 0"),
        ("evaluate MODEL TABLE --windows 2", "column 'channel_1': no such column; the columns are 'a', 'b'"),
        ("evaluate MODEL TRAIN --windows 2", "expected a recording that ends in .arff, .csv"),
        ("evaluate MODEL TRAIN --label b", "--label: expected only with --windows, received b"),
        ("evaluate RECORDED EYES --windows 50", "expected 50 rows of one class behind each other, received at most 20"),
        ("evaluate RECORDED EYES --label F7", "column 'F7': expected a column of classes and at least one channel"),
        ("evaluate RECORDED EYES --label=", "column '': expected a column of classes and at least one channel"),
        ("predict RECORDED EYES --windows 500", "expected 500 rows of one class behind each other, received at most"),
        ("predict RECORDED TABLE", "column 'AF3': no such column"),
        ("evaluate MODEL TRAIN --split 0.5,0.2,0.3", "--split: expected only with a forecaster or an event model, rec"),
        ("evaluate MODEL TRAIN --part test", "--part: expected only with a forecaster or an event model, received a"),
        ("evaluate MODEL OTHER", "expected one of the classes"),
        ("predict MODEL nowhere.ts", "nowhere.ts: the file cannot be read"),
        ("predict MODEL NARROW", "expected cases of 6 channels as in training, received 1"),
        ("evaluate MODEL TRAIN --episodes 2", "--episodes: expected only with a policy, received a classifier"),
        ("stream MODEL --mode streamed", "--mode: expected only with a policy, received a classifier"),
        ("stream MODEL --max-gap 3", "--max-gap: expected only with a forecaster, received a classifier"),
        ("stream MODEL --anomalies", "--anomalies: expected only with a forecaster or an event model, received a"),
        ("stream MODEL --series a", "--series: expected a model"),
    ],
)
def test_inputs_at_fault(
    line: str,
    words: str,
    aaren: Command,
    model: Path,
    recorded: dict[str, Path],
    files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot be used is named in one line, with exit code 1, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "other.ts").write_text("@classLabel true Flying\n@data\n1:2:3:4:5:6:Flying\n")
    (tmp_path / "narrow.ts").write_text("@classLabel true Walking\n@data\n1,2:Walking\n")
    places = {"TABLE": "table.csv", "OTHER": "other.ts", "NARROW": "narrow.ts", "TRAIN": str(files["train"])}
    places |= {"EYES": str(recorded["recording"]), "RECORDED": str(recorded["model"])}
    for name, place in {**places, "MODEL": str(model), "NEW": "new"}.items():
        line = line.replace(name, place)
    before = sorted(tmp_path.rglob("*"))
    assert words in aaren(*line.split()).refusal()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_model(aaren: Command, model: Path, files: dict[str, Path], tmp_path: Path) -> None:
    """A changed temperature is noticed by the fingerprint, before a number is used."""
    copy = tmp_path / "model"
    copy.mkdir()
    for path in model.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    changed = json.loads((copy / "preprocessing.json").read_text())
    (copy / "preprocessing.json").write_text(json.dumps({**changed, "temperatures": [[1, 9.0]]}))
    assert "fingerprint" in aaren("predict", copy, files["test"]).refusal()
