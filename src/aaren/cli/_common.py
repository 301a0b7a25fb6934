"""What several verbs share: how a table is named on the command line, and how results are shown."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aaren.errors import BackendError, DataError, ModelFileError

if TYPE_CHECKING:
    from aaren.data import SeriesSet
    from aaren.models import Forecaster

KINDS = {
    "classifier": "a classifier",
    "events": "an event model",
    "forecaster": "a forecaster",
    "policy": "a policy",
}
"""The kinds of models, as sentences have them."""


def names(given: Sequence[str] | None) -> list[str]:
    """Column names from options that may be repeated, or hold several names with commas."""
    return [part.strip() for option in given or () for part in option.split(",") if part.strip()]


def require_trainable(accelerator: str, seed: int, *, least_seed: int = -(2**31)) -> None:
    """Refuse a GPU that is not there, and a seed that no generator takes, before anything is read."""
    import torch

    if accelerator == "gpu" and not torch.cuda.is_available():
        raise BackendError("--accelerator: expected a GPU for 'gpu', found none that PyTorch can use; choose cpu")
    if not least_seed <= seed < 2**31:
        raise ValueError(f"--seed: expected a number from {least_seed} to {2**31 - 1}, received {seed}")


def columns(given: Sequence[str] | None) -> str | list[str]:
    """Columns as `read_series` wants them: "all" or a list."""
    found = names(given)
    return "all" if found == ["all"] else found


def time_columns(given: str) -> Any:
    """The time option as `read_series` wants it: "auto", None, a name, or a tuple of parts."""
    if given == "auto":
        return "auto"
    if given.lower() == "none":
        return None
    parts = names([given])
    return parts[0] if len(parts) == 1 else tuple(parts)


def split_parts(given: str) -> tuple[float | int, ...]:
    """Three fractions or three counts from text such as "0.7,0.1,0.2" or "8640,2880,2880"."""
    try:
        numbers = [float(part) for part in names([given])]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(0 <= number < math.inf for number in numbers):
        raise ValueError(f"--split: expected three fractions or counts, such as 0.7,0.1,0.2; received {given!r}")
    if all(number == int(number) for number in numbers) and sum(numbers) > 3:
        return tuple(int(number) for number in numbers)
    return tuple(numbers)


def quantile_levels(given: str) -> tuple[float, ...]:
    """Levels between 0 and 1, ascending, from text such as "0.1,0.5,0.9"."""
    try:
        levels = [float(part) for part in names([given])]
    except ValueError:
        levels = [math.nan]
    if not all(0 < level < 1 for level in levels) or levels != sorted(set(levels)):
        raise ValueError(f"--quantiles: expected ascending levels between 0 and 1, as 0.1,0.5,0.9; received {given!r}")
    return tuple(levels)


def decay_of(encoder: str, given: str | None) -> Any:
    """The decay option as a configuration wants it; refused rather than dropped for an encoder that has none."""
    if given in (None, "none"):
        return None
    if encoder != "aaren":
        raise ValueError(f"--decay: expected none for --encoder {encoder}, received {given}; only aaren's tokens fade")
    return given


def existing(
    path: Path, expected: str = "a CSV or Parquet file", remedy: str = "write what comes from it to a file first"
) -> Path:
    """The path of a file that is there; what was expected is told where it is not."""
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        if path.exists() and not path.is_dir():
            what = f"a pipe or a device; {remedy}"
        raise DataError(f"expected {expected}, received {what}", source=str(path))
    return path


def print_notes(notes: Sequence[str]) -> None:
    """Say on standard error what a user should know of what is done."""
    for note in notes:
        print(f"aaren: {note}", file=sys.stderr)


def require_model(path: Path) -> None:
    """Refuse a model that is not a directory before anything slow starts."""
    if not path.is_dir():
        raise ModelFileError(f"{path}: no such model directory; `aaren train` writes one")


def require_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before anything slow starts."""
    if path.exists() and not path.is_file():
        raise ModelFileError(f"{path}: expected a file to write, received a folder or a device; choose another name")
    if not path.parent.is_dir():
        raise ModelFileError(f"{path}: cannot be written: there is no folder {str(path.parent)!r}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise ModelFileError(f"{path}: cannot be written: the folder does not allow it; choose another")


def require_writable_folder(path: Path) -> None:
    """Refuse a folder that can be neither made nor written, before anything slow starts."""
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise ModelFileError(f"{path}: expected a folder, but {nearest} is a file; choose another name")
    if not os.access(nearest, os.W_OK):
        raise ModelFileError(f"{path}: cannot be written: {nearest} does not allow it; choose another folder")


def options_of(kind: str, given: Mapping[str, Any], kinds: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The options that were given; one that is not for the kind of the model is refused rather than dropped.

    Args:
        kind: of the model.
        given: values by name; None where nothing was said.
        kinds: for each name the kinds of models that it is for.

    Raises:
        ValueError: with the option.
    """
    found = {name: value for name, value in given.items() if value is not None}
    for name in found:
        if kind not in kinds[name]:
            wanted, option = either([KINDS[one] for one in kinds[name]]), name.replace("_", "-")
            raise ValueError(f"--{option}: expected only with {wanted}, received {KINDS[kind]}; leave it out")
    return found


def either(names: Sequence[str]) -> str:
    """Names as a sentence has them, the last after "or"."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def table_for(model: Forecaster, path: Path) -> SeriesSet:
    """Read a table with the columns that a model was trained on."""
    from aaren.data import read_series

    if model.preprocessing is None:
        raise ValueError("expected a model with preprocessing, as `aaren train` writes it")
    schema = model.preprocessing.schema
    return read_series(
        existing(path),
        targets=list(schema.targets),
        covariates=list(schema.covariates),
        time=(schema.time[0] if len(schema.time) == 1 else schema.time) or None,
        series_id=schema.series_id,
    )


def print_json(data: Any) -> None:
    """One JSON object on one line of standard output."""
    print(json_line(data))


def json_line(data: Any) -> str:
    """One JSON object; JSON has no NaN and no infinity, so null stands for them."""
    return json.dumps(_plain(data), sort_keys=True, default=str, allow_nan=False)


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def error_table(title: str, errors: dict[str, dict[str, Any]]) -> None:
    """Print errors by name, best first, as a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    table.add_column("forecast")
    for name in ("MSE", "MAE"):
        table.add_column(name, justify="right")
    best = min(row["mse"] for row in errors.values())
    for name, row in sorted(errors.items(), key=lambda item: item[1]["mse"]):
        style = "bold green" if row["mse"] == best else ""
        table.add_row(name, f"{row['mse']:.4f}", f"{row['mae']:.4f}", style=style)
    console = Console()
    console.print(escape(title), style="bold", highlight=False)
    console.print(table)


def named_errors(metrics: dict[str, Any], encoder: str) -> dict[str, dict[str, Any]]:
    """All errors of a record in one level: the model's own, then those of the simple forecasts."""
    labels = {"windows": f"{encoder}, from windows", "streamed": f"{encoder}, streamed"}
    own = {labels[name]: errors for name, errors in metrics.items() if name in labels}
    return {**own, **metrics["baselines"]}
