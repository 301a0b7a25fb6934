"""Weights as C source: in the order in which the generated program reads them.

Outputs of a matrix stand in blocks of eight, the last one filled up with zeros; in a block come, for each input, the
weights of its eight outputs. int8 weights have one scale for each output and stand in pairs of inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 8
_WIDTH = 110


def numpy(tensor: Tensor) -> NDArray[Any]:
    """The numbers of a tensor, in float32."""
    return np.asarray(tensor.detach().float().cpu().numpy(), dtype=np.float32)


def padded(array: NDArray[Any], axis: int = 0, multiple: int = BLOCK) -> NDArray[Any]:
    """Zeros behind an axis up to a multiple."""
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, -array.shape[axis] % multiple)
    return np.pad(array, widths)


def blocks(weight: NDArray[Any]) -> NDArray[Any]:
    """A matrix of shape (outputs, inputs) in blocks: shape (blocks, inputs, 8)."""
    whole = padded(weight)
    return whole.reshape(-1, BLOCK, weight.shape[1]).transpose(0, 2, 1)


def quantised(weight: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A matrix of shape (outputs, inputs) in int8, shape (blocks, pairs, 8, 2), and the scale of each output."""
    whole = padded(padded(weight), axis=1, multiple=2).astype(np.float64)
    scale = np.abs(whole).max(1) / 127
    rounded = np.rint(whole / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8)
    return rounded.reshape(-1, BLOCK, whole.shape[1] // 2, 2).transpose(0, 2, 1, 3), scale.astype(np.float32)


def numbers(array: NDArray[Any]) -> str:
    """Numbers with commas, in lines; float32 and float64 in the fewest digits that give the same bits back."""
    flat = np.ascontiguousarray(array).ravel()
    texts = flat.astype(str).tolist()
    if flat.dtype == np.float32:
        texts = [f"{text}f" for text in texts]
    lines, line = [], ""
    for text in texts:
        if len(line) + len(text) > _WIDTH:
            lines.append(line.rstrip())
            line = ""
        line += f"{text}, "
    return "\n".join([*lines, line.removesuffix(", ")])


_TYPES = {"float32": "float", "float64": "double", "int8": "int8_t"}


def constant(name: str, array: NDArray[Any]) -> str:
    """The definition of an array in read-only memory."""
    assert np.isfinite(array).all(), "a model's weights are finite"
    return f"static const {_TYPES[str(array.dtype)]} {name}[{array.size}] ALIGNED = {{\n{numbers(array)}}};"


def matrix(name: str, weight: Tensor, bias: Tensor) -> str:
    """Weight and bias of a linear layer, in blocks."""
    return f"{constant(f'{name}_weight', blocks(numpy(weight)))}\n{constant(f'{name}_bias', padded(numpy(bias)))}"


def rows(array: NDArray[Any]) -> str:
    """The initialiser of an array of arrays, without the outer braces."""
    return ",\n".join(f"{{{numbers(row)}}}" for row in array)


def doubles(values: Sequence[float] | NDArray[Any]) -> str:
    """Numbers of double precision with commas."""
    return numbers(np.asarray(values, dtype=np.float64))
