"""The encoder of a model as C: its weights, and what of the templates it needs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aaren.export._c_arrays import blocks, constant, doubles, numpy, padded, quantised
from aaren.nn import Aaren, AarenEncoder, AarenEncoderLayer


@dataclass
class Parts:
    """What fills the templates: values by name, conditions, and the bytes of a saved state behind its header."""

    values: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    payload: int = 0


def encoder_parts(encoder: AarenEncoder, config: Any, precision: str) -> Parts:
    """Values and conditions of the encoder.

    Args:
        encoder: of the model.
        config: of the model.
        precision: "float32", or "int8" for the large matrices.
    """
    layers = [cast(AarenEncoderLayer, layer) for layer in encoder.layers]
    flags = {name for name in ("norm_first", "decay") if getattr(config, name)}
    flags |= {"gelu"} if config.activation == "gelu" else set()
    flags |= {"decay_time"} if config.decay == "time" else set()
    flags |= {"int8"} if precision == "int8" else set()
    texts, entries = [], []
    for index, layer in enumerate(layers):
        text, entry = _layer(f"layer{index}", layer, precision)
        texts.append(text)
        entries.append(entry)
    if config.norm_first:
        norm = cast(nn.LayerNorm, encoder.norm)
        texts += [constant("final_weight", numpy(norm.weight)), constant("final_bias", numpy(norm.bias))]
    table = ",\n".join(f"    {{{entry}}}" for entry in entries)
    texts.append(f"static const layer layers[LAYERS] = {{\n{table}}};")
    values = {
        "d_model": str(config.d_model),
        "heads": str(config.nhead),
        "layers": str(len(layers)),
        "feedforward": str(config.dim_feedforward),
        "layer_table": "\n".join(texts),
        "final_norm_weight": "final_weight",
        "final_norm_bias": "final_bias",
    }
    return Parts(values, flags, len(layers) * 8 * (2 * config.nhead + config.d_model))


def position_parts(d_model: int) -> Parts:
    """The frequencies of sinusoidal positions."""
    exponent = torch.arange(0, d_model, 2, dtype=torch.float64) / d_model
    return Parts({"frequencies": doubles(torch.exp(-math.log(10000.0) * exponent).numpy())}, {"positions"})


def _layer(name: str, layer: AarenEncoderLayer, precision: str) -> tuple[str, str]:
    """The arrays of a layer, and its entry in the table of layers."""
    attention = layer.self_attn
    width = layer.d_model
    assert attention.in_proj_bias is not None, "the models' layers have biases"
    linears = {
        "value": (attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]),
        "out": (attention.out_proj.weight, attention.out_proj.bias),
        "first": (layer.linear1.weight, layer.linear1.bias),
        "second": (layer.linear2.weight, layer.linear2.bias),
    }
    texts, entries = [], []
    for part, (weight, bias) in linears.items():
        text, entry = _linear(f"{name}_{part}", weight, bias, precision)
        texts.append(text)
        entries.append(entry)
    texts.append(constant(f"{name}_query", blocks(numpy(_folded_query(attention)))))
    for norm in ("norm1", "norm2"):
        module = cast(nn.LayerNorm, getattr(layer, norm))
        texts += [
            constant(f"{name}_{norm}_weight", numpy(module.weight)),
            constant(f"{name}_{norm}_bias", numpy(module.bias)),
        ]
    decay = "0"
    if attention.decay_rate is not None:
        decay = f"{name}_decay"
        texts.append(constant(decay, numpy(F.softplus(attention.decay_rate))))
    norms = [f"{name}_{norm}_{part}" for norm in ("norm1", "norm2") for part in ("weight", "bias")]
    return "\n".join(texts), ", ".join([*entries, f"{name}_query", *norms, decay])


def _linear(name: str, weight: Tensor, bias: Tensor, precision: str) -> tuple[str, str]:
    """The arrays of a linear layer, and its entry."""
    kept = constant(f"{name}_bias", padded(numpy(bias)))
    if precision == "int8":
        whole, scale = quantised(numpy(weight))
        texts = [constant(f"{name}_weight", whole), constant(f"{name}_scale", scale), kept]
        return "\n".join(texts), f"{{{name}_weight, {name}_scale, {name}_bias}}"
    return f"{constant(f'{name}_weight', blocks(numpy(weight)))}\n{kept}", f"{{{name}_weight, {name}_bias}}"


def _folded_query(attention: Aaren) -> Tensor:
    """The weights of the scores, shape (heads, d_model): the scores of the unit vectors."""
    with torch.no_grad():
        return attention.scores(torch.eye(attention.embed_dim)[None].to(attention.query))[0]


def finite(model: nn.Module) -> bool:
    """Whether every weight of a model is a number."""
    return all(bool(np.isfinite(numpy(parameter)).all()) for parameter in model.parameters())
