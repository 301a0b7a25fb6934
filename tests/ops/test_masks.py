"""Law 4: a masked token is a deleted one, whatever is behind the mask; a reset is a new sequence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from operator_cases import ALL, Case, assert_close, cases, law, random_case, results
from torch import Tensor

from aaren.ops import AttentionState, prefix_attention

MASKS = {
    "left": [False] * 8 + [True] * 12,
    "right": [True] * 12 + [False] * 8,
    "interior": [True] * 6 + [False] * 9 + [True] * 5,
    "ragged": [k % 3 != 1 for k in range(20)],
    "all": [False] * 20,
}


def deleted(case: Case) -> Case:
    """A one-row case without its masked tokens."""
    keep = case.mask
    decay = None if case.log_decay is None else case.log_decay[keep]
    return Case(case.scores[keep], case.values[keep], case.state, decay)


def poisoned(case: Case, bad: float) -> Case:
    """The same case with `bad` behind the mask, in everything that a masked token has."""
    hidden = ~case.mask
    decay = None if case.log_decay is None else case.log_decay.masked_fill(hidden, bad)
    scores, values = case.scores.masked_fill(hidden, bad), case.values.masked_fill(hidden[..., None], bad)
    return replace(case, scores=scores, values=values, log_decay=decay)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("options", [{}, {"decay": True, "state": True}], ids=["plain", "decay, state"])
@pytest.mark.parametrize("bad", [0.0, torch.nan, torch.inf, -torch.inf])
def test_masked_is_deleted(backend: str, mask: list[bool], options: dict[str, bool], bad: float) -> None:
    """Outputs, state and gradients are those without the token; its own gradient is exactly 0, and nothing leaks."""
    case = poisoned(replace(random_case((), 20, 3, **options), mask=torch.tensor(mask)), bad)
    keep = case.mask

    def loss_and_gradients(case: Case, weights: Tensor) -> tuple[Tensor, AttentionState, list[Tensor]]:
        leaves = [x for x in (case.scores, case.values, case.log_decay) if x is not None]
        leaves += [] if case.state is None else list(vars(case.state).values())
        leaves = [x.requires_grad_() for x in leaves]
        outputs, state = case.call(backend)
        target = (outputs * weights).sum() + state.output().sum()
        target = target + torch.where(state.normalizer > 0, state.lse(), 0)
        return outputs.detach(), state, list(torch.autograd.grad(target, leaves, materialize_grads=True))

    weights = random_case((), 20, 3, seed=1).values * keep[:, None]  # no loss on the outputs of masked tokens
    outputs, state, gradients = loss_and_gradients(case, weights)
    expected, final, wanted = loss_and_gradients(deleted(case), weights[keep])

    torch.testing.assert_close(outputs[keep], expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(state.lse(), final.lse(), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(state.output(), final.output(), rtol=1e-11, atol=1e-11)
    for k, (gradient, want) in enumerate(zip(gradients, wanted, strict=True)):
        if k < 2 or (k == 2 and case.log_decay is not None):
            assert gradient[~keep].eq(0).all()
            gradient = gradient[keep]
        torch.testing.assert_close(gradient, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", ALL)
@law(60)
@given(case=cases(masked=0.4, resets=0.0), bad=st.sampled_from([torch.nan, torch.inf, 1e38]))
def test_what_is_behind_a_mask_is_not_read(backend: str, case: Case, bad: float) -> None:
    """No number behind the mask changes a bit of the outputs, the state or any gradient."""
    clean, dirty = results(poisoned(case, 0.0), backend), results(poisoned(case, bad), backend)
    for name, tensor in clean.items():
        assert torch.equal(tensor, dirty[name]), name


@pytest.mark.parametrize("backend", ALL)
def test_output_of_a_masked_token_is_that_of_the_state(backend: str) -> None:
    """Behind the last kept token the output stands still; before the first it is the initial state's, or 0."""
    case = replace(random_case((), 20, 3, decay=True), mask=torch.tensor(MASKS["interior"]))
    outputs, _ = case.call(backend)
    torch.testing.assert_close(outputs[6:15], outputs[5].expand(9, 3), rtol=1e-12, atol=1e-12)
    left = replace(case, mask=torch.tensor(MASKS["left"]))
    assert left.call(backend)[0][:8].eq(0).all()
    start = random_case((), 1, 3, state=True).state
    outputs, _ = replace(left, state=start).call(backend)
    torch.testing.assert_close(outputs[:8], start.output().expand(8, 3), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ALL)
def test_mask_and_score_of_minus_infinity_are_the_same(backend: str) -> None:
    """There are two ways to say that a token is masked, and they agree in every bit."""
    case = random_case((3,), 20, 3, masked=0.3, decay=True, state=True)
    said = replace(case, scores=case.scores.masked_fill(~case.mask, -torch.inf), mask=None)
    for name, tensor in results(case, backend).items():
        assert torch.equal(tensor, results(said, backend)[name]), name


@pytest.mark.parametrize("backend", ALL)
@law(60)
@given(case=cases(batch=(), resets=0.2))
def test_resets_are_separate_sequences(backend: str, case: Case) -> None:
    """Between two resets is a sequence of its own, also where a reset falls on a masked token."""
    tokens = case.scores.shape[-1]
    starts = [] if case.resets is None else case.resets.nonzero().flatten().tolist()
    edges = [0, *starts, tokens]
    parts, state = [], case.state
    for k in range(len(edges) - 1):
        part = replace(case.tokens(edges[k], edges[k + 1]), resets=None, state=state if k == 0 else None)
        outputs, final = part.call("definition")
        parts.append(outputs)
    outputs, state = case.call(backend)
    torch.testing.assert_close(outputs, torch.cat(parts, -2), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state.lse(), final.lse(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state.output(), final.output(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", ALL)
def test_reset_on_a_masked_token_forgets_the_past(backend: str) -> None:
    """A reset on a masked last token leaves a state that has seen nothing, and an output of 0."""
    mask, resets = torch.tensor([True, True, False]), torch.tensor([False, False, True])
    case = replace(random_case((), 3, 2, state=True), mask=mask, resets=resets)
    outputs, state = case.call(backend)
    assert outputs[-1].eq(0).all()
    assert outputs[1].ne(0).all()
    assert (state.max_score, state.normalizer) == (-torch.inf, 0)


@pytest.mark.parametrize("backend", ALL)
def test_no_gradient_crosses_a_reset(backend: str) -> None:
    """What is before a reset has gradient 0 from what is after it."""
    scores = torch.randn(6, dtype=torch.float64, requires_grad=True)
    values = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    resets = torch.arange(6) == 3
    outputs, state = prefix_attention(scores, values, resets=resets, backend=backend)
    target = outputs[3:].sum() + state.lse()
    for gradient in torch.autograd.grad(target, [scores, values]):
        assert gradient[:3].eq(0).all()
        assert gradient[3:].abs().max() > 0


def test_results_helper_sees_a_leak() -> None:
    """The comparison used here does notice a single wrong gradient."""
    case = random_case((2,), 5, 2)
    right = results(case, "blocks")
    wrong = {**right, "grad values": right["grad values"] + 1e-6}
    with pytest.raises(AssertionError, match="grad values"):
        assert_close(wrong, right, outputs=1e-9)
