"""Softmax attention that trains in parallel like a Transformer and then streams in constant memory like an RNN.

    outputs, state = aaren.prefix_attention(scores, values)      # the operator
    from aaren.nn import AarenEncoder, AarenEncoderLayer          # drop-in modules
    model = aaren.load("model/"); stream = model.stream()         # a forecast after every row

Source: "Attention as an RNN", arXiv 2405.13956.
"""

from aaren._version import __version__
from aaren.models import Forecaster, ForecasterConfig, load
from aaren.ops import AttentionState, prefix_attention
from aaren.streaming import Stream

__all__ = [
    "AttentionState",
    "Forecaster",
    "ForecasterConfig",
    "Stream",
    "__version__",
    "load",
    "prefix_attention",
]
