"""What `aaren stream` tells of drift: a table on standard error, a report in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from aaren.streaming import ModelStream, write_atomically


class DriftOutput:
    """Reports every so many rows, and at the end.

    Args:
        live: the stream.
        every: rows between two tables on standard error; None for no table.
        path: file for the report as JSON, written whole or not at all; None for no file.
    """

    def __init__(self, live: ModelStream[Any, Any], every: int | None, path: Path | None) -> None:
        self._live, self._every, self._path = live, every, path
        self._since = 0

    def taken(self) -> None:
        """A row was taken."""
        self._since += 1
        if self._every is not None and self._since >= self._every:
            self._tell()

    def end(self) -> None:
        """No row comes any more."""
        if self._since:
            self._tell()

    def _tell(self) -> None:
        self._since = 0
        if self._every is None and self._path is None:
            return
        report = self._live.drift()
        if self._every is not None:
            print(report, file=sys.stderr)
        if self._path is not None:
            write_atomically(self._path, (json.dumps(report.to_dict(), indent=2) + "\n").encode())
