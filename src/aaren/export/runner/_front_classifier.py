"""The front of a classifier: the cells of the channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._checked_row import checked_row
from aaren.data._rows import Row
from aaren.data._scale import Scaler
from aaren.data._series import Schema
from aaren.export.runner._front import Arrays, Front, count_of


class ClassifierFront(Front):
    """As `aaren.streaming.ClassifierStream`."""

    finite = "probabilities"

    def prepare(self, preprocessing: Mapping[str, Any]) -> None:
        """Channels and classes."""
        self.scaler = Scaler.from_dict(preprocessing["scaler"])
        self.schema = Schema(self.scaler.names)
        self.classes = tuple(preprocessing["classes"])

    @property
    def columns(self) -> tuple[str, ...]:
        """The channels."""
        return self.schema.inputs

    def reset(self) -> None:
        """A new series."""
        self.length = 0

    def check(self, row: Any, number: int) -> Row:
        """The row, parsed."""
        return checked_row(self.schema, self.scaler, row, number, impute=self.on_bad_row == "impute")

    def tokens(self, checked: Row) -> list[Arrays]:
        """The values, NaN where one is missing."""
        return [{"values": np.where(checked.nonfinite, np.nan, checked.values)}]

    def take(self, checked: Row) -> None:
        """Count it."""
        self.length += 1

    def line(self, number: int, said: Arrays) -> dict[str, Any]:
        """As `aaren stream` writes it: row, length, class, probabilities."""
        chances = said["probabilities"].tolist()
        told = {name: float(f"{chance:.7g}") for name, chance in zip(self.classes, chances, strict=True)}
        best = self.classes[int(said["probabilities"].argmax())]
        return {"row": number, "length": self.length, "class": best, "probabilities": told}

    def state(self) -> Arrays:
        """Rows of the series so far."""
        return {"length": np.array(self.length, dtype=np.int64)}

    def set_state(self, state: Mapping[str, NDArray[Any]], step: Mapping[str, NDArray[Any]]) -> None:
        """Take it back."""
        length = count_of(state["length"])
        if length != int(step["position"]):
            raise ValueError(f"expected {int(step['position'])} rows of the series, received {length}")
        self.length = length
