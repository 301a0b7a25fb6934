"""Prefix attention: softmax attention of a learned query over every prefix of a sequence.

One operator with several backends that agree, and the state that one call leaves to the next.
"""

from aaren.ops._checks import check_finite, checks_finite
from aaren.ops._eager import is_plain
from aaren.ops._native_backend import NativeForecaster, instruction_set
from aaren.ops._native_backend import layers_step as native_layers_step
from aaren.ops._native_backend import unchanged as native_unchanged
from aaren.ops._prefix_attention import prefix_attention
from aaren.ops._reference import step
from aaren.ops._registry import Backend, backends, choose_backend, register_backend
from aaren.ops._state import AttentionState, kept_dtype

__all__ = [
    "AttentionState",
    "Backend",
    "NativeForecaster",
    "backends",
    "check_finite",
    "checks_finite",
    "choose_backend",
    "instruction_set",
    "is_plain",
    "kept_dtype",
    "native_layers_step",
    "native_unchanged",
    "prefix_attention",
    "register_backend",
    "step",
]
