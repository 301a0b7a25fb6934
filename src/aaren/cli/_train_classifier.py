"""`aaren train classifier`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from aaren.cli._class_tables import accuracy_table
from aaren.cli._common import print_json, require_writable_folder
from aaren.errors import BackendError

Flag = Parameter(negative=())


def classifier(
    train: Path,
    /,
    *,
    test: Path | None = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("model"),
    validation: float = 0.2,
    encoder: Literal["aaren", "transformer", "gru", "mingru"] = "aaren",
    decay: Literal["none", "learned"] = "none",
    positions: Literal["none", "sinusoidal"] = "sinusoidal",
    early_weight: float = 0.0,
    d_model: int = 128,
    nhead: int = 8,
    num_layers: int = 3,
    dim_feedforward: int = 256,
    dropout: float = 0.1,
    epochs: int = 100,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    patience: int = 10,
    seed: int = 0,
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    compile: Annotated[bool, Flag] = False,  # noqa: A002
    resume: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
) -> None:
    """Train a classifier on labelled series and write it to a folder.

    A part of every class is set aside: it decides when to stop and how sure the probabilities are. The test file is
    read once, at the end, for the accuracies that are printed and recorded, beside two simple classifiers.

    Parameters
    ----------
    train
        Labelled series: a .ts, .arff (with a relational attribute) or .tsv file, also packed as .gz.
    test
        Labelled series of the same channels and classes, to test on.
    output
        Folder for the model: config.json, model.safetensors, preprocessing.json, MODEL_CARD.md, record.jsonl.
    validation
        Share of each class that is set aside.
    encoder
        The model's core: aaren, or a baseline to compare with.
    decay
        How older rows fade: by a learned rate per head and row, or not at all (the paper).
    positions
        Position encoding, or none.
    early_weight
        Weight of the answers before the end of a series in the loss; 0 trains the last answer only.
    d_model
        Width.
    nhead
        Heads; a divisor of the width.
    num_layers
        Layers.
    dim_feedforward
        Width of the feed-forward networks.
    dropout
        Dropout probability.
    epochs
        Passes over the training part, at most.
    batch_size
        Series in a step.
    learning_rate
        Of RAdam.
    patience
        Epochs without improvement before stopping.
    seed
        Decides what is set aside, weights, order and dropout.
    accelerator
        "auto", "cpu" or "gpu".
    precision
        "32-true" or "bf16-mixed".
    compile
        Run the encoder through torch.compile; needs a C++ compiler and some minutes at the start.
    resume
        Go on from the last checkpoint in the folder, if there is one.
    json
        Print the whole record as one JSON line instead of a table.
    """
    import torch

    from aaren.data import read_cases
    from aaren.training import CLASSIFIER_OPTIONS, train_classifier

    if accelerator == "gpu" and not torch.cuda.is_available():
        raise BackendError("--accelerator: expected a GPU for 'gpu', found none that PyTorch can use; choose cpu")
    if not 0 <= seed < 2**31:
        raise ValueError(f"--seed: expected a number from 0 to 2**31 - 1, received {seed}")
    if not 0 < validation < 1:
        raise ValueError(f"--validation: expected a share between 0 and 1, received {validation}")
    require_writable_folder(output)
    cases = read_cases(train)
    tested = None if test is None else read_cases(test, classes=cases.classes)
    print(cases.describe(), file=sys.stderr)
    config: dict[str, Any] = {
        "encoder": encoder,
        "decay": None if decay == "none" or encoder != "aaren" else decay,
        "positions": None if positions == "none" else positions,
        "early_weight": early_weight,
        "d_model": d_model,
        "nhead": nhead,
        "num_layers": num_layers,
        "dim_feedforward": dim_feedforward,
        "dropout": dropout,
    }
    result = train_classifier(
        cases,
        output,
        test=tested,
        validation=validation,
        options=dataclasses.replace(
            CLASSIFIER_OPTIONS,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            patience=patience,
            seed=seed,
            accelerator=accelerator,
            precision=precision,
            compile=compile,
        ),
        resume=resume,
        **config,
    )
    if json:
        print_json(result.record)
        return
    metrics = result.metrics
    found = metrics.get("test", metrics["validation"])
    title = f"Accuracy on {'the validation part' if test is None else test.name}"
    accuracy_table(title, {encoder: found, **metrics.get("baselines", {})})
    print(f"Model written to {output}. Next: aaren stream {output} < rows.csv")
