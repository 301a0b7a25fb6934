"""The export to ONNX: step.onnx, one row; and chunk.onnx, up to `CHUNK` rows, where the model has one."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aaren._version import __version__
from aaren.data._optional import optional
from aaren.export._graph import CHUNK, Graph, has_chunk
from aaren.export._runtimes import Written
from aaren.export._tensors import step_tensors
from aaren.models import Model

OPSET = 18
"""Version of the operators, those of ONNX 1.13: it has all that a step needs, and PyTorch writes it natively."""
STEP, CHUNKS = "step.onnx", "chunk.onnx"
_WORDY = "torch.onnx._internal.exporter._registration"


def write(model: Model[Any, Any], directory: Path, precision: str) -> Written:
    """Write the graphs of a step and of a chunk.

    Args:
        model: of any kind, with preprocessing.
        directory: an empty one.
        precision: of the matrices in the files: "float32", "float16", or "int8" with a scale for each row; a runtime
            makes float32 of them when it loads a file.

    Raises:
        MissingDependencyError: onnx or onnxscript is not installed.
    """
    files = []
    for name, chunk in ((STEP, False), (CHUNKS, True)):
        if not chunk or has_chunk(model):
            proto = _narrowed(onnx_graph(model, chunk=chunk), precision)
            optional("onnx", "an export to ONNX", "onnx").checker.check_model(proto, full_check=True)
            files.append(directory / name)
            files[-1].write_bytes(proto.SerializeToString(deterministic=True))
    return Written(files, *step_tensors(model))


def onnx_graph(model: Model[Any, Any], *, chunk: bool) -> Any:
    """The graph as an `onnx.ModelProto` with weights in float32; no path or name of this machine is in it.

    Args:
        model: of any kind, with preprocessing.
        chunk: whether it takes several rows.
    """
    for package in ("onnx", "onnxscript"):
        optional(package, "an export to ONNX", "onnx")
    graph, shapes = Graph(model, chunk=chunk), None
    if chunk:
        rows = torch.export.Dim("rows", min=1, max=CHUNK)
        shapes = (tuple([{0: rows}] * len(graph.inputs) + [{}] * len(graph.state)),)
    wordy = logging.getLogger(_WORDY)
    level = wordy.level
    wordy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of the exporter about itself
            program = torch.onnx.export(
                graph,
                graph.example(),
                dynamo=True,
                opset_version=OPSET,
                input_names=graph.input_names,
                output_names=graph.output_names,
                dynamic_shapes=shapes,
                verbose=False,
            )
    finally:
        wordy.setLevel(level)
    assert program is not None, "without a file to write to, the exporter returns its program"
    proto = program.model_proto
    proto.producer_name, proto.producer_version = "aaren", __version__
    proto.graph.name = "chunk" if chunk else "step"
    _forget(proto)
    return proto


def _forget(proto: Any) -> None:
    """Take out what the exporter says of itself: names of modules, lines of source, paths."""
    del proto.metadata_props[:]
    graph = proto.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    assert not proto.functions, "all of it is in the graph"


def _narrowed(proto: Any, precision: str) -> Any:
    """The same graph with matrices of float32 in float16 or int8, and an operation that makes float32 of each."""
    if precision == "float32":
        return proto
    from onnx import TensorProto, helper, numpy_helper

    weights, made = [], []
    for weight in proto.graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.ndim != 2:
            weights.append(weight)
            continue
        narrow = f"{weight.name}.{precision}"
        if precision == "float16":
            weights.append(numpy_helper.from_array(array.astype(np.float16), narrow))
            made.append(helper.make_node("Cast", [narrow], [weight.name], to=TensorProto.FLOAT))
            continue
        scale = np.maximum(np.abs(array).max(1, initial=0.0), np.float32(1e-30)) / np.float32(127)
        weights.append(numpy_helper.from_array(np.rint(array / scale[:, None]).astype(np.int8), narrow))
        weights.append(numpy_helper.from_array(scale, f"{weight.name}.scale"))
        inputs = [narrow, f"{weight.name}.scale"]
        made.append(helper.make_node("DequantizeLinear", inputs, [weight.name], axis=0))
    nodes = [*made, *proto.graph.node]
    for field, values in (("initializer", weights), ("node", nodes)):
        proto.graph.ClearField(field)
        getattr(proto.graph, field).extend(values)
    return proto
