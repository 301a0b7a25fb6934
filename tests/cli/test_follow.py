"""`aaren stream --follow`: files that grow, that come again after a restart, and that change under the reader."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

import aaren as library
from aaren import Stream
from aaren.data import read_series

Command = Callable[..., Any]


def _rows(done: Any) -> list[int]:
    return [line["row"] for line in done.lines()]


@pytest.fixture
def stop_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C as soon as a followed file has no more rows."""
    monkeypatch.setattr("time.sleep", lambda _: signal.raise_signal(signal.SIGINT))


@pytest.mark.usefixtures("stop_at_the_end")
def test_a_followed_file_without_times(aaren: Command, save_model: Callable[..., Path], tmp_path: Path) -> None:
    """Without times, as many rows of a followed file are passed over as the state has seen, bad ones included."""
    table = polars.DataFrame({"load": np.cumsum(np.random.default_rng(0).normal(size=60))})
    model = save_model(read_series(table, targets=["load"], time=None))
    lines = ["load\n", *[f"{value}\n" for value in range(30)]]
    lines[4], lines[5], lines[11] = "high\n", "1,2\n", "inf\n"
    path = tmp_path / "live.csv"
    path.write_text("".join(lines))
    options = ["--follow", path, "--on-bad-row", "skip"]
    whole = aaren("stream", model, *options)
    assert whole.code == 130
    for cut in (4, 5, 6, 11, 12, 20):
        outputs = []
        for stop in (cut, 31):
            path.write_text("".join(lines[:stop]))
            outputs.append(aaren("stream", model, *options, "--state", tmp_path / f"state-{cut}").out)
        assert "".join(outputs) == whole.out


@pytest.mark.usefixtures("stop_at_the_end")
def test_rows_that_were_all_bad_are_not_told_twice(
    aaren: Command, trained: Path, etth1_lines: list[bytes], tmp_path: Path
) -> None:
    """A followed file whose first rows were all skipped goes on with the right numbers."""
    path, options = tmp_path / "live.csv", ["--on-bad-row", "skip", "--state", tmp_path / "state"]
    bad = etth1_lines[0] + b"x\ny\n"
    path.write_bytes(bad)
    assert aaren("stream", trained, "--follow", path, *options).out == ""
    path.write_bytes(bad + etth1_lines[1])
    assert _rows(aaren("stream", trained, "--follow", path, *options)) == [3]


@pytest.mark.usefixtures("stop_at_the_end")
@pytest.mark.parametrize("every", [1, 4, 1000])
def test_snapshots_come_as_often_as_asked(
    every: int, aaren: Command, trained: Path, etth1_lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot is written after every so many rows, and one at the end for those that are left."""
    saved = []
    monkeypatch.setattr("aaren.Stream.save", lambda self, path: saved.append(self.rows))
    path = tmp_path / "live.csv"
    path.write_bytes(b"".join(etth1_lines[:11]))
    aaren("stream", trained, "--follow", path, "--state", tmp_path / "state", "--save-every", every)
    assert saved == {1: list(range(1, 11)), 4: [4, 8, 10], 1000: [10]}[every]


def test_files_that_change_while_they_are_followed(
    aaren: Command, trained: Path, etth1_lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A followed file that becomes shorter, is replaced or disappears ends the stream with one line; state is saved."""
    path, other = tmp_path / "live.csv", tmp_path / "other.csv"

    def replace(_: float) -> None:
        other.write_bytes(b"".join(etth1_lines[:20]))
        other.replace(path)

    changes = (lambda _: path.write_bytes(etth1_lines[0]), replace, lambda _: path.unlink())
    for number, change in enumerate(changes):
        path.write_bytes(b"".join(etth1_lines[:6]))
        state = tmp_path / f"state-{number}"
        monkeypatch.setattr("time.sleep", change)
        done = aaren("stream", trained, "--follow", path, "--state", state)
        assert done.code == 1
        assert done.err.startswith(f"aaren: {path}: the file became shorter, was moved or replaced while it")
        assert _rows(done) == [1, 2, 3, 4, 5]
        assert library.load(trained).stream(state).rows == 5


@pytest.mark.usefixtures("stop_at_the_end")
def test_a_second_ctrl_c_does_not_break_the_save(
    aaren: Command, trained: Path, etth1_lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pressed again while the state is being written, Ctrl-C changes nothing: the state is whole, the code is 130."""
    path, state = tmp_path / "live.csv", tmp_path / "state"
    path.write_bytes(b"".join(etth1_lines[:4]))
    save = Stream.save

    def save_and_interrupt(self: Stream, place: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        save(self, place)

    monkeypatch.setattr(Stream, "save", save_and_interrupt)
    done = aaren("stream", trained, "--follow", path, "--state", state)
    assert (done.code, done.err) == (130, f"aaren: stopped after row 3; the state is in {state}\n")
    monkeypatch.undo()
    assert _rows(aaren("stream", trained, "--state", state, stdin=b"".join(etth1_lines[:5]))) == [4]
