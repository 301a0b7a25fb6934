"""Lines for `aaren stream`: from a pipe, or from a file that grows."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from aaren.errors import DataError

_POLL_SECONDS = 0.1


class Interruption:
    """SIGINT and SIGTERM, noted: they end a loop between two rows, or at once while it waits for one."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._waiting = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note the signals from here on."""

        def note(number: int, frame: FrameType | None) -> None:
            self.signal = number
            if self._waiting:
                raise InterruptedError

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Where a signal raises `InterruptedError`."""
        self._waiting = True
        try:
            if self.signal is not None:
                raise InterruptedError
            yield
        finally:
            self._waiting = False  # a second signal must not break the work that the first one started


def lines(file: BinaryIO, interruption: Interruption) -> Iterator[bytes]:
    """Lines of a pipe or a file, each as soon as it is complete."""
    while True:
        with interruption.waiting():
            line = file.readline()
        if not line:
            return
        yield line


def followed(file: BinaryIO, path: Path, interruption: Interruption) -> Iterator[bytes]:
    """Lines of a file that grows, without an end; a line counts when its end is there.

    Raises:
        DataError: the file became shorter, or another one took its name.
    """
    pending = b""
    while True:
        pending += file.readline()
        if pending.endswith(b"\n"):
            line, pending = pending, b""
            yield line
            continue
        now, opened = path.stat(), os.fstat(file.fileno())
        if now.st_size < file.tell() or (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino):
            raise DataError(
                "the file became shorter, or was replaced, while it was followed; start again with the new file",
                source=str(path),
            )
        with interruption.waiting():
            time.sleep(_POLL_SECONDS)
