"""The attention part of the demo: how far back the heads of the trained model look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from aaren.evaluation import AttentionAges, HeadAttention
from aaren.models import Forecaster


@contextmanager
def attention_inputs(model: Forecaster) -> Iterator[list[list[Any]]]:
    """Keep what comes into the attention of every layer, chunk by chunk, while the model runs."""
    layers: Any = model.encoder.layers
    kept: list[list[Any]] = [[] for _ in layers]
    hooks = [
        layer.self_attn.register_forward_pre_hook(lambda module, inputs, into=into: into.append(inputs[0]))
        for layer, into in zip(layers, kept, strict=True)
    ]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def attention_ages(model: Forecaster, attended: list[list[Any]], at: str) -> AttentionAges:
    """How old the rows are that every head attends to at the last row that the model saw."""
    rows = sum(chunk.shape[1] for chunk in attended[0])
    ages = sorted({*np.geomspace(1, rows, 80).round().astype(int).tolist()})
    layers: Any = model.encoder.layers
    heads = []
    for number, (layer, chunks) in enumerate(zip(layers, attended, strict=True), 1):
        attention = layer.self_attn
        with torch.no_grad():
            weights = attention.attention_weights(torch.cat(chunks, 1))[0].flip(-1).numpy()
            rate = torch.nn.functional.softplus(attention.decay_rate).tolist()
        for head, weight in enumerate(weights):
            share = weight.cumsum()
            heads.append(
                HeadAttention(
                    layer=number,
                    head=head + 1,
                    share=share[np.array(ages) - 1].tolist(),
                    median_age=int(np.searchsorted(share, 0.5)) + 1,
                    mean_age=float(weight @ np.arange(rows)),
                    half_life=float(np.log(2) / rate[head]),
                )
            )
    return AttentionAges(rows, at, ages, heads)
