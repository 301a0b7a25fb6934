"""A model for OpenVINO: one step as model.xml and model.bin, the state in pairs of float32.

OpenVINO's processor plugin computes in float32 what a network says in float64, so sums over the past are pairs.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aaren.export._graph import Graph
from aaren.export._openvino_runner import FILES, openvino
from aaren.export._pairs import pair_specs
from aaren.export._runtimes import Written
from aaren.export._tensors import step_tensors
from aaren.models import Model


def write(model: Model[Any, Any], directory: Path, precision: str) -> Written:
    """What `aaren export --to openvino` writes.

    Args:
        model: of any kind, with preprocessing.
        directory: an empty one.
        precision: "float32", or "int8": matrices with a scale for each row, in the file and in memory.

    Raises:
        MissingDependencyError: OpenVINO is not installed.
    """
    package, graph = openvino(), Graph(model, pairs=True)
    _in_products(graph, precision)
    example = graph.example()
    with torch.no_grad(), warnings.catch_warnings():
        # tracing warns of branches and constants that depend on the example: here they are the same for every row
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(graph, example, check_trace=False)
        network = package.convert_model(traced, example_input=example)
    _part(network)
    for ports, names in ((network.inputs, graph.input_names), (network.outputs, graph.output_names)):
        for port, name in zip(ports, names, strict=True):
            port.get_tensor().set_names({name})
    network.reshape({name: list(one.shape) for name, one in zip(graph.input_names, example, strict=True)})
    files = [directory / name for name in FILES]
    try:
        package.save_model(network, files[0], compress_to_fp16=False)
    except RuntimeError as error:  # as OpenVINO says of a full disk
        raise OSError(f"OpenVINO could not write the network ({error})") from None
    return Written(files, *map(pair_specs, step_tensors(model)))


class _Product(nn.Module):
    """A linear layer with one axis more: in two, OpenVINO 2026.4 on one thread breaks off where it fuses layers.

    Args:
        layer: whose weights they are.
        precision: "int8": a scale for each row of the matrix; products stay in float32.
    """

    scale: Tensor | None

    def __init__(self, layer: nn.Linear, precision: str) -> None:
        super().__init__()
        weight, self.bias, self.scale = layer.weight.detach(), layer.bias, None
        if precision == "int8":
            self.scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
            weight = (weight / self.scale).round().to(torch.int8)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """The product, shape (tokens, outputs)."""
        weight = self.weight if self.scale is None else self.weight.float() * self.scale
        return nn.functional.linear(x[None], weight, self.bias)[0]


def _in_products(module: nn.Module, precision: str) -> None:
    """Put them in the place of all linear layers."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, _Product(child, precision))
        else:
            _in_products(child, precision)


def _part(network: Any) -> None:
    """Let every tensor that comes out be one of its own, which a name can be given to."""
    from openvino import opset16

    seen = {port.get_node().get_friendly_name() for port in network.inputs}
    for result in network.get_results():
        source = result.input(0).get_source_output()
        name = source.get_node().get_friendly_name()
        if name in seen:
            result.input(0).replace_source_output(opset16.identity(source).output(0))
        seen.add(name)
