"""Episodes from HDF5: the flat layout of D4RL, and Minari's, which has a group for each episode."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._episodes import Episode, EpisodeSet
from aaren.data._optional import optional
from aaren.data._read import sha256_of
from aaren.errors import DataError

_FLAT = ("observations", "actions", "rewards", "terminals", "timeouts")
_GROUPED = ("observations", "actions", "rewards", "terminations", "truncations")
_IN_FOLDER = ("data/main_data.hdf5", "main_data.hdf5")  # of a set, or of its data
_LARGEST_RATIO = 1100  # deflate packs at most 1032 bytes into one


class _Reading:
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
                f"{self._read} up to {name!r}: the same numbers are there under several names (hard links); write "
                "each array once"
            )


def read_episodes(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> EpisodeSet:
    """Read the episodes of an HDF5 file, or of several files that belong together.

    Args:
        source: path of a file, or several whose episodes follow one another, as medium and expert make
            medium-expert. A file has either D4RL's flat arrays `observations`, `actions`, `rewards`, `terminals` and
            `timeouts`, where an episode ends at each terminal or timeout and the last one may be cut; or Minari's
            groups `episode_0`, `episode_1`, ... (`main_data.hdf5`), whose last observation, seen after the last
            action, is left out. The folder of a set of Minari stands for that file in it.

    Returns:
        The episodes.

    Raises:
        DataError: a file is not HDF5 or damaged, a folder has none, a key is missing, lengths or dimensions differ, a
            number is not finite, there is no episode, or arrays are larger than the file can hold: more than 1,100
            times their bytes in it, or more of its bytes in all than it has, as hard links to one array make them.
        MissingDependencyError: h5py is not installed.

    Example:
        episodes = read_episodes(["hopper_medium-v2.hdf5", "hopper_expert-v2.hdf5"])
        print(episodes.describe())
    """
    paths = [source] if isinstance(source, str | os.PathLike) else list(source)
    if not paths:
        raise DataError("expected at least one file of episodes, received none")
    sets = [_read_file(_file_of(Path(path))) for path in paths]
    sizes = [(one.observations, one.actions) for one in sets]
    for one, size in zip(sets, sizes, strict=True):
        if size != sizes[0]:
            raise DataError(
                f"expected {sizes[0][0]} observations and {sizes[0][1]} actions as in {sets[0].source}, received "
                f"{size[0]} and {size[1]}; join files of one environment",
                source=one.source,
            )
    return EpisodeSet(
        tuple(episode for one in sets for episode in one.episodes),
        " + ".join(one.source for one in sets),
        " + ".join(one.sha256 for one in sets),
    )


def _file_of(path: Path) -> Path:
    """The file that is meant: where a folder is named, Minari's in it."""
    if not path.is_dir():
        return path
    for name in _IN_FOLDER:
        if (path / name).is_file():
            return path / name
    if any(next(path.glob(f"{data}*/part-0.{kind}"), None) for data in ("data/", "") for kind in ("arrow", "parquet")):
        received = "Minari's files of Arrow or Parquet; make the set with data_format='hdf5'"
    else:
        received = "a folder with neither; name the file, or the folder of a set of Minari"
    raise DataError(f"expected {' or '.join(_IN_FOLDER)} in the folder, received {received}", source=str(path))


def _read_file(path: Path) -> EpisodeSet:
    h5py = optional("h5py", "reading episodes", "rl")
    label = str(path)
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror}); check its path", source=label) from None
    try:
        with h5py.File(path, "r") as file:
            names = sorted(
                (name for name in file if re.fullmatch(r"episode_\d+", name)), key=lambda name: int(name[8:])
            )
            reading = _Reading(label, path.stat().st_size)
            episodes = [_grouped(file, name, reading) for name in names] if names else _flat(file, reading)
    except DataError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"expected an HDF5 file, received another or a damaged one ({reason})", source=label) from None
    if not episodes:
        raise DataError("expected at least one episode, received none", source=label)
    return EpisodeSet(tuple(episodes), label, digest)


def _flat(file: Any, reading: _Reading) -> list[Episode]:
    """Episodes of flat arrays, each up to and with a terminal or a timeout."""
    observations, actions, rewards, terminals, timeouts = (_array(file, name, name, reading) for name in _FLAT)
    steps = len(rewards)
    for name, array in zip(_FLAT, (observations, actions, rewards, terminals, timeouts), strict=True):
        _require_length(name, len(array), steps, reading)
    ends = np.flatnonzero(terminals | timeouts) + 1
    starts = np.append(0, ends)
    stops = np.append(ends, steps)
    return [
        Episode(
            observations[start:stop],
            actions[start:stop],
            rewards[start:stop],
            bool(terminals[stop - 1]),
            bool(timeouts[stop - 1]),
        )
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
        if stop > start
    ]


def _grouped(file: Any, name: str, reading: _Reading) -> Episode:
    """The episode of one group."""
    _require_own(file, name, name, reading)
    group = file[name]
    observations, actions, rewards, terminations, truncations = (
        _array(group, key, f"{name}/{key}", reading) for key in _GROUPED
    )
    steps = len(rewards)
    if not steps:
        raise reading.error(f"expected at least one step in {name}, received none")
    _require_length(f"{name}/observations", len(observations), steps + 1, reading)
    for key, array in (("actions", actions), ("terminations", terminations), ("truncations", truncations)):
        _require_length(f"{name}/{key}", len(array), steps, reading)
    early = np.flatnonzero(terminations[:-1] | truncations[:-1])
    if early.size:
        raise reading.error(f"expected the end of {name} at its last step, received it at step {early[0]}")
    return Episode(observations[:-1], actions, rewards, bool(terminations[-1]), bool(truncations[-1]))


def _require_length(name: str, received: int, expected: int, reading: _Reading) -> None:
    if received != expected:
        raise reading.error(f"expected {expected} rows of {name!r} to go with the rewards, received {received}")


def _array(group: Any, key: str, name: str, reading: _Reading) -> NDArray[Any]:
    """An array of the file, checked: finite, float32 of one or two dimensions, or bool for the ends of episodes."""
    flags = key in ("terminals", "timeouts", "terminations", "truncations")
    dims = 1 if flags or key == "rewards" else 2
    dataset = _dataset(group, key, name, reading)
    if dataset.ndim != dims or 0 in dataset.shape[1:]:
        shape = "(steps,)" if dims == 1 else f"(steps, {key})"
        raise reading.error(f"expected {name!r} of shape {shape}, received {dataset.shape}")
    if dataset.dtype.kind not in "fiub":
        raise reading.error(f"expected numbers in {name!r}, received {dataset.dtype}")
    values = dataset[()]
    with np.errstate(over="ignore"):
        array = np.asarray(values, dtype=np.float32)
    bad = np.argwhere(~np.isfinite(array))
    if bad.size:
        place = tuple(bad[0].tolist())
        raise reading.error(
            f"expected finite numbers that float32 can hold in {name!r}, received {values[place]} at {place}; "
            "remove its episode"
        )
    return np.asarray(values != 0) if flags else array


def _dataset(group: Any, key: str, name: str, reading: _Reading) -> Any:
    """A dataset whose numbers lie in this very file."""
    h5py = optional("h5py", "reading episodes", "rl")
    if not isinstance(group, h5py.Group) or key not in group:
        known = ", ".join(sorted(group)) if isinstance(group, h5py.Group) else "no group"
        raise reading.error(f"expected {name!r}, received a file with {known or 'nothing'}")
    _require_own(group, key, name, reading)
    dataset = group[key]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise reading.error(f"expected an array as {name!r}, received something else, such as a group")
    if dataset.is_virtual or dataset.external:
        raise reading.error(f"expected the numbers of {name!r} inside the file, received a reference")
    reading.require_room(name, dataset.id.get_storage_size(), dataset.nbytes)
    return dataset


def _require_own(group: Any, key: str, name: str, reading: _Reading) -> None:
    """Refuse a link, which could lead to any file of this machine."""
    h5py = optional("h5py", "reading episodes", "rl")
    if not isinstance(group.get(key, getlink=True), h5py.HardLink):
        raise reading.error(f"expected {name!r} inside the file, received a link")
