"""The state as a value: what its methods return, and that none of them changes it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch
from operator_cases import random_case
from torch.utils import _pytree as pytree

from aaren.ops import AttentionState


def three_rows() -> AttentionState:
    return random_case((3, 2), 1, 4, state=True).state


def equal(a: AttentionState, b: AttentionState) -> bool:
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def test_identity_has_seen_nothing() -> None:
    """The identity is (-inf, 0, 0) in float64, with output 0 and lse -inf."""
    state = AttentionState.identity((2, 3), 4)
    assert (state.max_score.shape, state.weighted_sum.shape) == ((2, 3), (2, 3, 4))
    assert state.max_score.eq(-torch.inf).all()
    assert state.normalizer.eq(0).all()
    assert state.weighted_sum.eq(0).all()
    assert state.output().eq(0).all()
    assert state.lse().eq(-torch.inf).all()
    assert {x.dtype for x in vars(state).values()} == {torch.float64}


def test_identity_lives_where_it_is_told() -> None:
    """The identity takes a dtype and a device."""
    state = AttentionState.identity((), 2, dtype=torch.float32, device="meta")
    assert {(x.dtype, x.device.type) for x in vars(state).values()} == {(torch.float32, "meta")}


def test_leaf_is_one_token() -> None:
    """A leaf is (s, 1, v): its output is the value and its lse the score."""
    scores, values = torch.tensor([0.5, -3.0]), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    state = AttentionState.leaf(scores, values)
    assert torch.equal(state.output(), values)
    assert torch.equal(state.lse(), scores)


def test_leaf_of_a_masked_token_is_the_identity() -> None:
    """A score of -inf makes a leaf that has seen nothing, whatever the value is."""
    state = AttentionState.leaf(torch.tensor([-torch.inf]), torch.tensor([[torch.nan]]))
    assert equal(state, AttentionState.identity((1,), 1, dtype=torch.float32))


def test_merge_is_the_sum_over_both_spans() -> None:
    """Merging two states gives the softmax mean over both, worked out here by hand."""
    a = AttentionState(torch.tensor(0.0), torch.tensor(2.0), torch.tensor([2.0]))
    b = AttentionState(torch.tensor(1.0), torch.tensor(1.0), torch.tensor([5.0]))
    merged, e = a.merge(b), torch.tensor(-1.0).exp()
    assert merged.max_score == 1
    torch.testing.assert_close(merged.normalizer, 2 * e + 1)
    torch.testing.assert_close(merged.weighted_sum, torch.stack([2 * e + 5]))
    torch.testing.assert_close(merged.output(), torch.stack([(2 * e + 5) / (2 * e + 1)]))
    torch.testing.assert_close(merged.lse(), torch.log(2 + torch.e * torch.ones(())))


def test_merge_ages_the_earlier_span_only() -> None:
    """A log-decay of -inf forgets the earlier span and leaves the later one as it is."""
    a, b = three_rows(), random_case((3, 2), 1, 4, seed=1, state=True).state
    assert equal(a.merge(b, torch.full((3, 2), -torch.inf, dtype=torch.float64)), b)


@pytest.mark.parametrize("index", [torch.tensor([2, 0]), torch.tensor([True, False, True]), slice(1, 3)])
def test_select_takes_rows(index: torch.Tensor | slice) -> None:
    """`select` takes rows of the first batch dimension by index, mask or slice."""
    state = three_rows()
    chosen = state.select(index)
    assert torch.equal(chosen.max_score, state.max_score[index])
    assert torch.equal(chosen.normalizer, state.normalizer[index])
    assert torch.equal(chosen.weighted_sum, state.weighted_sum[index])


@pytest.mark.parametrize("index", [torch.tensor([1]), torch.tensor([False, True, False]), slice(1, 2)])
def test_reset_forgets_the_named_rows_only(index: torch.Tensor | slice) -> None:
    """`reset` makes rows that have seen nothing, keeps the others' bits, and leaves the old state as it was."""
    state, before = three_rows(), three_rows()
    after = state.reset(index)
    others = torch.tensor([0, 2])
    assert equal(after.select(slice(1, 2)), AttentionState.identity((1, 2), 4))
    assert equal(after.select(others), before.select(others))
    assert equal(state, before)


def test_reset_of_all_rows_is_the_identity() -> None:
    """`reset()` without rows forgets everything."""
    assert equal(three_rows().reset(), AttentionState.identity((3, 2), 4))


def test_detach_cuts_the_graph() -> None:
    """`detach` keeps the numbers and drops their history."""
    state = three_rows()
    grown = AttentionState(*(x.requires_grad_() * 1 for x in vars(state).values()))
    cut = grown.detach()
    assert equal(cut, state)
    assert not any(x.requires_grad for x in vars(cut).values())
    assert all(x.requires_grad for x in vars(grown).values())


def test_to_moves_and_casts() -> None:
    """`to` takes a device, a dtype or both, and leaves what is not named."""
    state = three_rows()
    assert state.to(dtype=torch.float32).normalizer.dtype == torch.float32
    moved = state.to("meta")
    assert (moved.normalizer.device.type, moved.normalizer.dtype) == ("meta", torch.float64)


def test_pytree_round_trip() -> None:
    """A state is a pytree of three tensors, in order (m, u, w), and comes back as a state."""
    state = three_rows()
    leaves, shape = pytree.tree_flatten(state)
    assert [id(x) for x in leaves] == [id(x) for x in vars(state).values()]
    assert equal(pytree.tree_unflatten(leaves, shape), state)
    doubled = pytree.tree_map(lambda x: 2 * x, {"state": state})["state"]
    assert torch.equal(doubled.normalizer, 2 * state.normalizer)


def test_a_state_is_immutable() -> None:
    """Assigning to a field raises."""
    with pytest.raises(FrozenInstanceError):
        three_rows().normalizer = torch.zeros(3, 2)


def test_gradients_where_nothing_was_seen_are_zero() -> None:
    """`output`, `lse` and `merge` of identities have gradient 0, not NaN."""
    parts = [x.requires_grad_() for x in vars(AttentionState.identity((2,), 3)).values()]
    state = AttentionState(*parts)
    for used in (state, state.merge(AttentionState.identity((2,), 3)), state.merge(state)):
        target = used.output().sum() + torch.where(used.normalizer > 0, used.lse(), 0).sum()
        for gradient in torch.autograd.grad(target, parts, materialize_grads=True):
            assert gradient.eq(0).all()
