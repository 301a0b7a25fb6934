"""The library's errors in the words of the command line."""

from __future__ import annotations

import pytest

from aaren._words import in_options

OWN, TRAINING = ("d_model", "max_gap", "on_bad_row"), ("d_model", "short", "series_id", "time", "normalization")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("d_model: expected 8", "--d-model: expected 8"),
        ("name it with time=, or pass time=None", "name it with --time in training, or pass --time none in training"),
        ("with normalization='running' to go", "with --normalization running in training to go"),
        (
            "a normalization='window'; train with normalization='running'",
            "a --normalization window; train with --normalization running",
        ),
        ("at most max_gap = 50 missing", "at most --max-gap 50 missing"),
        ("choose on_bad_row='skip' or 'impute'", "choose --on-bad-row skip or impute"),
    ],
)
def test_arguments_become_options(message: str, words: str) -> None:
    """Arguments at the begin and inside are written as options; those of another verb are said to be of training."""
    assert in_options(message, OWN, TRAINING) == words


@pytest.mark.parametrize(
    "message",
    [
        "columns are 'a time=1, b', 'time=None'",
        "my time=3.csv, line 3: expected",
        "d_model: expected a table, in a file that is called so",
        "a folder called time=7, given: expected a table",
        "time=1/model: no such model directory",
        "/runs/time=1/model: no such file",
        "a folder time=1/model",
        "expected a number, received 'time=None'",
        "model: expected a forecaster",
        "seed=3, which is no option here",
        "a comparison: d_model == 3 or d_model=='x'y",
    ],
)
def test_what_is_no_argument_stays(message: str) -> None:
    """Paths, cells and other names are left as they are."""
    assert in_options(message, OWN, TRAINING, ["time", "called time=7, given", "d_model"]) == message
