"""The native backend's numbers: 16-bit formats bit by bit, exp over its whole range, and the error over long rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from operator_cases import assert_close, random_case, results
from torch import Tensor

from aaren.ops import AttentionState, prefix_attention

HALVES = (torch.bfloat16, torch.float16)


def all_halves(dtype: torch.dtype) -> Tensor:
    """All 65,536 numbers of 16 bits, infinities and NaNs of both kinds included."""
    return torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(dtype)


def same(actual: Tensor, expected: Tensor) -> bool:
    """Equal everywhere, where NaN equals NaN."""
    return torch.equal(actual.isnan(), expected.isnan()) and torch.equal(
        actual.nan_to_num(0, torch.inf, -torch.inf), expected.nan_to_num(0, torch.inf, -torch.inf)
    )


def attend(values: Tensor, state: AttentionState | None, *, masked: bool, step: bool) -> tuple[Tensor, AttentionState]:
    """One token for each row, of score 0 or masked, as a call or as the step of a stream."""
    scores = torch.full(values.shape[:-1], -torch.inf if masked else 0.0)[..., None]
    if step and state is None:
        state = AttentionState.identity(values.shape[:-1], values.shape[-1])
    with torch.no_grad():
        outputs, final = prefix_attention(scores, values[..., None, :], state, backend="auto" if step else "native")
    return outputs[..., 0, :], final


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("dim", [256, 2**16 // 3, 1], ids=["vectors", "one row", "single numbers"])
@pytest.mark.parametrize("step", [False, True], ids=["call", "step"])
def test_every_number_of_16_bits_comes_through(dtype: torch.dtype, dim: int, step: bool, instructions: str) -> None:
    """The only token of a sequence is its output, whichever of the 65,536 numbers it holds, and exact in the state."""
    values = all_halves(dtype)[: 2**16 // dim * dim].view(-1, dim)
    outputs, state = attend(values, None, masked=False, step=step)
    assert same(outputs, values)
    assert same(state.weighted_sum, values.double())


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_score_of_16_bits_is_read_exactly(dtype: torch.dtype, instructions: str) -> None:
    """The largest score of a sequence of one token is that score, NaN apart; +inf stays +inf."""
    scores = all_halves(dtype)
    scores = scores[~scores.isnan()]
    _, state = prefix_attention(scores[:, None], torch.ones(len(scores), 1, 1), backend="native")
    assert torch.equal(state.max_score, scores.double())


def around_halves(dtype: torch.dtype) -> Tensor:
    """All finite numbers of the dtype, the points between neighbours, and the float32 next to each on both sides."""
    numbers = all_halves(dtype)
    numbers = numbers[numbers.isfinite()].double().unique()
    step = numbers[-1] - numbers[-2]
    numbers = torch.cat([numbers[:1] - step, numbers, numbers[-1:] + step])
    points = torch.cat([numbers, (numbers[1:] + numbers[:-1]) / 2]).float()
    infinity = torch.tensor(torch.inf)
    return torch.cat([points, points.nextafter(infinity), points.nextafter(-infinity)]).double()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("step", [False, True], ids=["call", "step"])
def test_results_are_rounded_to_the_nearest_even(dtype: torch.dtype, step: bool, instructions: str) -> None:
    """A mean becomes 16 bits as PyTorch rounds it: at and beside every tie, subnormal, and above the largest number."""
    means = around_halves(dtype)
    expected = means.to(dtype)
    assert expected.isinf().any()
    assert (expected.abs() < torch.finfo(dtype).tiny).sum() > 100
    for dim in (1, len(means)):
        state = AttentionState(torch.zeros(len(means) // dim), torch.ones(len(means) // dim), means.view(-1, dim)).to(
            dtype=torch.float64
        )
        outputs, _ = attend(torch.zeros(state.weighted_sum.shape, dtype=dtype), state, masked=True, step=step)
        assert torch.equal(outputs.view(-1), expected)


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
@pytest.mark.parametrize("step", [False, True], ids=["call", "step"])
def test_a_nan_stays_one(dtype: torch.dtype, step: bool, instructions: str) -> None:
    """Rounding makes no number of a NaN, whatever its bits: all ones, the lowest alone, of either sign."""
    bits = torch.tensor([2**63 - 1, (0x7FF << 52) + 1, 0x7FF8 << 48, -1, -(1 << 52) + 1])
    state = AttentionState(torch.zeros(5), torch.ones(5), bits.view(torch.float64)[:, None]).to(dtype=torch.float64)
    outputs, final = attend(torch.zeros(5, 1, dtype=dtype), state, masked=True, step=step)
    assert outputs.isnan().all()
    assert final.weighted_sum.isnan().all()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_means_of_two_are_rounded_once(dtype: torch.dtype, instructions: str) -> None:
    """Two tokens of equal score: the output is the exact mean as PyTorch rounds it, subnormal numbers included."""
    numbers = all_halves(dtype)
    numbers = numbers[numbers.isfinite()]
    g = torch.Generator().manual_seed(0)
    first = numbers[torch.randperm(len(numbers), generator=g)]
    near = (numbers.view(torch.int16) ^ torch.randint(0, 1024, numbers.shape, generator=g, dtype=torch.int16)).view(
        dtype
    )
    pairs = [torch.stack([numbers, near], 0)]
    pairs += [torch.stack([numbers, first], 0)] if dtype == torch.float16 else []
    for pair in pairs:
        pair = pair[:, pair.isfinite().all(0)]
        outputs, _ = prefix_attention(torch.zeros(2), pair, backend="native")
        assert torch.equal(outputs[1], pair.double().mean(0).to(dtype))


def exponents() -> np.ndarray:
    """Numbers <= 0 of every size, dense where exp is not 0, and at the edges of its reduction by ln 2."""
    g = np.random.default_rng(0)
    edges = (np.arange(2044) + 0.5) * math.log(2) / 2
    edges = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, np.inf)])
    sizes = 10.0 ** g.uniform(-320, 2.85, 20_000)
    return -np.unique(np.concatenate([[0.0, 5e-324, 708.0], g.uniform(0, 708, 50_000), edges, sizes]))


def test_gains_over_the_whole_range_of_exponents(instructions: str) -> None:
    """The gain of a second token, exp(-x) / (1 + exp(-x)), is within 2 units of float64's precision to x = 708."""
    x = exponents()
    exact = np.exp(x.astype(np.longdouble))
    exact = exact / (1 + exact)
    scores = torch.stack([torch.zeros(len(x), dtype=torch.float64), torch.from_numpy(x)], -1)
    none = (None, None, None, None)
    values = torch.ones(len(x), 2, 1, dtype=torch.float64)
    gain = torch.ops.aaren.prefix_attention(scores, values, *none, "native")[1]
    here = x >= -708
    relative = np.abs(gain[:, 1].numpy()[here] - exact[here]) / exact[here]
    assert float(relative.max()) <= 2 * np.finfo(np.float64).eps
    assert gain[:, 0].eq(1).all()
    assert (x[0], gain[0, 1]) == (0, 0.5)


def test_decay_of_a_step_over_the_whole_range_of_exponents(instructions: str) -> None:
    """A step ages the kept sum by exp(-x), within one unit of float64's precision; above 708 nothing is left of it."""
    x = exponents()
    rows = torch.from_numpy(x)
    state = AttentionState(rows, torch.ones_like(rows), torch.ones_like(rows)[:, None])
    with torch.no_grad():
        _, after = prefix_attention(
            torch.zeros_like(rows)[:, None], torch.zeros(len(x), 1, 1, dtype=torch.float64), state
        )
    got, exact = after.weighted_sum[:, 0].numpy(), np.exp(x.astype(np.longdouble))
    here = x >= -708
    assert float((np.abs(got[here] - exact[here]) / exact[here]).max()) <= np.finfo(np.float64).eps
    assert not got[~here].any()


@pytest.mark.parametrize("gap", [708.1, 745.0, 1e4, 1e30, 1e308, math.inf])
def test_exponents_below_the_smallest_number(gap: float, instructions: str) -> None:
    """A score that far below the largest weighs nothing: gain exactly 0, and no NaN; that far above, exactly 1."""
    scores = torch.tensor([[0.0, -gap], [-gap, 0.0]], dtype=torch.float64)
    values = torch.tensor([[1.0], [2.0]], dtype=torch.float64).expand(2, 2, 1)
    outputs, gain, *_ = torch.ops.aaren.prefix_attention(scores, values, *[None] * 4, "native")
    assert gain.tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert outputs[..., 0].tolist() == [[1.0, 1.0], [0.0 if gap == math.inf else 1.0, 2.0]]


TABLE = [(n, deviation) for n in (1, 2, 7, 8, 9, 64, 65, 1000) for deviation in (0.1, 1.0, 3.0, 60.0, 200.0)]


@pytest.mark.parametrize(("decay", "state"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize(("tokens", "deviation"), TABLE)
def test_float32_accuracy(tokens: int, deviation: float, decay: bool, state: bool) -> None:
    """Outputs within 1e-5, gradients within 1e-4 of the definition, for any spread of the scores and any length."""
    case = random_case((2,), tokens, 4, deviation=deviation, decay=decay, state=state, dtype=torch.float32)
    expected = results(case.to(torch.float64), "definition")
    assert_close(results(case, "native"), expected, outputs=1e-5, gradients=1e-4)


@pytest.mark.parametrize(("deviation", "decay"), [(0.1, False), (0.1, True), (3.0, True), (200.0, False)])
def test_float32_accuracy_at_4097_tokens(deviation: float, decay: bool) -> None:
    """The same on a long row, with a dim that is cut into a vector and a rest."""
    case = random_case((1,), 4097, 19, deviation=deviation, decay=decay, state=True, dtype=torch.float32)
    expected = results(case.to(torch.float64), "definition")
    assert_close(results(case, "native"), expected, outputs=1e-5, gradients=1e-4)


def by_hand(s: np.ndarray, v: np.ndarray, decay: np.ndarray, do: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs and closed-form gradients of one row with dim 1, token by token in Python's float64."""
    m, u, w, outputs, gains = -math.inf, 0.0, 0.0, [], []
    for score, value, age in zip(s.tolist(), v.tolist(), decay.tolist(), strict=True):
        top = max(m + age, score)
        past, added = math.exp(m + age - top), math.exp(score - top)
        m, u, w = top, u * past + added, w * past + added * value
        outputs.append(w / u)
        gains.append(added / u)
    acc, r, kept = 0.0, 0.0, 0.0
    found: dict[str, list[float]] = {"scores": [], "values": [], "log_decay": []}
    for k in range(len(outputs) - 1, -1, -1):
        acc = do[k] + kept * acc
        r = outputs[k] * do[k] + kept * r
        kept = 1 - gains[k]
        found["scores"].append(gains[k] * (v[k] * acc - r))
        found["values"].append(gains[k] * acc)
        found["log_decay"].append(kept * (outputs[k - 1] * acc - r) if k else 0.0)
    return {"outputs": np.array(outputs)} | {name: np.array(x[::-1]) for name, x in found.items()}


@pytest.mark.parametrize(("deviation", "age"), [(0.1, 0.0), (1.5, 1e-4), (60.0, 1.0)])
def test_float32_accuracy_at_200_000_tokens(deviation: float, age: float, instructions: str) -> None:
    """One row of 200,000 tokens holds the bar against a float64 recurrence, forward and backward."""
    g, tokens = np.random.default_rng(0), 200_000
    s, v, do = (g.normal(0, scale, tokens).astype(np.float32) for scale in (deviation, 1, 1))
    decay = (-age * g.random(tokens)).astype(np.float32)
    expected = by_hand(*(x.astype(np.float64) for x in (s, v, decay, do)))
    leaves = [torch.from_numpy(x).requires_grad_() for x in (s, v[:, None], decay)]
    outputs, _ = prefix_attention(leaves[0], leaves[1], log_decay=leaves[2], backend="native")
    gradients = torch.autograd.grad(outputs, leaves, torch.from_numpy(do)[:, None])
    actual = dict(zip(("outputs", "scores", "values", "log_decay"), (outputs, *gradients), strict=True))
    for name, want in expected.items():
        error = np.abs(actual[name].detach().view(-1).double().numpy() - want).max()
        bar = 1e-5 if name == "outputs" else 1e-4
        assert error <= bar * max(1.0, np.abs(want).max()), f"{name}: {error}"
