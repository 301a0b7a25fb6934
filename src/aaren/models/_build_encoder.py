"""From a configuration to its encoder: the one place where models of different encoders differ."""

from __future__ import annotations

from typing import Any

from torch import nn

from aaren.models._encoder_config import EncoderConfig
from aaren.nn import (
    AarenEncoder,
    AarenEncoderLayer,
    GRUEncoder,
    MinGRUEncoder,
    MinGRUEncoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)

Encoder = AarenEncoder | TransformerEncoder | GRUEncoder | MinGRUEncoder


def build_encoder(config: EncoderConfig) -> Encoder:
    """The encoder that the configuration names; nothing else of a model depends on that name."""
    if config.encoder == "gru":
        return GRUEncoder(config.d_model, config.num_layers, config.dropout)
    arguments: dict[str, Any] = {
        "d_model": config.d_model,
        "dim_feedforward": config.dim_feedforward,
        "dropout": config.dropout,
        "activation": config.activation,
        "norm_first": config.norm_first,
    }
    norm = nn.LayerNorm(config.d_model) if config.norm_first else None
    if config.encoder == "mingru":
        return MinGRUEncoder(MinGRUEncoderLayer(**arguments), config.num_layers, norm)
    arguments["nhead"] = config.nhead
    if config.encoder == "aaren":
        return AarenEncoder(AarenEncoderLayer(**arguments, decay=config.decay), config.num_layers, norm)
    return TransformerEncoder(TransformerEncoderLayer(**arguments), config.num_layers, norm)
