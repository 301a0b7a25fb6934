"""Modules: Aaren attention and encoders, the Transformer and GRU baselines with the same call, positions, norms."""

from ._aaren import Aaren
from ._encoder import AarenEncoder, AarenEncoderLayer, TransformerEncoder, TransformerEncoderLayer
from ._gru import GRUEncoder
from ._positions import LearnedPositions, SinusoidalPositions
from ._running_norm import RunningNorm
from ._transformer import CausalSelfAttention, KVCache

__all__ = [
    "Aaren",
    "AarenEncoder",
    "AarenEncoderLayer",
    "CausalSelfAttention",
    "GRUEncoder",
    "KVCache",
    "LearnedPositions",
    "RunningNorm",
    "SinusoidalPositions",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]
