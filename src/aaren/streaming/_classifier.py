"""One live stream of a classifier: a row in, the probabilities of the classes out, in constant time and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aaren.data import Row, Schema, checked_row
from aaren.models import Classifier, ClassifierPreprocessing
from aaren.streaming._base import ModelStream, Policy


@dataclass(frozen=True)
class ClassPrediction:
    """What class a series is of, judged by its rows so far.

    Args:
        row: number of the row in its stream, from 1.
        length: number of rows of the series that were taken so far.
        best: name of the likeliest class.
        probabilities: calibrated, by name of the class, in the order of training; they sum to 1.
    """

    row: int
    length: int
    best: str
    probabilities: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; probabilities with seven significant digits, as much as float32 has."""
        rounded = {name: float(f"{value:.7g}") for name, value in self.probabilities.items()}
        return {"row": self.row, "length": self.length, "class": self.best, "probabilities": rounded}


class ClassifierStream(ModelStream[Classifier, ClassPrediction]):
    """A live stream of one series after another; `reset` begins the next one.

    Args:
        model: a trained classifier.
        state_file: go on from this snapshot if the file is there; None or no such file starts a new stream.
        on_bad_row: as in `Stream`.

    Raises:
        ValueError: the model has no preprocessing, or an argument is not one of its choices.
        ModelFileError: the snapshot is damaged, or is of another model.

    Example:
        stream = aaren.load("model/").stream()
        said = stream.update({"channel_1": 0.3, "channel_2": None})
        said.best, said.probabilities[said.best]
    """

    def __init__(
        self, model: Classifier, state_file: str | Path | None = None, *, on_bad_row: Policy = "error"
    ) -> None:
        super().__init__(model, on_bad_row)
        assert model.preprocessing is not None, "the base has refused it"
        self._preprocessing: ClassifierPreprocessing = model.preprocessing
        self._schema = model.preprocessing.schema
        self._restore(state_file)

    @property
    def schema(self) -> Schema:
        """The columns of a row: the channels."""
        return self._schema

    def reset(self) -> None:
        """Begin a new series: the rows so far are forgotten, the numbering of rows goes on."""
        self._state = self.model.init_state(1)

    def _check(self, row: Any, number: int) -> Row:
        """The row, parsed: a mapping of cells by channel, or cells in the order of the channels."""
        impute = self.on_bad_row == "impute"
        return checked_row(self._schema, self._preprocessing.scaler, row, number, impute=impute)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _apply(self, checked: Row, number: int) -> ClassPrediction:
        """Pass a row through the model."""
        values = np.where(checked.nonfinite, np.nan, checked.values)
        scaled = self._preprocessing.scaler.transform(values[None, None]).astype(np.float32)
        said, state = self.model(torch.from_numpy(scaled).to(self.model.device), None, self._state)
        self._require_finite(said.logits, number)
        self._state = state
        self._monitor.add(scaled[0, 0].astype(np.float64))
        return make_class_prediction(self.model, said.logits[0, -1], number, int(state.position[0]))

    def _own_header(self) -> dict[str, Any]:
        return {}

    def _restore_own(self, header: Mapping[str, Any]) -> None:
        """Nothing: how many rows a series has is in the state."""


def make_class_prediction(model: Classifier, logits: Tensor, row: int, length: int) -> ClassPrediction:
    """Calibrated probabilities of logits of shape (classes,), by name."""
    assert model.preprocessing is not None, "callers have refused it"
    classes = model.preprocessing.classes
    probabilities = model.probabilities(logits, torch.tensor(length, device=logits.device)).tolist()
    best = classes[int(logits.argmax())]
    return ClassPrediction(row, length, best, dict(zip(classes, probabilities, strict=True)))
