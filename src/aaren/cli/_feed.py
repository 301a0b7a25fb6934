"""Lines for `aaren stream` from a file that grows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from aaren._interruption import Interruption
from aaren.errors import DataError

_POLL_SECONDS = 0.1


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
        if not _is_still(file, path):
            raise DataError(
                "the file became shorter, was moved or replaced while it was followed; start again with the new file",
                source=str(path),
            )
        with interruption.waiting():
            time.sleep(_POLL_SECONDS)


def _is_still(file: BinaryIO, path: Path) -> bool:
    """Whether a path names the file that is open, and it is as long as was read of it."""
    try:
        now, opened = path.stat(), os.fstat(file.fileno())
    except FileNotFoundError:
        return False
    return now.st_size >= file.tell() and (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino)
