"""`aaren train events`, and what `aaren evaluate` and `aaren predict` do for an event model."""

from __future__ import annotations

import csv
import io
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from aaren.cli._common import (
    decay_of,
    existing,
    json_line,
    print_json,
    require_trainable,
    require_writable_folder,
    split_parts,
)
from aaren.cli._same_data import note_learned, note_other_data
from aaren.cli._train_options import Absent, Precision, TrainOptions
from aaren.errors import DataError

if TYPE_CHECKING:
    from aaren.data import EventSet
    from aaren.models import EventModel

_SPLIT = "0.6,0.2,0.2"
METRICS = ("nll", "rmse", "mae", "accuracy", "ks")


@dataclass(frozen=True, kw_only=True)
class EventOptions(TrainOptions):
    """What differs for a model of events.

    Parameters
    ----------
    learning_rate
        Of the first epoch; the paper has 1e-4.
    learning_rate_decay
        Factor after each epoch; the paper has 1.
    """

    nhead: int = 1
    dim_feedforward: int = 64
    epochs: int = 20
    batch_size: int = 16
    learning_rate: float = 2e-3
    learning_rate_decay: float = 0.9
    patience: int = 4
    precision: Annotated[Precision, Absent] = "32-true"
    compile: Annotated[bool, Absent] = False


def events(
    train: Path,
    /,
    *,
    validation: Path | None = None,
    test: Path | None = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("model"),
    split: str | None = None,
    times: Path | None = None,
    duplicates: Literal["error", "drop", "keep"] = "error",
    short: Literal["error", "drop"] = "error",
    time: str = "auto",
    mark: str = "auto",
    sequence: str = "auto",
    encoder: Literal["aaren", "transformer", "gru", "mingru"] = "aaren",
    decay: Literal["none", "learned", "time"] = "none",
    intervals: bool = True,
    components: int = 8,
    options: Annotated[EventOptions, Parameter(name="*")] = EventOptions(),
) -> None:
    """Train a model of events, their times and marks, and write it to a folder.

    Files may be tables with a row for each event (columns time, mark, sequence), EasyTPP's JSON, the text folds of Du
    et al., flat or padded .npz, or the pickles of NHP, THP and ifl-tpp, of which nothing is executed.

    Parameters
    ----------
    train
        File of the training part, or of all parts. Parts that it names itself are used as such; then the last tenth of
        the training part is for validation, if no part is.
    validation
        File of the part that decides when to stop; without it, TRAIN is split. Of a TRAIN that names its parts, only
        the training part is used then.
    test
        File that is read once, at the end, for the errors that are printed.
    output
        Folder for the model: config.json, model.safetensors, preprocessing.json, MODEL_CARD.md, record.jsonl.
    split
        Without --validation: training, validation and test, as fractions or numbers of sequences, in their order; by
        default 0.6,0.2,0.2. Overrides the parts that TRAIN names, if it names any.
    times
        Of a text fold, the file of times that belongs to TRAIN; by default the one whose name says "time" for "event".
    duplicates
        For two events of a sequence at the same time: stop with an error, drop the later one, or keep both.
    short
        For a sequence of fewer than two events: stop with an error, or drop it.
    time
        Of a table, the column of times: numbers or dates.
    mark
        Of a table, the column of marks; "none" if there is none.
    sequence
        Of a table, the column that tells sequences apart; "none" if there is none.
    encoder
        The model's core: aaren, or a baseline to compare with.
    decay
        Of aaren, how older events fade: not at all (the paper), by a learned rate per head and event, or per elapsed
        time.
    intervals
        Whether tokens carry the interval before them; the paper's do not.
    components
        Log-normal distributions in the mixture for the next interval.
    options
        Encoder, training and output.
    """
    from aaren.data import read_events, split_sequences
    from aaren.training import TrainingOptions, train_events

    require_trainable(options.accelerator, options.seed)
    fading = decay_of(encoder, decay)
    if validation is not None and split is not None:
        raise ValueError("--split: expected it without --validation, which says what the parts are; leave one out")
    if validation is None and test is not None:
        raise ValueError("--test: expected --validation beside it; name both files, or leave both to --split")
    require_writable_folder(output)
    reading: dict[str, Any] = {
        "duplicates": duplicates,
        "short": short,
        "time": time,
        "mark": None if mark == "none" else mark,
        "sequence": None if sequence == "none" else sequence,
    }
    whole = read_events(existing(train, "a file of events"), times=times, **reading)
    print(whole.describe(), file=sys.stderr)
    parts, test_set = None, None
    if validation is None and split is None and whole.parts:
        train_set, validation_set, test_set = whole.named_parts()
        print(f"parts that the file names: {', '.join(whole.parts)}", file=sys.stderr)
    elif validation is None:
        parts = split_parts(split or _SPLIT)
        train_set, validation_set, test_set = split_sequences(whole, parts)
    else:
        reading["marks"] = whole.marks or None
        train_set = whole.part("train") if whole.parts else whole
        validation_set = read_events(existing(validation, "a file of events"), **reading)
        if test is not None:
            test_set = read_events(existing(test, "a file of events"), **reading)
    result = train_events(
        train_set,
        output,
        validation=validation_set,
        test=test_set,
        split=parts,
        options=TrainingOptions(**options.training()),
        resume=options.resume,
        encoder=encoder,
        decay=fading,
        intervals=intervals,
        components=components,
        **options.sizes(),
    )
    if options.json:
        print_json(result.record)
        return
    part = "validation" if test_set is None else "test"
    _print_table(f"Per event, on the {part} part", result.metrics[part], result.metrics["baselines"], encoder)
    several = whole.columns.sequence is not None and len(whole.sequences) > 1
    series = f" --series {shlex.quote(train_set.sequences[0].name)}" if several else ""
    print(f"Model written to {output}. Next: aaren stream {output}{series} < events.csv")


def evaluate_events(
    loaded: EventModel, data: Path, *, part: Literal["test", "validation"], split: str | None, json: bool
) -> None:
    """Errors on a file, or on a part of it where the model was trained on another part of the same file."""
    from aaren.data import split_sequences
    from aaren.evaluation import evaluate_events as evaluate
    from aaren.evaluation import event_baselines

    found = whole = _events_for(loaded, data)
    parts, number = None if split is None else split_parts(split), 1 if part == "validation" else 2
    named = False
    if parts is None and _is_of_training(loaded, found):
        parts = _split_in_training(loaded)
        named = parts is None and "train" in found.parts
    if parts is not None:
        found = split_sequences(found, parts)[number]
    elif named:
        chosen = found.named_parts()[number]
        if chosen is None:
            raise DataError(
                f"expected a part 'test' that the file names, received {', '.join(found.parts)}; take --part "
                "validation, or --split",
                source=str(data),
            )
        found = chosen
    elif part != "test":
        raise ValueError(
            f"--part: expected only with --split, or with the file that the model was trained on a part of, received "
            f"{part} and {data}, which is taken whole; leave it out"
        )
    assert loaded.preprocessing is not None, "reading the file has needed it"
    own, baselines = evaluate(loaded, found), event_baselines(loaded.preprocessing, found)
    note_other_data(loaded.metadata, data, found.sha256)
    if split is not None and _is_of_training(loaded, whole) and _has_learned(loaded, whole, found, number):
        note_learned(part)
    if json:
        print_json({"model": own, "baselines": baselines})
        return
    of = f"the {part} part of " if named or parts is not None else ""
    _print_table(f"Per event, on {of}{data.name}", own, baselines, loaded.config.encoder)


def predict_events(loaded: EventModel, data: Path, json: bool) -> str:
    """What comes after the last event of every sequence, as CSV or lines of JSON."""
    from aaren.streaming import events_after

    predictions = events_after(loaded, _events_for(loaded, data))
    if json:
        lines = [{"sequence": name, **one.to_dict()} for name, one in predictions.items()]
        return "\n".join(json_line(line) for line in lines) + "\n"
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for name, one in predictions.items():
        expected = one.to_dict()["next"]
        marks = expected.pop("marks", {})
        if buffer.tell() == 0:
            writer.writerow(["sequence", "last", *expected, *(["mark", "probability"] if marks else [])])
        best = next(iter(marks.items()), ())
        writer.writerow([name, one.to_dict()["time"], *expected.values(), *best])
    return buffer.getvalue()


def _events_for(loaded: EventModel, path: Path) -> EventSet:
    """Read a file with the marks, the columns and the rules for events that a model was trained with."""
    from aaren.data import read_events

    known = loaded.preprocessing
    if known is None:
        raise ValueError("expected a model with preprocessing, as `aaren train` writes it")
    given: dict[str, Any] = {}
    if path.name.lower().removesuffix(".gz").endswith((".csv", ".parquet")):
        columns = known.columns
        mark = (columns.mark or "auto") if known.marks else None
        given = {"time": columns.time, "mark": mark, "sequence": columns.sequence or "auto"}
    rules: dict[str, Any] = {"duplicates": known.duplicates, "short": known.short}
    return read_events(existing(path, "a file of events"), marks=known.marks or None, **rules, **given)


def _is_of_training(loaded: EventModel, found: EventSet) -> bool:
    """Whether a model's record names this very file; no checksum covers the record: it may hold anything."""
    data = loaded.metadata.get("data")
    return isinstance(data, dict) and data.get("sha256") == found.sha256


def _has_learned(loaded: EventModel, whole: EventSet, chosen: EventSet, number: int) -> bool:
    """Whether sequences that are a part now were of another part, and not of the test part, in the training."""
    from aaren.data import split_sequences

    split = _split_in_training(loaded)
    if split is None and "train" not in whole.parts:
        return True  # validation and test had files of their own
    trained = whole.named_parts() if split is None else split_sequences(whole, split)
    same = [None if one is None else {id(sequence) for sequence in one.sequences} for one in trained]
    mine = {id(sequence) for sequence in chosen.sequences}
    return mine != same[number] and bool(mine & ((same[0] or set()) | (same[1] or set())))


def _split_in_training(loaded: EventModel) -> tuple[float | int, ...] | None:
    """The split that a model's record names."""
    split = loaded.metadata["data"].get("split")
    usable = isinstance(split, list) and len(split) == 3 and all(isinstance(part, int | float) for part in split)
    return tuple(split) if usable else None


def _print_table(title: str, own: dict[str, float], baselines: dict[str, dict[str, float]], encoder: str) -> None:
    """Errors of a model and of the simple ways beside it; a dash where there is none."""
    from rich.console import Console
    from rich.table import Table

    rows = {encoder: own, **baselines}
    shown = [name for name in METRICS if any(name in row for row in rows.values())]
    table = Table()
    table.add_column("model")
    for name in shown:
        table.add_column(name, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[metric]:.4f}" if metric in row else "-" for metric in shown))
    console = Console()
    console.print(title, style="bold", highlight=False)
    console.print(table)
