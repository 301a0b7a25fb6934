"""Trained policies as plain arrays: the behaviour that recorded sets are made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._stored import read_npz, read_stored
from aaren.errors import DataError

_ACTIVATIONS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": lambda x: np.tanh(x),
}


@dataclass(frozen=True, eq=False)
class Behaviour:
    """A small network that maps an observation to a distribution of actions.

    Args:
        name: of its file, without the ending.
        arrays: weights by name: `W0`, `b0`, `W1`, ... of the hidden layers, `W_mean`, `b_mean`, and `logstd` or
            `W_logstd`, `b_logstd`; or `W` alone for a linear policy; `obs_mean`, `obs_var`, `obs_clip`, `obs_eps`
            where observations are normalised.
        activation: "relu" or "tanh", of the hidden layers; "linear" where there are none.
        squash: whether a tanh bounds the actions, rather than a clip.
    """

    name: str
    arrays: Mapping[str, NDArray[Any]]
    activation: str
    squash: bool

    @staticmethod
    def read(path: Path) -> Behaviour:
        """Read a policy from an .npz file of plain arrays; nothing is unpickled.

        Raises:
            DataError: the file is missing, damaged, or has other entries.
        """
        entries = read_npz(read_stored(path).data, str(path))
        try:
            behaviour = Behaviour(
                path.stem,
                {name: array.astype(np.float64) for name, array in entries.items() if array.dtype.kind == "f"},
                str(entries["hidden_activation"]),
                bool(entries["squash_tanh"]),
            )
            if behaviour.activation not in (*_ACTIVATIONS, "linear"):
                raise ValueError(f"hidden_activation: expected relu, tanh or linear, received {behaviour.activation!r}")
            if not all(np.isfinite(array).all() for array in behaviour.arrays.values()):
                raise ValueError("a weight is not finite")
            behaviour.act(np.zeros(behaviour.inputs), 0, np.random.default_rng(0), 1.0)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise DataError(f"expected a policy of plain arrays, received another: {error}", source=str(path)) from None
        return behaviour

    @property
    def inputs(self) -> int:
        """Numbers that the network takes."""
        return self.arrays["W" if "W" in self.arrays else "W0"].shape[1]

    def act(
        self, observation: NDArray[np.float64], step: int, generator: np.random.Generator, noise: float
    ) -> NDArray[np.float64]:
        """Draw an action in -1 ... 1.

        Args:
            observation: shape (observations,); zeros fill it up to what the network takes.
            step: of the episode, from 0; a network that takes one number more than 111 is told the time left of 1000.
            generator: for the noise.
            noise: factor on the policy's own noise; 0 is its mean.
        """
        arrays = self.arrays
        x = np.zeros(self.inputs)
        x[: len(observation)] = observation
        if self.inputs == 112:  # Ant's 111 and the share of the time that is left
            x[111] = 1 - step / 1000
        if "obs_mean" in arrays:
            scale = np.sqrt(arrays["obs_var"] + arrays["obs_eps"])
            x = np.clip((x - arrays["obs_mean"]) / scale, -arrays["obs_clip"], arrays["obs_clip"])
        if "W" in arrays:
            return np.clip(arrays["W"] @ x, -1, 1)
        layer = 0
        while f"W{layer}" in arrays:
            x = _ACTIVATIONS[self.activation](arrays[f"W{layer}"] @ x + arrays[f"b{layer}"])
            layer += 1
        action = arrays["W_mean"] @ x + arrays["b_mean"]
        log_deviation = arrays["logstd"] if "logstd" in arrays else arrays["W_logstd"] @ x + arrays["b_logstd"]
        deviation = np.exp(np.clip(log_deviation, -20, 2))
        action = action + noise * deviation * generator.standard_normal(len(action))
        return np.tanh(action) if self.squash else np.clip(action, -1, 1)
