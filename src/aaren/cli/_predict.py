"""`aaren predict`."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from aaren.cli._common import (
    KINDS,
    either,
    json_line,
    options_of,
    print_notes,
    require_model,
    require_writable,
    table_for,
)
from aaren.cli._events import predict_events

if TYPE_CHECKING:
    from aaren.models import Classifier, Forecaster


def predict(
    model: Path,
    data: Path,
    /,
    *,
    windows: int | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """What a model says after the end of each series.

    A forecaster writes CSV: series (if there are several), time or step, and for every target its mean and quantiles.
    A classifier writes CSV: the number of the case, its likeliest class, and the probability of every class.
    An event model writes, for each sequence, when the next event is expected and its most probable mark.

    Parameters
    ----------
    model
        Model directory, as `aaren train` writes it.
    data
        For a forecaster, a CSV or Parquet file with the columns that it was trained on; for a classifier, a .ts, .arff
        or .tsv file of series, where "?" may stand for a class that is not known, or with --windows an .arff or .csv
        file that is one recording; for an event model, a file of events.
    windows
        Of a classifier: rows of a window; DATA is a recording, whose class is not read and need not be there. Each
        window begins behind the one before it, whatever the classes; rows that fill none at the end are left out. By
        default as in training.
    output
        File to write instead of standard output.
    json
        Write one JSON line for each series instead of CSV.
    """
    import aaren

    require_model(model)
    if output is not None:
        require_writable(output)
    loaded = aaren.load(model)
    if loaded.kind not in PREDICTORS:
        wanted = either([KINDS[kind] for kind in PREDICTORS])
        raise ValueError(f"MODEL: expected {wanted}, received {KINDS[loaded.kind]}; use aaren stream or evaluate")
    own = options_of(loaded.kind, {"windows": windows}, {"windows": ("classifier",)})
    text = PREDICTORS[loaded.kind](loaded, data, json, **own)
    if output is None:
        sys.stdout.write(text)
    else:
        from aaren.streaming import write_atomically

        write_atomically(output, text.encode())


def _forecaster(loaded: Forecaster, data: Path, json: bool) -> str:
    """The forecast after the last row of every series, as CSV or lines of JSON."""
    from aaren.streaming import forecast_after

    predictions = forecast_after(loaded, table_for(loaded, data))
    if not json:
        return _as_csv(predictions)
    lines = [json_line({"series": name, **prediction.to_dict()}) for name, prediction in predictions.items()]
    return "\n".join(lines) + "\n"


def _classifier(loaded: Classifier, data: Path, json: bool, *, windows: int | None = None) -> str:
    """The class of every case with the probabilities of all classes, as CSV or lines of JSON."""
    from aaren.evaluation import cases_for
    from aaren.streaming import classify

    cases, notes = cases_for(loaded, data, windows, unlabelled=True)
    print_notes(notes)
    found = classify(loaded, cases)
    if json:
        lines = []
        for number, prediction in enumerate(found, start=1):
            said = prediction.to_dict()
            del said["row"]  # it has no stream
            lines.append(json_line({"case": number, **said}))
        return "\n".join(lines) + "\n"
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["case", "class", *(f"p({name})" for name in found[0].probabilities)])
    for number, prediction in enumerate(found, start=1):
        writer.writerow([number, prediction.best, *(f"{value:.7g}" for value in prediction.probabilities.values())])
    return buffer.getvalue()


PREDICTORS: dict[str, Callable[..., str]] = {
    "classifier": _classifier,
    "events": predict_events,
    "forecaster": _forecaster,
}
"""What `aaren predict` writes for each kind of model: (model, data, json, its own options) to text."""


def _as_csv(predictions: dict[str, Any]) -> str:
    """All forecasts as one table with a header."""
    from aaren.streaming import time_texts

    first = next(iter(predictions.values()))
    columns = [
        name if level is None else f"{name} q{level:g}" for name in first.targets for level in (None, *first.levels)
    ]
    several = len(predictions) > 1
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*(["series"] if several else []), "step" if first.times is None else "time", *columns])
    for name, prediction in predictions.items():
        steps = len(prediction.mean)
        places = [str(step + 1) for step in range(steps)] if prediction.times is None else time_texts(prediction.times)
        for step in range(steps):
            cells = [*([name] if several else []), places[step]]
            for target in range(len(prediction.targets)):
                cells.append(f"{prediction.mean[step, target]:.7g}")
                cells += [f"{value:.7g}" for value in prediction.quantiles[step, target]]
            writer.writerow(cells)
    return buffer.getvalue()
