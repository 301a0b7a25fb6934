"""Time of a training step: `python benchmarks/training.py [--json FILE] [--sweep]`.

What is measured: wall time of one training step in float32 on two CPU threads: forward, mean squared error, backward
and one step of fused AdamW (its time alone has a line of its own, so that it can be taken off), of four layers of
width 128 (8 heads, feed-forward 512), without dropout, on the same random data. Aaren, the Transformer with PyTorch's
fused causal attention, and minGRU have the same layer around another mixer of tokens; `nn.GRU` and `nn.LSTM` of four
layers have no feed-forward network, so less to do.

Limit: the matrix products of the Aaren model alone, forward and both products of the backward (but for the gradient
to the data, which nobody wants), with their shapes from its weights, in the same threads, into memory that is there.

What it does not say: nothing about how well a model learns, about data loading, other widths, devices or dtypes.
Nothing is timed before a gate has found every backend and every encoder right: exit code 1 if one is wrong.
`--sweep` times 1 x 64 to 1 x 65,536 tokens instead, for `plots.py`; what would take more than 10 s is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn.functional import mse_loss

from _gate import model_faults
from _harness import SWEEP_TOKENS, Case, Ratio, Setup, Work, run, timing_parser
from _peers import (
    AAREN,
    D_MODEL,
    ENCODERS,
    GRU,
    LAYERS,
    LSTM,
    MINGRU,
    PRODUCTS,
    TRANSFORMER,
    Products,
    encoder,
    random,
)

# batch, tokens: bars against the Transformer and the GRU
BARS = {(32, 96): (1.5, 1.5), (8, 1024): (3.0, 3.0), (1, 8192): (15.0, 20.0)}
QUICK = {(2, 8): (1.0, 1.0)}
SHARE_OF_PRODUCTS = 0.8
OPTIMISER = "AdamW alone"


def adamw(model: Any) -> torch.optim.Optimizer:
    """The optimiser of all models."""
    return torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)


def training_step(name: str, batch: int, tokens: int, layers: int = LAYERS) -> Work:
    """Forward, loss, backward, optimiser."""
    model = encoder(name, layers)
    optimiser = adamw(model)
    x, target = random(batch, tokens, D_MODEL), random(batch, tokens, D_MODEL, seed=2)

    def work() -> None:
        optimiser.zero_grad()
        mse_loss(model(x)[0], target).backward()
        optimiser.step()

    return work


def optimiser_step(name: str) -> Work:
    """The optimiser alone, on the same parameters."""
    model = encoder(name)
    for index, parameter in enumerate(model.parameters()):
        parameter.grad = random(*parameter.shape, seed=index)
    return adamw(model).step


def case(batch: int, tokens: int, ratios: dict[str, Ratio], series: str = "") -> Case:
    """All contenders at one size."""
    contenders: dict[str, Setup] = {name: partial(training_step, name, batch, tokens) for name in ENCODERS}

    def products() -> Work:
        return Products(batch * tokens, LAYERS, input_grad=False).both

    return Case(
        f"training step, {batch} x {tokens}",
        "the Aaren model's matrix products alone",
        {**contenders, PRODUCTS: products} | ({} if series else {OPTIMISER: partial(optimiser_step, AAREN)}),
        ratios,
        {"batch": batch, "tokens": tokens},
        series,
        rounds=5 if series else 9,
    )


def cases(quick: bool) -> Iterator[Case]:
    """The fixed sizes, with their bars."""
    for (batch, tokens), (transformer, gru) in (QUICK if quick else BARS).items():
        yield case(
            batch,
            tokens,
            {
                f"{TRANSFORMER} / {AAREN}": Ratio(TRANSFORMER, AAREN, at_least=transformer),
                f"{GRU} / {AAREN}": Ratio(GRU, AAREN, at_least=gru),
                f"{LSTM} / {AAREN}": Ratio(LSTM, AAREN),
                f"{MINGRU} / {AAREN}": Ratio(MINGRU, AAREN),
                "share of the products": Ratio(PRODUCTS, AAREN, at_least=SHARE_OF_PRODUCTS),
            },
        )


def sweep(quick: bool) -> Iterator[Case]:
    """One sequence, longer and longer."""
    for tokens in SWEEP_TOKENS[:2] if quick else SWEEP_TOKENS:
        yield case(1, tokens, {}, "training step")


def main(argv: Sequence[str] | None = None) -> int:
    """Gate, then times, then one JSON line."""
    parser = timing_parser(__doc__)
    parser.add_argument("--sweep", action="store_true", help="time against tokens instead of the fixed sizes")
    chosen = parser.parse_args(argv)
    return run("training", chosen, model_faults, (sweep if chosen.sweep else cases)(chosen.quick))


if __name__ == "__main__":
    sys.exit(main())
