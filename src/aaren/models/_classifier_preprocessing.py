"""Between the user's labelled series and a classifier: names and units of channels, names of classes, calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aaren.data import Scaler, Schema
from aaren.errors import AarenError, ModelFileError
from aaren.models._description import Description


@dataclass(frozen=True)
class ClassifierPreprocessing(Description):
    """How rows become tokens and logits become probabilities of the user's classes.

    Args:
        classes: names of the classes.
        scaler: names of the channels, with their mean and deviation in the training part.
        temperature: what logits are divided by before the softmax; fitted on the validation part.

    Raises:
        ValueError: there are less than two classes, two have one name, or the temperature is not positive.
    """

    classes: tuple[str, ...]
    scaler: Scaler
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes: expected at least two different names, received {self.classes}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature: expected a positive number, received {self.temperature}")

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self.scaler.names

    @property
    def schema(self) -> Schema:
        """The columns of a live row."""
        return Schema(self.channels)

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
        return {"classes": list(self.classes), "scaler": self.scaler.to_dict(), "temperature": self.temperature}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> ClassifierPreprocessing:
        """What `to_dict` wrote.

        Raises:
            ModelFileError: an entry is missing, unknown or out of range.
        """
        names = {"classes", "scaler", "temperature"}
        if set(data) != names:
            wrong = sorted(set(data) ^ names)
            raise ModelFileError(f"preprocessing: expected the entries {sorted(names)}; missing or unknown: {wrong}")
        try:
            classes, temperature = data["classes"], data["temperature"]
            if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
                raise TypeError(f"expected a list of names of classes, received {classes!r}")
            if isinstance(temperature, bool) or not isinstance(temperature, int | float):
                raise TypeError(f"expected a number for the temperature, received {temperature!r}")
            result = ClassifierPreprocessing(tuple(classes), Scaler.from_dict(data["scaler"]), float(temperature))
            assert result.schema.inputs, "a schema refuses channels of one name and none at all"
        except (TypeError, ValueError, OverflowError, AarenError) as error:
            raise ModelFileError(f"preprocessing: expected what `save` writes; {error}") from None
        return result
