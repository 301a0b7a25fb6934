"""Records of runs: one JSON line each, from which every table and plot is made."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aaren.data import find_parts, sha256_of
from aaren.errors import DataError
from aaren.studies._code import code_version
from aaren.studies._recipe import Plan, Recipe
from aaren.training import append_record

Record = dict[str, Any]
_ENTRIES = {"key", "data_set", "code", "metrics", "simple", "run"}


def records_file(results: Path, recipe: Recipe) -> Path:
    """Where the records of a recipe lie."""
    return results / f"{recipe.name}.jsonl"


def read_records(path: Path) -> list[Record]:
    """All whole records of a file, the first one first; what a killed run left unfinished is no record."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.keys() >= _ENTRIES:
            found.append(record)
    return found


def is_done(plan: Plan, results: Path) -> bool:
    """Whether a run has a valid record: of the same recipe, settings, encoder and seed, and of the data that are here.

    Where the data are not here, a record of any will do.
    """
    key = plan.key()
    found = [record for record in read_records(records_file(results, plan.recipe)) if record["key"] == key]
    if not found:
        return False
    try:
        here = {_digest(path, path.stat().st_mtime_ns) for path in find_parts(plan.recipe.dataset.name).values()}
    except (DataError, OSError):
        return True
    return not here or any(digests(record) == here for record in found)


def digests(record: Record) -> frozenset[str]:
    """SHA-256 of the files that a run has read; empty of generated data."""
    return frozenset(_digests(record["run"].get("data", {})))


def _digests(data: dict[str, Any]) -> Iterator[str]:
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _digests(value)
        elif name.endswith("sha256") and isinstance(value, str):
            yield from (one.strip() for one in value.split("+"))  # of two files that are read as one


@functools.cache
def _digest(path: Path, changed: int) -> str:
    """SHA-256 of a file that was last changed then."""
    return sha256_of(path)


def write_record(results: Path, plan: Plan, outcome: Record) -> Record:
    """Append the record of a run: its key, what the data set is, and what came out."""
    data_set = plan.recipe.dataset
    about = {"name": data_set.name, "row": data_set.row, "status": data_set.status}
    record = {"key": plan.key(), "data_set": about, "code": code_version(), **outcome}
    append_record(records_file(results, plan.recipe), record)
    return record
