"""Between the user's labelled series and a classifier: names and units of channels, names of classes, calibration."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aaren._arguments import real_number, whole_number
from aaren.data import Scaler, Schema
from aaren.errors import AarenError, ModelFileError
from aaren.models._description import Description


@dataclass(frozen=True)
class ClassifierPreprocessing(Description):
    """How rows become tokens and logits become probabilities of the user's classes.

    Args:
        classes: names of the classes.
        scaler: names of the channels, with their mean and deviation in the training part.
        temperatures: what logits are divided by before the softmax, as (from which row of a series on, temperature):
            a model that has seen little of a series is surer than it should be. Fitted on the validation part.

    Raises:
        ValueError: there are less than two classes, two have one name, a temperature is not from 1e-6 to 1e6, or their
            rows are not whole numbers that rise from 1.
    """

    classes: tuple[str, ...]
    scaler: Scaler
    temperatures: tuple[tuple[int, float], ...] = ((1, 1.0),)

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes: expected at least two different names, received {self.classes}")
        rows = [whole_number("temperatures: row", row, 1) for row, _ in self.temperatures]
        if rows[:1] != [1] or rows[-1] >= 2**63 or any(later <= row for row, later in itertools.pairwise(rows)):
            raise ValueError(f"temperatures: expected rows that rise from 1 and are below 2**63, received {rows}")
        values = [
            real_number("temperatures", one, "numbers from 1e-6 to 1e6", lambda value: 1e-6 <= value <= 1e6)
            for _, one in self.temperatures
        ]
        object.__setattr__(self, "temperatures", tuple(zip(rows, values, strict=True)))

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self.scaler.names

    @property
    def schema(self) -> Schema:
        """The columns of a live row."""
        return Schema(self.channels)

    def temperature(self, rows: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """What the logits after so many rows of a series are divided by, float64."""
        starts, values = zip(*self.temperatures, strict=True)
        place = torch.searchsorted(torch.tensor(starts, device=rows.device), rows, right=True) - 1
        return torch.tensor(values, dtype=torch.float64, device=rows.device)[place.clamp(min=0)]

    def require_sizes(self, channels: int, classes: int) -> None:
        """Refuse the numbers of channels and classes of another model.

        Raises:
            ValueError: with both.
        """
        received = (len(self.channels), len(self.classes))
        if received != (channels, classes):
            raise ValueError(
                f"preprocessing: expected (channels, classes) = {(channels, classes)} as in the configuration, "
                f"received {received}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        temperatures = [list(one) for one in self.temperatures]
        return {"classes": list(self.classes), "scaler": self.scaler.to_dict(), "temperatures": temperatures}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> ClassifierPreprocessing:
        """What `to_dict` wrote.

        Raises:
            ModelFileError: an entry is missing, unknown or out of range.
        """
        names = {"classes", "scaler", "temperatures"}
        if set(data) != names:
            wrong = sorted(set(data) ^ names)
            raise ModelFileError(f"preprocessing: expected the entries {sorted(names)}; missing or unknown: {wrong}")
        try:
            classes = data["classes"]
            if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
                raise TypeError(f"expected a list of names of classes, received {classes!r}")
            temperatures = _pairs(data["temperatures"])
            result = ClassifierPreprocessing(tuple(classes), Scaler.from_dict(data["scaler"]), temperatures)
            assert result.schema.inputs, "a schema refuses channels of one name and none at all"
        except (TypeError, ValueError, OverflowError, AarenError) as error:
            raise ModelFileError(f"preprocessing: expected what `save` writes; {error}") from None
        return result


def _pairs(found: Any) -> tuple[tuple[Any, Any], ...]:
    """Rows and temperatures of JSON, whatever they are.

    Raises:
        TypeError: they are no pairs.
    """
    if not isinstance(found, list) or not all(isinstance(one, list) and len(one) == 2 for one in found):
        raise TypeError(f"expected pairs of a row and a temperature, received {found!r}")
    return tuple((row, float(one) if type(one) is int else one) for row, one in found)  # as other tools write 1.0
