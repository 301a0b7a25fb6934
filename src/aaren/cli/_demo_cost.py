"""The cost part of the demo: state and time of Aaren and of a Transformer, token by token; the paper's Figure 5."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from aaren.evaluation import CostCurves
from aaren.nn import AarenEncoder, AarenEncoderLayer, TransformerEncoder, TransformerEncoderLayer

COST_POINTS = 50
WARM_UP = 20


def measure_cost(size: Mapping[str, int], tokens: int) -> CostCurves:
    """Step both stacks through the same tokens, a block of each in turn, so that noise of the machine hits both.

    Args:
        size: `d_model`, `nhead`, `num_layers` and `dim_feedforward` of both stacks.
        tokens: how many.
    """
    block, width = tokens // COST_POINTS, size["d_model"]
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        stacks = _stacks(size)
        for encoder in stacks:
            _steps(encoder, torch.zeros(WARM_UP, 1, width), encoder.init_state(1))
        inputs = torch.randn(tokens, 1, width)
        states: list[Any] = [stacks[0].init_state(1), stacks[1].init_state(1, capacity=tokens)]
        nbytes, seconds = [[_nbytes(state)] for state in states], [[0.0], [0.0]]
        for first in range(0, tokens, block):
            for which, encoder in enumerate(stacks):
                states[which], spent = _steps(encoder, inputs[first : first + block], states[which])
                seconds[which].append(seconds[which][-1] + spent)
                nbytes[which].append(_nbytes(states[which]))
    counts = list(range(0, tokens + 1, block))
    return CostCurves(
        **size,
        threads=torch.get_num_threads(),
        tokens=counts,
        aaren_bytes=nbytes[0],
        transformer_bytes=nbytes[1],
        aaren_seconds=seconds[0],
        transformer_seconds=seconds[1],
    )


def _stacks(size: Mapping[str, int]) -> tuple[Any, Any]:
    """Untrained stacks of Aaren and of the Transformer that differ in the attention only."""
    layer: dict[str, Any] = {name: size[name] for name in ("d_model", "nhead", "dim_feedforward")}
    aaren = AarenEncoder(AarenEncoderLayer(**layer, dropout=0.0, decay="learned"), size["num_layers"])
    transformer = TransformerEncoder(TransformerEncoderLayer(**layer, dropout=0.0), size["num_layers"])
    return aaren.eval(), transformer.eval()


def _steps(encoder: Any, tokens: Any, state: Any) -> tuple[Any, float]:
    begin = time.perf_counter()
    for token in tokens:
        _, state = encoder.step(token, state)
    return state, time.perf_counter() - begin


def _nbytes(state: Any) -> int:
    """Bytes in use by a state; of a cache, those of the tokens in it, without the room behind them."""
    return sum(x.numel() * x.element_size() for x in pytree.tree_leaves(state))
