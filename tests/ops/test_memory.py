"""Laws 7 and 8: constant memory, no aliases, the same bits twice, and exact numbers after very many tokens."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from operator_cases import ALL, FAST, random_case, results

from aaren.ops import AttentionState, prefix_attention

STREAM = """
import json, math, sys
import numpy as np, psutil, torch
from aaren.ops import AttentionState, prefix_attention
torch.set_num_threads(1)
steps = int(sys.argv[1])
scores = np.random.default_rng(0).normal(0, 1.5, steps)
values = np.random.default_rng(1).normal(0, 1, steps)
rows = torch.from_numpy(np.stack([scores, values], 1))
state, process, memory = AttentionState.identity((1,), 1), psutil.Process(), []
with torch.no_grad():
    for k in range(steps):
        token = rows[k]
        output, state = prefix_attention(token[:1, None], token[1:, None, None], state)
        if k % (steps // 10) == steps // 10 - 1:
            memory.append(process.memory_info().rss)
weights = np.exp(scores - scores.max())
exact = math.fsum(weights * values) / math.fsum(weights)
print(json.dumps({"memory": memory, "output": output.item(), "exact": exact, "lse": state.lse().item(),
                  "exact_lse": scores.max() + math.log(math.fsum(weights))}))
"""


def storages(state: AttentionState) -> list[int]:
    return [x.untyped_storage().nbytes() for x in vars(state).values()]


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("options", [{}, {"decay": True, "state": True}], ids=["plain", "decay, state"])
def test_state_bytes_are_constant(backend: str, options: dict[str, bool]) -> None:
    """A state owns 8 bytes a number and no more: it keeps no prefix alive through a view."""
    for tokens in (0, 1, 40):
        _, state = random_case((2,), tokens, 3, **options).call(backend)
        assert storages(state) == [16, 16, 48]


def test_single_steps_leave_memory_flat() -> None:
    """400,000 single tokens leave the process as large as it was, and the result is the exact sum's to 1e-9."""
    done = subprocess.run([sys.executable, "-c", STREAM, "400000"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert max(found["memory"]) - found["memory"][0] < 2**20
    assert found["output"] == pytest.approx(found["exact"], abs=1e-9)
    assert found["lse"] == pytest.approx(found["exact_lse"], abs=1e-9)


def test_error_bound_of_the_kept_state() -> None:
    """Float64 sums, rounded once a token as the state's are, are within 1e-9 after 1e8 tokens.

    The same tokens come again and again, so that the exact mean is known. Random rounding grows like the root of the
    number of tokens, so 1e9 cost three times as much; `benchmarks/prefix_attention.py --long-run` runs them.
    """
    scores = np.random.default_rng(0).normal(0, 1.5, 1_000_000)
    values = np.random.default_rng(1).normal(1, 1, 1_000_000)
    weights = np.exp(scores - scores.max())
    terms = np.stack([weights, weights * values])
    exact = np.asarray(weights, np.longdouble) @ np.asarray(values, np.longdouble) / weights.astype(np.longdouble).sum()
    sums, buffer = np.zeros(2), np.empty(1_000_001)
    for _ in range(100):
        for k in range(2):
            buffer[0], buffer[1:] = sums[k], terms[k]
            sums[k] = np.add.accumulate(buffer, out=buffer)[-1]
    assert abs(sums[1] / sums[0] - float(exact)) < 1e-9


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("tokens", [0, 1, 20])
@pytest.mark.parametrize("masked", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_never_alias_inputs(backend: str, tokens: int, masked: float, dtype: torch.dtype) -> None:
    """Outputs and state share no memory with the inputs, the initial state or each other: writing there is safe."""
    for start in (None, random_case((2,), 1, 3, state=True).state):
        case = random_case((2,), tokens, 3, masked=masked, dtype=dtype)
        inputs = [case.scores, case.values] + ([] if start is None else list(vars(start).values()))
        for mask in (None, case.mask):
            outputs, state = prefix_attention(case.scores, case.values, start, mask=mask, backend=backend)
            made = [outputs, *vars(state).values()]
            places = [x.untyped_storage().data_ptr() for x in (*inputs, *made) if x.numel()]
            assert len(set(places)) == len(places)
            before = [x.clone() for x in made]
            for x in inputs:
                x.add_(1.0)
            assert all(torch.equal(a, b) for a, b in zip(made, before, strict=True))


def test_streaming_step_does_not_alias() -> None:
    """The single-token path of "auto" keeps the same promise, and leaves the state that it was given as it was."""
    case = random_case((2,), 1, 3, state=True)
    start = [x.clone() for x in vars(case.state).values()]
    with torch.no_grad():
        outputs, state = case.call("auto")
    for x in (outputs, *vars(state).values()):
        x.fill_(torch.nan)
    assert all(torch.equal(a, b) for a, b in zip(vars(case.state).values(), start, strict=True))
    assert not any(x.isnan().any() for x in (case.scores, case.values))


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.usefixtures("two_threads")
def test_twice_gives_the_same_bits(backend: str) -> None:
    """Two calls on the same machine and thread count agree in every bit, gradients included."""
    case = random_case((4,), 200, 16, decay=True, state=True, masked=0.1, dtype=torch.float32)
    first = results(case, backend)
    for _ in range(3):
        assert all(torch.equal(first[name], tensor) for name, tensor in results(case, backend).items())


@pytest.mark.parametrize("backend", FAST)
def test_inputs_are_left_as_they_were(backend: str) -> None:
    """No call writes into its inputs."""
    case = random_case((2,), 20, 3, decay=True, state=True, masked=0.3, resets=0.1)
    tensors = [case.scores, case.values, case.log_decay, case.mask, case.resets, *vars(case.state).values()]
    before = [x.clone() for x in tensors]
    results(case, backend)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))
