"""The bytes of a user's file: unpacked, with their digest, or one clear line why not."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

from aaren.errors import DataError


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
        data = gzip.decompress(stored) if packed else stored
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError("expected a gzip file, received a damaged one; fetch it again", source=str(path)) from None
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror}); check its path", source=str(path)) from None
    except ValueError as error:  # a path with a null character
        raise DataError(f"the file cannot be read ({error}); check its path", source=repr(str(path))) from None
    return data, hashlib.sha256(stored).hexdigest()


def decode(data: bytes, source: str) -> str:
    """Decode UTF-8, else latin-1; without the byte-order mark.

    Raises:
        DataError: the text is UTF-16.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("expected text in UTF-8 or latin-1, received UTF-16; save it again as UTF-8", source=source)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
