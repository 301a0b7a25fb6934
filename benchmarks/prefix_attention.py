"""Time of prefix attention: `python benchmarks/prefix_attention.py [--json FILE] [--sweep] [--long-run]`.

What is measured: wall time of one call in float32 on two CPU threads: forward; backward alone, as the gradients of a
kept graph to scores and values (and decay); and both. Contenders are "auto", the fastest backend here (the first line
says which); "blocks", where it is another; the paper's Algorithm 1 (the backend "scan"); PyTorch's generic
`associative_scan` of the same merge, eager; and PyTorch's `scaled_dot_product_attention(is_causal=True)`, which is
ANOTHER computation (one query a token, quadratic work) and stands here because it is what a Transformer would run in
the same place. Limit: `values.clone()`, which reads and writes each value once. A forward pass cannot do less. A
backward pass reads values, outputs and their gradients and writes one gradient, four times one side of a clone. From
32 MiB on, a clone (like any operator that returns a new tensor) gets its memory from the system page by page, which
may take longer than the copy: a copy into memory that is there has a line of its own.

What it does not say: nothing about other devices, dtypes or thread counts, about a whole layer or training step,
about peak memory, or about one-token steps, where the overhead of a call counts and not the operator. Ratios travel
between machines better than times do; on a shared machine neither is good to more than some 10 %.

Nothing is timed before a gate has found every backend right, outputs, state and gradients, at odd sizes, and the fast
ones at the sizes that are timed: exit code 1 if one is wrong. `--compiled-scan` adds `associative_scan` under
`torch.compile`, forward (its compilation takes minutes); `--long-run` the error of the kept state after 1e9 tokens
(some minutes); `--sweep` times 64 to 65,536 tokens at 1 x 8 x tokens x 64 instead, for `plots.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._higher_order_ops.associative_scan import associative_scan
from torch.nn.functional import scaled_dot_product_attention

from _gate import Inputs, inputs, operator_faults, timed_faults
from _harness import SWEEP_TOKENS, Case, Ratio, Work, run, timing_parser
from _machine import fastest_backend
from aaren.ops import AttentionState, prefix_attention

AUTO, DECAY, BLOCKS, ALGORITHM_1 = "auto", "auto, decay", "blocks", "Algorithm 1"
CLONE, COPY = "clone", "copy into memory that is there"
GENERIC, COMPILED = "associative_scan", "associative_scan, compiled"
SDPA = "causal SDPA"
SMALL, LONG, LONGEST = (8, 8, 1024, 64), (2, 8, 8192, 64), (1, 8, 65536, 64)
QUICK = ((1, 2, 64, 16), (1, 2, 96, 16), (1, 2, 128, 16))
LIMITS = {
    "forward": "clone: each value is read once and written once",
    "backward": "clone; a backward reads three tensors of its size and writes one, so twice a clone's bytes",
    "forward and backward": "clone; both passes together move three times a clone's bytes",
}
BARS = {"forward": 1.3, "backward": 2.5}


@dataclass(frozen=True)
class Operation:
    """A forward pass, and the tensors whose gradients a backward pass is to find."""

    forward: Callable[[], Tensor]
    leaves: Sequence[Tensor]


def by_backend(backend: str, data: Inputs, decay: bool = False) -> Operation:
    """Prefix attention by a backend, without its state."""
    scores, values, log_decay = data

    def call() -> Tensor:
        return prefix_attention(scores, values, log_decay=log_decay if decay else None, backend=backend)[0]

    return Operation(call, [scores, values, *([log_decay] if decay else [])])


def _merge(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The paper's operator ⊕ on (m, u, w), for `associative_scan`."""
    top = torch.maximum(a[0], b[0])
    left, right = torch.exp(a[0] - top), torch.exp(b[0] - top)
    return top, a[1] * left + b[1] * right, a[2] * left + b[2] * right


def generic_scan(scores: Tensor, values: Tensor) -> Tensor:
    """The same outputs by PyTorch's own scan in its generic mode, the one that works on CPUs."""
    leaves = (scores[..., None], torch.ones_like(scores[..., None]), values)
    _, normalizer, weighted_sum = associative_scan(_merge, leaves, dim=scores.dim() - 1, combine_mode="generic")
    return weighted_sum / normalizer


def by_generic_scan(data: Inputs, compiled: bool = False) -> Operation:
    """PyTorch's `associative_scan`, eager or compiled."""
    scan = torch.compile(generic_scan) if compiled else generic_scan
    return Operation(lambda: scan(data[0], data[1]), data[:2])


def by_causal_attention(data: Inputs) -> Operation:
    """Fused causal attention over the same values, with queries and keys of its own."""
    values = data[1]
    queries, keys = (torch.randn(values.shape).requires_grad_(values.requires_grad) for _ in range(2))
    return Operation(
        lambda: scaled_dot_product_attention(queries, keys, values, is_causal=True), [queries, keys, values]
    )


def copy(values: Tensor) -> Work:
    """The same bytes as a clone, into memory that is there: a clone of 32 MiB and more also asks the system for it."""
    return partial(torch.empty_like(values).copy_, values)


def forward(operation: Operation) -> Work:
    """One forward pass without gradients."""

    def work() -> object:
        with torch.no_grad():
            return operation.forward()

    return work


def backward(operation: Operation) -> Work:
    """The gradients alone, of a graph that is built once and kept."""
    outputs = operation.forward()
    grad_outputs = torch.randn_like(outputs)
    return lambda: torch.autograd.grad(outputs, operation.leaves, grad_outputs, retain_graph=True)


def both_ways(operation: Operation) -> Work:
    """A forward pass and the gradients."""
    grad_outputs = torch.randn_like(operation.leaves[1])
    return lambda: torch.autograd.grad(operation.forward(), operation.leaves, grad_outputs)


DIRECTIONS: dict[str, Callable[[Operation], Work]] = {
    "forward": forward,
    "backward": backward,
    "forward and backward": both_ways,
}


def case(direction: str, shape: tuple[int, ...], *without: str, layered: bool = False, compiled: bool = False) -> Case:
    """One direction at one shape (batch, heads, tokens, dim), without the contenders named."""
    data = inputs(shape, layered=layered, grad=direction != "forward")
    operations: dict[str, Callable[[], Operation]] = {
        AUTO: lambda: by_backend("auto", data),
        DECAY: lambda: by_backend("auto", data, decay=True),
        BLOCKS: lambda: by_backend("blocks", data),
        ALGORITHM_1: lambda: by_backend("scan", data),
        GENERIC: lambda: by_generic_scan(data),
        COMPILED: lambda: by_generic_scan(data, compiled=True),
        SDPA: lambda: by_causal_attention(data),
    }
    left_out = {*without, *(() if compiled else (COMPILED,)), *((BLOCKS,) if fastest_backend() == BLOCKS else ())}
    make = DIRECTIONS[direction]

    def setup(label: str) -> Work:
        return make(operations[label]())

    wanted = {label: partial(setup, label) for label in operations if label not in left_out}
    size = " x ".join(map(str, shape))
    layout = ", values as a projection leaves them" if layered else ""
    return Case(
        f"{direction}, {size}{layout}",
        LIMITS[direction],
        {**wanted, CLONE: lambda: data[1].detach().clone, COPY: partial(copy, data[1].detach())},
        {
            "auto / clone": Ratio(AUTO, CLONE, at_most=BARS.get(direction)),
            "auto with decay / clone": Ratio(DECAY, CLONE),
            "clone / copy": Ratio(CLONE, COPY),
            "blocks / auto": Ratio(BLOCKS, AUTO),
            "Algorithm 1 / auto": Ratio(ALGORITHM_1, AUTO, at_least=60 if direction == "forward" else None),
            "associative_scan / auto": Ratio(GENERIC, AUTO),
            "causal SDPA / auto": Ratio(SDPA, AUTO),
        },
        dict(zip(("batch", "heads", "tokens", "dim"), shape, strict=True)),
    )


def cases(quick: bool, compiled: bool) -> Iterator[Case]:
    """The fixed sizes. At the longest, a kept graph of Algorithm 1 would not fit into memory: forward alone."""
    small, long, longest = QUICK if quick else (SMALL, LONG, LONGEST)
    for direction in DIRECTIONS:
        yield case(direction, small, compiled=compiled and direction == "forward")
    for direction in ("forward", "backward"):
        yield case(direction, long)
        yield case(direction, small, ALGORITHM_1, GENERIC, SDPA, layered=True)
    yield case("forward", longest, SDPA)


def sweep(quick: bool) -> Iterator[Case]:
    """Forward and backward against tokens; the kept graphs of the scans end where they would fill the memory."""
    for direction in ("forward", "backward"):
        for tokens in SWEEP_TOKENS[:2] if quick else SWEEP_TOKENS:
            without = (DECAY, *((ALGORITHM_1, GENERIC) if direction == "backward" and tokens > 16384 else ()))
            yield replace(
                case(direction, (1, 8, tokens, 64), *without), series=f"operator, {direction}", rounds=5, ratios={}
            )


def faults(quick: bool) -> list[str]:
    """What is wrong with any backend at odd sizes, or with a fast one at the sizes that are timed."""
    found = operator_faults(quick)
    small, long, longest = QUICK if quick else (SMALL, LONG, LONGEST)
    for shape, layered in ((small, False), (small, True), (long, False)):
        found += timed_faults(shape, layered)
    return found + timed_faults(longest, gradients=False)


def long_run(tokens: int = 1_000_000_000, period: int = 1_000_000, chunk: int = 10_000) -> dict[str, float]:
    """Errors of the output w / u after 1e9 tokens whose exact mean is known: the same million comes again and again.

    In chunks through the fastest backend, from state to state; and token by token, as float64 sums that are rounded
    once a token, which is what a step does.
    """
    scores = np.random.default_rng(0).normal(0, 1.5, period)
    values = np.random.default_rng(1).normal(1, 1, period)
    weights = np.exp(scores - scores.max())
    wide = weights.astype(np.longdouble)
    exact = float((wide * values).sum() / wide.sum())
    sums, buffer = [0.0, 0.0], np.empty(period + 1)
    for _ in range(tokens // period):
        for k, terms in enumerate((weights, weights * values)):
            buffer[0], buffer[1:] = sums[k], terms
            sums[k] = float(np.add.accumulate(buffer, out=buffer)[-1])
    s, v = torch.from_numpy(scores)[None].split(chunk, 1), torch.from_numpy(values)[None, :, None].split(chunk, 1)
    state = AttentionState.identity((1,), 1)
    with torch.no_grad():
        for _ in range(tokens // period):
            for k in range(len(s)):
                _, state = prefix_attention(s[k], v[k], state)
    return {"chunks": abs(state.output().item() - exact), "token by token": abs(sums[1] / sums[0] - exact)}


def main(argv: Sequence[str] | None = None) -> int:
    """Gate, then times, then one JSON line."""
    parser = timing_parser(__doc__)
    parser.add_argument("--sweep", action="store_true", help="time against tokens instead of the fixed sizes")
    parser.add_argument("--compiled-scan", action="store_true", help="also compile associative_scan (minutes)")
    parser.add_argument("--long-run", action="store_true", help="also the error after 1e9 tokens (minutes)")
    chosen = parser.parse_args(argv)

    def extra() -> dict[str, Any]:
        if not chosen.long_run:
            return {}
        errors = long_run()
        said = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
        print(f"\nerror of the output after 1e9 tokens: {said} (bar 1e-6)")
        return {"output_error_after_1e9_tokens": errors}

    wanted = sweep(chosen.quick) if chosen.sweep else cases(chosen.quick, chosen.compiled_scan)
    return run("operator", chosen, faults, wanted, extra)


if __name__ == "__main__":
    sys.exit(main())
