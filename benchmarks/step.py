"""Time of one streamed token: `python benchmarks/step.py [--json FILE]`.

What is measured: wall time of one `step` in eager PyTorch without gradients, float32, two CPU threads, four layers of
width 128 (8 heads, feed-forward 512). The contenders, at batch 1: Aaren; the Transformer with a key-value cache in
memory that was allocated ahead, 1,000 and 10,000 tokens long, twice: through the module, and by a bare loop over the
same weights that checks nothing and masks nothing (the bars are for both); GRU, LSTM and minGRU. A cache that was
copied instead of written to in place ends the run with an error. Then a stream of 5,000 tokens from the first to the
last, and Aaren at a batch of 10,000 streams.

Limits: at batch 1, reading the weights once (a sum over as many numbers); at batch 10,000, the matrix products of a
token alone, and a copy of the state.

What it does not say: nothing about compiled or exported steps. At batch 1 a step of the Transformer is some 150 small
operations of PyTorch, a step of an Aaren layer one native call where the kernels are built: the ratios are those of
`encoder.step` as a user runs it, and only the limit says how far either is from what the machine could do.
Nothing is timed before a gate has found every backend and every encoder right: exit code 1 if one is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from _gate import model_faults
from _harness import Case, Ratio, Setup, Work, run, timing_parser
from _peers import (
    AAREN,
    D_MODEL,
    ENCODERS,
    LAYERS,
    PRODUCTS,
    TRANSFORMER,
    Products,
    bare_step,
    encoder,
    full_caches,
    random,
    rewound,
)
from aaren.nn import KVCache

BLOCK = 20
WEIGHTS, STATE = "reading the weights once", "a copy of the state"
MODULE, BARE = f"{TRANSFORMER}, module", f"{TRANSFORMER}, bare loop"
# cached tokens: the bar against the Transformer
BARS = {1_000: 5.0, 10_000: 15.0}
STREAM, STREAM_BAR, STREAMS = 5_000, 5.0, 10_000


class CacheCopiedError(RuntimeError):
    """A cache moved in memory, so a step was not what it claims to be."""


def _in_place(before: tuple[KVCache, ...], after: tuple[KVCache, ...]) -> None:
    """Refuse caches that are no longer where they were."""
    if any(a.keys.data_ptr() != b.keys.data_ptr() for a, b in zip(before, after, strict=True)):
        raise CacheCopiedError("the key-value cache was copied; the time of a step would be that of the copy")


def steps(name: str, count: int, batch: int = 1) -> Work:
    """`count` tokens one after another, from an empty state."""
    model = encoder(name).eval()
    tokens, empty = random(count, batch, D_MODEL), model.init_state(batch)

    def work() -> None:
        state = empty
        with torch.no_grad():
            for token in tokens:
                _, state = model.step(token, state)

    return work


def steps_of_module(cached: int, count: int) -> Work:
    """`count` tokens through the Transformer's `step`, the first one after `cached` others."""
    model, caches = encoder(TRANSFORMER).eval(), full_caches(LAYERS, cached, cached + count)
    tokens = random(count, 1, D_MODEL)

    def work() -> None:
        state = rewound(caches, cached)
        with torch.no_grad():
            for token in tokens:
                _, state = model.step(token, state)
        _in_place(caches, state)

    return work


def steps_of_bare_loop(cached: int, count: int) -> Work:
    """The same by a loop that does nothing but the arithmetic."""
    model, caches = encoder(TRANSFORMER).eval(), full_caches(LAYERS, cached, cached + count)
    tokens = random(count, 1, D_MODEL)

    def work() -> None:
        with torch.no_grad():
            for index, token in enumerate(tokens):
                bare_step(model, token, caches, cached + index)

    return work


def _numbers(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def reading_weights(name: str, times: int) -> Work:
    """A sum over as many numbers as the model has, as often as the contenders step."""
    flat = random(_numbers(encoder(name)))

    def work() -> None:
        for _ in range(times):
            flat.sum()

    return work


def single_steps(block: int) -> Case:
    """One step at batch 1 against the length of the cache."""
    contenders: dict[str, Setup] = {name: partial(steps, name, block) for name in ENCODERS if name != TRANSFORMER}
    ratios = {}
    for cached, bar in BARS.items():
        module, bare = f"{MODULE}, {cached:,} cached", f"{BARE}, {cached:,} cached"
        contenders |= {
            module: partial(steps_of_module, cached, block),
            bare: partial(steps_of_bare_loop, cached, block),
        }
        ratios[f"{module} / {AAREN}"] = Ratio(module, AAREN, at_least=bar)
        ratios[f"{bare} / {AAREN}"] = Ratio(bare, AAREN, at_least=bar)
    ratios |= {f"{name} / {AAREN}": Ratio(name, AAREN) for name in ENCODERS if name not in (AAREN, TRANSFORMER)}
    return Case(
        "one step, batch 1",
        "reading Aaren's weights once",
        {**contenders, WEIGHTS: partial(reading_weights, AAREN, block)},
        {**ratios, f"{AAREN} / {WEIGHTS}": Ratio(AAREN, WEIGHTS)},
        calls=block,
        rounds=25,
    )


def whole_stream(count: int) -> Case:
    """All tokens of a stream, from an empty state or cache."""
    return Case(
        f"a stream of {count:,} tokens, one by one",
        f"reading Aaren's weights {count:,} times",
        {
            AAREN: partial(steps, AAREN, count),
            MODULE: partial(steps_of_module, 0, count),
            BARE: partial(steps_of_bare_loop, 0, count),
            WEIGHTS: partial(reading_weights, AAREN, count),
        },
        {
            f"{MODULE} / {AAREN}": Ratio(MODULE, AAREN, at_least=STREAM_BAR),
            f"{BARE} / {AAREN}": Ratio(BARE, AAREN, at_least=STREAM_BAR),
        },
        {"tokens": count},
        rounds=3,
    )


def many_streams(streams: int) -> Case:
    """One step of many streams at once."""

    def copy_of_state() -> Work:
        state: list[Tensor] = pytree.tree_leaves(encoder(AAREN).init_state(streams))
        return lambda: [x.clone() for x in state]

    def products() -> Work:
        return Products(streams, LAYERS, input_grad=False).forward

    return Case(
        f"one step, batch {streams:,}",
        "the matrix products of a token alone, and a copy of the state",
        {AAREN: partial(steps, AAREN, 1, streams), PRODUCTS: products, STATE: copy_of_state},
        {f"{AAREN} / {PRODUCTS}": Ratio(AAREN, PRODUCTS), f"{AAREN} / {STATE}": Ratio(AAREN, STATE)},
        {"batch": streams},
    )


def cases(quick: bool) -> Iterator[Case]:
    """Batch 1, a whole stream, many streams."""
    yield single_steps(2 if quick else BLOCK)
    yield whole_stream(10 if quick else STREAM)
    yield many_streams(20 if quick else STREAMS)


def main(argv: Sequence[str] | None = None) -> int:
    """Gate, then times, then one JSON line."""
    chosen = timing_parser(__doc__).parse_args(argv)
    return run("step", chosen, model_faults, cases(chosen.quick))


if __name__ == "__main__":
    sys.exit(main())
