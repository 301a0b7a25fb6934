"""What a classifier must beat: the most frequent class, and the class of the nearest training case."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aaren.data import CaseSet, Scaler
from aaren.evaluation._class_metrics import accuracy

_BLOCK = 256


def case_baselines(train: CaseSet, test: CaseSet) -> dict[str, dict[str, float]]:
    """Accuracies of simple classifiers on the test part, by name.

    Args:
        train: cases that they learn from.
        test: cases of the same channels and classes.
    """
    guesses = {
        "most frequent class": np.full(len(test), np.bincount(train.labels).argmax()),
        "nearest neighbour": train.labels[nearest(train, test)],
        "nearest, normalised": train.labels[nearest(train, test, normalised=True)],
    }
    eye = np.eye(len(train.classes))
    return {name: {"accuracy": accuracy(eye[guess], test.labels)} for name, guess in guesses.items()}


def nearest(train: CaseSet, test: CaseSet, *, normalised: bool = False) -> NDArray[np.int64]:
    """Position of the nearest training case of every test case, by Euclidean distance.

    Each channel of each case is brought to the length of the longest training case by linear interpolation, which
    also fills missing values.

    Args:
        train: cases to choose from.
        test: cases to find neighbours for.
        normalised: bring each channel of each case to mean 0 and deviation 1, which forgets level and size; otherwise
            channels are scaled by their deviation in training.

    Source: the floor of the UEA archive, Bagnall et al., arXiv 1811.00075 (nearest neighbour, Euclidean).
    """
    length = int(train.lengths.max())
    scaler = Scaler.fit(train.cases, train.channels)

    def flat(case: NDArray[np.float64]) -> NDArray[np.float64]:
        found = resampled(scaler.transform(case), length)
        return (_normalised(found) if normalised else found).ravel()

    known = np.stack([flat(case) for case in train.cases])
    squares = np.square(known).sum(1)
    found = np.empty(len(test), dtype=np.int64)
    for first in range(0, len(test), _BLOCK):
        block = np.stack([flat(case) for case in test.cases[first : first + _BLOCK]])
        # the test case's own square is the same for all training cases
        found[first : first + _BLOCK] = (squares - 2 * block @ known.T).argmin(1)
    return found


def resampled(case: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """A case of another length; 0 for a channel without a value."""
    places = np.linspace(0, len(case) - 1, length)
    result = np.zeros((length, case.shape[1]))
    for channel, values in enumerate(case.T):
        known = np.flatnonzero(~np.isnan(values))
        if known.size:
            result[:, channel] = np.interp(places, known, values[known])
    return result


def _normalised(case: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = case - case.mean(0)
    deviation = centred.std(0)
    return centred / np.where(deviation > 1e-12, deviation, 1)
