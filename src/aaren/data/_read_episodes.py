"""Episodes from files: D4RL's flat HDF5, Minari's with a group for each episode, Decision Transformer's pickles."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._episode_arrays import Reading, checked_array, require_length, require_whole
from aaren.data._episode_lists import episodes_of_pickle
from aaren.data._episodes import Episode, EpisodeSet
from aaren.data._optional import optional
from aaren.data._read import sha256_of
from aaren.data._scores import environment_name
from aaren.data._stored import read_stored
from aaren.errors import DataError

_FLAT = ("observations", "actions", "rewards", "terminals", "timeouts")
_GROUPED = ("observations", "actions", "rewards", "terminations", "truncations")
_IN_FOLDER = ("data/main_data.hdf5", "main_data.hdf5")  # of a set, or of its data


def read_episodes(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> EpisodeSet:
    """Read the episodes of a file, or of several files that belong together.

    Args:
        source: path of a file, or several whose episodes follow one another, as medium and expert make
            medium-expert. An HDF5 file has either D4RL's flat arrays `observations`, `actions`, `rewards`, `terminals`
            and `timeouts`, where an episode ends at each terminal or timeout and the last one may be cut; or Minari's
            groups `episode_0`, `episode_1`, ... (`main_data.hdf5`), whose last observation, seen after the last
            action, is left out. The folder of a set of Minari stands for that file in it. A `.pkl` file has Decision
            Transformer's list of dictionaries, one an episode with its end; it is not unpickled but read by an
            interpreter that knows plain data only.

    Returns:
        The episodes.

    Raises:
        DataError: a file is of another kind or damaged, a folder has none, a key is missing, lengths or dimensions
            differ, a number is not finite, there is no episode, or arrays are larger than the file can hold: more than
            1,100 times their bytes in it, or more of its bytes in all than it has, as hard links to one array make
            them.
        MissingDependencyError: h5py is not installed, and a file is HDF5.

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
    named = next((one.environment for one in sets if one.environment is not None), None)
    for one in sets:
        if named and one.environment and environment_name(one.environment) != environment_name(named):
            raise DataError(
                f"expected episodes of {named} as before, received {one.environment}; join files of one environment",
                source=one.source,
            )
    return EpisodeSet(
        tuple(episode for one in sets for episode in one.episodes),
        " + ".join(one.source for one in sets),
        " + ".join(one.sha256 for one in sets),
        named,
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
    if path.name.lower().removesuffix(".gz").endswith((".pkl", ".pickle")):
        stored = read_stored(path)
        episodes, digest, environment = episodes_of_pickle(stored.data, str(path)), stored.sha256, None
    else:
        episodes, digest, environment = _read_hdf5(path)
    if not episodes:
        raise DataError("expected at least one episode, received none", source=str(path))
    sizes = [(one.observations.shape[1], one.actions.shape[1]) for one in episodes]
    odd = next((index for index, size in enumerate(sizes) if size != sizes[0]), None)
    if odd is not None:
        raise DataError(
            f"expected {sizes[0][0]} observations and {sizes[0][1]} actions as in the first episode, received "
            f"{sizes[odd][0]} and {sizes[odd][1]} in episode {odd}; remove it",
            source=str(path),
        )
    return EpisodeSet(tuple(episodes), str(path), digest, environment)


def _read_hdf5(path: Path) -> tuple[list[Episode], str, str | None]:
    """Episodes of an HDF5 file, its digest, and the environment if it says so, as `regenerate` writes it."""
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
            reading = Reading(label, path.stat().st_size)
            episodes = [_grouped(file, name, reading) for name in names] if names else _flat(file, reading)
            said = file.attrs.get("env_id")
            return episodes, digest, said if isinstance(said, str) else None
    except DataError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"expected an HDF5 file, received another or a damaged one ({reason})", source=label) from None


def _flat(file: Any, reading: Reading) -> list[Episode]:
    """Episodes of flat arrays, each up to and with a terminal or a timeout."""
    observations, actions, rewards, terminals, timeouts = (_array(file, name, name, reading) for name in _FLAT)
    steps = len(rewards)
    for name, array in zip(_FLAT, (observations, actions, rewards, terminals, timeouts), strict=True):
        require_length(name, len(array), steps, reading)
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


def _grouped(file: Any, name: str, reading: Reading) -> Episode:
    """The episode of one group."""
    _require_own(file, name, name, reading)
    group = file[name]
    observations, actions, rewards, terminations, truncations = (
        _array(group, key, f"{name}/{key}", reading) for key in _GROUPED
    )
    steps = {"actions": actions, "terminations": terminations, "truncations": truncations}
    require_whole(name, len(rewards), steps, reading)
    require_length(f"{name}/observations", len(observations), len(rewards) + 1, reading)
    return Episode(observations[:-1], actions, rewards, bool(terminations[-1]), bool(truncations[-1]))


def _array(group: Any, key: str, name: str, reading: Reading) -> NDArray[Any]:
    return checked_array(_dataset(group, key, name, reading), key, name, reading)


def _dataset(group: Any, key: str, name: str, reading: Reading) -> Any:
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


def _require_own(group: Any, key: str, name: str, reading: Reading) -> None:
    """Refuse a link, which could lead to any file of this machine."""
    h5py = optional("h5py", "reading episodes", "rl")
    if not isinstance(group.get(key, getlink=True), h5py.HardLink):
        raise reading.error(f"expected {name!r} inside the file, received a link")
