"""`aaren evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from aaren.cli._class_tables import accuracy_table
from aaren.cli._common import (
    KINDS,
    error_table,
    named_errors,
    options_of,
    print_json,
    print_notes,
    require_model,
    split_parts,
    table_for,
)
from aaren.cli._events import evaluate_events
from aaren.cli._same_data import note_learned, note_other_data

if TYPE_CHECKING:
    from aaren.data import SeriesSet
    from aaren.models import Classifier, EventModel, Forecaster, Policy

Part = Literal["test", "validation"]
Mode = Literal["both", "streamed", "windowed"]
OPTIONS = {
    "part": ("forecaster", "events"),
    "split": ("forecaster", "events"),
    "windows": ("classifier",),
    "label": ("classifier",),
    "episodes": ("policy",),
    "mode": ("policy",),
    "target_return": ("policy",),
    "seed": ("policy",),
}
"""Which kinds of models an option is for."""


def evaluate(
    model: Path,
    data: Path | None = None,
    /,
    *,
    part: Part | None = None,
    split: str | None = None,
    windows: int | None = None,
    label: str | None = None,
    episodes: int | None = None,
    mode: Mode | None = None,
    target_return: float | None = None,
    seed: int | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Errors of a model on data, beside simple ways to do the same.

    A line on standard error says where the data are no file that the model was trained or tested with, where they are
    the very cases that a classifier was trained on, and where --split makes a part of what the training saw.

    Parameters
    ----------
    model
        Model directory, as `aaren train` writes it.
    data
        For a forecaster, a CSV or Parquet file with the columns that it was trained on; for a classifier, a .ts, .arff
        or .tsv file of labelled series, or with --windows an .arff or .csv file that is one recording; for an event
        model, a file of events. A policy needs none: it acts in its environment.
    part
        Of a forecaster's table, or of the file that an event model was trained on a part of: which part; by default the
        test part.
    split
        Training, validation and test, as fractions or numbers of rows (of sequences, for events); by default as in
        training. A file that an event model was not trained on is not split.
    windows
        Of a classifier: rows of a window; DATA is a recording with a class in every row, cut as in training, and of
        the recording of the training itself only the test part is taken, if it had one. By default as in training.
    label
        With --windows: the column of the class; by default that of the training, or else the last one.
    episodes
        Of a policy: how many to play; by default 10.
    mode
        Of a policy: "streamed" keeps all of the episode in a state of constant size; "windowed" reads the last steps
        again before each action, as in training; by default both, one after the other.
    target_return
        Of a policy: the return to ask for; by default the one it was trained to ask for.
    seed
        Of a policy: of the first episode, by default 0; each further one has the next.
    json
        Print one JSON line instead of a table.
    """
    import aaren

    require_model(model)
    loaded = aaren.load(model)
    given = {
        "part": part,
        "split": split,
        "windows": windows,
        "label": label,
        "episodes": episodes,
        "mode": mode,
        "target_return": target_return,
        "seed": seed,
    }
    own = options_of(loaded.kind, given, OPTIONS)
    if data is None and loaded.kind != "policy":
        raise ValueError(f"DATA: expected a file to evaluate {KINDS[loaded.kind]} on, received none")
    EVALUATORS[loaded.kind](loaded, data, json=json, **own)


def _forecaster(loaded: Forecaster, data: Path, *, json: bool, part: Part = "test", split: str | None = None) -> None:
    """Errors on a part of a table, from windows and streamed, beside simple forecasts."""
    from aaren.evaluation import baselines, prepare
    from aaren.evaluation import evaluate as evaluate_model

    table = table_for(loaded, data)
    parts = _split_in_training(loaded.metadata) if split is None else split_parts(split)
    prepared = prepare(table, parts, loaded.preprocessing)
    config = loaded.config
    metrics = {
        **evaluate_model(loaded, prepared, part),
        "baselines": baselines(prepared, part, config.look_back, config.horizon),
    }
    note_other_data(loaded.metadata, data, table.sha256)
    if split is not None and _has_learned(loaded.metadata, table, getattr(prepared.splits, part), part):
        note_learned(part)
    if json:
        print_json(metrics)
    else:
        title = f"Errors on the {part} part of {data.name}, in training deviations"
        error_table(title, named_errors(metrics, config.encoder))


def _events(loaded: EventModel, data: Path, *, json: bool, part: Part = "test", split: str | None = None) -> None:
    """Likelihood, errors of times and accuracy of marks on a file of events or a part of it."""
    evaluate_events(loaded, data, part=part, split=split, json=json)


def _classifier(
    loaded: Classifier, data: Path, *, json: bool, windows: int | None = None, label: str | None = None
) -> None:
    """Accuracy and calibration on labelled series or windows of a recording, beside their most frequent class."""
    from aaren.evaluation import cases_for, evaluate_cases

    cases, notes = cases_for(loaded, data, windows, label)
    print_notes(notes)
    metrics = evaluate_cases(loaded, cases)
    note_other_data(loaded.metadata, data, cases.sha256)
    if json:
        print_json(metrics)
        return
    largest = max(sum(row) for row in metrics["confusion"]) / metrics["cases"]
    name = f"{loaded.config.encoder} ({metrics['cases']} cases)"
    cut = "" if cases.cut is None else f"windows of {cases.cut.length} rows of "
    title = f"Accuracy on {cut}{Path(cases.source).name}"
    accuracy_table(title, {name: metrics, "its most frequent class": {"accuracy": largest}})


def _policy(
    loaded: Policy,
    data: Path | None,
    *,
    json: bool,
    episodes: int = 10,
    mode: Mode = "both",
    target_return: float | None = None,
    seed: int = 0,
) -> None:
    """Returns in the environment of the training data."""
    from aaren.evaluation import run_episodes

    if data is not None:
        raise ValueError(f"DATA: expected none for a policy, which acts in its environment; received {str(data)!r}")
    results = [
        run_episodes(loaded, episodes=episodes, seed=seed, mode=one, target_return=target_return)
        for one in (("windowed", "streamed") if mode == "both" else (mode,))
    ]
    if json:
        print_json({result.mode: result.to_dict() for result in results})
        return
    for result in results:
        score = "" if result.score is None else f", normalised score {result.score:.1f}"
        print(
            f"{result.environment}, {loaded.config.encoder}, {result.mode}, asked for {result.target_return:g}: "
            f"mean return {result.mean:.1f} (deviation {result.deviation:.1f}, {episodes} episodes){score}"
        )


EVALUATORS: dict[str, Callable[..., None]] = {
    "classifier": _classifier,
    "events": _events,
    "forecaster": _forecaster,
    "policy": _policy,
}
"""What `aaren evaluate` does for each kind of model: (model, data, *, json, its own options)."""


def _has_learned(metadata: dict[str, Any], table: SeriesSet, rows: Sequence[tuple[int, int]], part: Part) -> bool:
    """Whether a model was trained on this table, and rows that are a part now were before its test part then."""
    from aaren.data import split_in_time

    data = metadata.get("data")
    if table.sha256 is None or not isinstance(data, dict) or data.get("sha256") != table.sha256:
        return False
    trained = split_in_time(table, _split_in_training(metadata))
    seen = any(start < first for (start, _), (first, _) in zip(rows, trained.test, strict=True))
    return seen and tuple(rows) != getattr(trained, part)


def _split_in_training(metadata: dict[str, Any]) -> tuple[float | int, ...]:
    """The parts that a model's record names; no checksum covers the record, so it may hold anything."""
    data = metadata.get("data")
    split = data.get("split") if isinstance(data, dict) else None
    if isinstance(split, list) and all(isinstance(part, int | float) for part in split):
        return tuple(split)
    return (0.7, 0.1, 0.2)
