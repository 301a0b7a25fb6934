"""A model for ExecuTorch: one step as step.pte, products by XNNPACK, the rest by ExecuTorch's own kernels."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from aaren.export._executorch_runner import FILE, executorch
from aaren.export._graph import Graph
from aaren.export._runtimes import Written
from aaren.export._tensors import step_tensors
from aaren.models import Model


def write(model: Model[Any, Any], directory: Path, precision: str) -> Written:
    """What `aaren export --to executorch` writes.

    Args:
        model: of any kind, with preprocessing.
        directory: an empty one.
        precision: of the weights: "float32".

    Raises:
        MissingDependencyError: ExecuTorch is not installed.
    """
    lower = executorch("executorch.exir").to_edge_transform_and_lower
    products = executorch("executorch.backends.xnnpack.partition.config.gemm_configs")
    partitioner = executorch("executorch.backends.xnnpack.partition.xnnpack_partitioner").XnnpackPartitioner
    graph = Graph(model)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of ExecuTorch about itself
        program = torch.export.export(graph, graph.example(), strict=False)
        # of the small operations XNNPACK would make a hundred parts of their own: twice the time of a step
        parts = partitioner(configs=[products.LinearConfig, products.AddmmConfig, products.MMConfig])
        written = lower(program, partitioner=[parts]).to_executorch()
    path = directory / FILE
    path.write_bytes(written.buffer)
    return Written([path], *step_tensors(model))
