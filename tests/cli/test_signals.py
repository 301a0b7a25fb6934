"""Signals and pipes, on commands in processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `aaren` in a process of its own; it is ended with the test."""
    running = []

    def begin(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "aaren.cli", *map(str, arguments)]
        process = subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_killed_and_restarted_on_a_file_that_grows(
    start: Start, aaren: Command, trained: Path, etth1_lines: list[bytes], tmp_path: Path
) -> None:
    """After kill -9 and a restart with the same file, forecasts are those of an unbroken run, value by value as text.

    The file grows while it is followed, in pieces that end inside a line; Ctrl-C ends the second run with one line
    and 130, and the state is saved.
    """
    whole = aaren("stream", trained, stdin=b"".join(etth1_lines[:61])).out.splitlines(keepends=True)
    path, state = tmp_path / "live.csv", tmp_path / "live.state"
    path.write_bytes(b"".join(etth1_lines[:31]))
    options = ["stream", trained, "--follow", path, "--state", state, "--save-every", 7]
    first = start(*options)
    seen = [first.stdout.readline().decode() for _ in range(25)]
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert seen == whole[:25]
    second = start(*options)
    again = [second.stdout.readline().decode()]
    begin = int(re.match(r'\{"row": (\d+),', again[0]).group(1))
    assert begin in (22, 29), "the last snapshot was after the 21st row, or, if it was quick, after the 28th"
    rest = b"".join(etth1_lines[31:61])
    for piece in (rest[:50], rest[50:1000], rest[1000:]):
        _append(path, piece)
        time.sleep(0.15)
    again += [second.stdout.readline().decode() for _ in range(60 - begin)]
    assert again == whole[begin - 1 :]
    _append(path, etth1_lines[61][:30] if len(etth1_lines) > 61 else b"2016-07-03 12:0")
    second.send_signal(signal.SIGINT)
    out, err = second.communicate()
    assert (second.returncode, out) == (130, b"")
    assert err.decode() == f"aaren: stopped after row 60; the state is in {state}\n"
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["live.csv", "live.state"]
    assert aaren("stream", trained, "--state", state, stdin=b"".join(etth1_lines[:61])).out == ""


def test_terminated_on_a_pipe(
    start: Start, aaren: Command, trained: Path, etth1_lines: list[bytes], tmp_path: Path
) -> None:
    """Each row is answered before the next is there; SIGTERM saves the state and ends with 143."""
    whole = aaren("stream", trained, stdin=b"".join(etth1_lines[:7])).out.splitlines(keepends=True)
    state = tmp_path / "live.state"
    process = start("stream", trained, "--state", state)
    process.stdin.write(etth1_lines[0])
    for line, expected in zip(etth1_lines[1:4], whole, strict=False):
        process.stdin.write(line)
        process.stdin.flush()
        assert process.stdout.readline().decode() == expected
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert (process.returncode, out) == (143, b"")
    assert err.decode() == f"aaren: stopped after row 3; the state is in {state}\n"
    rest = aaren("stream", trained, "--state", state, stdin=b"".join(etth1_lines[:7]))
    assert rest.out == "".join(whole[3:])


def test_training_interrupted(start: Start, table: Path, tmp_path: Path) -> None:
    """Ctrl-C during training ends with one line and 130, and leaves no model that looks whole."""
    tiny = (
        "--look-back 24 --highway 0 --d-model 8 --nhead 2 --num-layers 1 --horizon 3 --epochs 100000 --patience 99999"
    )
    folder = tmp_path / "model"
    process = start("train", "forecaster", table, "--target", "OT", *tiny.split(), "-o", folder)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "last.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert err.decode().splitlines()[-1] == "aaren: stopped"
    assert b"Traceback" not in err
    assert not (folder / "config.json").exists()


def test_who_reads_the_output_leaves(start: Start, trained: Path, table: Path) -> None:
    """If the reader of a pipe leaves after a line, the stream ends quietly."""
    with table.open("rb") as rows:
        process = start("stream", trained, stdin=rows)
        assert process.stdout.readline().startswith(b'{"row": 1, ')
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.parametrize("line", ["--help", "train forecaster --help", "data list", "--version"])
def test_nobody_reads_the_output(line: str, start: Start) -> None:
    """If the reader of a pipe is gone before the first line, a command that only prints ends quietly, with 0."""
    process = start(*line.split())
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0


def test_output_that_takes_nothing(start: Start, trained: Path, table: Path) -> None:
    """A full disk behind standard output is one line and 1, without Python's own complaint at the end."""
    with Path("/dev/full").open("wb") as full:
        process = start("predict", trained, table, stdout=full)
        _, err = process.communicate()
    assert (process.returncode, err) == (1, b"aaren: No space left on device\n")
