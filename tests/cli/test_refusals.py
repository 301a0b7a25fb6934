"""What a command line that cannot be done gets: an exit code and one line, and no file that was not there before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aaren.cli._app import run
from aaren.data import read_series
from aaren.errors import DataError

Command = Callable[..., Any]

USAGE = {
    "an unknown verb": ("juggle", "Unknown command"),
    "no verb of train": ("train juggle", "juggle"),
    "an unknown option": ("predict MODEL TABLE --colour red", "--colour"),
    "a misspelt option": ("stream MODEL --folow x", "Did you mean --follow?"),
    "no model": ("stream", "expected MODEL, which has no default, received none"),
    "no horizon": ("train forecaster TABLE --target OT", "expected --horizon, which has no default, received none"),
    "a horizon without its number": ("train forecaster TABLE --target OT --horizon", "--horizon requires an argument"),
    "one argument too many": ("evaluate MODEL TABLE more", "more"),
}
TRAIN = "train forecaster TABLE --target OT --horizon 3 -o NEW "
INPUT = {
    "a fraction as a whole number": (TRAIN + "--epochs 4.5", "--epochs: expected a whole number, received '4.5'"),
    "a seed that would be rounded": (TRAIN + "--seed 1.7", "--seed: expected a whole number, received '1.7'"),
    "text as a fraction": (TRAIN + "--dropout little", "--dropout: expected a number, received 'little'"),
    "the training part": ("evaluate MODEL TABLE --part train", "train"),
    "an unknown accelerator": ("train forecaster TABLE --target OT --horizon 3 --accelerator abacus", "abacus"),
    "an unknown choice": ("stream MODEL --on-bad-row ignore", "ignore"),
    "text as a number": (
        "train forecaster TABLE --target OT --horizon three",
        "--horizon: expected a whole number, received 'three'",
    ),
    "no such file": ("train forecaster nowhere.csv --target OT --horizon 3 -o NEW", "no such file"),
    "a folder as file": ("train forecaster FOLDER --target OT --horizon 3 -o NEW", "a folder"),
    "a column that is not there": (
        "train forecaster TABLE --target OTT --horizon 3 -o NEW",
        "column 'OTT': no such column; the columns are 'date', 'HUFL', 'HULL', 'MUFL', 'MULL', 'LUFL', 'LULL', 'OT'; "
        "did you mean 'OT'?",
    ),
    "a text column": ("train forecaster TABLE --target date --horizon 3 -o NEW", "column 'date'"),
    "a pipe": (
        "train forecaster /dev/null --target OT --horizon 3 -o NEW",
        "/dev/null: expected a CSV or Parquet file, received a pipe or a device; write what",
    ),
    "no time column": (TRAIN + "--time when", "column 'when': no such column"),
    "two parts": (TRAIN + "--split 0.8,0.2", "--split: expected three fractions or counts"),
    "parts that are no numbers": (TRAIN + "--split a,b,c", "received 'a,b,c'"),
    "an infinite part": (TRAIN + "--split inf,1,1", "received 'inf,1,1'"),
    "levels that are no numbers": (TRAIN + "--quantiles low,high", "--quantiles: expected ascending levels"),
    "levels out of order": (TRAIN + "--quantiles 0.9,0.1", "received '0.9,0.1'"),
    "a level of one": (TRAIN + "--quantiles 1", "received '1'"),
    "a seed beyond bounds": (TRAIN + "--seed 99999999999999999999", "--seed: expected a number from"),
    "a GPU that is not there": (TRAIN + "--accelerator gpu", "--accelerator: expected a GPU"),
    "decay of a baseline": (
        TRAIN + "--encoder transformer --decay learned",
        "--decay: expected none for --encoder transformer, received learned; only aaren's tokens fade",
    ),
    "a file as folder": ("train forecaster TABLE --target OT --horizon 3 -o TABLE", "is a file"),
    "a file above the folder": ("train forecaster TABLE --target OT --horizon 3 -o TABLE/model", "is a file"),
    "no such model": ("evaluate nowhere TABLE", "nowhere: no such model directory; `aaren train` writes one"),
    "a file as model": ("predict TABLE TABLE", "no such model directory"),
    "an empty folder as model": ("stream FOLDER", "config.json: no such file"),
    "a table of another model": ("predict MODEL OTHER", "column 'OT': no such column"),
    "a stream of another model": ("evaluate MODEL OTHER", "column 'OT': no such column"),
    "a split without parts": ("evaluate MODEL TABLE --split 1", "--split: expected three"),
    "a folder as output": ("predict MODEL TABLE -o FOLDER", "expected a file to write, received a folder"),
    "output in no folder": ("predict MODEL TABLE -o FOLDER/deep/x.csv", "there is no folder"),
    "state in no folder": ("stream MODEL --state FOLDER/deep/state", "there is no folder"),
    "a table as state": ("stream MODEL --state TABLE", "not a state snapshot, or damaged"),
    "a folder to follow": ("stream MODEL --follow FOLDER", "received a folder"),
    "no file to follow": ("stream MODEL --follow nowhere.csv", "nowhere.csv: expected a CSV"),
    "saving never": ("stream MODEL --save-every 0", "--save-every: expected at least 1, received 0"),
    "saving without a state": ("stream MODEL --save-every 5", "--save-every: expected only with --state, received 5"),
    "a risk without anomalies": ("stream MODEL --risk 0.01", "--risk: expected only with --anomalies, received 0.01"),
    "a policy's episodes": (
        "evaluate MODEL TABLE --episodes 2",
        "--episodes: expected only with a policy, received a forecaster; leave it out",
    ),
    "a policy's mode": ("evaluate MODEL TABLE --mode both", "--mode: expected only with a policy, received a fore"),
    "a policy's return": ("evaluate MODEL TABLE --target-return 0", "--target-return: expected only with a policy"),
    "a policy's seed": ("evaluate MODEL TABLE --seed 0", "--seed: expected only with a policy, received a forecaster"),
    "a classifier's windows": ("evaluate MODEL TABLE --windows 5", "--windows: expected only with a classifier, rec"),
    "windows to forecast": ("predict MODEL TABLE --windows 5", "--windows: expected only with a classifier, received"),
    "a negative gap": ("stream MODEL --max-gap -1", "--max-gap: expected at least 0, received -1"),
    "a series of a model without": ("stream MODEL --series a", "--series: expected a model"),
}
SLOWER = {
    "an argument of the library": (
        "--positions learned --horizon 3",
        "--positions: expected None or 'sinusoidal' with --normalization running, whose",
    ),
    "a horizon beyond the table": ("--horizon 5000", "look-back"),
    "no epochs": ("--horizon 3 --epochs 0", "aaren: --epochs: expected"),
    "heads that do not divide": ("--horizon 3 --d-model 10 --nhead 3", "aaren: --nhead: expected"),
    "dropout of one": ("--horizon 3 --dropout 1", "aaren: --dropout: expected"),
    "no horizon": ("--horizon 0", "aaren: --horizon: expected"),
}


@pytest.fixture
def tried(
    aaren: Command, trained: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Any]:
    """Run a command line with names in place of paths; files must be the same before and after."""
    folder, other = tmp_path / "folder", tmp_path / "other.csv"
    folder.mkdir()
    other.write_text("date,load\n2020-01-01 00:00,1\n2020-01-01 01:00,2\n")
    monkeypatch.chdir(tmp_path)
    places = {"TABLE": table, "MODEL": trained, "FOLDER": folder, "OTHER": other, "NEW": tmp_path / "new"}

    def command(line: str) -> Any:
        for name, place in places.items():
            line = line.replace(name, str(place))
        before = sorted(tmp_path.rglob("*"))
        done = aaren(*line.split())
        assert sorted(tmp_path.rglob("*")) == before
        return done

    return command


@pytest.mark.parametrize("case", USAGE)
def test_a_command_line_at_fault(case: str, tried: Callable[[str], Any]) -> None:
    """A verb or option that does not exist, or is missing, is named in one line, with exit code 2."""
    line, words = USAGE[case]
    said = tried(line).refusal(code=2)
    assert words in said
    assert said.endswith("(aaren --help lists what there is)\n")


@pytest.mark.parametrize("case", INPUT)
def test_an_input_at_fault(case: str, tried: Callable[[str], Any]) -> None:
    """An input or value that cannot be used is named in one line, with exit code 1, before anything is written."""
    line, words = INPUT[case]
    assert words in tried(line).refusal()


@pytest.mark.parametrize("case", SLOWER)
def test_an_input_at_fault_that_the_table_shows(case: str, tried: Callable[[str], Any]) -> None:
    """What only the table or the model shows is the last line, below what was read, with exit code 1."""
    options, words = SLOWER[case]
    done = tried(f"train forecaster TABLE --target OT {options} -o NEW")
    assert (done.code, done.out) == (1, "")
    *_, last = done.err.splitlines()
    assert last.startswith("aaren: ")
    assert words in last
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessing.json"])
def test_damaged_models(name: str, aaren: Command, trained: Path, table: Path, tmp_path: Path) -> None:
    """A model whose file is cut short, emptied or gone is refused by every verb that reads it."""
    model = tmp_path / "model"
    shutil.copytree(trained, model)
    for data in ((trained / name).read_bytes()[:-20], b"", None):
        (model / name).unlink()
        if data is not None:
            (model / name).write_bytes(data)
        for line in (("predict", model, table), ("evaluate", model, table), ("stream", model)):
            assert name in aaren(*line).refusal()
        (model / name).touch()


@pytest.mark.parametrize("record", [{}, {"data": []}, {"data": {"split": "all"}}, {"data": {"split": [0.5, "x"]}}])
def test_a_record_that_says_nothing(
    record: dict[str, Any], aaren: Command, trained: Path, table: Path, tmp_path: Path
) -> None:
    """The record beside a model is not trusted: without parts in it, evaluate takes the usual ones."""
    model = tmp_path / "model"
    shutil.copytree(trained, model)
    header = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**header, "metadata": record}))
    assert aaren("evaluate", model, table, "--json").out == aaren("evaluate", trained, table, "--json").out


def test_a_window_model_does_not_stream(aaren: Command, save_model: Callable[..., Path], table: Path) -> None:
    """A model that needs its whole window is refused by `stream`, with the remedy."""
    model = save_model(read_series(table, targets=["OT"]), normalization="window")
    assert "train with --normalization running" in aaren("stream", model).refusal()


def test_a_model_without_columns(aaren: Command, table: Path, tmp_path: Path) -> None:
    """A model without preprocessing is refused by the verbs that read a table."""
    from aaren import Forecaster

    Forecaster(inputs=1, targets=1, horizon=1, d_model=8).save(tmp_path / "model")
    for verb in ("predict", "evaluate"):
        assert "expected a model with preprocessing" in aaren(verb, tmp_path / "model", table).refusal()


def test_folders_that_do_not_allow_writing(tried: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without the right to write is refused before the work (the right is taken away for root, too)."""
    monkeypatch.setattr("os.access", lambda path, mode: False)
    for line in ("stream MODEL --state FOLDER/state", "predict MODEL TABLE -o FOLDER/x.csv", TRAIN):
        assert "does not allow it" in tried(line).refusal()


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """With AAREN_DEBUG the error itself comes through."""
    monkeypatch.setenv("AAREN_DEBUG", "1")
    with pytest.raises(DataError, match="no such file"):
        run(["train", "forecaster", "nowhere.csv", "--target", "OT", "--horizon", "3"])


def test_system_errors_are_one_line(
    aaren: Command, trained: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the operating system is its text and its file, without number and traceback."""
    for error, words in (
        (PermissionError(13, "Permission denied", "secret.csv"), "aaren: secret.csv: Permission denied\n"),
        (OSError(5, "Input/output error"), "aaren: Input/output error\n"),
        (OSError("odd"), "aaren: odd\n"),
    ):

        def fail(*_: Any, error: OSError = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr("aaren.load", fail)
        assert aaren("predict", trained, table).refusal() == words
