"""Laws 1, 2 and 3: merge is a monoid, all backends are one function, and chunks do not matter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from operator_cases import FAST, Case, assert_close, cases, law, random_case, results

from aaren.ops import AttentionState, prefix_attention


def states(seed: int, deviation: float, empty: float) -> AttentionState:
    """Six random states with decayable spans; a share `empty` of them has seen nothing."""
    case = random_case((6,), 1, 2, seed=seed, deviation=deviation, masked=empty, state=True)
    full = case.state
    return full if case.mask is None else full.reset(~case.mask[:, 0])


def assert_same(a: AttentionState, b: AttentionState) -> None:
    torch.testing.assert_close(a.lse(), b.lse(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(a.output(), b.output(), rtol=1e-12, atol=1e-12)


@law()
@given(st.integers(0, 2**20), st.sampled_from([0.1, 3.0, 200.0]), st.sampled_from([0.0, 0.5, 1.0]), st.booleans())
def test_merge_is_associative(seed: int, deviation: float, empty: float, decays: bool) -> None:
    """(a ⊕ b) ⊕ c = a ⊕ (b ⊕ c), with decay as well; a span's decay is the sum of its parts'."""
    a, b, c = (states(seed + k, deviation, empty) for k in range(3))
    over_b, over_c = (-torch.rand(6, dtype=torch.float64) if decays else None for _ in range(2))
    both = over_b + over_c if decays else None
    assert_same(a.merge(b, over_b).merge(c, over_c), a.merge(b.merge(c, over_c), both))


@law()
@given(st.integers(0, 2**20), st.sampled_from([0.1, 3.0, 200.0]))
def test_merge_commutes_without_decay(seed: int, deviation: float) -> None:
    """The operator commutes, a ⊕ b = b ⊕ a where nothing decays."""
    a, b = states(seed, deviation, 0.3), states(seed + 1, deviation, 0.3)
    assert_same(a.merge(b), b.merge(a))


@law()
@given(st.integers(0, 2**20))
def test_identity_is_neutral(seed: int) -> None:
    """The identity changes no bit on either side, and identity with identity is the identity, not NaN."""
    a, e = states(seed, 3.0, 0.3), AttentionState.identity((6,), 2)
    for merged in (a.merge(e), e.merge(a)):
        assert all(torch.equal(x, y) for x, y in zip(vars(merged).values(), vars(a).values(), strict=True))
    nothing = e.merge(e)
    assert nothing.max_score.eq(-torch.inf).all()
    assert nothing.normalizer.eq(0).all()
    assert nothing.weighted_sum.eq(0).all()


@pytest.mark.parametrize("backend", FAST)
@law(150)
@given(case=cases())
def test_backends_are_one_function(backend: str, case: Case) -> None:
    """Outputs, final state and all gradients of a backend are the definition's, for any shape and option."""
    assert_close(results(case, backend), results(case, "definition"), outputs=1e-9)


@pytest.mark.parametrize(("backend", "tokens"), [("blocks", 257), ("blocks", 700), ("scan", 257), ("recurrence", 130)])
@pytest.mark.parametrize("decay", [False, True])
def test_long_sequences_agree(backend: str, tokens: int, decay: bool) -> None:
    """The agreement holds over several levels of blocks."""
    case = random_case((2,), tokens, 3, decay=decay, state=True, masked=0.1, resets=0.01, deviation=3.0)
    assert_close(results(case, backend), results(case, "definition"), outputs=1e-9)


@pytest.mark.parametrize("backend", FAST)
@law(40)
@given(case=cases(), cuts=st.lists(st.integers(0, 65), max_size=5))
def test_any_partition_is_the_whole(backend: str, case: Case, cuts: list[int]) -> None:
    """Any chunks, empty ones too, from any state, give the outputs, the state and the gradients of one call."""
    tokens = case.scores.shape[-1]
    cuts = sorted(min(cut, tokens) for cut in cuts)
    assert_close(results(case, backend, cuts or [0]), results(case, "definition"), outputs=1e-9)


@pytest.mark.parametrize("backend", FAST)
@law(15)
@given(case=cases(tokens=17))
def test_token_by_token_is_the_whole(backend: str, case: Case) -> None:
    """Single tokens are one such partition."""
    assert_close(results(case, backend, range(1, 17)), results(case, "definition"), outputs=1e-9)


@law(20)
@given(case=cases(tokens=17))
def test_streaming_without_gradient_is_the_whole(case: Case) -> None:
    """Without gradients "auto" takes the RNN cell for single tokens, and its numbers are the same."""
    expected, final = case.call("definition")
    with torch.no_grad():
        outputs, state = case.call_in_chunks("auto", range(1, 17))
    torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state.lse(), final.lse(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state.output(), final.output(), rtol=1e-10, atol=1e-10)


def test_backends_may_alternate() -> None:
    """A state of one backend is continued by any other."""
    case = random_case((2,), 40, 3, decay=True)
    state, parts = None, []
    for k, backend in enumerate(("blocks", "scan", "recurrence", "definition")):
        part = case.tokens(10 * k, 10 * k + 10)
        outputs, state = prefix_attention(part.scores, part.values, state, log_decay=part.log_decay, backend=backend)
        parts.append(outputs)
    torch.testing.assert_close(torch.cat(parts, -2), case.call("definition")[0], rtol=1e-11, atol=1e-11)
