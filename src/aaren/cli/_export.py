"""`aaren export` and `aaren verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from aaren.cli._common import print_json, require_model

if TYPE_CHECKING:
    from aaren.export import Verification

_UNITS = {
    "mean": ", in training deviations",
    "median": ", in training deviations",
    "quantiles": ", in training deviations",
    "action": ", in halves of its range",
}
"""Of a difference, by output; probabilities and their logarithms have none."""


def export(
    model: Path,
    directory: Path,
    /,
    *,
    to: str = "numpy",
    precision: Literal["float32", "float16", "int8"] = "float32",
) -> None:
    """Write a model as a directory that another runtime runs, without PyTorch.

    The directory says in manifest.json what goes in and out of one step; all of the past is in named tensors that you
    keep. `aaren verify` says whether it gives the model's numbers.

    Parameters
    ----------
    model
        Model directory, as `aaren train` writes it.
    directory
        A new or empty folder, or an earlier export, which is replaced if no other file is in it.
    to
        The runtime: numpy (run.py, which needs numpy alone), c (a .c/.h pair, a main program and a Makefile), onnx
        (step.onnx, one row, and chunk.onnx, many; needs the extra aaren[onnx]), openvino (model.xml and model.bin;
        needs aaren[openvino]), or executorch (step.pte; needs aaren[executorch]).
    precision
        Of the weights: float32; float16 and int8 where the runtime can, smaller and less exact.
    """
    from aaren.export import export as write

    require_model(model)
    done = write(model, directory, to, precision)
    state = done.manifest.state_bytes
    print(f"{directory}: {len(done.files)} files, {done.nbytes:,} bytes; the state of a stream has {state:,} bytes")
    if to == "numpy":
        print(f"Next: python {directory}/run.py < rows.csv")
    print(f"Check: aaren verify {directory}" + ("" if _holds_model(directory) else f" --model {model}"))


def verify(
    directory: Path,
    /,
    *,
    data: str | None = None,
    rows: int = 10_000,
    model: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Stream real rows through an export and through its model, and compare what they say and what it costs.

    Exit code 0: it holds; 1: it does not. With weights in float32, every output must be within 1e-5 of a standard
    deviation of the training data; with float16 or int8 the metric of the kind (error, accuracy, log-likelihood of
    events, error of actions) may lose 1 %. Times are processor time.

    Parameters
    ----------
    directory
        The export.
    data
        A file of the kind that the model takes, or the name of a data set, of which the test part is taken if it has
        one; by default the set that the model was trained on, if it has a name.
    rows
        How many rows at most.
    model
        Directory of the model that was exported; exports for numpy in float32 hold it themselves.
    json
        Print one JSON line instead of a table.
    """
    from aaren.export import model_of, read_manifest, real_rows
    from aaren.export import verify as check

    if rows < 1:
        raise ValueError(f"--rows: expected at least 1, received {rows}")
    if model is not None:
        require_model(model)
    loaded = model_of(directory, read_manifest(directory), model)
    found = real_rows(loaded, data, rows)
    result = check(directory, found.rows, loaded, resets=found.resets, labels=found.labels)
    if json:
        print_json({**result.to_dict(), "source": found.source})
    else:
        _print_table(directory, result, found.source)
    return 0 if result.holds else 1


def _holds_model(directory: Path) -> bool:
    """Whether `aaren verify` finds the model in the export."""
    from aaren.errors import ModelFileError
    from aaren.models import load

    try:
        load(directory)
    except ModelFileError:
        return False
    return True


def _print_table(directory: Path, result: Verification, source: str) -> None:
    """What a person wants to know, a line each."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    table.add_column("")
    for name in ("export", "model"):
        table.add_column(name, justify="right")
    for name in ("median", "p99"):
        table.add_row(
            f"processor time of a row, {name}", *(f"{result.latency[one][name]:.0f} µs" for one in result.latency)
        )
    torch = "with PyTorch" if result.torch_loaded else "without PyTorch"
    table.add_row(f"peak memory of its process, {torch}", f"{result.peak_memory / 1e6:.1f} MB", "")
    table.add_row("all files", f"{result.file_bytes:,} bytes", "")
    table.add_row("state of a stream", f"{result.state_bytes:,} bytes", "")
    for name, difference in result.differences.items():
        table.add_row(f"largest difference of {name}{_UNITS.get(name, '')}", f"{difference:.1e}", "")
    if result.metric is not None:
        metric = result.metric
        table.add_row(metric.name, f"{metric.export:.6g}", f"{metric.model:.6g}")
        table.add_row("loss", f"{metric.loss_percent:.3f} %", "")
    console = Console(width=100)
    console.print(
        escape(f"{directory} ({result.runtime}, {result.precision}), {result.rows:,} rows of {source}"),
        style="bold",
        highlight=False,
    )
    console.print(table)
    if result.refused:
        print(f"{result.refused} rows were refused by both, in the same words")
    if result.disagreed:
        print(f"{result.disagreed} rows were refused by one of the two only, or in other words")
    print("It holds." if result.holds else "It does not hold.")
