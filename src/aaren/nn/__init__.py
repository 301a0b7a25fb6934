"""Modules: Aaren attention and encoders, Transformer, GRU and minGRU baselines with the same call, positions, norms."""

from aaren.nn._aaren import Aaren
from aaren.nn._encoder import AarenEncoder, AarenEncoderLayer, TransformerEncoder, TransformerEncoderLayer
from aaren.nn._gru import GRUEncoder
from aaren.nn._highway import LinearHighway
from aaren.nn._mingru import MinGRU, MinGRUEncoder, MinGRUEncoderLayer
from aaren.nn._positions import LearnedPositions, SinusoidalPositions
from aaren.nn._running_norm import RunningNorm
from aaren.nn._transformer import CausalSelfAttention, KVCache

__all__ = [
    "Aaren",
    "AarenEncoder",
    "AarenEncoderLayer",
    "CausalSelfAttention",
    "GRUEncoder",
    "KVCache",
    "LearnedPositions",
    "LinearHighway",
    "MinGRU",
    "MinGRUEncoder",
    "MinGRUEncoderLayer",
    "RunningNorm",
    "SinusoidalPositions",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]
