"""Laws 5 and 6: what the outputs do not depend on. Order of the past, a constant score, other rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from operator_cases import ALL, FAST, Case, cases, law, random_case

from aaren.ops import prefix_attention

PLAIN = {"decay": False, "resets": 0.0, "masked": 0.0}


@pytest.mark.parametrize("backend", ALL)
@law(50)
@given(case=cases(batch=(2,), state=False, tokens=33, **PLAIN), seed=st.integers(0, 99))
def test_order_of_the_past_does_not_matter(backend: str, case: Case, seed: int) -> None:
    """Without decay a permutation of the tokens leaves the last output and the state unchanged."""
    order = torch.randperm(33, generator=torch.Generator().manual_seed(seed))
    outputs, state = case.call(backend)
    other, final = prefix_attention(case.scores[:, order], case.values[:, order], backend=backend)
    torch.testing.assert_close(outputs[:, -1], other[:, -1], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state.lse(), final.lse(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", FAST)
def test_order_matters_with_decay(backend: str) -> None:
    """With decay the order of the past does count: the law above is not kept by ignoring the decays."""
    case = random_case((), 10, 2, decay=True)
    reverse = prefix_attention(case.scores.flip(-1), case.values.flip(0), log_decay=case.log_decay, backend=backend)
    assert (case.call(backend)[0][-1] - reverse[0][-1]).abs().max() > 1e-3


@pytest.mark.parametrize("backend", ALL)
@law(50)
@given(case=cases(state=False), shift=st.sampled_from([-1e4, -120.0, 3.0, 1e4]))
def test_a_constant_on_all_scores_cancels(backend: str, case: Case, shift: float) -> None:
    """Adding a constant to all scores of a sequence leaves the outputs as they are and moves lse by it."""
    moved = prefix_attention(
        case.scores + shift,
        case.values,
        log_decay=case.log_decay,
        mask=case.mask,
        resets=case.resets,
        backend=backend,
    )
    outputs, state = case.call(backend)
    torch.testing.assert_close(outputs, moved[0], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(state.lse() + shift, moved[1].lse(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backend", ALL)
@law(50)
@given(case=cases(state=False, masked=0.0, resets=0.0))
def test_outputs_are_within_the_hull_of_the_values(backend: str, dtype: torch.dtype, case: Case) -> None:
    """Each number of an output lies between the least and the largest that has been seen there."""
    case = case.to(dtype)
    outputs, _ = case.call(backend)
    if outputs.numel():
        # the weights are exp of differences of float64 logarithms, which are as large as the scores
        logarithms = torch.finfo(torch.float64).eps * case.scores.abs().amax()
        slack = 8 * (torch.finfo(dtype).eps + logarithms) * case.values.abs().amax()
        assert (outputs <= case.values.cummax(-2).values + slack).all()
        assert (outputs >= case.values.cummin(-2).values - slack).all()


# without "definition": its matrix product over the tokens takes another BLAS routine where there is one row
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backend", FAST)
@law(25)
@given(
    case=cases(batch=(5,)),
    rows=st.sampled_from([[0], [4], [1, 2, 3], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [3, 3, 3]]),
)
def test_rows_never_touch_each_other(backend: str, dtype: torch.dtype, case: Case, rows: list[int]) -> None:
    """Dropping, reordering or repeating rows changes no bit of those that stay, gradients included."""
    case, index = case.to(dtype), torch.tensor(rows)
    whole, part = row_results(case, backend), row_results(case.rows(index), backend, index)
    for name, tensor in whole.items():
        assert torch.equal(tensor[index], part[name]), name


def row_results(case: Case, backend: str, index: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """Outputs, states and gradients with the same loss for a row wherever in the batch it stands."""
    weights = random_case((5,), case.scores.shape[-1], case.values.shape[-1], seed=3).values.to(case.values.dtype)
    weights = weights if index is None else weights[index]
    leaves = {"scores": case.scores, "values": case.values, "log_decay": case.log_decay}
    leaves |= {} if case.state is None else vars(case.state)
    leaves = {name: x.requires_grad_() for name, x in leaves.items() if x is not None}
    outputs, state = case.call(backend)
    target = (outputs * weights).sum() + state.output().sum() + state.normalizer.sum()
    gradients = torch.autograd.grad(target, list(leaves.values()), materialize_grads=True)
    named = {f"grad {name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
    return {"outputs": outputs, **vars(state)} | named


@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.usefixtures("two_threads")
def test_rows_of_long_sequences_never_touch_each_other(decay: bool) -> None:
    """A single long row, whose sums PyTorch would split over threads, has the bits that it has in a batch."""
    case = random_case((5,), 40_000, 2, decay=decay, state=True)
    if decay:  # from a past so heavy that the sum of all decays, about -32000, is seen in the final state
        case = replace(case, state=replace(case.state, max_score=case.state.max_score + 40_000))
    whole = row_results(case, "blocks")
    for index in torch.arange(5).split(1):
        for name, tensor in row_results(case.rows(index), "blocks", index).items():
            assert torch.equal(whole[name][index], tensor), name


@pytest.mark.parametrize("backend", ALL)
def test_resetting_a_row_leaves_the_others(backend: str) -> None:
    """A reset, a mask or NaN in one row changes no bit of another."""
    case = random_case((3,), 40, 4, state=True, dtype=torch.float32)
    resets, mask = torch.zeros(3, 40, dtype=torch.bool), torch.ones(3, 40, dtype=torch.bool)
    resets[1, 7], mask[1, 9:20] = True, False
    values = case.values.clone()
    values[1, 30] = torch.nan
    outputs, state = prefix_attention(case.scores, values, case.state, mask=mask, resets=resets, backend=backend)
    same = {"mask": torch.ones_like(mask), "resets": torch.zeros_like(resets)}
    plain, final = prefix_attention(case.scores, case.values, case.state, **same, backend=backend)
    others = torch.tensor([0, 2])
    assert torch.equal(outputs[others], plain[others])
    assert all(
        torch.equal(a[others], b[others]) for a, b in zip(vars(state).values(), vars(final).values(), strict=True)
    )
