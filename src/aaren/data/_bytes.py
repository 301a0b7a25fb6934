"""The bytes of a user's file: unpacked, with their digest, or one clear line why not."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from aaren.errors import DataError

_ALWAYS = 1 << 26
"""Bytes that any small file may unpack to."""
_RATIO = 100
"""Beyond that, so many times its size: text packs some ten times."""


def file_bytes(path: Path, *, packed: bool) -> tuple[bytes, str]:
    """Read a file.

    Args:
        path: the file.
        packed: whether it is gzip.

    Returns:
        The bytes, unpacked, and the SHA-256 of the file as stored.

    Raises:
        DataError: the file cannot be read, or is damaged.
    """
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror}); check its path", source=str(path)) from None
    except ValueError as error:  # a path with a null character
        raise DataError(f"the file cannot be read ({error}); check its path", source=repr(str(path))) from None
    data = stored
    if packed:
        largest = max(_ALWAYS, _RATIO * len(stored))
        data = unpacked(stored, str(path), largest)
        if len(data) > largest:
            raise DataError(
                f"expected a packed table, received {len(stored)} bytes that unpack to more than {largest}; it is "
                "damaged or crafted",
                source=str(path),
            )
    return data, hashlib.sha256(stored).hexdigest()


def unpacked(stored: bytes, label: str, largest: int) -> bytes:
    """The content of a gzip file, of at most one byte more than `largest`.

    Raises:
        DataError: it is damaged.
    """
    parts, total, rest = [], 0, stored
    try:
        while rest and total <= largest:
            machine = zlib.decompressobj(wbits=31)
            parts.append(machine.decompress(rest, largest + 1 - total))
            total += len(parts[-1])
            if not machine.eof and total <= largest:
                raise zlib.error("cut short")
            rest = machine.unused_data
    except zlib.error:
        raise DataError("expected a gzip file, received a damaged one; fetch it again", source=label) from None
    return b"".join(parts)


_OTHERS = {
    b"\xff\xfe": ("UTF-16", "save it again as UTF-8"),
    b"\xfe\xff": ("UTF-16", "save it again as UTF-8"),
    b"\x1f\x8b": ("gzip", "unpack it, or give the file's name the end .gz"),
    b"PAR1\x15": ("Parquet", "give the file's name the end .parquet"),
    b"PK\x03\x04": ("a zip archive or a workbook", "unpack it, or save the table as CSV"),
}
"""What the first bytes say that is no text, and what to do with such a file."""


def decode(data: bytes, source: str, *, live: bool = False) -> str:
    """Decode UTF-8, else latin-1; without the byte-order mark.

    Args:
        data: all of it, or the first line.
        source: where it comes from; for messages.
        live: whether it is the first line of a stream, which is text or nothing.

    Raises:
        DataError: it is no such text, by its first bytes.
    """
    for mark, (received, remedy) in _OTHERS.items():
        if data.startswith(mark):
            remedy = "send rows of CSV as text" if live else remedy
            raise DataError(f"expected text in UTF-8 or latin-1, received {received}; {remedy}", source=source)
    return _decoded(data.removeprefix(b"\xef\xbb\xbf"))


def text_lines(lines: Iterable[bytes], source: str) -> Iterator[str]:
    """The same of lines, one by one, none read ahead: a line that is no UTF-8 changes nothing of the others."""
    for number, line in enumerate(lines):
        yield _decoded(line) if number else decode(line, source, live=True)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
