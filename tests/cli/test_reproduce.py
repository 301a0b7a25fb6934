"""`aaren reproduce` on the command line: what it lists, refuses, runs, and writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aaren.data import find, sha256_of
from aaren.errors import TrainingError
from aaren.studies import ENCODERS, Plan, _forecasting, _reproduce, recipes

Command = Callable[..., Any]


def test_list_names_every_recipe(aaren: Command, tmp_path: Path) -> None:
    """The list has every recipe with its status and what is recorded, and runs nothing."""
    lines = aaren("reproduce", "--list", "--results", str(tmp_path)).out.splitlines()
    assert [line.split()[0] for line in lines] == [recipe.name for recipe in recipes()]
    assert lines[0].split()[1:] == ["original", "0", "of", "100", "runs", "recorded"]
    assert list(tmp_path.iterdir()) == []


def test_horizons_are_repeated_or_given_with_commas(aaren: Command, tmp_path: Path) -> None:
    """Two horizons mean the same runs both ways, twice as many as one."""
    where = ("--list", "--results", str(tmp_path))
    both = aaren("reproduce", "forecasting/ETTh1", "--horizon", "96,192", *where).out
    assert both == aaren("reproduce", "forecasting/ETTh1", "--horizon", "96", "--horizon", "192", *where).out
    assert both == aaren("reproduce", "forecasting/ETTh1", "--horizon", "96,192,96", *where).out
    assert "0 of 50 runs recorded" in both


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a setting or SETTING/DATASET to run; `aaren reproduce --list` names all"),
        (["forecasting/ETTh9"], "did you mean forecasting/ETTh"),
        (["forecasting/ETTh1", "--encoder", "lstm"], "expected encoders among aaren, aaren-decay"),
        (["forecasting/ETTh1", "--scale", "huge"], "expected a scale among paper, small, received 'huge'"),
        (["forecasting/ETTh1", "--horizon", "5"], "expected horizons among"),
        (["forecasting/ETTh1", "--horizon", "96,x"], "--horizon: expected whole numbers, received 96, x"),
        (["forecasting/ETTh1", "--horizon", "9_6"], "--horizon: expected whole numbers, received 9_6"),
        (["rl", "--horizon", "96", "--list"], "expected horizons among none, received [96]"),
        (["--horizon", "97", "--list"], "--horizon: no recipe has 97"),
        (["forecasting/ETTh1", "--horizon", ","], "--horizon, --encoder: expected at least one, received none"),
        (["forecasting/ETTh1", "--encoder", ","], "--horizon, --encoder: expected at least one, received none"),
        (["forecasting/ETTh1", "--seeds", "0"], "--seeds: expected 1 to 1000, received 0"),
        (["--list", "--seeds", "1001"], "--seeds: expected 1 to 1000, received 1001"),
    ],
)
def test_what_cannot_be_run_is_one_line(aaren: Command, tmp_path: Path, arguments: list[str], message: str) -> None:
    """A wrong name and a set that is not here end with one line that says what to do."""
    assert message in aaren("reproduce", *arguments, "--results", str(tmp_path)).refusal()


def test_what_is_not_here_does_not_stop_the_rest(
    aaren: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set that is not here is said once, a run that diverges too, and the others run; the exit code is 1."""
    ran = []

    def pretend(plan: Plan, directory: Path) -> dict[str, Any]:
        ran.append(plan.encoder)
        if plan.encoder == "gru":
            raise TrainingError("the validation loss is not finite")
        return {"metrics": {"mse": 0.5}, "simple": {}, "run": {"seconds": 1.0}}

    absent = _forecasting.run
    monkeypatch.setitem(
        _reproduce.RUNS,
        "forecasting",
        lambda plan, directory: (absent if plan.recipe.name.endswith("Traffic") else pretend)(plan, directory),
    )
    done = aaren(
        *("reproduce", "forecasting/Traffic", "forecasting/ETTh1", "--horizon", "96", "--seeds", "1"),
        *("--results", str(tmp_path)),
    )
    assert done.code == 1
    assert ran == list(ENCODERS)
    lines = done.err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(
        "aaren: [1/10] forecasting/Traffic 96 aaren seed 0: the data set Traffic was looked for in"
    )
    assert lines[1] == "aaren: [9/10] forecasting/ETTh1 96 gru seed 0: the validation loss is not finite"
    assert lines[2] == "aaren: 6 of 10 runs have no record"


def test_runs_are_told_skipped_and_tabled(aaren: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each run, a word for each that has its record, and the pages at the end."""

    def pretend(plan: Plan, directory: Path) -> dict[str, Any]:
        run = {
            "seconds": 1.0,
            "parameters": 5,
            "config": {"encoder": plan.encoder},
            "options": {"batch_size": 4},
            "training": {"epochs": 2, "samples": 10},
            "data": {"sha256": sha256_of(find("ETTh1"))},
            "hardware": {"processor": "p", "cores": 1, "threads": 1},
            "versions": {"torch": "2"},
        }
        return {"metrics": {"mse": 0.5 + plan.seed, "mae": 0.4}, "simple": {"linear": {"mse": 0.3}}, "run": run}

    monkeypatch.setitem(_reproduce.RUNS, "forecasting", pretend)
    command = ("reproduce", "forecasting/ETTh1", "--horizon", "96", "--seeds", "2", "--encoder", "aaren,transformer")
    where = ("--results", str(tmp_path / "results"), "--tables", str(tmp_path / "docs"))
    first = aaren(*command, *where)
    assert first.out.splitlines()[0] == "[1/4] forecasting/ETTh1 96 aaren seed 0: mse 0.5000, mae 0.4000 (1 s)"
    assert len(list((tmp_path / "results").rglob("*.jsonl"))) == 1
    lines = (tmp_path / "results" / "forecasting" / "ETTh1.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"]["seed"] for line in lines] == [0, 0, 1, 1]
    assert "| ETTh1, 96 | original |" in (tmp_path / "docs" / "results.md").read_text()
    second = aaren(*command, *where)
    assert second.err.count("has its record") == 4
    assert "mse" not in second.out
