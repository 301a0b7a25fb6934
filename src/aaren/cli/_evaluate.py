"""`aaren evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from aaren.cli._common import error_table, named_errors, print_json, require_model, split_parts, table_for


def evaluate(
    model: Path,
    data: Path,
    /,
    *,
    part: Literal["test", "validation"] = "test",
    split: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Errors of a model on a part of a table, beside simple forecasts.

    Parameters
    ----------
    model
        Model directory, as `aaren train` writes it.
    data
        CSV or Parquet file with the columns that the model was trained on.
    part
        Which part.
    split
        Training, validation and test, as fractions or numbers of rows; by default as in training.
    json
        Print one JSON line instead of a table.
    """
    import aaren
    from aaren.evaluation import baselines, prepare
    from aaren.evaluation import evaluate as evaluate_model

    require_model(model)
    loaded = aaren.load(model)
    table = table_for(loaded, data)
    parts = _split_in_training(loaded.metadata) if split is None else split_parts(split)
    prepared = prepare(table, parts, loaded.preprocessing)
    config = loaded.config
    metrics = {
        **evaluate_model(loaded, prepared, part),
        "baselines": baselines(prepared, part, config.look_back, config.horizon),
    }
    if json:
        print_json(metrics)
    else:
        title = f"Errors on the {part} part of {data.name}, in training deviations"
        error_table(title, named_errors(metrics, config.encoder))


def _split_in_training(metadata: dict[str, Any]) -> tuple[float | int, ...]:
    """The parts that a model's record names; no checksum covers the record, so it may hold anything."""
    data = metadata.get("data")
    split = data.get("split") if isinstance(data, dict) else None
    if isinstance(split, list) and all(isinstance(part, int | float) for part in split):
        return tuple(split)
    return (0.7, 0.1, 0.2)
