"""The standard streams of a process that answers row by row: there, written whole, and begun on a new line."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


class OutputError(OSError):
    """An answer was not delivered as a whole."""


class _Notices(io.FileIO):
    """Standard error, which may be full or have nobody who reads it: a notice that cannot be written stops no work."""

    def write(self, data: Any, /) -> int:
        with suppress(OSError):
            return super().write(data) or len(data)
        return len(data)


def prepare_streams() -> str | None:
    """Make the standard streams fit for use; what is wrong with standard output, if it is not there.

    With `PYTHONUNBUFFERED` (or `python -u`) a text stream takes no notice of a write that a full disk cut short; here
    it is buffered by lines instead, which writes all or raises `OSError`. A standard input or error that is closed
    becomes an empty one, and what standard error does not take is dropped.
    """
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - open as long as the process
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    elif isinstance(getattr(sys.stderr, "buffer", None), io.BufferedWriter | io.RawIOBase):
        notices = io.BufferedWriter(_Notices(sys.stderr.fileno(), "w", closefd=False))
        sys.stderr = io.TextIOWrapper(notices, sys.stderr.encoding, sys.stderr.errors, line_buffering=True)
    if sys.stdout is None:
        return "standard output is closed; send it to a file, or to /dev/null"
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        now = sys.stdout
        sys.stdout = open(  # noqa: SIM115
            now.fileno(), "w", buffering=1, encoding=now.encoding, errors=now.errors, closefd=False
        )
    return None


def write_line(text: str) -> None:
    """Write one line to standard output, now.

    Raises:
        OutputError: it was not delivered as a whole.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise OutputError(error.errno, error.strerror, "standard output") from None


def discard_output() -> None:
    """If standard output takes nothing more, drop what waits: Python would complain once more when it closes it."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_reader_gone(error: OSError) -> bool:
    """Whether it is only that nobody reads the answers any more."""
    return error.errno == errno.EPIPE


def words_of(error: OSError) -> str:
    """What the system refused, with the file if it is known."""
    place = "" if error.filename is None else f"{error.filename}: "
    return f"{place}{error.strerror or error}"


def begin_line() -> bool:
    """Write a line end if standard output is a file that ends inside a line, as one does that a full disk cut short.

    Returns:
        Whether it did; not where the file cannot be read.

    Raises:
        OutputError: it could not be written.
    """
    try:
        number = sys.stdout.fileno()
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode) or not (end := _next_byte(number, status.st_size)):
            return False
        # standard output itself may be open for writing alone
        with Path(f"/dev/fd/{number}").open("rb") as file:
            file.seek(end - 1)
            within = file.read(1) not in (b"\n", b"")
    except (OSError, ValueError):  # no file, or a system where it cannot be read
        return False
    if within:
        write_line("")
    return within


def _next_byte(number: int, size: int) -> int:
    """Where the next byte that is written goes."""
    try:
        import fcntl
    except ImportError:  # Windows
        return 0
    appends = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_APPEND
    return size if appends else os.lseek(number, 0, os.SEEK_CUR)
