"""Law 9 and the accuracy table: float32 against float64, low-precision inputs, autocast."""

from __future__ import annotations

import pytest
import torch
from operator_cases import ALL, FAST, Case, assert_close, random_case, results

from aaren.ops import AttentionState, kept_dtype, prefix_attention

TABLE = [(n, deviation) for n in (0, 1, 2, 63, 64, 65, 1000) for deviation in (0.1, 1.0, 3.0, 60.0, 200.0)]
OPTIONS = [(False, False), (True, False), (False, True), (True, True)]


def accuracy(case: Case, backend: str) -> None:
    """A float32 run against the float64 definition of the same numbers: the bar of this file."""
    single = case.to(torch.float32)
    assert_close(
        results(single, backend), results(single.to(torch.float64), "definition"), outputs=1e-5, gradients=1e-4
    )


@pytest.mark.parametrize(("decay", "state"), OPTIONS)
@pytest.mark.parametrize(("tokens", "deviation"), TABLE)
def test_float32_accuracy_of_blocks(tokens: int, deviation: float, decay: bool, state: bool) -> None:
    """Outputs within 1e-5, gradients within 1e-4, for any spread of the scores and any length."""
    accuracy(random_case((2,), tokens, 4, deviation=deviation, decay=decay, state=state), "blocks")


@pytest.mark.parametrize("deviation", [0.1, 3.0, 200.0])
@pytest.mark.parametrize("decay", [False, True])
def test_float32_accuracy_of_long_blocks(deviation: float, decay: bool) -> None:
    """The same at 4097 tokens, which takes three levels of blocks."""
    accuracy(random_case((1,), 4097, 2, deviation=deviation, decay=decay, state=True), "blocks")


@pytest.mark.parametrize(("tokens", "deviation"), [(n, d) for n, d in TABLE if n in {0, 2, 65}])
def test_float32_accuracy_of_the_recurrence(tokens: int, deviation: float) -> None:
    """The RNN cell, which keeps its state in float64, passes the same bar."""
    accuracy(random_case((2,), tokens, 4, deviation=deviation, decay=True, state=True), "recurrence")


@pytest.mark.parametrize(("tokens", "deviation"), TABLE)
def test_float32_accuracy_of_the_scan(tokens: int, deviation: float) -> None:
    """Algorithm 1 in float32 passes the same bar without decay."""
    accuracy(random_case((2,), tokens, 4, deviation=deviation, state=True), "scan")


@pytest.mark.parametrize("deviation", [0.1, 1.0, 3.0])
def test_float32_accuracy_of_the_scan_with_decay(deviation: float) -> None:
    """With decay the scan holds the bar up to deviation 3: its float32 maximum ages, and so rounds, at each merge."""
    accuracy(random_case((2,), 1000, 4, deviation=deviation, decay=True, state=True), "scan")


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("decay", [False, True])
def test_low_precision_inputs(backend: str, dtype: torch.dtype, decay: bool) -> None:
    """Inputs of 16 bits cost a few roundings of 16 bits; the state is float64.

    More than one in the gradients, since the backward pass reads the outputs as they were returned, rounded.
    """
    case = random_case((2,), 300, 4, deviation=3.0, decay=decay, state=True).to(dtype)
    eps = torch.finfo(dtype).eps
    actual = results(case, backend)
    assert_close(actual, results(case.to(torch.float64), "definition"), outputs=eps, gradients=8 * eps)
    assert {name: x.dtype for name, x in actual.items()} == {
        name: x.dtype for name, x in results(case, "definition").items()
    }
    assert actual["outputs"].dtype == actual["grad scores"].dtype == dtype
    assert case.call(backend)[1].normalizer.dtype == torch.float64


@pytest.mark.parametrize("backend", FAST)
def test_scores_and_values_may_differ_in_dtype(backend: str) -> None:
    """Float32 scores with bfloat16 values: outputs are of the values' dtype, every gradient of its input's."""
    case = random_case((2,), 40, 4)
    scores = case.scores.float().requires_grad_()
    values = case.values.bfloat16().requires_grad_()
    outputs, _ = prefix_attention(scores, values, backend=backend)
    assert outputs.dtype == torch.bfloat16
    gradients = torch.autograd.grad(outputs.float().sum(), [scores, values])
    assert [x.dtype for x in gradients] == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_normalizer_grows_under_autocast(backend: str, dtype: torch.dtype) -> None:
    """5000 equal tokens count 5000, where a bfloat16 normaliser stops at 256 and a float16 one at 2048."""
    chunk = torch.zeros(500, dtype=dtype), torch.ones(500, 2, dtype=dtype)
    state = None
    with torch.autocast("cpu", dtype):
        for _ in range(10):
            outputs, state = prefix_attention(*chunk, state, backend=backend)
    assert state.normalizer.item() == pytest.approx(5000, rel=1e-12)
    assert all(x.dtype == torch.float64 for x in vars(state).values())
    assert outputs.eq(1).all()


@pytest.mark.parametrize("backend", ALL)
def test_autocast_changes_no_bit(backend: str) -> None:
    """Autocast does not reach into the operator: forward and backward keep the precision of their inputs."""
    case = random_case((2,), 100, 4, deviation=3.0, decay=True, state=True, dtype=torch.float32)
    plain = results(case, backend)
    with torch.autocast("cpu", torch.bfloat16):
        cast = results(case, backend)
    for name, tensor in plain.items():
        assert torch.equal(tensor, cast[name]), name


def test_kept_dtype_is_the_widest_of_the_device() -> None:
    """States are float64 wherever a device has it, and float32 on Apple's GPUs, which do not."""
    assert kept_dtype(torch.device("cpu")) == kept_dtype(torch.device("cuda")) == torch.float64
    assert kept_dtype(torch.device("mps")) == torch.float32


@pytest.mark.parametrize("backend", FAST)
def test_a_float32_state_is_taken_up_in_float64(backend: str) -> None:
    """A state that someone stored in float32 is continued in the kept dtype."""
    case = random_case((2,), 5, 3, state=True, dtype=torch.float32)
    outputs, state = prefix_attention(case.scores, case.values, case.state.to(dtype=torch.float32), backend=backend)
    torch.testing.assert_close(outputs, case.call("definition")[0], rtol=1e-5, atol=1e-5)
    assert isinstance(state, AttentionState)
    assert state.weighted_sum.dtype == torch.float64
