"""Records of runs: one valid line of JSON each, whatever happened to the line before."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest
import torch

import aaren
from aaren.training import append_record, hardware, versions


def test_records_are_lines(tmp_path: Path) -> None:
    """Each record is one line with sorted keys; the folder is made."""
    path = tmp_path / "deep" / "record.jsonl"
    append_record(path, {"b": 1, "a": "two\nlines é"})
    append_record(path, {"c": [1.5, None]})
    lines = path.read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:2]] == [{"a": "two\nlines é", "b": 1}, {"c": [1.5, None]}]
    assert lines[2:] == [""]
    assert lines[0].index('"a"') < lines[0].index('"b"')


def test_an_unfinished_line_stays_by_itself(tmp_path: Path) -> None:
    """A line that a killed run did not finish does not swallow the next record."""
    path = tmp_path / "record.jsonl"
    path.write_text('{"a": 1}\n{"b": ')
    append_record(path, {"c": 3})
    assert path.read_text() == '{"a": 1}\n{"b": \n{"c": 3}\n'


def test_an_empty_file_gets_no_empty_line(tmp_path: Path) -> None:
    """The first record of an empty file is its first line."""
    path = tmp_path / "record.jsonl"
    path.touch()
    append_record(path, {})
    assert path.read_text() == "{}\n"


def test_versions_name_what_numbers_depend_on() -> None:
    """Versions are those of this package, Python, and the libraries that compute."""
    found = versions()
    assert found["aaren"] == aaren.__version__
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()
    assert set(found) == {"aaren", "python", "torch", "numpy", "lightning", "safetensors"}


def test_hardware_names_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardware is the processor, cores and threads, and the GPU where there is one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    found = hardware()
    assert found["gpu"] == "a GPU"
    assert found["threads"] == 1
    assert found["cores"] >= 1
    assert found["machine"] == platform.machine()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "gpu" not in hardware()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("processor: 0\nmodel name\t: A B : C\n", "A B : C"), ("processor: 0\n", "arm"), (None, "arm")],
)
def test_processor_names(text: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor's name is the kernel's, or Python's where the kernel gives none or no such file exists."""

    def read_text(path: Path, *args: Any, **kwargs: Any) -> str:
        if text is None:
            raise FileNotFoundError(path)
        return text

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert hardware()["processor"] == expected
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert hardware()["processor"] == (expected if expected != "arm" else "unknown")
