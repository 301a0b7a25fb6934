"""Softmax attention that trains in parallel like a Transformer and then streams in constant memory like an RNN.

    outputs, state = aaren.prefix_attention(scores, values)      # the operator
    from aaren.nn import AarenEncoder, AarenEncoderLayer          # drop-in modules
    model = aaren.load("model/"); stream = model.stream()         # a forecast after every row

Names are imported when they are first used, so that reading tables needs no torch.

Source: "Attention as an RNN", arXiv 2405.13956.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aaren._version import __version__

if TYPE_CHECKING:
    from aaren.models import (
        Classifier,
        ClassifierConfig,
        EventConfig,
        EventModel,
        Forecaster,
        ForecasterConfig,
        Policy,
        PolicyConfig,
        load,
    )
    from aaren.ops import AttentionState, prefix_attention
    from aaren.streaming import ClassifierStream, EventStream, Stream, StreamPool

__all__ = [
    "AttentionState",
    "Classifier",
    "ClassifierConfig",
    "ClassifierStream",
    "EventConfig",
    "EventModel",
    "EventStream",
    "Forecaster",
    "ForecasterConfig",
    "Policy",
    "PolicyConfig",
    "Stream",
    "StreamPool",
    "__version__",
    "load",
    "prefix_attention",
]

_HOMES = {
    "AttentionState": "aaren.ops",
    "Classifier": "aaren.models",
    "ClassifierConfig": "aaren.models",
    "ClassifierStream": "aaren.streaming",
    "EventConfig": "aaren.models",
    "EventModel": "aaren.models",
    "EventStream": "aaren.streaming",
    "Forecaster": "aaren.models",
    "ForecasterConfig": "aaren.models",
    "Policy": "aaren.models",
    "PolicyConfig": "aaren.models",
    "Stream": "aaren.streaming",
    "StreamPool": "aaren.streaming",
    "load": "aaren.models",
    "prefix_attention": "aaren.ops",
}
_PACKAGES = {"data", "evaluation", "export", "models", "nn", "ops", "serving", "streaming", "studies", "training"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _PACKAGES:
        return import_module(f"aaren.{name}")
    raise AttributeError(f"module 'aaren' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_PACKAGES})
