"""Between an environment and a policy: scales of observations, actions and returns, and the return to ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aaren.data import Scaler, largest_return
from aaren.errors import AarenError, ModelFileError
from aaren.models._description import Description


@dataclass(frozen=True)
class PolicyPreprocessing(Description):
    """How observations, actions and returns become a policy's numbers and back.

    Args:
        environment: id of the environment, such as "HalfCheetah-v4".
        scaler: mean and deviation of every number of an observation in the training part.
        action_low: least value of every number of an action, shape (actions,).
        action_high: the greatest, shape (actions,).
        return_scale: what returns are divided by.
        target_return: the return that is asked for where the user asks for none.
    """

    environment: str
    scaler: Scaler
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    return_scale: float
    target_return: float

    def __post_init__(self) -> None:
        if len(self.action_low) != len(self.action_high) or not all(
            math.isfinite(low) and math.isfinite(high) and low < high
            for low, high in zip(self.action_low, self.action_high, strict=True)
        ):
            raise ValueError(
                f"action bounds: expected finite low < high for every number of an action, received "
                f"{self.action_low} and {self.action_high}"
            )
        if not (math.isfinite(self.return_scale) and self.return_scale > 0):
            raise ValueError(f"return_scale: expected a positive number, received {self.return_scale}")
        self.require_target(self.target_return)

    def require_target(self, target: float) -> None:
        """Refuse a return to ask for that is too large once it is scaled.

        Raises:
            ValueError: with the target.
        """
        largest = largest_return(self.return_scale)
        if not abs(target) <= largest:
            raise ValueError(f"target_return: expected a finite number within {largest:g}, received {target}")

    def scaled_observations(self, observations: ArrayLike) -> NDArray[np.float32]:
        """Observations, shape (..., observations), in units of the training deviation."""
        return self.scaler.transform(observations).astype(np.float32)

    def scaled_actions(self, actions: ArrayLike) -> NDArray[np.float32]:
        """Actions, shape (..., actions), with their bounds at -1 and 1."""
        low, high = self._bounds()
        return (2 * (np.asarray(actions, dtype=np.float64) - low) / (high - low) - 1).astype(np.float32)

    def to_actions(self, scaled: ArrayLike) -> NDArray[np.float32]:
        """Undo `scaled_actions`; the result never leaves the bounds."""
        low, high = self._bounds()
        actions = low + (np.asarray(scaled, dtype=np.float64) + 1) / 2 * (high - low)
        return np.clip(actions, low, high).astype(np.float32)

    def require_sizes(self, observations: int, actions: int) -> None:
        """Refuse the numbers of another model.

        Raises:
            ValueError: with both.
        """
        received = (len(self.scaler.names), len(self.action_low))
        if received != (observations, actions):
            raise ValueError(
                f"preprocessing: expected (observations, actions) = {(observations, actions)} as in the configuration, "
                f"received {received}"
            )

    def _bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array(self.action_low), np.array(self.action_high)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "environment": self.environment,
            "scaler": self.scaler.to_dict(),
            "action_low": list(self.action_low),
            "action_high": list(self.action_high),
            "return_scale": self.return_scale,
            "target_return": self.target_return,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> PolicyPreprocessing:
        """What `to_dict` wrote.

        Raises:
            ModelFileError: an entry is missing, unknown or out of range.
        """
        names = {"environment", "scaler", "action_low", "action_high", "return_scale", "target_return"}
        if set(data) != names:
            wrong = sorted(set(data) ^ names)
            raise ModelFileError(f"preprocessing: expected the entries {sorted(names)}; missing or unknown: {wrong}")
        try:
            if not isinstance(data["environment"], str):
                raise TypeError(f"environment: expected a name, received {data['environment']!r}")
            return PolicyPreprocessing(
                data["environment"],
                Scaler.from_dict(data["scaler"]),
                tuple(float(value) for value in data["action_low"]),
                tuple(float(value) for value in data["action_high"]),
                float(data["return_scale"]),
                float(data["target_return"]),
            )
        except (TypeError, ValueError, OverflowError, AarenError) as error:
            raise ModelFileError(f"preprocessing: expected what `save` writes; {error}") from None
