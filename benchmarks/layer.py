"""Time of one encoder layer: `python benchmarks/layer.py [--json FILE]`.

What is measured: wall time of one layer of width 128 (8 heads, feed-forward 512) in float32 on two CPU threads, in
training mode without dropout: forward without gradients, and forward with the gradients to its input and all its
parameters, as inside a larger model. Aaren, the Transformer with PyTorch's fused causal attention, and minGRU have the
same layer around another mixer of tokens; GRU and LSTM are PyTorch's and have no feed-forward network, so less to do.

Limit: the matrix products of the Aaren layer alone, with their shapes from its weights, in the same threads, into
memory that is there: nothing else is computed, copied or allocated. The share of the layer's time that is theirs
says how much is left to gain without another model.

What it does not say: nothing about optimisers and losses (see `training.py`), or about one token (see `step.py`).
Nothing is timed before a gate has found every backend and every encoder right: exit code 1 if one is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from _gate import model_faults
from _harness import Case, Ratio, Setup, Work, run, timing_parser
from _peers import AAREN, D_MODEL, ENCODERS, PRODUCTS, Products, encoder, random

SIZES = ((32, 96), (8, 1024), (1, 8192))
QUICK = ((2, 8),)
SHARE = "share of the products"


def forward(name: str, shape: tuple[int, ...]) -> Work:
    """One forward pass without gradients."""
    layer, x = encoder(name, layers=1), random(*shape)

    def work() -> object:
        with torch.no_grad():
            return layer(x)

    return work


def both_ways(name: str, shape: tuple[int, ...]) -> Work:
    """A forward pass and the gradients to input and parameters, from a given gradient of the outputs."""
    layer, x = encoder(name, layers=1), random(*shape).requires_grad_()
    grad_outputs = random(*shape, seed=2)
    leaves = [x, *layer.parameters()]
    return lambda: torch.autograd.grad(layer(x)[0], leaves, grad_outputs)


def cases(quick: bool) -> Iterator[Case]:
    """Forward, and forward and backward, at every size."""
    for batch, tokens in QUICK if quick else SIZES:
        shape = (batch, tokens, D_MODEL)
        for direction, make in (("forward", forward), ("forward and backward", both_ways)):
            contenders: dict[str, Setup] = {name: partial(make, name, shape) for name in ENCODERS}

            def products(rows: int = batch * tokens, only_forward: bool = direction == "forward") -> Work:
                alone = Products(rows, layers=1, input_grad=True)
                return alone.forward if only_forward else alone.both

            yield Case(
                f"layer, {direction}, {batch} x {tokens}",
                "the Aaren layer's matrix products alone",
                {**contenders, PRODUCTS: products},
                {
                    **{f"{name} / {AAREN}": Ratio(name, AAREN) for name in ENCODERS if name != AAREN},
                    SHARE: Ratio(PRODUCTS, AAREN),
                },
                {"batch": batch, "tokens": tokens},
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Gate, then times, then one JSON line."""
    chosen = timing_parser(__doc__).parse_args(argv)
    return run("layer", chosen, model_faults, cases(chosen.quick))


if __name__ == "__main__":
    sys.exit(main())
