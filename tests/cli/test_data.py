"""`aaren data`: what sets there are, where they lie, whether they are whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aaren.data import data_sets, find, find_parts

Command = Callable[..., Any]


@pytest.fixture
def one_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with JapaneseVowels and nothing else."""
    for file in find_parts("JapaneseVowels").values():
        shutil.copy(file, tmp_path / file.name)
    monkeypatch.setenv("AAREN_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_list_names_every_set(aaren: Command, one_set: Path) -> None:
    """The list has every set, says which are here, and is the same in JSON; a setting narrows it."""
    (found,) = aaren("data", "list", "--json").lines()
    assert [entry["name"] for entry in found] == [one.name for one in data_sets()]
    here = {entry["name"]: entry["here"] for entry in found}
    assert {name for name, word in here.items() if word == "yes"} == {"ETTh1", "JapaneseVowels"}
    assert here["Sin"] == "generated"
    text = aaren("data", "list", "--setting", "events").out
    assert "MIMIC-II" in text
    assert "ETTh1" not in text


def test_path_is_for_scripts(aaren: Command, one_set: Path) -> None:
    """A set of one file gives its path and nothing else; one of several gives part and path."""
    assert aaren("data", "path", "ETTh1").out == f"{find('ETTh1')}\n"
    lines = aaren("data", "path", "JapaneseVowels").out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["train", "test"]
    assert Path(lines[1].split("\t")[1]).name == "JapaneseVowels_TEST.ts.gz"
    assert "aaren.data.sine_events" in aaren("data", "path", "Sin").out
    assert "get it from https://github.com/zhouhaoyi" in aaren("data", "path", "ETTm2").refusal()


def test_verify_tells_damage_from_absence(aaren: Command, one_set: Path) -> None:
    """A damaged set is an error; one that is not here is none, unless it was asked for by name."""
    done = aaren("data", "verify")
    assert done.code == 0
    assert "JapaneseVowels                     ok\n" in done.out
    assert aaren("data", "verify", "ETTm2").code == 1
    file = one_set / "JapaneseVowels_TEST.ts.gz"
    file.write_bytes(file.read_bytes()[:-1])
    done = aaren("data", "verify")
    assert done.code == 1
    assert "JapaneseVowels                     damaged: " in done.out
    assert "SHA-256" in done.out
