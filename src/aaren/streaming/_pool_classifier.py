"""Rows of many streams of a classifier in one step of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aaren.data import RowBlock, nonfinite_of, parse_rows
from aaren.models import Classifier, ClassifierPreprocessing
from aaren.streaming._classifier import ClassifierStream, ClassPrediction
from aaren.streaming._layout import RecordLayout
from aaren.streaming._pool_form import Arrays, Places, PoolForm, RowTable


class ClassifierForm(PoolForm[RowBlock]):
    """Classifiers: a row is plain if it is well-formed."""

    def __init__(self, stream: ClassifierStream, layout: RecordLayout) -> None:
        super().__init__(stream, layout)
        self._model: Classifier = stream.model
        assert stream.model.preprocessing is not None, "streams refuse a model without"
        self._preprocessing: ClassifierPreprocessing = stream.model.preprocessing
        self._impute = stream.on_bad_row == "impute"

    def parse(self, table: RowTable, keys: Sequence[str]) -> RowBlock:
        """Values with NaN for all that is missing; a row that a stream must judge alone is marked as odd."""
        found = parse_rows(self._preprocessing.schema, table.rows, table.count)
        nonfinite = nonfinite_of(self._preprocessing.scaler, found.values, found.nonfinite)
        odd = found.odd if self._impute else found.odd | nonfinite.any(-1)
        return RowBlock(None, np.where(nonfinite, np.nan, found.values), nonfinite, odd, None)

    def plain(self, parsed: RowBlock, places: Places, records: Tensor) -> NDArray[np.bool_]:
        """Well-formed."""
        return ~parsed.odd[places]

    def advance(self, parsed: RowBlock, places: Places, records: Tensor) -> tuple[Arrays, NDArray[np.bool_]]:
        """One token of the model for all rows."""
        scaled = self._preprocessing.scaler.transform(parsed.values[places]).astype(np.float32)
        values = torch.from_numpy(scaled).to(self._model.device)[:, None]
        found, state = self._model(values, None, self.layout.unpack(records))
        self.layout.pack(state, records)
        logits = found.logits[:, 0]
        said = {
            "probabilities": self._model.probabilities(logits, state.position).cpu().numpy(),
            "best": logits.argmax(-1).cpu().numpy(),
            "length": state.position.cpu().numpy(),
        }
        return said, logits.isfinite().all(-1).cpu().numpy()

    def empty(self, count: int) -> dict[str, NDArray[Any]]:
        """Probabilities (rows, classes); the place of the likeliest class, -1 for none, and the rows of the series."""
        return {
            "probabilities": np.full((count, len(self._preprocessing.classes)), np.nan),
            "best": np.full(count, -1, dtype=np.int64),
            "length": np.zeros(count, dtype=np.int64),
        }

    def put(self, arrays: Arrays, place: int, said: ClassPrediction) -> None:
        """Write probabilities into the arrays."""
        arrays["probabilities"][place] = list(said.probabilities.values())
        arrays["best"][place] = self._preprocessing.classes.index(said.best)
        arrays["length"][place] = said.length

    def make(self, arrays: Arrays, place: int, number: int) -> ClassPrediction:
        """The probabilities from the arrays."""
        classes = self._preprocessing.classes
        probabilities = dict(zip(classes, arrays["probabilities"][place].tolist(), strict=True))
        return ClassPrediction(number, int(arrays["length"][place]), classes[int(arrays["best"][place])], probabilities)
