"""Bad input: each mistake gets one error with what was expected, what came and what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from aaren.ops import AttentionState, check_finite, prefix_attention

S, V = torch.zeros(2, 5), torch.zeros(2, 5, 3)
YES = torch.ones(2, 5, dtype=torch.bool)
OTHER = AttentionState.identity((3,), 3)


def one_part_elsewhere() -> AttentionState:
    """A state whose scores lie on another device."""
    state = AttentionState.identity((2,), 3)
    return AttentionState(state.max_score.to("meta"), state.normalizer, state.weighted_sum)


def whole_numbers() -> AttentionState:
    """A state of a wrong dtype, which can only be made where shape checks are off."""
    state = AttentionState.leaf(torch.zeros(2), torch.zeros(2, 3))
    return AttentionState(state.max_score, state.normalizer.long(), state.weighted_sum)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.zeros(()), V), ValueError, r"scores: expected shape \(\.\.\., tokens\), received \(\)"),
        (
            (S, V[0]),
            ValueError,
            r"values: .*= \(2, 5, 'dim'\) to go with scores \(2, 5\), received \(5, 3\); expand or",
        ),
        ((S, V[:, :4]), ValueError, r"values: expected .*received \(2, 4, 3\); expand or reshape one of the two"),
        ((S, V, None, S[0]), ValueError, r"log_decay: expected .*\(2, 5\), received \(5,\); use log_decay\.expand"),
        ((S, V, None, None, YES[:, :1]), ValueError, r"mask: expected .*\(2, 5\), received \(2, 1\); use mask\.expand"),
        ((S, V, None, None, None, YES[0]), ValueError, r"resets: expected .*received \(5,\); use resets\.expand"),
        ((S.long(), V), TypeError, r"scores: expected a floating dtype, received torch\.int64; use scores\.float\(\)"),
        ((S, V.int()), TypeError, r"values: expected a floating dtype, received torch\.int32; use values\.float\(\)"),
        ((S, V, None, S.int()), TypeError, r"log_decay: expected a floating dtype, .*; use log_decay\.float\(\)"),
        ((S, V, None, None, S), TypeError, r"mask: expected torch\.bool, received torch\.float32; use mask\.bool\(\)"),
        ((S, V, None, None, None, S), TypeError, r"resets: expected torch\.bool, received .*; use resets\.bool\(\)"),
        ((S, V.to("meta")), ValueError, r"values: expected the device of scores, cpu, received meta; use values\.to"),
        ((S, V, None, S.to("meta")), ValueError, r"log_decay: expected the device of scores.*; use log_decay\.to"),
        ((S, V, None, None, YES.to("meta")), ValueError, r"mask: expected the device of scores.*; use mask\.to"),
        ((S, V, AttentionState.identity((2,), 3, device="meta")), ValueError, r"state: .*received meta; use state\.to"),
        (
            (S, V, OTHER),
            ValueError,
            r"state: .*\(2, 3\), received max_score \(3,\).*AttentionState\.identity\(\(2,\), 3\)",
        ),
        ((S, V, (1, 2, 3)), TypeError, r"state: expected an AttentionState or None, received tuple"),
        ((S, V, one_part_elsewhere), ValueError, r"state: expected the device of scores, cpu, received meta"),
        ((S, V, whole_numbers), TypeError, r"state\.normalizer: expected a floating dtype, received torch\.int64"),
    ],
)
@pytest.mark.usefixtures("without_shape_checks")
def test_bad_input_is_refused_with_a_remedy(
    arguments: tuple[object, ...], error: type[Exception], message: str
) -> None:
    """Every wrong shape, dtype, device and state raises, and the message says expected, received and remedy."""
    scores, values, state, log_decay, mask, resets = (*arguments, None, None, None, None)[:6]
    state = state() if callable(state) else state
    with pytest.raises(error, match=message):
        prefix_attention(scores, values, state, log_decay=log_decay, mask=mask, resets=resets)


@pytest.mark.usefixtures("without_shape_checks")
def test_arrays_that_are_not_tensors_are_refused_by_name() -> None:
    """A numpy array is no tensor: the error names the argument."""
    with pytest.raises((TypeError, AttributeError)):
        prefix_attention(np.zeros(3), torch.zeros(3, 1))


def at(x: torch.Tensor, index: tuple[int, ...], number: float) -> torch.Tensor:
    """A copy of x with one number changed."""
    x = x.clone()
    x[index] = number
    return x


@pytest.mark.parametrize("backend", ["auto", "scan"])
@pytest.mark.parametrize(
    ("scores", "values", "log_decay", "message"),
    [
        (at(S, (1, 2), torch.nan), V, None, r"scores: expected finite numbers .*received nan at index \(1, 2\)"),
        (at(S, (0, 4), torch.inf), V, None, r"scores: .*received inf at index \(0, 4\)"),
        (S, at(V, (1, 0, 2), torch.nan), None, r"values: expected finite numbers, received nan at index \(1, 0, 2\)"),
        (S, at(V, (1, 3, 1), -torch.inf), None, r"values: .*received -inf at index \(1, 3, 1\)"),
        (S, V, at(S, (0, 1), torch.nan), r"log_decay: expected numbers <= 0, received nan at index \(0, 1\)"),
        (S, V, at(S, (1, 4), 0.5), r"log_decay: expected numbers <= 0, received 0\.5 at index \(1, 4\)"),
    ],
)
def test_check_finite_names_tensor_and_place(
    backend: str, scores: torch.Tensor, values: torch.Tensor, log_decay: torch.Tensor | None, message: str
) -> None:
    """Within `check_finite` the first bad number is named with its tensor and its index."""
    prefix_attention(scores, values, log_decay=log_decay, backend=backend)
    with check_finite(), pytest.raises(ValueError, match=message):
        prefix_attention(scores, values, log_decay=log_decay, backend=backend)


def test_check_finite_does_not_look_behind_a_mask() -> None:
    """Masked tokens may hold anything, a score of -inf is a mask, and a log-decay of -inf is a reset."""
    mask = at(YES, (1, 2), False)
    bad = at(S, (1, 2), torch.nan), at(V, (1, 2, 0), torch.inf)
    with check_finite():
        outputs, _ = prefix_attention(*bad, log_decay=bad[0], mask=mask)
        prefix_attention(at(S, (0, 0), -torch.inf), at(V, (0, 0, 0), torch.nan), log_decay=at(S, (0, 3), -torch.inf))
    assert outputs.eq(0).all()


def test_check_finite_ends_with_its_context() -> None:
    """The check is off again after the context, also after an error, and can be switched off within another."""
    bad = at(S, (0, 0), torch.nan)
    with pytest.raises(ValueError), check_finite():
        prefix_attention(bad, V)
    prefix_attention(bad, V)
    with check_finite(), check_finite(False):
        prefix_attention(bad, V)


@pytest.mark.parametrize(("value", "refused"), [("1", True), ("0", False), ("", False)])
def test_environment_variable_switches_the_check_on(value: str, refused: bool) -> None:
    """`AAREN_CHECK_FINITE=1` checks every call of a process."""
    code = "import torch; from aaren.ops import prefix_attention as p; p(torch.tensor([torch.nan]), torch.ones(1, 1))"
    environment = os.environ | {"AAREN_CHECK_FINITE": value}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == refused, done.stderr
    assert ("scores: expected finite numbers" in done.stderr) == refused
