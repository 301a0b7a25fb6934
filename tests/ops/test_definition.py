"""The oracle itself, against loops over single numbers in pure Python."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from operator_cases import Case, cases, law, random_case


def loops(case: Case) -> tuple[list[list[float]], list[float], float]:
    """Outputs, last output and lse of one row: every prefix summed anew, term by term, with `math.fsum`."""
    scores, values = case.scores.tolist(), case.values.tolist()
    dim = case.values.shape[-1]
    mask = [True] * len(scores) if case.mask is None else case.mask.tolist()
    resets = [False] * len(scores) if case.resets is None else case.resets.tolist()
    decays = [0.0] * len(scores) if case.log_decay is None else case.log_decay.tolist()
    past: list[tuple[float, list[float]]] = []  # (log-weight, value) of every token seen
    if case.state is not None:
        u = case.state.normalizer.item()
        start = case.state.max_score.item() + math.log(u)
        past = [(start, [w / u for w in case.state.weighted_sum.tolist()])]

    def mean() -> list[float]:
        if not past:
            return [0.0] * dim
        top = max(weight for weight, _ in past)
        weights = [math.exp(weight - top) for weight, _ in past]
        total = math.fsum(weights)
        return [
            math.fsum(p * value[d] for p, (_, value) in zip(weights, past, strict=True)) / total for d in range(dim)
        ]

    outputs = []
    for score, value, kept, reset, decay in zip(scores, values, mask, resets, decays, strict=True):
        if reset:
            past = []
        if kept:
            past = [(weight + decay, old) for weight, old in past] + [(score, value)]
        outputs.append(mean())
    if not past:
        return outputs, mean(), -math.inf
    top = max(weight for weight, _ in past)
    return outputs, mean(), top + math.log(math.fsum(math.exp(weight - top) for weight, _ in past))


@law(200)
@given(cases(batch=()))
def test_definition_equals_loops_over_numbers(case: Case) -> None:
    """The definition is the formula of the paper, with decay, masks, resets and an initial state."""
    outputs, last, lse = loops(case)
    got, state = case.call("definition")
    expected = torch.tensor(outputs, dtype=torch.float64).reshape(got.shape)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(state.output(), torch.tensor(last, dtype=torch.float64), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(state.lse(), torch.tensor(lse, dtype=torch.float64), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("decay", [False, True])
def test_definition_gradient_is_that_of_the_formula(decay: bool) -> None:
    """The oracle's own gradients are its finite differences, in the initial state too."""
    case = random_case((2,), 5, 2, decay=decay, state=True)
    inputs = [case.scores, case.values, *vars(case.state).values(), *([case.log_decay] if decay else [])]
    inputs = [x.requires_grad_() for x in inputs]

    def function(*_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs, state = case.call("definition")
        return outputs, state.output(), state.lse()

    for tensor in inputs:  # in place, so that `case` itself sees the shift of each input
        analytic = torch.autograd.grad(sum(x.sin().sum() for x in function()), tensor)[0]
        with torch.no_grad():
            flat, numeric = tensor.view(-1), torch.empty_like(tensor).view(-1)
            for i in range(flat.numel()):
                before = flat[i].item()
                sides = []
                for shift in (1e-6, -1e-6):
                    flat[i] = before + shift
                    sides.append(sum(x.sin().sum() for x in function()))
                flat[i] = before
                numeric[i] = (sides[0] - sides[1]) / 2e-6
        torch.testing.assert_close(analytic, numeric.view_as(tensor), rtol=1e-6, atol=1e-7)
