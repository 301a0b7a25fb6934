"""Public data sets by name: where their files may lie, what their bytes must be, and whose they are.

Nothing is fetched. A set is found in the folder that `AAREN_DATA` names, in the user's cache, or, for one
set, inside the package; its digest is checked before anyone reads it. The list is `sets.toml`.
"""

from __future__ import annotations

import difflib
import functools
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from aaren.data._read import sha256_of
from aaren.errors import DataError

_BUNDLED = Path(__file__).parent / "sets"
_LIST = Path(__file__).parent / "sets.toml"
Candidates = tuple[tuple[str, str | None], ...]
"""Paths relative to a root, the preferred one first, each with the SHA-256 of the file as stored, if it is known."""


@dataclass(frozen=True)
class DataSet:
    """A public data set.

    Args:
        name: its name in the literature.
        setting: "forecasting", "classification", "events", "rl" or "streaming".
        status: "original" (the published data), "partial", "substitute" (other real data of the same kind),
            "regenerated" (made anew by simulation), "generated" (synthetic) or "extra" (not in the paper).
        licence: licence, as far as known.
        origin: where users get it.
        row: the row of the paper's tables that it is or stands for, if any.
        note: what a reader of results should know.
        files: candidates by part, "data" where there is but one.
        bundled: whether the package holds a copy.
    """

    name: str
    setting: str
    status: str
    licence: str
    origin: str
    row: str | None = None
    note: str | None = None
    files: Mapping[str, Candidates] = field(default_factory=lambda: MappingProxyType({}))
    bundled: bool = False


@functools.cache
def data_sets() -> tuple[DataSet, ...]:
    """List the data sets that have a name here.

    Example:
        >>> [data_set.name for data_set in data_sets()][:2]
        ['ETTh1', 'ETTh2']
        >>> len({data_set.row for data_set in data_sets() if data_set.row})
        38
    """
    listed = tomllib.loads(_LIST.read_text(encoding="utf-8"))
    return tuple(DataSet(name, **{**entry, "files": _files(entry.get("files", {}))}) for name, entry in listed.items())


def _files(listed: Mapping[str, list[list[str]]]) -> Mapping[str, Candidates]:
    return MappingProxyType(
        {
            part: tuple((entry[0], entry[1] if len(entry) > 1 else None) for entry in entries)
            for part, entries in listed.items()
        }
    )


def find(name: str) -> Path:
    """Find the file of a data set that has but one, and check that its bytes are the published ones.

    Args:
        name: name of the set, as in `data_sets`.

    Returns:
        Path of the file, ready for the reader of its setting.

    Raises:
        DataError: as `find_parts`, or the set has several files.

    Example:
        >>> find("ETTh1").name
        'ETTh1.csv.gz'
    """
    data_set = named_set(name)
    if list(data_set.files) != ["data"]:
        parts = ", ".join(data_set.files) or "no file, it is generated"
        raise DataError(f"expected a set of one file, received {name!r}, which has {parts}; use find_parts")
    return find_parts(name)["data"]


def find_parts(name: str) -> dict[str, Path]:
    """Find the files of a data set, and check that their bytes are the published ones, where those are known.

    Looks in the folder named by the environment variable `AAREN_DATA`, then in `aaren/data` of the user's
    cache (`XDG_CACHE_HOME`, else `~/.cache`), then inside the package.

    Args:
        name: name of the set, as in `data_sets`.

    Returns:
        Paths by part, such as "train" and "test"; "data" where there is but one.

    Raises:
        DataError: the name is unknown or a path, a file is nowhere, or its bytes differ from the published
            ones.
    """
    data_set = named_set(name)
    return {part: _find(data_set, candidates) for part, candidates in data_set.files.items()}


def _find(data_set: DataSet, candidates: Candidates) -> Path:
    roots = data_roots()
    for root in roots:
        for relative, digest in candidates:
            path = root / relative
            if path.is_file():
                return _checked(path, digest, data_set)
    if data_set.bundled:
        relative, digest = candidates[0]
        return _checked(_BUNDLED / Path(relative).name, digest, data_set)
    files = " or ".join(relative for relative, _ in candidates)
    raise DataError(
        f"the data set {data_set.name} was looked for in {', '.join(map(str, roots))} as {files} and is not there; "
        f"get it from {data_set.origin} (licence: {data_set.licence}), put it into one of these folders, "
        "or set AAREN_DATA to its folder"
    )


def named_set(name: str) -> DataSet:
    """The data set of a name; a path is refused before it is compared with anything.

    Raises:
        DataError: no set has that name.
    """
    if "/" in name or "\\" in name or ".." in name or "\0" in name:
        raise DataError(f"expected the name of a data set, received {name!r}, which is a path; pass it to its reader")
    by_name = {data_set.name: data_set for data_set in data_sets()}
    if name in by_name:
        return by_name[name]
    lower = {known.lower(): known for known in by_name}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f"; did you mean {lower[near[0]]}?" if near else ""
    raise DataError(f"expected a data set that `aaren data list` names, received {name!r}{hint}")


def data_roots() -> list[Path]:
    """Folders to look in, most specific first."""
    chosen = os.environ.get("AAREN_DATA")
    cache = os.environ.get("XDG_CACHE_HOME")
    home = Path(cache) if cache else Path.home() / ".cache"
    return [*([Path(chosen)] if chosen else []), home / "aaren" / "data"]


def _checked(path: Path, expected: str | None, data_set: DataSet) -> Path:
    if expected is None:
        return path
    try:
        received = sha256_of(path)
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror}); check it", source=str(path)) from None
    if received != expected:
        raise DataError(
            f"expected the published bytes of {data_set.name} (SHA-256 {expected}), received {received}; "
            f"the file is damaged, changed or packed anew: fetch it from {data_set.origin}, or remove it",
            source=str(path),
        )
    return path
