"""The runner of an export to OpenVINO, without PyTorch."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from aaren.data._optional import optional
from aaren.errors import DataError, ModelFileError
from aaren.export._graph_runner import GraphRunner, tensor_specs
from aaren.export._manifest import Manifest, TensorSpec

FILES = ("model.xml", "model.bin")
_OPENING = threading.Lock()  # of `_core`, which must not be made twice
_OPTIONS = {
    "INFERENCE_PRECISION_HINT": "f32",  # some processors would take bfloat16
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_NUM_THREADS": 1,  # threads only wait on such small tensors
    "ENABLE_CPU_PINNING": False,  # on a processor that is busy, a thread bound to it would wait
}


class OpenVinoRunner(GraphRunner):
    """An export to OpenVINO, on the processor.

    Args:
        manifest: of the export.
        directory: of model.xml and model.bin.
        options: of the front.

    Raises:
        MissingDependencyError: OpenVINO is not installed.
        ModelFileError: OpenVINO cannot read the network, or it is not that of the manifest.
    """

    def __init__(self, manifest: Manifest, directory: Path, **options: Any) -> None:
        super().__init__(manifest, **options)
        path = directory / FILES[0]
        try:
            with _OPENING:
                network = _core(openvino()).compile_model(path, "CPU", _OPTIONS)
        except RuntimeError as error:
            raise ModelFileError(f"{path}: OpenVINO cannot read it: {str(error).splitlines()[-1]}") from None
        for ports, specs in zip((network.inputs, network.outputs), tensor_specs(manifest), strict=True):
            if len(ports) != len(specs) or not all(map(_is, ports, specs)):
                raise ModelFileError(f"{path}: it is of another model than {directory / 'manifest.json'}")
        self._request = network.create_infer_request()
        self._counts = [number for number, (_, spec) in enumerate(tensor_specs(manifest)[1]) if spec.dtype == "int64"]

    def run(self, tensors: list[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """One step; see `GraphRunner.run`.

        Raises:
            DataError: OpenVINO, which counts in 32 bits, has come to the end of its numbers.
        """
        found = self._request.infer(tensors)
        said = [found[number] for number in range(len(found))]
        if any(said[number] < 0 for number in self._counts):
            raise DataError(
                "expected at most 2,147,483,647 rows, as far as OpenVINO counts; call reset()", source="stream"
            )
        return said


def _is(port: Any, spec: tuple[str, TensorSpec]) -> bool:
    """Whether a tensor of the network has that name, shape and dtype."""
    name, one = spec
    return name in port.names and (tuple(port.shape), str(port.element_type.to_dtype())) == (one.shape, one.dtype)


def openvino() -> Any:
    """The package, which otherwise sends word to its makers with every import.

    Raises:
        MissingDependencyError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: it cannot be imported
    return optional("openvino", "an export to OpenVINO", "openvino")


@functools.cache
def _core(package: Any) -> Any:
    """OpenVINO's Core, one for all runners of the process.

    Every Core has a CPU plugin of its own, which gives the thread a stack for signals and takes it back at its end. Two
    that do not end in reverse order leave the thread with a stack that is gone, and the next signal, such as Ctrl-C, is
    a crash.
    """
    return package.Core()
