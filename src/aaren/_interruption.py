"""Signals that end a loop over rows between two of them, and the lines that it waits for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import BinaryIO


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
        try:
            self._waiting = True
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
