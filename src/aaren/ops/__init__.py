"""Prefix attention: softmax attention of a learned query over every prefix of a sequence.

One operator with several backends that agree, and the state that one call leaves to the next.
"""

from aaren.ops._checks import check_finite
from aaren.ops._prefix_attention import prefix_attention
from aaren.ops._reference import step
from aaren.ops._registry import Backend, backends, choose_backend, register_backend
from aaren.ops._state import AttentionState, kept_dtype

__all__ = [
    "AttentionState",
    "Backend",
    "backends",
    "check_finite",
    "choose_backend",
    "kept_dtype",
    "prefix_attention",
    "register_backend",
    "step",
]
