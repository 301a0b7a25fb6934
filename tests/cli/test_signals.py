"""Signals, pipes and full disks, on commands in processes of their own."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

Command = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `aaren` in a process of its own; it is ended with the test."""
    running = []

    def begin(
        *arguments: object, environment: Mapping[str, str] = MappingProxyType({}), **options: Any
    ) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "aaren.cli", *map(str, arguments)]
        process = subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
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


def _no_file_above(limit: int) -> Callable[[], None]:
    """What a process does first, so that its files end as on a full disk, inside a write."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_disk_that_fills_up(
    unbuffered: str, start: Start, aaren: Command, trained: Path, etth1_lines: list[bytes], tmp_path: Path
) -> None:
    """A line that the output took in part is told and counts as not delivered; the next run gives it whole."""
    rows, output, state = tmp_path / "rows.csv", tmp_path / "said.jsonl", tmp_path / "state"
    rows.write_bytes(b"".join(etth1_lines[:61]))
    whole = aaren("stream", trained, stdin=rows.read_bytes()).out.encode().splitlines(keepends=True)
    command = ["stream", trained, "--state", state, "--save-every", 1]
    environment = {"PYTHONUNBUFFERED": unbuffered}
    with rows.open("rb") as source, output.open("ab") as sink:
        process = start(*command, stdin=source, stdout=sink, environment=environment, preexec_fn=_no_file_above(10_000))
        err = process.stderr.read()
    assert (process.wait(), err) == (1, b"aaren: standard output: File too large\n")
    cut = output.read_bytes()
    assert len(cut) == 10_000
    delivered = cut.count(b"\n")
    assert 0 < delivered < 60
    assert not cut.endswith(b"\n")
    with rows.open("rb") as source, output.open("ab") as sink:
        process = start(*command, stdin=source, stdout=sink, environment=environment)
        err = process.stderr.read()
    assert process.wait() == 0
    assert err == b"aaren: standard output ended inside a line; this run begins on a new one\n"
    assert output.read_bytes() == cut + b"\n" + b"".join(whole[delivered:])


def test_a_forecast_that_does_not_fit(start: Start, trained: Path, table: Path, tmp_path: Path) -> None:
    """Without Python's own buffer too, output that the disk took in part is a fault."""
    with (tmp_path / "part.csv").open("wb") as sink:
        process = start(
            *("predict", trained, table),
            stdout=sink,
            environment={"PYTHONUNBUFFERED": "1"},
            preexec_fn=_no_file_above(100),
        )
        _, err = process.communicate()
    assert (process.returncode, err) == (1, b"aaren: File too large\n")


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (0, 1, b"aaren: standard input: expected a header and rows, received an empty table\n"),
        (1, 1, b"aaren: standard output is closed; send it to a file, or to /dev/null\n"),
        (2, 0, b""),
    ],
)
def test_a_standard_stream_that_is_closed(
    number: int, code: int, words: bytes, start: Start, trained: Path, table: Path
) -> None:
    """Without standard input there are no rows, without standard output it is an error, without the third no words."""
    with table.open("rb") as rows:
        process = start("stream", trained, stdin=rows, preexec_fn=lambda: os.close(number))
        out, err = process.communicate()
    assert (process.returncode, err) == (code, words)
    assert out.count(b"\n") == (600 if number == 2 else 0)


def test_notices_that_nobody_reads(start: Start, trained: Path, table: Path, tmp_path: Path) -> None:
    """Standard error without a reader, or on a full disk, stops neither a stream nor a training."""
    rows = tmp_path / "rows.csv"
    lines = table.read_bytes().splitlines(keepends=True)
    rows.write_bytes(b"".join(b"garbled\n" if at % 10 == 5 else line for at, line in enumerate(lines[:201])))
    for name in ("gone", "full"):
        state = tmp_path / f"state-{name}"
        with rows.open("rb") as source, Path("/dev/full").open("wb") as full:
            stderr = subprocess.PIPE if name == "gone" else full
            process = start(
                *("stream", trained, "--on-bad-row", "skip", "--state", state, "--drift-every", 50),
                stdin=source,
                stderr=stderr,
            )
            if name == "gone":
                process.stderr.close()
                process.stderr = None
            assert process.stdout.read().count(b"\n") == 180
        assert process.wait() == 0
        assert state.exists()
    model = tmp_path / "model"
    tiny = "--look-back 24 --highway 0 --d-model 8 --nhead 2 --num-layers 1 --horizon 3 --epochs 1"
    process = start("train", "forecaster", table, "--target", "OT", *tiny.split(), "-o", model)
    process.stderr.close()
    process.stderr = None
    process.stdout.read()
    assert process.wait() == 0
    assert (model / "config.json").exists()
