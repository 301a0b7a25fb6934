"""Bytes of a user's file, never more than a limit: also those that a gzip or zip file would unpack to."""

from __future__ import annotations

import hashlib
import io
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aaren.data._bytes import unpacked
from aaren.data._plain_pickle import read_plain_pickle
from aaren.errors import DataError

LARGEST = 1 << 30
"""Bytes of a file, packed or unpacked; a gigabyte holds some fifty million events."""


class Stored(NamedTuple):
    """A file that was read.

    Args:
        data: its bytes, unpacked if it was a gzip file.
        sha256: digest of the bytes as stored.
        name: file name in lower case, without ".gz".
    """

    data: bytes
    sha256: str
    name: str


def read_stored(source: str | os.PathLike[str]) -> Stored:
    """Read a file, and unpack it if it is a gzip file by its first bytes.

    Raises:
        DataError: it cannot be read, is too large, or is a damaged gzip file.
    """
    path, label = Path(source), str(source)
    try:
        with path.open("rb") as file:
            stored = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"the file cannot be read ({reason}); check its path", source=label) from None
    data = unpacked(stored, label, LARGEST) if stored[:2] == b"\x1f\x8b" else stored
    if max(len(stored), len(data)) > LARGEST:
        raise DataError(f"expected at most {LARGEST} bytes, packed or not, received more; split the file", source=label)
    return Stored(data, hashlib.sha256(stored).hexdigest(), path.name.lower().removesuffix(".gz"))


def read_zip(data: bytes, source: str) -> dict[str, bytes]:
    """The members of a zip file by name, in memory.

    Raises:
        DataError: it is damaged, is packed in another way than numpy and PyTorch do, or would unpack to too many bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if sum(info.file_size for info in members) > LARGEST:
                raise DataError(f"expected at most {LARGEST} bytes unpacked, received more", source=source)
            if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in members):
                raise ValueError("a member is neither stored nor deflated")
            return {info.filename: archive.read(info) for info in members}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, OverflowError, ValueError, RuntimeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"expected a zip file, received a damaged one ({str(error) or 'cut short'}); fetch it again", source=source
        ) from None


def read_npz(data: bytes, source: str) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file; arrays of objects are refused.

    Raises:
        DataError: the file or an array is damaged, or an array does not hold numbers or text.
    """
    return arrays_of(read_zip(data, source), source)


def arrays_of(members: Mapping[str, bytes], source: str, *, objects: bool = False) -> dict[str, Any]:
    """The arrays of the members of an `.npz` file.

    Args:
        members: by name, as `read_zip` gives them.
        source: file name; for messages.
        objects: whether arrays of objects are taken: they are pickles, of which plain data are read as lists.

    Raises:
        DataError: an array is damaged, or does not hold numbers or text.
    """
    arrays = {}
    for member, content in members.items():
        name = member.removesuffix(".npy")
        try:
            arrays[name] = _array(content, f"{source}: {name}", objects)
        except DataError:
            raise
        except (
            ValueError,
            EOFError,
            SyntaxError,
            TypeError,
            RecursionError,
            MemoryError,
            tokenize.TokenError,
        ) as error:
            raise DataError(
                f"expected an array of numbers, received a damaged one ({error})", source=f"{source}: {name}"
            ) from None
    return arrays


def _array(content: bytes, label: str, objects: bool) -> Any:
    """An array whose header is believed only if the bytes behind it are as many as it says."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version}")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(file)
    if objects and dtype.kind == "O":
        read = read_plain_pickle(content[file.tell() :], label)
        if len(read) != 1 or not isinstance(read[0], list):
            raise DataError("expected the objects of an array, received something else", source=label)
        return read[0]
    if dtype.hasobject:
        raise DataError("expected numbers or text, received objects; save it as an array of numbers", source=label)
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"shape {shape} in {len(content) - file.tell()} bytes")
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
