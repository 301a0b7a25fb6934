"""Public data sets by name: where their files may lie, what their bytes must be, and whose they are.

Nothing is fetched. A set is found in the folder that `AAREN_DATA` names, in the user's cache, or, for one
set, inside the package; its digest is checked before anyone reads it.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from aaren.data._read import sha256_of
from aaren.errors import DataError

_BUNDLED = Path(__file__).parent / "sets"
_ETT = "https://github.com/zhouhaoyi/ETDataset"
_AUTOFORMER = "https://github.com/thuml/Autoformer (the data sets of its README)"
_UCI = "https://archive.ics.uci.edu/dataset/381/beijing+pm2+5+data"


@dataclass(frozen=True)
class DataSet:
    """A public data set.

    Args:
        name: its name in the literature.
        setting: `forecasting` or `streaming`.
        files: candidates as (path relative to a root, SHA-256 of the file as stored), the preferred one
            first.
        licence: licence, as far as known.
        origin: where users get it.
        bundled: whether the package holds a copy.
    """

    name: str
    setting: str
    files: tuple[tuple[str, str], ...]
    licence: str
    origin: str
    bundled: bool = False


def _ett(name: str, packed: str, plain: str, *, bundled: bool = False) -> DataSet:
    files = (
        (f"forecasting/{name}/{name}.csv.gz", packed),
        (f"{name}.csv.gz", packed),
        (f"ETT-small/{name}.csv", plain),
        (f"{name}.csv", plain),
    )
    return DataSet(name, "forecasting", files, "CC BY-ND 4.0", _ETT, bundled)


def _other(
    name: str,
    setting: str,
    folders: tuple[str, str],
    file: str,
    digests: tuple[str, str],
    licence: str,
    origin: str,
) -> DataSet:
    """Register a set under `<first folder>/<file>.gz` and, as published, `<second folder>/<file>`."""
    packed, plain = digests
    files = (
        (f"{folders[0]}/{file}.gz", packed),
        (f"{file}.gz", packed),
        (f"{folders[1]}/{file}", plain),
        (file, plain),
    )
    return DataSet(name, setting, files, licence, origin)


_SETS = (
    _ett(
        "ETTh1",
        "3c56c865b8f6fc9b760a07f055ff8a993d3cf2a747235dc382b98821ed35f029",
        "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
        bundled=True,
    ),
    _ett(
        "ETTh2",
        "a549927e8cd45bd1c20a8ec51529cd037bf6da38fe37c2ba3dc0e9c8446d6cb5",
        "a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b",
    ),
    _ett(
        "ETTm1",
        "ca45123028f1acad120b5f971ca64594746aa9b881d56cdff589ee9aa6cdbd8f",
        "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e",
    ),
    _ett(
        "ETTm2",
        "40da2dc79c8f7140eab4f3456debdf85fe8baca5d626280f1ba50181be8ae4ed",
        "db973ca252c6410a30d0469b13d696cf919648d0f3fd588c60f03fdbdbadd1fd",
    ),
    _other(
        "Weather",
        "forecasting",
        ("forecasting/Weather", "weather"),
        "weather.csv",
        (
            "a08c6d04be34805e0167e75461d7cc6a565f81ca3296f43cc154ce9cbcf9027c",
            "34ee981d07313e51da2a50bb600072c8ae4a69cb4b0651f4cb93a069d7a2ba63",
        ),
        "not stated (Max Planck Institute for Biogeochemistry, Jena)",
        _AUTOFORMER,
    ),
    _other(
        "Exchange",
        "forecasting",
        ("forecasting/Exchange", "exchange_rate"),
        "exchange_rate.csv",
        (
            "a62d2ee3092d4b0eb2547092a7d066f32a35ab7a3ee26b14f90c2dc430d1a802",
            "48b4d9d3d508f5104162e85b9a6042e3557fde11aa9f2944eba8c0d0efc89842",
        ),
        "not stated",
        _AUTOFORMER,
    ),
    _other(
        "BeijingPM25",
        "streaming",
        ("streaming/beijing-pm25", "beijing-pm25"),
        "PRSA_data_2010-2014.csv",
        (
            "7f942332746ea16abad083b53f8f481f98fabc0d9ec60f21cdf6a4705d9e3ee1",
            "4127f868775e31b3956522adc0ec75af8937dde6a3896e8beed3a376c6d27f1c",
        ),
        "CC BY 4.0",
        _UCI,
    ),
)


def data_sets() -> tuple[DataSet, ...]:
    """List the data sets that have a name here.

    Example:
        >>> [data_set.name for data_set in data_sets()][:2]
        ['ETTh1', 'ETTh2']
    """
    return _SETS


def find(name: str) -> Path:
    """Find the file of a data set, and check that its bytes are the published ones.

    Looks in the folder named by the environment variable `AAREN_DATA`, then in `aaren/data` of the user's
    cache (`XDG_CACHE_HOME`, else `~/.cache`), then inside the package.

    Args:
        name: name of the set, as in `data_sets`.

    Returns:
        Path of the file, ready for `read_series`.

    Raises:
        DataError: the name is unknown or a path, the set is nowhere, or the bytes differ from the published
            ones.

    Example:
        >>> find("ETTh1").name
        'ETTh1.csv.gz'
    """
    data_set = _named(name)
    roots = _roots()
    for root in roots:
        for relative, digest in data_set.files:
            path = root / relative
            if path.is_file():
                return _checked(path, digest, data_set)
    if data_set.bundled:
        relative, digest = data_set.files[0]
        return _checked(_BUNDLED / Path(relative).name, digest, data_set)
    files = " or ".join(relative for relative, _ in data_set.files)
    raise DataError(
        f"the data set {name} was looked for in {', '.join(map(str, roots))} as {files} and is not there; "
        f"get it from {data_set.origin} (licence: {data_set.licence}), put it into one of these folders, "
        "or set AAREN_DATA to its folder"
    )


def _named(name: str) -> DataSet:
    """Look a name up; a path is refused before it is compared with anything."""
    if "/" in name or "\\" in name or ".." in name or "\0" in name:
        raise DataError(f"expected the name of a data set, received {name!r}, which is a path; pass it to read_series")
    names = {data_set.name.lower(): data_set for data_set in _SETS}
    if name in {data_set.name for data_set in _SETS}:
        return names[name.lower()]
    near = difflib.get_close_matches(name.lower(), names, n=1)
    hint = f"; did you mean {names[near[0]].name}?" if near else ""
    known = ", ".join(data_set.name for data_set in _SETS)
    raise DataError(f"expected a data set among {known}, received {name!r}{hint}")


def _roots() -> list[Path]:
    """Folders to look in, most specific first."""
    chosen = os.environ.get("AAREN_DATA")
    cache = os.environ.get("XDG_CACHE_HOME")
    home = Path(cache) if cache else Path.home() / ".cache"
    return [*([Path(chosen)] if chosen else []), home / "aaren" / "data"]


def _checked(path: Path, expected: str, data_set: DataSet) -> Path:
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
