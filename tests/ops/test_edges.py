"""Edges: layouts, empty shapes, extreme scores, nothing seen; everything with poisoned fresh memory too."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from operator_cases import ALL, FAST, Case, assert_close, random_case, results
from torch import Tensor

from aaren.ops import AttentionState, prefix_attention


def transposed(x: Tensor, a: int, b: int) -> Tensor:
    """The same numbers in memory of another order."""
    return x.transpose(a, b).contiguous().transpose(a, b)


@pytest.mark.parametrize("backend", FAST)
def test_layout_in_memory_does_not_matter(backend: str) -> None:
    """Transposed and strided inputs give the bits of contiguous ones, and their gradients too."""
    case = random_case((2, 3), 20, 4, decay=True, state=True)
    expected, state = case.call(backend)
    wide = torch.stack([case.scores, case.scores], -1)[..., 0]
    other = replace(
        case,
        scores=wide,
        values=transposed(case.values, 1, 2),
        log_decay=transposed(case.log_decay, 0, 2),
        state=AttentionState(*(transposed(x, 0, 1) for x in vars(case.state).values())),
    )
    assert not any(x.is_contiguous() for x in (other.scores, other.values, other.log_decay))
    outputs, final = other.call(backend)
    assert torch.equal(outputs, expected)
    assert all(torch.equal(a, b) for a, b in zip(vars(final).values(), vars(state).values(), strict=True))
    leaves = other.values.detach().requires_grad_(), case.values.detach().requires_grad_()
    strided, plain = (
        replace(c, values=leaf).call(backend)[0].sin() for c, leaf in zip((other, case), leaves, strict=True)
    )
    grads = [
        torch.autograd.grad(x.transpose(0, 1).sum(), leaf)[0] for x, leaf in zip((strided, plain), leaves, strict=True)
    ]
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", FAST)
def test_expanded_inputs(backend: str) -> None:
    """Inputs and incoming gradients of stride 0 are as good as copies."""
    scores = torch.randn(20, dtype=torch.float64).expand(3, 20).requires_grad_()
    values = torch.randn(3, 1, 1, dtype=torch.float64).expand(3, 20, 4).requires_grad_()
    found = []
    for s, v in ((scores, values), (scores.contiguous(), values.contiguous())):
        outputs, state = prefix_attention(s, v, backend=backend)
        found.append((outputs, *torch.autograd.grad(outputs.sum() + state.lse().sum(), [scores, values])))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    ("batch", "tokens", "dim"),
    [
        ((), 5, 2),
        ((2, 1, 2, 2), 5, 2),
        ((0,), 5, 2),
        ((2, 0), 5, 2),
        ((2,), 0, 2),
        ((2,), 5, 0),
        ((0,), 0, 0),
        ((), 1, 1),
    ],
)
@pytest.mark.parametrize("options", [{}, {"decay": True, "state": True}], ids=["plain", "decay, state"])
def test_any_shape(
    backend: str, batch: tuple[int, ...], tokens: int, dim: int, options: dict[str, bool], poisoned_memory: None
) -> None:
    """Zero to four leading dimensions, and zero-size ones, forward and backward, on poisoned memory."""
    case = random_case(batch, tokens, dim, **options)
    outputs, state = case.call(backend)
    assert outputs.shape == (*batch, tokens, dim)
    assert state.max_score.shape == state.normalizer.shape == batch
    assert state.weighted_sum.shape == (*batch, dim)
    assert_close(results(case, backend), results(case, "definition"), outputs=1e-10)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("options", [{}, {"masked": 1.0, "resets": 0.2}, {"decay": True, "state": True, "masked": 0.3}])
def test_poisoned_memory_is_not_seen(backend: str, options: dict[str, object], poisoned_memory: None) -> None:
    """Every element of every result was written by us: none is the NaN that fresh memory is filled with."""
    assert torch.empty(3).isnan().all()
    assert torch.ones(3).new_empty(2).isnan().all()
    assert torch.empty_like(torch.ones(3)).isnan().all()
    case = random_case((3,), 37, 4, **options)
    assert not any(x.isnan().any() for x in results(case, backend).values())


def test_empty_call_returns_the_state(poisoned_memory: None) -> None:
    """A call with no token returns the state with the same bits, from every backend."""
    case = random_case((3,), 0, 2, state=True)
    for backend in ALL:
        state = case.call(backend)[1]
        torch.testing.assert_close(state.lse(), case.state.lse(), rtol=1e-15, atol=1e-15)
        if backend != "definition":
            assert all(torch.equal(a, b) for a, b in zip(vars(state).values(), vars(case.state).values(), strict=True))


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_extreme_scores(backend: str, size: float) -> None:
    """Scores of ±1e4 and ±1e30 in float32 give finite outputs, states and gradients, which are the definition's."""
    case = random_case((4,), 70, 3, deviation=size, state=True, dtype=torch.float32)
    assert_close(results(case, backend), results(case.to(torch.float64), "definition"), outputs=1e-5, gradients=1e-4)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("size", [-1e9, -1e4, 1e4, 1e9])
def test_equal_large_scores(backend: str, size: float) -> None:
    """Many equal large scores, such as a hand-made mask of -1e9, are a plain mean."""
    values = torch.randn(2, 300, 3, generator=torch.Generator().manual_seed(0))
    outputs, state = prefix_attention(torch.full((2, 300), size), values, backend=backend)
    mean = values.double().cumsum(-2) / torch.arange(1, 301)[:, None]
    torch.testing.assert_close(outputs.double(), mean, rtol=0, atol=2e-6)
    torch.testing.assert_close(state.normalizer, torch.full((2,), 300.0, dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("backend", [*FAST, "recurrence"])
def test_equal_scores_of_the_lowest_float(backend: str) -> None:
    """Left padding with the lowest float32, a common stand-in for -inf, is a plain mean until the first real token."""
    values = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0))
    scores = torch.zeros(2, 50)
    scores[:, :30] = torch.finfo(torch.float32).min
    outputs, _ = prefix_attention(scores, values, backend=backend)
    expected, _ = prefix_attention(scores, values, backend="definition")
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("decay", [0.0, -1e6, -torch.inf])
def test_extreme_decays(backend: str, decay: float) -> None:
    """Decay 0 is the paper, decay -inf and -1e6 leave nothing of the past."""
    case = random_case((2,), 40, 3, state=True)
    plain, _ = case.call("definition")
    log_decay = torch.full_like(case.scores, decay).requires_grad_()
    outputs, state = replace(case, log_decay=log_decay).call(backend)
    torch.testing.assert_close(outputs, plain if decay == 0 else case.values, rtol=1e-12, atol=1e-12)
    gradient = torch.autograd.grad(outputs.sin().sum() + state.lse().sum(), log_decay)[0]
    assert gradient.isfinite().all()
    if decay:
        assert gradient.eq(0).all()


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("start", [None, AttentionState.identity((2,), 3)], ids=["no state", "identity"])
def test_nothing_seen(backend: str, start: AttentionState | None) -> None:
    """Where all is masked the output is 0, lse is -inf, every gradient is 0, and the next token is the first one."""
    case = random_case((2,), 9, 3, masked=1.0, decay=True)
    case = replace(case, state=start)
    found = results(case, backend)
    assert found["outputs"].eq(0).all()
    assert found["state.lse"].eq(-torch.inf).all()
    assert all(x.eq(0).all() for name, x in found.items() if name.startswith("grad"))
    _, state = case.call(backend)
    outputs, _ = replace(random_case((2,), 1, 3), state=state).call(backend)
    torch.testing.assert_close(outputs, random_case((2,), 1, 3).values)


@pytest.mark.parametrize("backend", ALL)
def test_first_output_is_the_first_value(backend: str) -> None:
    """One token: the output is its value, with derivative 1 in the value and 0 in the score."""
    case: Case = random_case((4,), 1, 3)
    scores, values = case.scores.requires_grad_(), case.values.requires_grad_()
    outputs, _ = prefix_attention(scores, values, backend=backend)
    assert torch.equal(outputs, values)
    grad_scores, grad_values = torch.autograd.grad(outputs.sum(), [scores, values], materialize_grads=True)
    assert grad_values.eq(1).all()
    torch.testing.assert_close(grad_scores, torch.zeros_like(grad_scores), rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_bad_score_is_seen_in_all_later_outputs(backend: str, bad: float) -> None:
    """NaN or +inf among the scores leaves no finite output or log-sum-exp behind it, which would pass for one."""
    case = random_case((2,), 40, 3)
    case.scores[1, 20] = bad
    outputs, state = case.call(backend)
    assert outputs[1, 20:].isnan().all()
    assert state.lse()[1].isnan()
    assert outputs[0].isfinite().all()
