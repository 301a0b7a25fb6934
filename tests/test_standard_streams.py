"""Where a run begins to write: on a new line of a file that ends inside one, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aaren._standard_streams import begin_line


@pytest.mark.parametrize(
    ("mode", "place", "content", "expected"),
    [
        ("a", None, '{"cut', '{"cut\nnew'),
        ("a", None, "whole\n", "whole\nnew"),
        ("a", None, "", "new"),
        ("w", None, '{"cut', "new"),
        ("r+", 4, "one\ntwo\n", "one\nnew\n"),
        ("r+", 3, "cut two\n", "cut\nnew\n"),
        ("r+", 0, "other\n", "newer\n"),
    ],
)
def test_a_new_line(
    mode: str, place: int | None, content: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appended to, emptied, or written at a place inside: a line end comes only where one is missing before it."""
    path = tmp_path / "output"
    path.write_text(content)
    with path.open(mode) as file:
        if place is not None:
            file.seek(place)
        monkeypatch.setattr("sys.stdout", file)
        said = begin_line()
        file.write("new")
    assert path.read_text() == expected
    assert said == expected.endswith(("cut\nnew", "cut\nnew\n"))


def test_what_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a pipe nothing is written."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as source, os.fdopen(writing, "w") as sink:
        monkeypatch.setattr("sys.stdout", sink)
        assert not begin_line()
        sink.close()
        assert source.read() == ""
