"""`aaren train classifier`."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from aaren.cli._class_tables import accuracy_table
from aaren.cli._common import decay_of, print_json, require_trainable, require_writable_folder
from aaren.cli._train_options import TrainOptions

if TYPE_CHECKING:
    from aaren.data import CaseSet


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(TrainOptions):
    """What differs for a classifier.

    Parameters
    ----------
    batch_size
        Series in a step.
    learning_rate
        Of RAdam.
    seed
        Decides what is set aside, weights, order and dropout.
    """

    d_model: int = 128
    nhead: int = 8
    num_layers: int = 3
    epochs: int = 100
    batch_size: int = 16
    learning_rate_decay: float = 1.0
    patience: int = 10


def classifier(
    train: Path,
    /,
    *,
    test: Path | None = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("model"),
    validation: float = 0.2,
    windows: int | None = None,
    label: str | None = None,
    test_share: float | None = None,
    outliers: float | None = None,
    encoder: Literal["aaren", "transformer", "gru", "mingru"] = "aaren",
    decay: Literal["none", "learned"] = "none",
    positions: Literal["none", "sinusoidal"] = "sinusoidal",
    early_weight: float = 0.0,
    options: Annotated[ClassifierOptions, Parameter(name="*")] = ClassifierOptions(),
) -> None:
    """Train a classifier on labelled series and write it to a folder.

    A part of every class of two cases or more is set aside: it decides when to stop and how sure the probabilities are.
    The test file is read once, at the end, for the accuracies that are printed and recorded, beside two simple
    classifiers.

    With --windows, TRAIN is one long recording with a class in every row. It is cut in time, its last part tests, and
    each part is cut into windows that share no row and cross no change of the class.

    Parameters
    ----------
    train
        Labelled series: a .ts, .arff (with a relational attribute) or .tsv file, also packed as .gz. With --windows, an
        .arff file with plain attributes, or a .csv file.
    test
        Labelled series of the same channels and classes, to test on.
    output
        Folder for the model: config.json, model.safetensors, preprocessing.json, MODEL_CARD.md, record.jsonl.
    windows
        Rows of a window; TRAIN, and --test if given, are recordings.
    label
        With --windows: the column of the class; by default the last one.
    test_share
        With --windows and without --test: share of the rows, at the end, that is the test part; by default 0.3.
    outliers
        With --windows: take a value as missing that is further than so many interquartile ranges from the median of its
        channel in the training part; by default all are kept.
    validation
        Share of each class that is set aside.
    encoder
        The model's core: aaren, or a baseline to compare with.
    decay
        Of aaren, how older rows fade: by a learned rate per head and row, or not at all (the paper).
    positions
        Position encoding, or none.
    early_weight
        Weight of the answers before the end of a series in the loss; 0 trains the last answer only.
    options
        Encoder, training and output.
    """
    from aaren.training import CLASSIFIER_OPTIONS, train_classifier

    require_trainable(options.accelerator, options.seed, least_seed=0)
    if not 0 < validation < 1:
        raise ValueError(f"--validation: expected a share between 0 and 1, received {validation}")
    fading = decay_of(encoder, decay)
    require_writable_folder(output)
    cases, tested = _parts(train, test, windows, label=label, test_share=test_share, outliers=outliers)
    print(cases.describe(), file=sys.stderr)
    config: dict[str, Any] = {
        "encoder": encoder,
        "decay": fading,
        "positions": None if positions == "none" else positions,
        "early_weight": early_weight,
        **options.sizes(),
    }
    result = train_classifier(
        cases,
        output,
        test=tested,
        validation=validation,
        options=dataclasses.replace(CLASSIFIER_OPTIONS, **options.training()),
        resume=options.resume,
        **config,
    )
    if options.json:
        print_json(result.record)
        return
    metrics = result.metrics
    found = metrics.get("test", metrics["validation"])
    title = f"Accuracy on {'the validation part' if tested is None else Path(tested.source).name}"
    accuracy_table(title, {encoder: found, **metrics.get("baselines", {})})
    print(f"Model written to {output}. Next: aaren stream {output} < rows.csv")


def _parts(train: Path, test: Path | None, windows: int | None, **options: Any) -> tuple[CaseSet, CaseSet | None]:
    """Cases to learn and to test on: of files of cases, or windows of recordings."""
    from aaren.data import read_cases, read_recording, split_windows

    if windows is None:
        for name, value in options.items():
            if value is not None:
                raise ValueError(f"--{name.replace('_', '-')}: expected only with --windows, received {value}")
        cases = read_cases(train)
        return cases, None if test is None else read_cases(test, classes=cases.classes)
    share, outliers = options["test_share"], options["outliers"]
    if windows < 1:
        raise ValueError(f"--windows: expected at least 1 row, received {windows}")
    if share is not None and (test is not None or not 0 < share < 1):
        raise ValueError(f"--test-share: expected a share between 0 and 1, and no --test, received {share}")
    if outliers is not None and not outliers > 0:
        raise ValueError(f"--outliers: expected a positive number of interquartile ranges, received {outliers}")
    recording = read_recording(train, label=options["label"])
    if test is None:
        return split_windows(recording, windows, test=0.3 if share is None else share, outliers=outliers)
    other = read_recording(test, label=options["label"], classes=recording.classes)
    if outliers is not None:
        recording, other = recording.without_outliers(outliers, recording), other.without_outliers(outliers, recording)
    return recording.windows(windows), other.windows(windows)
