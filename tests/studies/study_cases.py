"""Records without runs, and a recipe that runs in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aaren.studies import Recipe, recipes


def tiny() -> Recipe:
    """ETTh1 with rows and sizes that take seconds."""
    whole = next(recipe for recipe in recipes() if recipe.name == "forecasting/ETTh1")
    smaller = {
        "data": {"split": [400, 200, 200]},
        "model": {"look_back": 24, "d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 8},
        "training": {"epochs": 2, "stride": 8, "learning_rate": 1e-2},
    }
    return Recipe(whole.name, (12, 24), whole.data, whole.model, whole.training, {"tiny": smaller})


def record(
    recipe: str, encoder: str, seed: int, metrics: dict[str, float], simple: dict[str, Any] | None = None, **key: Any
) -> dict[str, Any]:
    """A record as a run writes it."""
    status = {"row": recipe.split("/")[1], "status": "original", "name": recipe.split("/")[1]}
    run = {
        "seconds": 36.0,
        "parameters": 1000,
        "config": {"encoder": encoder, "d_model": 8},
        "options": {"batch_size": 32, "seed": seed},
        "training": {"epochs": 3, "samples": 100},
        "data": {"sha256": "0" * 64},
        "hardware": {"processor": "a processor", "cores": 2, "threads": 1},
        "versions": {"torch": "2.13.0"},
    }
    name = {
        "recipe": recipe,
        "variant": None,
        "scale": "small",
        "encoder": encoder,
        "seed": seed,
        "settings": "abc",
        **key,
    }
    return {"key": name, "data_set": status, "code": "0.1.0", "metrics": metrics, "simple": simple or {}, "run": run}


def write(results: Path, records: list[dict[str, Any]]) -> None:
    """Records into the files of their recipes."""
    for one in records:
        path = results / f"{one['key']['recipe']}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(one) + "\n")
