"""`aaren stream`: rows in as they come, a line of JSON out after each."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Literal

from aaren.cli._common import existing, require_model
from aaren.errors import DataError


def stream(
    model: Path,
    /,
    *,
    follow: Path | None = None,
    state: Path | None = None,
    save_every: int = 1000,
    on_bad_row: Literal["error", "skip", "impute"] = "error",
    max_gap: int = 10_000,
    series: str | None = None,
) -> int:
    """Forecast after every row, in constant time and memory per row.

    Reads CSV with a header from standard input and writes one JSON line for each row to standard output.

    With --state the stream goes on after a restart as if it had not stopped. Give it the same file or feed again:
    rows up to the time that the state has seen are passed over (without a time column, with --follow, as many rows as
    it has seen). After a kill in between two snapshots, forecasts since the last one are written again, with the same
    row numbers and the same values; none is lost.

    Parameters
    ----------
    model
        Model directory, as `aaren train` writes it.
    follow
        Read this file instead of standard input, and wait for more rows at its end until Ctrl-C.
    state
        Snapshot file: read at the start if it is there, written every --save-every rows and at the end.
    save_every
        Rows between two snapshots.
    on_bad_row
        For a row with NaN or infinity, or that cannot be read: stop with an error, skip it, or take a non-finite cell
        as missing.
    max_gap
        Rows that may be missing between two rows; they are passed through as missing values.
    series
        Use only the rows of this series, where the model was trained with --series-id.
    """
    import aaren

    require_model(model)
    loaded = aaren.load(model)
    live = aaren.Stream(loaded, state, on_bad_row=on_bad_row, max_gap=max_gap)
    runner = _Runner(live, state, save_every, series)
    if follow is None:
        return runner.run(_lines(sys.stdin.buffer, runner), "standard input")
    with existing(follow).open("rb") as file:
        return runner.run(_followed(file, follow, runner), str(follow))


class _Runner:
    """The loop over rows, which a signal may stop between two rows but never inside one."""

    def __init__(self, live: object, state: Path | None, save_every: int, series: str | None) -> None:
        from aaren.streaming import Stream

        assert isinstance(live, Stream)
        if save_every < 1:
            raise ValueError(f"--save-every: expected at least 1, received {save_every}")
        self.live, self.state, self.save_every, self.series = live, state, save_every, series
        self.waiting = False
        self.signal: int | None = None

    def run(self, lines: Iterator[str], source: str) -> int:
        """Take all rows; returns the exit code."""
        from aaren.data import RowReader

        live = self.live
        reader = RowReader(lines, live.schema, source)
        unsaved = 0
        passed_over = _PassOver(live, by_count=source != "standard input")
        with self._signals():
            try:
                while self.signal is None:
                    row = self._next(reader, source)
                    if row is None:
                        break
                    line, cells = row
                    if self._foreign(cells) or passed_over(cells):
                        continue
                    prediction = self._update(cells, source, line)
                    if prediction is not None:
                        sys.stdout.write(json.dumps(prediction) + "\n")
                        sys.stdout.flush()
                    unsaved += 1
                    if self.state is not None and unsaved >= self.save_every:
                        live.save(self.state)
                        unsaved = 0
            finally:
                if self.state is not None and unsaved and not isinstance(sys.exc_info()[1], BrokenPipeError):
                    live.save(self.state)
        if live.skipped:
            print(f"aaren: {live.skipped} of {live.rows} rows were skipped", file=sys.stderr)
        return 0 if self.signal is None else 128 + self.signal

    def _next(self, reader: Iterator[tuple[int, dict[str, str]]], source: str) -> tuple[int, dict[str, str]] | None:
        """The next row that can be read, or None at the end or after a signal."""
        while True:
            try:
                return next(reader)
            except (StopIteration, InterruptedError):
                return None
            except DataError as error:
                if self.live.on_bad_row != "skip" or error.line in (None, 1):
                    raise
                self.live.skip()
                print(f"aaren: skipped: {error}", file=sys.stderr)

    def _foreign(self, cells: dict[str, str]) -> bool:
        column = self.live.schema.series_id
        return self.series is not None and column is not None and cells[column] != self.series

    def _update(self, cells: dict[str, str], source: str, line: int) -> dict[str, object] | None:
        """The forecast after a row, or None if it was skipped; errors name the line of the input."""
        try:
            prediction = self.live.update(cells)
        except DataError as error:
            raise DataError(error.message, source=source, line=line, column=error.column) from None
        return None if prediction is None else prediction.to_dict()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the loop after the row in work, or at once while it waits for one."""

        def note(number: int, frame: FrameType | None) -> None:
            self.signal = number
            if self.waiting:
                raise InterruptedError

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _PassOver:
    """Whether a row is one that the restored state has already seen; ends at the first that is not."""

    def __init__(self, live: object, by_count: bool) -> None:
        from aaren.streaming import Stream

        assert isinstance(live, Stream)
        self.live = live
        self.active = live.rows > 0
        self.left = live.rows if by_count and not live.schema.time else 0

    def __call__(self, cells: dict[str, str]) -> bool:
        if not self.active:
            return False
        if self.left:
            self.left -= 1
            return True
        self.active = self.live.time is not None and self.live.already_seen(cells)
        return self.active


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _lines(file: BinaryIO, runner: _Runner) -> Iterator[str]:
    """Lines of a pipe or a file, each as soon as it is complete."""
    while True:
        runner.waiting = True
        if runner.signal is not None:
            raise InterruptedError
        line = file.readline()
        runner.waiting = False
        if not line:
            return
        yield _decode(line)


def _followed(file: BinaryIO, path: Path, runner: _Runner) -> Iterator[str]:
    """Lines of a file that grows, without an end."""
    pending = b""
    while True:
        chunk = file.readline()
        pending += chunk
        if pending.endswith(b"\n"):
            line, pending = pending, b""
            yield _decode(line)
            continue
        if path.stat().st_size < file.tell():
            raise DataError(
                "the file became shorter while it was followed; start again with the new file", source=str(path)
            )
        runner.waiting = True
        if runner.signal is not None:
            raise InterruptedError
        time.sleep(0.1)
        runner.waiting = False
