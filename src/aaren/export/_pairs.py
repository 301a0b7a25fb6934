"""float64 as pairs of float32, for runtimes that have no float64; this file needs numpy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aaren.export._graph_names import LOW
from aaren.export._manifest import TensorSpec


def split(values: ArrayLike) -> tuple[Any, Any]:
    """float64 numbers as pairs of float32: high and low, of the same shape."""
    array = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        high = array.astype(np.float32)
        low = np.where(np.isfinite(high), array - high, 0)
    return high, low.astype(np.float32)


def pair_specs(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The tensors of a graph in pairs; those of size 0, which are in no graph, stay as they are."""
    paired: list[TensorSpec] = []
    for spec in specs:
        if spec.dtype != "float64" or 0 in spec.shape:
            paired.append(spec)
            continue
        high, low = spec.initial, None
        if spec.initial is not None and not isinstance(spec.initial, str):
            high, low = (part.tolist() for part in split(spec.initial))
        elif spec.initial is not None:
            low = 0.0
        rest = f"what float32 leaves of {spec.name}"
        paired.append(TensorSpec(spec.name, "float32", spec.shape, spec.units, high))
        paired.append(TensorSpec(spec.name + LOW, "float32", spec.shape, rest, low))
    return tuple(paired)


def paired(arrays: Mapping[str, NDArray[Any]], specs: Sequence[TensorSpec]) -> dict[str, NDArray[Any]]:
    """Numbers as the tensors of these specs: two of float32 where there are two."""
    names, found = {spec.name for spec in specs}, {}
    for spec in specs:
        if spec.name + LOW in names:
            found[spec.name], found[spec.name + LOW] = split(arrays[spec.name])
        elif spec.name not in found:
            found[spec.name] = np.asarray(arrays[spec.name], dtype=spec.dtype)
    return found


def joined(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Tensors of a graph as numbers: two of float32 are one of float64."""
    return {
        name: array.astype(np.float64) + arrays[name + LOW] if name + LOW in arrays else array
        for name, array in arrays.items()
        if not name.endswith(LOW)
    }
