"""The native kernels share their work: the same bits on any number of threads, from several callers, after a fork."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from operator_cases import assert_same_bits, random_case, results, threads

EVERYTHING = {"decay": True, "state": True, "masked": 0.2, "resets": 0.05}
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", [{}, {"decay": True}, EVERYTHING], ids=["plain", "decay", "everything"])
@pytest.mark.parametrize(
    ("batch", "tokens", "dim"),
    [
        ((4, 8), 67, 33),
        ((1,), 200, 100),
        ((1,), 301, 64),
        ((2,), 400, 33),
        ((3,), 99, 257),
        ((1,), 2500, 1),
        ((5,), 2000, 0),
    ],
)
def test_bits_do_not_depend_on_the_threads(
    batch: tuple[int, ...], tokens: int, dim: int, options: dict[str, float], dtype: torch.dtype, poisoned_memory: None
) -> None:
    """With 1, 2 and 8 threads, more rows than threads or fewer, all results and gradients have the same bits."""
    case = random_case(batch, tokens, dim, **options, dtype=dtype)
    assert case.scores.numel() * (dim + 8) >= 2**14, "too small for a second thread"
    expected = results(case, "native")
    for count in (2, 8):
        with threads(count):
            assert_same_bits(results(case, "native"), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize(("batch", "heads"), [(1, 3), (3, 5), (7, 3), (1, 12), (9, 8), (16, 4)])
def test_bits_do_not_depend_on_the_threads_where_heads_are_interleaved(
    batch: int, heads: int, options: dict[str, float], dtype: torch.dtype, poisoned_memory: None
) -> None:
    """Values as a projection leaves them: heads that are walked together or apart give the bits of a dense copy."""
    case = random_case((batch, heads), 150, 36, **options, dtype=dtype)
    projected = case.as_projected()
    assert not projected.values.is_contiguous()
    assert projected.values.stride(1) < projected.values.stride(2)
    expected = results(case, "native")
    for count in (1, 2, 8):
        with threads(count):
            assert_same_bits(results(projected, "native"), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_step_has_the_same_bits_on_any_number_of_threads(dtype: torch.dtype) -> None:
    """One token of many rows, the path of streams, on 1, 2 and 8 threads."""
    case = random_case((1001,), 1, 33, decay=True, state=True, masked=0.1, resets=0.1, dtype=dtype)
    with torch.no_grad():
        outputs, state = case.call("auto")
        for count in (2, 8):
            with threads(count):
                again, other = case.call("auto")
            assert torch.equal(again, outputs)
            assert_same_bits(vars(other), vars(state))


def test_many_callers_at_once(two_threads: None) -> None:
    """Calls from several Python threads at once, forward and backward, give what they give one after another."""
    cases = [random_case((3, 2), 200, 40 + k, seed=k, **EVERYTHING, dtype=torch.float32) for k in range(12)]
    expected = [results(case, "native") for case in cases]
    with ThreadPoolExecutor(4) as pool:
        for found, want in zip(pool.map(lambda case: results(case, "native"), cases), expected, strict=True):
            assert_same_bits(found, want)


POOL = """
import os, torch
from aaren.ops import prefix_attention

def count():
    return len(os.listdir("/proc/self/task"))

torch.set_num_threads(8)
scores, values = torch.zeros(8, 400), torch.zeros(8, 400, 8)
before = count()
prefix_attention(scores[:, :8], values[:, :8], backend="native")
small = count()
prefix_attention(scores, values, backend="native")
large = count()
torch.ones(2_000_000).add(1)
print(small - before, large - before, count() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_threads_are_those_of_pytorch() -> None:
    """A small call stays on its thread; a large one takes as many as PyTorch was given, from the pool of PyTorch."""
    done = subprocess.run([sys.executable, "-c", POOL], capture_output=True, text=True, check=True)
    assert done.stdout == "0 7 7\n"


FORK = """
import os, signal, torch
from aaren.ops import prefix_attention

scores, values = torch.randn(8, 512, requires_grad=True), torch.randn(8, 512, 64)

def run():
    outputs, _ = prefix_attention(scores, values, backend="native")
    return outputs, torch.autograd.grad(outputs.sum(), scores)[0]

for before, after in ((1, 1), (1, 2), (2, 1)):
    torch.set_num_threads(before)
    expected = run()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        torch.set_num_threads(after)
        os._exit(0 if all(torch.equal(a, b) for a, b in zip(run(), expected)) else 1)
    print(before, after, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_goes_on() -> None:
    """A child of a process that used threads runs on one thread, as PyTorch's data loaders set it, to the same bits."""
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.stdout == "1 1 0\n1 2 0\n2 1 0\n", done.stderr
