"""A model's weights, taken out by name; what is missing, left over or of another shape is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.errors import ModelFileError

SCALE = ".scale"
Weight = NDArray[np.float32]


class Weights:
    """Weights in float32.

    Args:
        arrays: by name, in float32, float16, or int8 with the scale of each row beside it (`NAME.scale`).
        source: file name, for messages.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], source: str) -> None:
        self._arrays, self._source = dict(arrays), source

    def take(self, name: str, *shape: int) -> Weight:
        """The weight of that name and shape.

        Raises:
            ModelFileError: it is not there, or is of another shape.
        """
        array = self._arrays.pop(name, None)
        if array is None or array.shape != shape:
            received = "none" if array is None else f"shape {array.shape}"
            raise ModelFileError(f"{self._source}: tensor {name!r}: expected shape {shape}, received {received}")
        if array.dtype == np.int8:
            scale = self._arrays.pop(name + SCALE, None)
            if scale is None or scale.shape != shape[:1]:
                raise ModelFileError(f"{self._source}: tensor {name + SCALE!r}: expected shape {shape[:1]}")
            array = array.astype(np.float32) * scale.astype(np.float32).reshape(-1, *[1] * (len(shape) - 1))
        return array.astype(np.float32)

    def linear(self, name: str, outputs: int, inputs: int) -> tuple[Weight, Weight]:
        """Weight and bias of a linear layer."""
        return self.take(f"{name}.weight", outputs, inputs), self.take(f"{name}.bias", outputs)

    def end(self) -> None:
        """Refuse what is left over.

        Raises:
            ModelFileError: there is something.
        """
        if self._arrays:
            raise ModelFileError(f"{self._source}: unexpected tensors {sorted(self._arrays)}; is it of another model?")
