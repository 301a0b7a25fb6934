"""The runtimes that a model can be exported to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from aaren.export._manifest import Manifest, TensorSpec
from aaren.export._runner import Runner


class Written(NamedTuple):
    """What a runtime wrote, and what it has to say for the manifest.

    Args:
        files: paths of the files, inside the directory that it was given.
        inputs: of one step.
        outputs: of one step.
        state: what goes from one step to the next.
    """

    files: Sequence[Path]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Runtime:
    """A runtime.

    Args:
        name: as `--to` takes it.
        write: (model, directory, precision) writes its own files into an empty directory; MissingDependencyError if a
            package is not there.
        open: (directory, manifest, options of the stream by name) gives the runner; without PyTorch where it can.
        precisions: of the weights.
    """

    name: str
    write: Callable[[Any, Path, str], Written]
    open: Callable[..., Runner]
    precisions: tuple[str, ...] = ("float32",)


def _later(module: str, name: str) -> Callable[..., Any]:
    """A function that is imported when it is called: a runtime costs nothing until it is used."""

    def call(*arguments: Any, **options: Any) -> Any:
        return getattr(import_module(module), name)(*arguments, **options)

    return call


def _open_numpy(directory: Path, manifest: Manifest, **options: Any) -> Runner:
    from aaren.export.runner._open import NumpyRunner

    return NumpyRunner(manifest, directory, **options)


def _open_c(directory: Path, manifest: Manifest, **options: Any) -> Runner:
    from aaren.export._c_runner import CRunner

    return CRunner(manifest, directory, **options)


def _open_onnx(directory: Path, manifest: Manifest, **options: Any) -> Runner:
    from aaren.export._onnx_runner import OnnxRunner

    return OnnxRunner(manifest, directory, **options)


def _open_openvino(directory: Path, manifest: Manifest, **options: Any) -> Runner:
    from aaren.export._openvino_runner import OpenVinoRunner

    return OpenVinoRunner(manifest, directory, **options)


def _open_executorch(directory: Path, manifest: Manifest, **options: Any) -> Runner:
    from aaren.export._executorch_runner import ExecuTorchRunner

    return ExecuTorchRunner(manifest, directory, **options)


RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        Runtime("numpy", _later("aaren.export._numpy", "write"), _open_numpy, ("float32", "float16", "int8")),
        Runtime("c", _later("aaren.export._c", "write"), _open_c, ("float32", "int8")),
        Runtime("onnx", _later("aaren.export._onnx", "write"), _open_onnx, ("float32", "float16", "int8")),
        Runtime("openvino", _later("aaren.export._openvino", "write"), _open_openvino, ("float32", "int8")),
        Runtime("executorch", _later("aaren.export._executorch", "write"), _open_executorch),
    )
}
"""By name."""
