"""A model as a graph of plain named tensors, for runtimes that take one: a row or a chunk of rows in, and the state.

All that a stream computes is in it: scales, missing values, normalisation, the encoder, units. What a stream does to a
row before (cells, order of times, gaps, calendar) is the front's work; see `aaren.export.runner`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aaren.export._graph_classifier import ClassifierGraph
from aaren.export._graph_encoder import State
from aaren.export._graph_events import EventGraph
from aaren.export._graph_forecaster import ForecasterGraph
from aaren.export._graph_names import AFTER, BEFORE, CHUNK, LOW
from aaren.export._graph_policy import PolicyGraph
from aaren.export._manifest import TensorSpec
from aaren.export._pairs import split
from aaren.export._tensors import step_tensors
from aaren.export._wide import Double, Pair
from aaren.models import Model

__all__ = ["AFTER", "BEFORE", "CHUNK", "LOW", "Graph", "has_chunk"]


class Graph(nn.Module):
    """One step of a model, or a chunk of steps, on plain tensors without a batch dimension.

    Inputs are those of `step_tensors` in their order, then the state with "state." before its names; outputs are
    those of `step_tensors` and the state with "next." before its names. A chunk takes inputs with the rows before
    their shape, up to `CHUNK` of them, and says what is said after the last. Tensors of size 0 are left out. With
    `pairs` each float64 tensor is two of float32: NAME, the number rounded to float32, and NAME.low, what is left.

    Args:
        model: with preprocessing, and a state of constant size.
        chunk: whether it takes several rows; see `has_chunk`.
        pairs: whether the runtime has no float64.

    Example:
        graph = Graph(aaren.load("model/"))
        said = graph(*graph.example())
        dict(zip(graph.output_names, said, strict=True))
    """

    def __init__(self, model: Model[Any, Any], *, chunk: bool = False, pairs: bool = False) -> None:
        super().__init__()
        assert not chunk or has_chunk(model), "the caller asks before"
        self.chunk, self.pairs = chunk, pairs
        model = copy.deepcopy(model)  # the caller goes on with gradients and in the mode that it was in
        inputs, outputs, state = (tuple(spec for spec in specs if 0 not in spec.shape) for specs in step_tensors(model))
        self.inputs, self.outputs, self.state = inputs, outputs, state
        self.body: nn.Module
        if model.kind == "policy":
            self.body = PolicyGraph(model, pairs=pairs)  # type: ignore[arg-type]
        else:
            self.body = _BODIES[model.kind](model, chunk=chunk, pairs=pairs)
        self.eval().requires_grad_(False)

    @property
    def input_names(self) -> list[str]:
        """Of the tensors that go in, in order."""
        return [*self._names(self.inputs), *(BEFORE + name for name in self._names(self.state))]

    @property
    def output_names(self) -> list[str]:
        """Of the tensors that come out, in order."""
        return [*self._names(self.outputs), *(AFTER + name for name in self._names(self.state))]

    def example(self, rows: int = 2) -> tuple[Tensor, ...]:
        """Tensors to trace it with: zeros, and the state at the start.

        Args:
            rows: of a chunk.
        """
        shape = (rows,) if self.chunk else ()
        found: list[Tensor] = []
        for spec in self.inputs:
            found += self._as_tensors(np.zeros((*shape, *spec.shape), dtype=spec.dtype))
        for spec in self.state:
            found += self._as_tensors(spec.first())
        return tuple(found)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors in the order of `input_names` in, in that of `output_names` out."""
        given = list(tensors)
        row = self._read(self.inputs, given)
        if not self.chunk:
            row = {name: _first_axis(one) for name, one in row.items()}
        outputs, after = self.body(row, self._read(self.state, given))
        return (*self._written(self.outputs, outputs), *self._written(self.state, after))

    def _read(self, specs: Sequence[TensorSpec], given: list[Tensor]) -> State:
        """Take the tensors of these specs off the front of the list."""
        found: State = {}
        for spec in specs:
            if spec.dtype != "float64":
                found[spec.name] = given.pop(0)
            elif self.pairs:
                found[spec.name] = Pair(given.pop(0), given.pop(0))
            else:
                found[spec.name] = Double(given.pop(0))
        return found

    def _written(self, specs: Sequence[TensorSpec], found: Mapping[str, Any]) -> list[Tensor]:
        written: list[Tensor] = []
        for spec in specs:
            one = found[spec.name]
            written += [one] if isinstance(one, Tensor) else one.tensors()
        return written

    def _names(self, specs: Sequence[TensorSpec]) -> list[str]:
        return [
            spec.name + part
            for spec in specs
            for part in (("", LOW) if self.pairs and spec.dtype == "float64" else ("",))
        ]

    def _as_tensors(self, array: np.ndarray[Any, Any]) -> list[Tensor]:
        if self.pairs and array.dtype == np.float64:
            return [torch.from_numpy(np.asarray(part)) for part in split(array)]
        return [torch.from_numpy(array)]


def has_chunk(model: Model[Any, Any]) -> bool:
    """Whether several rows can go through at once: a GRU's cannot, nor those of a policy, whose actions are its own."""
    return model.kind != "policy" and model.config.encoder != "gru"


def _first_axis(one: Any) -> Any:
    """One row as a chunk of one."""
    return one[None] if isinstance(one, Tensor) else one.each(lambda x: x[None])


_BODIES: Mapping[str, Any] = {"classifier": ClassifierGraph, "events": EventGraph, "forecaster": ForecasterGraph}
