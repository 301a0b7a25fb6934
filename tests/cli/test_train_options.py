"""The options that the verbs of `aaren train` share: what each verb makes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aaren.errors import DataError
from aaren.training import CLASSIFIER_OPTIONS, EVENT_OPTIONS, TrainingOptions, policy_options

Command = Callable[..., Any]

VERBS = {
    "forecaster": ["--target", "y", "--horizon", "3"],
    "classifier": [],
    "events": [],
    "policy": ["--environment", "Hopper-v4", "--steps", "500"],
}
DEFAULTS: dict[str, tuple[tuple[object, ...], TrainingOptions]] = {
    "forecaster": ((64, 4, 2, 256, 0.1), TrainingOptions()),
    "classifier": ((128, 8, 3, 256, 0.1), CLASSIFIER_OPTIONS),
    "events": ((64, 1, 2, 64, 0.1), EVENT_OPTIONS),
    "policy": ((128, 1, 3, 512, 0.1), policy_options(500)),
}
SIZES = ("d_model", "nhead", "num_layers", "dim_feedforward", "dropout")
GIVEN: dict[str, Any] = {
    "d_model": 48,
    "nhead": 6,
    "num_layers": 5,
    "dim_feedforward": 7,
    "dropout": 0.25,
    "epochs": 9,
    "batch_size": 11,
    "learning_rate": 0.5,
    "learning_rate_decay": 0.75,
    "warmup_steps": 13,
    "patience": 8,
    "seed": 17,
    "accelerator": "cpu",
    "precision": "bf16-mixed",
    "matmul_precision": "medium",
    "compile": True,
}
LACKING = {
    "forecaster": {"warmup_steps"},
    "classifier": {"warmup_steps"},
    "events": {"warmup_steps", "precision", "compile"},
    "policy": {"patience", "compile"},
}


@pytest.fixture
def passed_on(aaren: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run a train verb on a file that is not read, up to the training; what the training would get."""
    file, found = tmp_path / "data", {}
    file.touch()
    read = SimpleNamespace(describe=lambda: "", parts=(), close=lambda: None)
    for name in ("read_series", "read_cases", "read_events", "read_episodes", "make_environment", "require_robot"):
        monkeypatch.setattr(f"aaren.data.{name}", lambda *_, **__: read)
    monkeypatch.setattr("aaren.data.split_sequences", lambda *_: (read, read, None))

    def train(*_: object, **arguments: Any) -> None:
        found.update(arguments)
        raise DataError("not trained")

    for name in ("forecaster", "classifier", "events", "policy"):
        monkeypatch.setattr(f"aaren.training.train_{name}", train)

    def command(verb: str, *options: object) -> dict[str, Any]:
        done = aaren("train", verb, file, *VERBS[verb], "-o", tmp_path / "new", *options)
        assert (done.code, done.err.splitlines()[-1]) == (1, "aaren: not trained")
        return found

    return command


def words(options: dict[str, Any]) -> list[object]:
    """Options as they stand on a command line."""
    named = [(f"--{name.replace('_', '-')}", value) for name, value in options.items()]
    return [word for name, value in named for word in ([name] if value is True else [name, value])]


@pytest.mark.parametrize("verb", VERBS)
def test_defaults_of_the_command_line_are_those_of_the_library(verb: str, passed_on: Callable[..., Any]) -> None:
    """Without options a verb trains as the library does, with the sizes that its help names."""
    found = passed_on(verb)
    sizes, options = DEFAULTS[verb]
    assert tuple(found[name] for name in SIZES) == sizes
    assert found["options"] == options
    assert found["resume"] is False


@pytest.mark.parametrize("verb", VERBS)
def test_each_option_reaches_the_training(verb: str, passed_on: Callable[..., Any]) -> None:
    """Every option of a verb arrives under its own name, and changes nothing else."""
    given = {name: value for name, value in GIVEN.items() if name not in LACKING[verb]}
    found = passed_on(verb, *words(given), "--resume")
    assert {name: found[name] for name in SIZES} == {name: given[name] for name in SIZES}
    changes = {name: value for name, value in given.items() if name not in SIZES}
    if verb == "policy":
        assert found["options"] == policy_options(500, **changes)
    else:
        assert found["options"] == dataclasses.replace(DEFAULTS[verb][1], **changes)
    assert found["resume"] is True


@pytest.mark.parametrize("verb", VERBS)
def test_one_option_leaves_the_others_as_they_are(verb: str, passed_on: Callable[..., Any]) -> None:
    """A single option given does not reset the defaults of the verb to those of another."""
    found = passed_on(verb, "--d-model", "24", "--seed", "3")
    sizes, options = DEFAULTS[verb]
    assert tuple(found[name] for name in SIZES) == (24, *sizes[1:])
    assert found["options"] == dataclasses.replace(options, seed=3)


@pytest.mark.parametrize("verb", VERBS)
def test_a_matmul_precision_that_does_not_exist(verb: str, aaren: Command) -> None:
    """A precision of products that PyTorch does not know is refused with the names of those that it knows."""
    said = aaren("train", verb, "data", *VERBS[verb], "--matmul-precision", "low").refusal()
    assert "low" in said
    assert all(name in said for name in ("--matmul-precision", "highest", "high", "medium"))


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_its_options_once(verb: str, aaren: Command) -> None:
    """The help names each shared option once; one that a verb lacks is neither in its help nor taken."""
    text = aaren("train", verb, "--help").out
    names = [word for line in text.splitlines() for word in line.strip("│ *").split()[:1]]
    for name in (*GIVEN, "resume", "json"):
        assert names.count(f"--{name.replace('_', '-')}") == (name not in LACKING[verb])
    for option, value in ((name, GIVEN[name]) for name in LACKING[verb]):
        said = aaren("train", verb, "data", *VERBS[verb], *words({option: value})).refusal(code=2)
        assert f"Unknown option: --{option.replace('_', '-')}" in said
