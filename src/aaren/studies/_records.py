"""Records of runs: one JSON line each, from which every table and plot is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
    """Whether a run has a valid record: of the same recipe, settings, encoder and seed."""
    key = plan.key()
    return any(record["key"] == key for record in read_records(records_file(results, plan.recipe)))


def write_record(results: Path, plan: Plan, outcome: Record) -> Record:
    """Append the record of a run: its key, what the data set is, and what came out."""
    data_set = plan.recipe.dataset
    about = {"name": data_set.name, "row": data_set.row, "status": data_set.status}
    record = {"key": plan.key(), "data_set": about, "code": code_version(), **outcome}
    append_record(records_file(results, plan.recipe), record)
    return record
