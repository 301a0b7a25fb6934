"""`aaren data list`, `aaren data path` and `aaren data verify`."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from aaren.cli._common import print_json
from aaren.data import DataSet, data_sets, find_parts, named_set
from aaren.errors import DataError

Flag = Parameter(negative=())
LEGEND = """\
original: the published data; partial: a part of them; substitute: other real data of the same kind, never reported
under the original's name; regenerated: simulated anew; generated: synthetic; extra: not in the paper.
`aaren data path NAME` says where to get what is not here."""


def list_sets(
    *,
    setting: Literal["forecasting", "classification", "events", "rl", "streaming"] | None = None,
    json: Annotated[bool, Flag] = False,
) -> None:
    """Data sets that have a name here: status, whether they are on this machine, licence.

    Of a substitute, the row of the paper that it stands for. Sets are looked for in the folder that AAREN_DATA names,
    then in aaren/data of the user's cache (~/.cache), then in the package, which has ETTh1. Nothing is fetched.

    Parameters
    ----------
    setting
        Only the sets of this setting.
    json
        Print one JSON line with everything that is known, instead of a table.
    """
    chosen = [one for one in data_sets() if setting in (None, one.setting)]
    if json:
        print_json([_entry(one) for one in chosen])
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    for name, sets in groupby(chosen, key=lambda one: one.setting):
        table = Table(title=name, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("data set", "status", "here", "licence"):
            table.add_column(column, overflow="fold", no_wrap=column == "data set")
        for one in sets:
            status = one.status + (f" for {one.row}" if one.status == "substitute" else "")
            table.add_row(one.name, status, _look(one)[0], one.licence)
        Console().print(table)
    print(LEGEND)


def path(name: str, /) -> None:
    """Print where the files of a data set are, or where to get them.

    Parameters
    ----------
    name
        Name of the set, as `aaren data list` shows it.
    """
    parts = find_parts(name)
    if not parts:
        print(f"{name} has no files: {named_set(name).origin}")
    for part, file in parts.items():
        print(file if list(parts) == ["data"] else f"{part}\t{file}")


def verify(*names: str) -> int:
    """Check the files of data sets against the published SHA-256.

    The exit code is 1 if a set is damaged, or was named and is not here.

    Parameters
    ----------
    names
        Names of sets; all if none is given.
    """
    failed = False
    for one in [named_set(name) for name in names] or data_sets():
        word, reason = _look(one)
        if word == "damaged" or (word == "no" and names):
            failed = True
        word = "not here" if word == "no" else "ok" if word == "yes" else word
        print(f"{one.name:<34} {word}" + (f": {reason}" if word == "damaged" or (names and reason) else ""))
    return int(failed)


def _look(data_set: DataSet) -> tuple[str, str]:
    """Whether a set is here, as "yes", "unchecked" (no digest is known), "generated", "no" or "damaged"; and why."""
    try:
        parts = find_parts(data_set.name)
    except DataError as error:
        return ("damaged" if error.source else "no"), str(error)
    if not parts:
        return "generated", ""
    known = all(any(digest for _, digest in candidates) for candidates in data_set.files.values())
    return ("yes" if known else "unchecked"), ""


def _entry(data_set: DataSet) -> dict[str, Any]:
    here, reason = _look(data_set)
    return {
        "name": data_set.name,
        "setting": data_set.setting,
        "status": data_set.status,
        "row": data_set.row,
        "here": here,
        "why": reason,
        "licence": data_set.licence,
        "origin": data_set.origin,
        "note": data_set.note,
        "files": {part: list(candidates) for part, candidates in data_set.files.items()},
    }
