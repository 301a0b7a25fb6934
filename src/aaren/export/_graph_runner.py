"""What the runners of graphs have in common: a step is a list of tensors in and a list of tensors out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.export._graph_names import AFTER, BEFORE, LOW
from aaren.export._manifest import Manifest, TensorSpec
from aaren.export._pairs import joined, paired
from aaren.export._runner import Arrays
from aaren.export.runner._open import make_front
from aaren.export.runner._step_runner import StepRunner


class GraphRunner(StepRunner):
    """Base of the runners of graphs; a subclass runs the graph.

    The manifest has the tensors of the graph: of a number in a pair NAME and NAME.low. Rows and answers have the
    number itself.

    Args:
        manifest: of the export.
        options: of the front.
    """

    def __init__(self, manifest: Manifest, **options: Any) -> None:
        super().__init__(manifest, make_front(manifest, **options))
        start = joined({spec.name: spec.first() for spec in manifest.state})
        self._first = paired(self.front.first(start), manifest.state)
        self._state = dict(self._first)
        self._inputs, self._outputs, self._kept = map(present, (manifest.inputs, manifest.outputs, manifest.state))
        self._empty = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in manifest.outputs if 0 in spec.shape}

    @abstractmethod
    def run(self, tensors: list[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """The tensors that come out, in the order of `tensor_names`; those given stay what they are."""

    def step(self, token: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        """One token; see `StepRunner.step`."""
        row = paired(token, self._inputs)
        said = self.run([*(row[spec.name] for spec in self._inputs), *(state[spec.name] for spec in self._kept)])
        count = len(self._outputs)
        outputs = {spec.name: one for spec, one in zip(self._outputs, said[:count], strict=True)}
        after = {spec.name: one for spec, one in zip(self._kept, said[count:], strict=True)}
        return {**joined(outputs), **self._empty}, {**state, **after}

    def encoded(self, numbers: Arrays) -> Arrays:
        """Numbers of the state as tensors of the graph; see `StepRunner.encoded`."""
        return paired(numbers, [spec for spec in self.manifest.state if spec.name.removesuffix(LOW) in numbers])

    def decoded(self, state: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Two tensors of float32 as the number that they are; see `StepRunner.decoded`."""
        return joined(state)


def present(specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Those that are in the graph: tensors of size 0 are not."""
    return [spec for spec in specs if 0 not in spec.shape]


def tensor_specs(manifest: Manifest) -> tuple[list[tuple[str, TensorSpec]], list[tuple[str, TensorSpec]]]:
    """Names in the graph, and specs, of what goes in and of what comes out, in order."""
    state = present(manifest.state)
    return (
        [(spec.name, spec) for spec in present(manifest.inputs)] + [(BEFORE + spec.name, spec) for spec in state],
        [(spec.name, spec) for spec in present(manifest.outputs)] + [(AFTER + spec.name, spec) for spec in state],
    )
