"""A runner from a front and a step: rows in, tokens through the step, the state a dictionary of arrays."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.errors import DataError, ModelFileError
from aaren.export._manifest import Manifest
from aaren.export._runner import Arrays, Runner
from aaren.export.runner._front import MOST, Front, count_of

FRONT, NORMALIZER = "front.", ".normalizer"


class StepRunner(Runner):
    """Base of the runners of Python; a subclass says what one step is.

    Args:
        manifest: of the export.
        front: of its kind; see `make_front`.
    """

    def __init__(self, manifest: Manifest, front: Front) -> None:
        super().__init__(manifest)
        self.front = front
        self._rows = 0
        self._first: Arrays = front.first({spec.name: spec.first() for spec in manifest.state})
        self._state = dict(self._first)

    @abstractmethod
    def step(self, token: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        """Outputs and state after one token; the state that is given stays what it is.

        Args:
            token: the inputs of the manifest by name.
            state: the state of the manifest by name.
        """

    @property
    def rows(self) -> int:
        """Rows that came so far, those that were left out included."""
        return self._rows

    def update(self, row: Any) -> Arrays | None:
        """Take one row; see `Runner.update`."""
        number = self._rows + 1
        try:
            checked = self.front.check(row, number)
            state, outputs = self._state, Arrays()
            if not math.isnan(reward := self.front.earned(checked)):
                state = self._counted(state, reward)
            with np.errstate(all="ignore"):
                for token in self.front.tokens(checked):
                    outputs, state = self.step(token, state)
            self.front.require_finite(outputs, number)
        except DataError:
            if self.front.on_bad_row != "skip":
                raise
            self.skip(row)
            return None
        self.front.take(checked)
        self._state, self._rows = state, number
        return outputs

    def skip(self, row: Any = None) -> str:
        """Count a row that was left out; see `Runner.skip`."""
        self._rows += 1
        reward, lost = self.front.skip(row)
        if not math.isnan(reward):
            self._state = self._counted(self._state, reward)
        return lost

    def encoded(self, numbers: Arrays) -> Arrays:
        """Some numbers of the state as the tensors of the step; what a subclass whose tensors are others overrides."""
        return numbers

    def decoded(self, state: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """The tensors of the step as numbers; the inverse of `encoded`."""
        return state

    def state(self) -> Arrays:
        """A copy of the step's state, and of the front's with "front." before the names."""
        front = {**self.front.state(), "rows": np.array(self._rows, dtype=np.int64)}
        return {name: value.copy() for name, value in self._state.items()} | {
            FRONT + name: value for name, value in front.items()
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave."""
        own = {name: np.asarray(value) for name, value in state.items() if not name.startswith(FRONT)}
        front = {name[len(FRONT) :]: np.asarray(state[name]) for name in state if name.startswith(FRONT)}
        for spec in self.manifest.state:
            _check(spec.name, own.pop(spec.name, None), self._first[spec.name])
        if own:
            raise ModelFileError(f"state: unexpected tensors {sorted(own)}; is it of another model?")
        expected = set(self.front.state()) | {"rows"}
        if set(front) != expected:
            raise ModelFileError(f"state: expected {sorted(FRONT + n for n in expected)}, received others")
        try:
            for spec in self.manifest.state:
                if spec.name.endswith(NORMALIZER):
                    _check_weights(spec.name, state)
            rows = count_of(front.pop("rows"))
            self.front.set_state(front, self.decoded(state))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelFileError(f"state: damaged: {error}") from None
        self._rows = rows
        self._state = {spec.name: np.array(state[spec.name]) for spec in self.manifest.state}

    def reset(self) -> None:
        """Begin a new series, sequence or episode."""
        self._state = dict(self._first)
        self.front.reset()

    def _counted(self, state: Arrays, reward: float) -> Arrays:
        """The state after a reward that is in no token."""
        left = self.decoded(state)["return_to_go"] - reward
        return {**state, **self.encoded({"return_to_go": np.asarray(left)})}


def _check(name: str, received: NDArray[Any] | None, first: NDArray[Any]) -> None:
    """Refuse a tensor that is no state: another shape or dtype, or numbers that are not finite where it began so."""
    if received is None or received.shape != first.shape or received.dtype != first.dtype:
        found = "none" if received is None else f"{received.shape} {received.dtype}"
        raise ModelFileError(f"state: tensor {name!r}: expected {first.shape} {first.dtype}, received {found}")
    if first.dtype.kind != "f":
        if not ((received >= 0) & (received <= MOST)).all():
            raise ModelFileError(f"state: tensor {name!r}: expected a number of rows, received {received}")
        return
    fine = np.isfinite(received)
    if np.isnan(first).any():
        fine |= np.isnan(received)
    if np.isneginf(first).any():
        fine |= np.isneginf(received)
    if not fine.all():
        raise ModelFileError(f"state: tensor {name!r}: expected finite numbers, received others; it is damaged")


def _check_weights(name: str, state: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a sum of weights that is not above 0, where there was a token."""
    weights, score = np.asarray(state[name]), np.asarray(state[name.removesuffix(NORMALIZER) + ".max_score"])
    if not np.where(np.isneginf(score), weights == 0, weights > 0).all():
        raise ValueError(f"tensor {name!r}: expected sums of weights above 0, received {weights}")
