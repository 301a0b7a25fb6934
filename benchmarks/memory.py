"""Memory of training and of streaming: `python benchmarks/memory.py [--json FILE] [--sweep]`.

What is measured: the peak of the resident set, each time in a fresh process of its own, less what it was when the
imports and a few tokens through one layer were done: of one training step (forward, loss, backward, AdamW) of four
layers of width 128 at batch 1, and of a stream of tokens, one by one; and the bytes of the state in use after the
stream. The peak comes from the high-water mark that Linux keeps for a process (`VmHWM`): `ru_maxrss`, which is used
where there is no /proc, starts on Linux from the size of the process that started this one.

Limits: a training step must hold weights, gradients and two moments, its data, and the input of every matrix product
until its backward; a stream must hold weights and state. Both are computed from shapes.

What it does not say: nothing about the process as a whole, of which PyTorch itself takes some 300 MB, or about memory
that an allocator keeps for later. Nothing is measured before a gate has found every backend and every encoder right:
exit code 1 if one is wrong. `--sweep` goes from 64 to 65,536 tokens in training and to 16,384 in a stream, for
`plots.py`; a process that takes more than a quarter of an hour is ended and its encoder left out from there on.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from _gate import model_faults
from _harness import SWEEP_TOKENS, Case, Ratio, Result, option_parser, refused, report, result, show
from _machine import machine
from _peers import AAREN, D_MODEL, ENCODERS, FEEDFORWARD, LAYERS, TRANSFORMER, encoder
from training import training_step

LIMIT = "what it must hold"
TRAINING, STREAMING, STATE = "peak memory, training step", "peak memory, stream", "state"
TRAINING_LIMIT = "weights, gradients, moments, data, and the input of every matrix product of Aaren"
STREAMING_LIMIT = "weights and state of Aaren"
LONGEST_PROCESS = 900.0
Measured = dict[str, int]


def high_water_mark() -> int:
    """Bytes of the largest resident set that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def train(name: str, tokens: int, layers: int = LAYERS) -> tuple[int, object]:
    """One training step at batch 1, which leaves no state to weigh; and what is to stay in memory."""
    work = training_step(name, 1, tokens, layers)
    work()
    return 0, work


def stream(name: str, tokens: int, layers: int = LAYERS) -> tuple[int, object]:
    """Tokens one by one, none of them kept; bytes of the state in use at the end, and what is to stay in memory."""
    model = encoder(name, layers).eval()
    state = model.init_state(1, capacity=tokens) if name == TRANSFORMER else model.init_state(1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(tokens):
            _, state = model.step(torch.randn(1, D_MODEL, generator=generator), state)
    return nbytes(pytree.tree_leaves(state)), model


def nbytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the numbers in tensors."""
    return sum(x.numel() * x.element_size() for x in tensors)


KINDS: dict[str, Callable[[str, int, int], tuple[int, object]]] = {"train": train, "stream": stream}


def child(kind: str, name: str, tokens: int) -> Measured:
    """What the fresh process does: the peak above its imports, and the bytes of the state.

    PyTorch imports and loads much when something runs for the first time, so a single layer sees some tokens first;
    it stays in memory, which could be used again otherwise.
    """
    _first_use = KINDS[kind](name, 8, 1)
    before = high_water_mark()
    state, _ = KINDS[kind](name, tokens, LAYERS)
    return {"peak": high_water_mark() - before, "state": state}


def in_fresh_process(kind: str, name: str, tokens: int) -> Measured | None:
    """Measure in a process of its own; None if it takes too long."""
    flags = ["-S"] if sys.flags.no_site else []
    options = ["--threads", str(torch.get_num_threads()), "--child", kind, name, str(tokens)]
    command = [sys.executable, *flags, __file__, *options]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=LONGEST_PROCESS)
    except subprocess.TimeoutExpired:
        return None
    found: Measured = json.loads(done.stdout)
    return found


def must_hold_in_training(tokens: int) -> int:
    """Bytes that a training step of Aaren cannot do without."""
    parameters = sum(parameter.numel() for parameter in encoder(AAREN).parameters())
    # the inputs of scores and values (one tensor), output, and the two of the feed-forward network
    kept = LAYERS * (3 * D_MODEL + FEEDFORWARD)
    return 4 * (4 * parameters + tokens * (kept + 2 * D_MODEL))


def must_hold_in_stream() -> int:
    """Bytes that a stream through Aaren cannot do without."""
    model = encoder(AAREN)
    return nbytes([*model.parameters(), *pytree.tree_leaves(model.init_state(1))])


class Memory:
    """Runs the processes, and leaves out an encoder that once took too long."""

    def __init__(self, names: Sequence[str], rounds: int) -> None:
        self._names, self._rounds = names, rounds
        self._left_out: dict[tuple[str, str], str] = {}

    def of(self, kind: str, tokens: int) -> tuple[dict[str, list[Measured]], dict[str, str]]:
        """What every encoder needs at this many tokens, and why one is not there."""
        found: dict[str, list[Measured]] = {}
        for name in self._names:
            for _ in range(self._rounds if (kind, name) not in self._left_out else 0):
                measured = in_fresh_process(kind, name, tokens)
                if measured is None:
                    self._left_out[kind, name] = f"takes more than {LONGEST_PROCESS:.0f} s"
                    found.pop(name, None)
                    break
                found.setdefault(name, []).append(measured)
        return found, {name: why for (of_kind, name), why in self._left_out.items() if of_kind == kind}


def _megabytes(found: dict[str, list[Measured]]) -> dict[str, list[float]]:
    return {name: [each["peak"] / 1e6 for each in measured] for name, measured in found.items()}


def _case(name: str, tokens: int, limit: str) -> Case:
    """A case with the ratios of all encoders to Aaren, and of Aaren to its limit."""
    ratios = {f"{other} / {AAREN}": Ratio(other, AAREN) for other in ENCODERS if other != AAREN}
    ratios[f"{AAREN} / {LIMIT}"] = Ratio(AAREN, LIMIT)
    return Case(f"{name}, {tokens:,} tokens", limit, {}, ratios, {"tokens": tokens}, series=name)


def training_results(memory: Memory, lengths: Sequence[int]) -> Iterator[Result]:
    """Peak of a training step against tokens."""
    for tokens in lengths:
        found, left_out = memory.of("train", tokens)
        limit = {LIMIT: [must_hold_in_training(tokens) / 1e6]}
        yield result(_case(TRAINING, tokens, TRAINING_LIMIT), _megabytes(found) | limit, left_out, "MB")


def streaming_results(memory: Memory, lengths: Sequence[int]) -> Iterator[Result]:
    """Peak of a stream, and its state, against tokens; at the end, whether the state has grown."""
    states: dict[int, dict[str, list[float]]] = {}
    for tokens in lengths:
        found, left_out = memory.of("stream", tokens)
        limit = {LIMIT: [must_hold_in_stream() / 1e6]}
        yield result(_case(STREAMING, tokens, STREAMING_LIMIT), _megabytes(found) | limit, left_out, "MB")
        states[tokens] = {name: [float(each["state"]) for each in all_] for name, all_ in found.items()}
        case = Case(f"{STATE}, {tokens:,} tokens", "the state of Aaren", {}, {}, {"tokens": tokens}, series=STATE)
        yield result(case, states[tokens], left_out, "bytes")
    yield growth(states)


def growth(states: dict[int, dict[str, list[float]]]) -> Result:
    """The state after the longest stream against that after the shortest; a constant state has ratio 1."""
    first, last = min(states), max(states)
    samples: dict[str, list[float]] = {}
    ratios = {}
    for name in states[last]:
        before, after = f"{name}, {first:,} tokens", f"{name}, {last:,} tokens"
        samples |= {before: states[first][name], after: states[last][name]}
        ratios[f"{name}: last / first"] = Ratio(after, before, at_most=1.0 if name == AAREN else None)
    case = Case(f"growth of the state, {first:,} to {last:,} tokens", "none: 1", {}, ratios)
    return result(case, samples, unit="bytes")


def results(chosen: argparse.Namespace) -> Iterator[Result]:
    """All cases that the options ask for."""
    if chosen.quick:
        yield from training_results(Memory([AAREN], 1), [64])
        yield from streaming_results(Memory([AAREN], 1), [16, 64])
    elif chosen.sweep:
        yield from training_results(Memory(ENCODERS, 1), SWEEP_TOKENS)
        yield from streaming_results(Memory(ENCODERS, 1), SWEEP_TOKENS[:-1])
    else:
        yield from training_results(Memory(ENCODERS, 2), [1024, 8192])
        yield from streaming_results(Memory(ENCODERS, 2), [1000, 10000])


def main(argv: Sequence[str] | None = None) -> int:
    """Gate, then memory, then one JSON line."""
    parser = option_parser(__doc__)
    parser.add_argument("--sweep", action="store_true", help="memory against tokens instead of the fixed sizes")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    torch.set_num_threads(chosen.threads)
    if chosen.child:
        kind, name, tokens = chosen.child
        print(json.dumps(child(kind, name, int(tokens))))
        return 0
    if refused(model_faults(chosen.quick)):
        return 1
    description, found = machine(), []
    for each in results(chosen):
        show(each)
        found.append(each)
    report("memory", description, found, chosen.json, quick=chosen.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
