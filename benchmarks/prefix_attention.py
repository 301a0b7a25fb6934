"""Time of prefix attention: `python benchmarks/prefix_attention.py [--json FILE] [--long-run]`.

What is measured: wall time of one call in float32 on two CPU threads, forward, and forward with the gradients to
scores, values and decay, for "blocks", for the paper's Algorithm 1 ("scan"), and, for scale, for two neighbours:
`values.clone()`, which reads and writes each value once and is the physical limit of any forward pass, and PyTorch's
`scaled_dot_product_attention(is_causal=True)`, which is ANOTHER computation (one query a token, quadratic work) and
stands here because it is what a Transformer would run in the same place. Medians of interleaved rounds.

What it does not say: nothing about other devices, dtypes or thread counts, about a whole layer or training step,
about peak memory, or about one-token steps, where the overhead of a call counts and not the operator. Ratios travel
between machines better than times do; on a shared machine neither is good to more than some 10 %.

Nothing is timed before a gate has found every backend right, outputs, state and gradients, at odd sizes: exit code 1
if one is wrong. `--long-run` adds the error of the kept state after 1e9 tokens (some minutes).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from _harness import Benchmark, machine, measure, report
from aaren.ops import AttentionState, backends, prefix_attention

SMALL, LONG = (8, 8, 1024, 64), (2, 8, 8192, 64)
RATIOS = {
    "blocks / clone": ("blocks", "clone"),
    "blocks with decay / clone": ("blocks, decay", "clone"),
    "Algorithm 1 / blocks": ("Algorithm 1", "blocks"),
}
CLONE, SDPA = "clone", "causal SDPA (another computation: a query a token)"


def inputs(*shape: int, grad: bool = False, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of deviation 1.5, values and log-decays for (batch, heads, tokens, dim)."""
    g = torch.Generator().manual_seed(0)
    scores = 1.5 * torch.randn(shape[:-1], generator=g, dtype=dtype)
    values = torch.randn(shape, generator=g, dtype=dtype)
    log_decay = -torch.rand(shape[:-1], generator=g, dtype=dtype)
    return scores.requires_grad_(grad), values.requires_grad_(grad), log_decay.requires_grad_(grad)


def outcome(backend: str, tokens: int, decay: bool, state: bool, dtype: torch.dtype) -> list[Tensor]:
    """Outputs, state and gradients of one call, in float64, for the gate."""
    scores, values, log_decay = inputs(2, 3, tokens, 5, grad=True, dtype=dtype)
    start = AttentionState.leaf(scores[..., 0].double(), values[..., 0, :].double()) if state else None
    outputs, final = prefix_attention(scores, values, start, log_decay=log_decay if decay else None, backend=backend)
    leaves = [scores, values, *([log_decay] if decay else [])]
    target = outputs.double().sin().sum() + final.output().sum() + final.lse().sum()
    gradients = torch.autograd.grad(target, leaves, materialize_grads=True)
    return [x.detach().double() for x in (outputs, final.output(), final.lse(), *gradients)]


def gate() -> list[str]:
    """What is wrong with any backend that can run here, against the float64 definition; empty if nothing is."""
    wrong = []
    here = [b.name for b in backends() if b.runs_on(torch.device("cpu")) and b.name != "definition"]
    for tokens in (1, 17, 63, 130, 257):
        for decay, state in ((False, False), (True, False), (False, True), (True, True)):
            expected = outcome("definition", tokens, decay, state, torch.float64)
            for name in here:
                for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
                    exact = expected
                    if dtype == torch.float32:
                        exact = outcome("definition", tokens, decay, state, dtype)
                    found = outcome(name, tokens, decay, state, dtype)
                    error = max(
                        ((a - b).abs().max() / b.abs().max().clamp(min=1)).item()
                        for a, b in zip(found, exact, strict=True)
                    )
                    if not error <= tolerance:
                        wrong.append(f"{name}, {dtype}, {tokens} tokens, {decay=}, {state=}: error {error:.3g}")
    return wrong


def forward(backend: str, data: tuple[Tensor, Tensor, Tensor], decay: bool) -> Callable[[], object]:
    """One forward pass without gradients."""
    scores, values, log_decay = data

    def run() -> object:
        with torch.no_grad():
            return prefix_attention(scores, values, log_decay=log_decay if decay else None, backend=backend)

    return run


def both_ways(backend: str, data: tuple[Tensor, Tensor, Tensor], decay: bool) -> Callable[[], object]:
    """A forward pass and the gradients to all of its inputs, from a given gradient of the outputs."""
    scores, values, log_decay = data
    leaves = [scores, values, *([log_decay] if decay else [])]
    grad_outputs = torch.randn_like(values)

    def run() -> object:
        outputs, _ = prefix_attention(scores, values, log_decay=log_decay if decay else None, backend=backend)
        return torch.autograd.grad(outputs, leaves, grad_outputs)

    return run


def contenders(shape: tuple[int, ...], grad: bool) -> dict[str, Callable[[], object]]:
    """All contenders at one shape."""
    make = both_ways if grad else forward
    data = inputs(*shape, grad=grad)
    found = {
        "blocks": make("blocks", data, False),
        "blocks, decay": make("blocks", data, True),
        "Algorithm 1": make("scan", data, False),
        CLONE: data[1].detach().clone,
    }
    fastest = next(b.name for b in backends() if b.runs_on(torch.device("cpu")))
    if fastest != "blocks":
        found |= {fastest: make(fastest, data, False), f"{fastest}, decay": make(fastest, data, True)}
    queries, keys = (torch.randn(shape).requires_grad_(grad) for _ in range(2))
    grad_outputs = torch.randn(shape)

    def attention() -> object:
        with torch.set_grad_enabled(grad):
            outputs = scaled_dot_product_attention(queries, keys, data[1], is_causal=True)
        return torch.autograd.grad(outputs, [queries, keys, data[1]], grad_outputs) if grad else outputs

    return found | {SDPA: attention}


def cases() -> list[Benchmark]:
    """The cases of this file; a later file adds its own in the same way."""

    def named(shape: tuple[int, ...], what: str) -> str:
        return f"{what}, {' x '.join(map(str, shape))} (batch x heads x tokens x dim)"

    return [
        Benchmark(named(SMALL, "forward"), contenders(SMALL, False), RATIOS),
        Benchmark(named(SMALL, "forward and backward"), contenders(SMALL, True), RATIOS),
        Benchmark(named(LONG, "forward"), contenders(LONG, False), RATIOS, rounds=5),
    ]


def long_run(tokens: int = 1_000_000_000, period: int = 1_000_000) -> float:
    """Error of the output w / u after 1e9 tokens whose exact mean is known: the same million comes again and again.

    The sums are float64 and rounded once a token, as those of the kept state are in token-by-token streaming.
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
    return abs(sums[1] / sums[0] - exact)


def main() -> int:
    """Gate, then times, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON line to this file too")
    parser.add_argument("--long-run", action="store_true", help="also the error after 1e9 tokens (minutes)")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    wrong = gate()
    if wrong:
        print("not timed, since the numbers are wrong:", *wrong, sep="\n  ", file=sys.stderr)
        return 1
    extra: dict[str, object] = {"machine": machine()}
    results = [measure(case) for case in cases()]
    if arguments.long_run:
        extra["output_error_after_1e9_tokens"] = error = long_run()
        print(f"error of the output after 1e9 tokens: {error:.2e} (bar 1e-6)")
    report(results, extra, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
