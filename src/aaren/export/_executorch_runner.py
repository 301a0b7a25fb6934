"""The runner of an export to ExecuTorch; its runtime for Python takes tensors of PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data._optional import optional
from aaren.errors import ModelFileError
from aaren.export._graph_runner import GraphRunner, tensor_specs
from aaren.export._manifest import Manifest

FILE = "step.pte"
_CODES = {"float32": 6, "float64": 7, "int64": 4}
"""Of dtypes, as ExecuTorch numbers them."""


class ExecuTorchRunner(GraphRunner):
    """An export to ExecuTorch.

    Args:
        manifest: of the export.
        directory: of step.pte.
        options: of the front.

    Raises:
        MissingDependencyError: ExecuTorch is not installed.
        ModelFileError: ExecuTorch cannot read the program, or it is not that of the manifest.
    """

    def __init__(self, manifest: Manifest, directory: Path, **options: Any) -> None:
        super().__init__(manifest, **options)
        import torch

        self._tensor = torch.from_numpy
        runtime, path = executorch("executorch.runtime").Runtime.get(), directory / FILE
        try:
            self._method = runtime.load_program(path).load_method("forward")
        except RuntimeError as error:
            raise ModelFileError(f"{path}: ExecuTorch cannot read it: {error}") from None
        about = self._method.metadata
        found = [
            [(tuple(one.sizes()), one.dtype()) for one in map(tell, range(count()))]
            for tell, count in (
                (about.input_tensor_meta, about.num_inputs),
                (about.output_tensor_meta, about.num_outputs),
            )
        ]
        if found != [[(spec.shape, _CODES[spec.dtype]) for _, spec in specs] for specs in tensor_specs(manifest)]:
            raise ModelFileError(f"{path}: it is of another model than {directory / 'manifest.json'}")

    def run(self, tensors: list[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """One step; see `GraphRunner.run`."""
        said = self._method.execute([self._tensor(np.array(one)) for one in tensors])
        return [one.numpy() for one in said]


def executorch(module: str) -> Any:
    """A module of ExecuTorch.

    Args:
        module: its whole name.

    Raises:
        MissingDependencyError: it is not installed, or a package that it needs is not.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of ExecuTorch about itself
        return optional(module, "an export to ExecuTorch", "executorch")
