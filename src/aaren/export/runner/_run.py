"""The command `python out/run.py < rows.csv`: rows as CSV in, a JSON line out after each, a state that can be kept."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from aaren._interruption import Interruption, lines
from aaren._standard_streams import (
    OutputError,
    begin_line,
    discard_output,
    is_reader_gone,
    prepare_streams,
    words_of,
    write_line,
)
from aaren._words import in_options
from aaren.data._bytes import text_lines
from aaren.data._rows import RowReader
from aaren.data._series import Schema
from aaren.errors import AarenError, DataError
from aaren.export.runner._front import ON_BAD_ROW
from aaren.export.runner._open import NumpyRunner, open_numpy

_OPTIONS = ("state", "on_bad_row")


def main(directory: Path, arguments: Sequence[str] | None = None) -> int:
    """Read rows from standard input until its end; returns the exit code: 0 done, 1 input at fault, 2 command line.

    Args:
        directory: the export.
        arguments: of the command line; by default those of the process.
    """
    parser = argparse.ArgumentParser(description="Rows as CSV with a header in, one JSON line out after each row.")
    parser.add_argument("--state", type=Path, help="file to go on from if it is there, written at the end")
    parser.add_argument("--on-bad-row", choices=ON_BAD_ROW, default="error", help="what becomes of a row at fault")
    options = parser.parse_args(arguments)
    if wrong := prepare_streams():
        print(f"run.py: {wrong}", file=sys.stderr)
        return 1
    interruption = Interruption()
    try:
        with interruption.noted():  # to the end, so that a second signal does not break the save
            runner = open_numpy(directory, on_bad_row="impute" if options.on_bad_row == "impute" else "error")
            if options.state is not None and options.state.exists():
                runner.read(options.state)
            try:
                _stream(runner, interruption, skip=options.on_bad_row == "skip")
            finally:
                if options.state is not None:
                    runner.save(options.state)
    except AarenError as error:
        discard_output()
        print(f"run.py: {in_options(str(error), _OPTIONS)}", file=sys.stderr)
        return 1
    except OSError as error:
        discard_output()
        if is_reader_gone(error):
            return 0  # who read the answers has left
        print(f"run.py: {words_of(error)}", file=sys.stderr)
        return 1
    if interruption.signal is not None:
        print(f"run.py: stopped after row {runner.rows}", file=sys.stderr)
        return 128 + interruption.signal
    return 0


def _stream(runner: NumpyRunner, interruption: Interruption, *, skip: bool) -> None:
    """Rows in, lines out, until the end or a signal; with `skip` a row at fault is named and left out.

    However it ends, the state is that of the last row whose answer was delivered.
    """
    source = "standard input"
    reader = RowReader(text_lines(lines(sys.stdin.buffer, interruption), source), Schema(runner.front.columns), source)
    if begin_line():
        print("run.py: standard output ended inside a line; this run begins on a new one", file=sys.stderr)
    while interruption.signal is None:
        cells, before = None, runner.state()
        try:
            line, cells = next(reader)
            try:
                said = runner.update(cells)
            except DataError as error:
                raise DataError(error.message, source=source, line=line, column=error.column) from None
        except (StopIteration, InterruptedError):
            return
        except DataError as error:
            if not skip or error.line in (None, 1):
                raise
            lost = runner.skip(cells)
            print(f"run.py: skipped: {in_options(str(error), _OPTIONS)}{lost and '; '}{lost}", file=sys.stderr)
            continue
        assert said is not None, "the runner's own policy is never to skip"
        try:
            write_line(json.dumps(runner.front.line(runner.rows, said)))
        except OutputError:
            runner.set_state(before)
            raise
