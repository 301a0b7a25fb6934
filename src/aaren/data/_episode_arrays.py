"""The arrays of episodes in a file, whichever kind it is: their checks, and how many bytes of it they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.errors import DataError

FLAGS = ("terminals", "timeouts", "terminations", "truncations")
_LARGEST_RATIO = 1100  # deflate packs at most 1032 bytes into one


class Reading:
    """A file that is read, and how many of its bytes were: an honest one has no byte in two arrays.

    Args:
        label: of the file; for messages.
        size: of the file in bytes.
    """

    def __init__(self, label: str, size: int) -> None:
        self.label, self._size, self._read = label, size, 0

    def error(self, message: str) -> DataError:
        """An error that names the file."""
        return DataError(message, source=self.label)

    def require_room(self, name: str, stored: int, unpacked: int) -> None:
        """Refuse an array of more numbers than its bytes can hold, or whose bytes others have had.

        Args:
            name: of the array.
            stored: its bytes in the file.
            unpacked: its bytes in memory.

        Raises:
            DataError: with both.
        """
        if unpacked > _LARGEST_RATIO * stored:
            raise self.error(
                f"expected the numbers of {name!r}, received {unpacked} bytes of which the file holds {stored}; it is "
                "damaged or crafted"
            )
        self._read += stored
        if self._read > self._size:
            raise self.error(
                f"expected arrays of at most {self._size} bytes in all, which is the size of the file, received "
                f"{self._read} up to {name!r}: the same numbers are there under several names; write "
                "each array once"
            )


def checked_array(stored: Any, key: str, name: str, reading: Reading) -> NDArray[Any]:
    """An array of the file, checked: finite, float32 of one or two dimensions, or bool for the ends of episodes.

    Args:
        stored: an array or a dataset of HDF5.
        key: what it is: "observations", "actions", "rewards", or one of `FLAGS`.
        name: for messages.
        reading: of the file.

    Raises:
        DataError: its shape or kind is another, or a number is not finite.
    """
    dims = 1 if key in FLAGS or key == "rewards" else 2
    if stored.ndim != dims or 0 in stored.shape[1:]:
        shape = "(steps,)" if dims == 1 else f"(steps, {key})"
        raise reading.error(f"expected {name!r} of shape {shape}, received {stored.shape}")
    if stored.dtype.kind not in "fiub":
        raise reading.error(f"expected numbers in {name!r}, received {stored.dtype}")
    values = stored[()]
    with np.errstate(over="ignore"):
        array = np.asarray(values, dtype=np.float32)
    bad = np.argwhere(~np.isfinite(array))
    if bad.size:
        place = tuple(bad[0].tolist())
        raise reading.error(
            f"expected finite numbers that float32 can hold in {name!r}, received {values[place]} at {place}; "
            "remove its episode"
        )
    return np.asarray(values != 0) if key in FLAGS else array


def require_length(name: str, received: int, expected: int, reading: Reading) -> None:
    """Refuse an array of other length than the rewards ask for."""
    if received != expected:
        raise reading.error(f"expected {expected} rows of {name!r} to go with the rewards, received {received}")


def require_whole(name: str, steps: int, arrays: Mapping[str, NDArray[Any]], reading: Reading) -> None:
    """Refuse the arrays of one episode if they are not of its steps, or if one of `FLAGS` ends it before the last.

    Args:
        name: of the episode.
        steps: number of its rewards.
        arrays: by key.
        reading: of the file.

    Raises:
        DataError: with the array's name.
    """
    if not steps:
        raise reading.error(f"expected at least one step in {name}, received none")
    for key, array in arrays.items():
        require_length(f"{name}/{key}", len(array), steps, reading)
        early = np.flatnonzero(array[:-1]) if key in FLAGS else np.zeros(0)
        if early.size:
            raise reading.error(f"expected the end of {name} at its last step, received it at step {early[0]}")
