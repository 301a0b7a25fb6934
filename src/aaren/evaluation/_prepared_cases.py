"""Labelled series made ready for a classifier: scaled, and padded to the longest of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aaren.data import LARGEST_SCALED, CaseSet, Scaler
from aaren.errors import DataError
from aaren.models import ClassifierPreprocessing


def prepare_classes(train: CaseSet) -> ClassifierPreprocessing:
    """Measure the scale of every channel on cases that are trained on.

    Raises:
        DataError: there is one class only, or a channel has no value.
    """
    if len(train.classes) < 2:
        raise DataError(f"expected at least two classes, received {len(train.classes)}", source=train.source)
    return ClassifierPreprocessing(train.classes, Scaler.fit(train.cases, train.channels))


class CaseDataset(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Cases in units of the training deviation, gathered a batch at a time.

    Args:
        cases: the cases.
        preprocessing: of the training data.

    Raises:
        DataError: channels or classes are not those of the training data, or a value is beyond float32.
    """

    def __init__(self, cases: CaseSet, preprocessing: ClassifierPreprocessing) -> None:
        require_same(cases, preprocessing)
        self.labels = cases.labels
        self.values = [_scaled(cases, index, preprocessing.scaler) for index in range(len(cases))]

    def __len__(self) -> int:
        return len(self.values)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A batch: values (batch, longest, channels), NaN where missing; mask (batch, longest); labels (batch,)."""
        chosen = [self.values[index] for index in indices]
        lengths = np.array([len(one) for one in chosen])
        values = np.zeros((len(chosen), int(lengths.max()), chosen[0].shape[1]), dtype=np.float32)
        for row, one in zip(values, chosen, strict=True):
            row[: len(one)] = one
        return {
            "values": torch.from_numpy(values),
            "mask": torch.from_numpy(np.arange(values.shape[1]) < lengths[:, None]),
            "labels": torch.from_numpy(self.labels[np.asarray(indices)]),
        }

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One case, without the batch dimension."""
        return {name: tensor[0] for name, tensor in self.__getitems__([index]).items()}


def require_same(cases: CaseSet, preprocessing: ClassifierPreprocessing) -> None:
    """Refuse cases whose channels or classes are not those of the training data.

    Raises:
        DataError: with both.
    """
    if len(cases.channels) != len(preprocessing.channels):
        raise DataError(
            f"expected cases of {len(preprocessing.channels)} channels as in training, received "
            f"{len(cases.channels)}; take a file of the same set",
            source=cases.source,
        )
    if cases.channels != preprocessing.channels:
        raise DataError(
            f"expected the channels {preprocessing.channels} as in training, received {cases.channels}; put them in "
            "that order",
            source=cases.source,
        )
    if cases.classes != preprocessing.classes:
        raise DataError(
            f"expected the classes {preprocessing.classes} as in training, received {cases.classes}; read the file "
            "with classes= of the training data",
            source=cases.source,
        )


def _scaled(cases: CaseSet, index: int, scaler: Scaler) -> NDArray[np.float32]:
    """A case in training deviations; what is too far from the mean is refused, not taken for missing."""
    with np.errstate(over="ignore"):
        scaled = scaler.transform(cases.cases[index])
    beyond = np.abs(scaled) > LARGEST_SCALED
    if beyond.any():
        row, channel = (int(place) for place in np.argwhere(beyond)[0])
        raise DataError(
            f"expected a number within {LARGEST_SCALED:g} training deviations of the mean, received "
            f"{cases.cases[index][row, channel]:g} in row {row + 1} of case {index + 1}; mark it as missing",
            source=cases.source,
            column=cases.channels[channel],
        )
    return scaled.astype(np.float32)
