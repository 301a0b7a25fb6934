"""Tell a damaged write-ahead log of SQLite from one that ends in a transaction that a power cut tore.

SQLite reads a log up to the first frame that is wrong and leaves out the rest without a word. That is right for the
last transaction, of which nobody was told that it is durable; it is wrong for one that others follow, because each is
synced before the next begins. So a wrong frame is damage if a frame of a later transaction stands behind it.
Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aaren.errors import ModelFileError

_HEADER, _FRAME = 32, 24
_MAGIC = {0x377F0682: "<u4", 0x377F0683: ">u4"}
_Words = NDArray[np.uint32]


def _checksum(words: _Words, first: _Words, second: _Words) -> tuple[_Words, _Words]:
    """SQLite's running checksum over words (n, 2 k), from seeds (n,), for n stretches of bytes at once."""
    for index in range(0, words.shape[1], 2):
        first = first + words[:, index] + second
        second = second + words[:, index + 1] + first
    return first, second


def check_wal(path: Path) -> None:
    """Refuse a log in which something that was synced cannot be read; the file is only read.

    Args:
        path: the log; it may be absent or empty.

    Raises:
        ModelFileError: the log is damaged before its last transaction, or cannot be read.
    """
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) < _HEADER + _FRAME:
        return
    damaged = f"{path}: damaged before its last transaction; go back to a snapshot (StreamStore.restore)"
    header = np.frombuffer(data, ">u4", 8).astype(np.uint32)
    if int(header[0]) not in _MAGIC:
        raise ModelFileError(damaged)
    words, zero = np.dtype(_MAGIC[int(header[0])]), np.zeros(1, np.uint32)
    first, second = _checksum(np.frombuffer(data, words, 6)[None].astype(np.uint32), zero, zero)
    page_size = int(header[2])
    if (int(first[0]), int(second[0])) != (int(header[6]), int(header[7])) or not 512 <= page_size <= 65536:
        raise ModelFileError(damaged)
    _check_frames(np.frombuffer(data, np.uint8)[_HEADER:], page_size, words, header, damaged)


def _check_frames(data: NDArray[np.uint8], page_size: int, words: np.dtype[np.uint32], wal: _Words, why: str) -> None:
    """Find the first wrong frame of this round of the log, and whether a later transaction stands behind it."""
    count = len(data) // (_FRAME + page_size)
    frames = data[: count * (_FRAME + page_size)].reshape(count, -1)
    headers = np.ascontiguousarray(frames[:, :_FRAME]).view(">u4").astype(np.uint32)
    same = headers[:, 2:4] == wal[4:6]  # both salts are new in every round: one of two that differs is a wrong bit
    ours = np.flatnonzero(same.any(axis=1))
    commits = ours[headers[ours, 1] != 0]
    if not commits.size:
        return
    stop = int(commits[-1]) + 1
    checked = np.concatenate([frames[:stop, :8], frames[:stop, _FRAME:]], axis=1)
    # a frame's checksum goes on from that of the one before, as it is written there: all can be checked at once
    seeds = np.concatenate([wal[None, 6:8], headers[: stop - 1, 4:6]])
    first, second = _checksum(checked.view(words).astype(np.uint32), seeds[:, 0], seeds[:, 1])
    right = same[:stop].all(axis=1) & (first == headers[:stop, 4]) & (second == headers[:stop, 5])
    wrong = np.flatnonzero(~right)
    if wrong.size:
        end = commits[commits >= wrong[0]][0]
        if ours[-1] > end:
            raise ModelFileError(why)
