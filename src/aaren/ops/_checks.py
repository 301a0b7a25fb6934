"""Checks of what a caller passes to the operator: shapes and dtypes always, finite numbers on request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from aaren.ops._state import AttentionState

_check_finite = os.environ.get("AAREN_CHECK_FINITE", "0") not in {"0", ""}


@contextmanager
def check_finite(enabled: bool = True) -> Iterator[None]:
    """Within this context, NaN or +inf in unmasked scores, values or log-decays is an error that names its place.

    Off by default, since it reads all inputs once more; the environment variable `AAREN_CHECK_FINITE=1` turns it on
    everywhere. The switch is one for the process: contexts may nest, but not overlap. A score of -inf is a mask, and
    what is behind a mask is not looked at.

    Example:
        >>> from aaren.ops import prefix_attention
        >>> with check_finite():
        ...     prefix_attention(torch.tensor([0.0, torch.nan]), torch.ones(2, 1))
        Traceback (most recent call last):
        ValueError: scores: expected finite numbers (or -inf for a masked token), received nan at index (1,)
    """
    global _check_finite
    before, _check_finite = _check_finite, enabled
    try:
        yield
    finally:
        _check_finite = before


def checks_finite() -> bool:
    """Whether `check_finite` is on."""
    return _check_finite


def _refusal(name: str, expected: str, received: object, remedy: str = "") -> ValueError:
    return ValueError(f"{name}: expected {expected}, received {received}" + (f"; {remedy}" if remedy else ""))


def check_inputs(
    scores: Tensor,
    values: Tensor,
    state: AttentionState | None,
    log_decay: Tensor | None,
    mask: Tensor | None,
    resets: Tensor | None,
) -> None:
    """Refuse wrong shapes, dtypes and devices with what was expected, what came and what to do."""
    shape = scores.shape
    if not shape:
        raise _refusal("scores", "shape (..., tokens)", tuple(shape))
    if values.dim() != len(shape) + 1 or values.shape[:-1] != shape:
        raise _refusal(
            "values",
            f"shape (..., tokens, dim) = {(*shape, 'dim')} to go with scores {tuple(shape)}",
            tuple(values.shape),
            "expand or reshape one of the two",
        )
    for name, tensor in (("log_decay", log_decay), ("mask", mask), ("resets", resets)):
        if tensor is not None and tensor.shape != shape:
            expected = f"the shape of scores, {tuple(shape)}"
            raise _refusal(name, expected, tuple(tensor.shape), f"use {name}.expand")
    for name, tensor in (("scores", scores), ("values", values), ("log_decay", log_decay)):
        if tensor is not None and not tensor.is_floating_point():
            raise TypeError(f"{name}: expected a floating dtype, received {tensor.dtype}; use {name}.float()")
    for name, tensor in (("mask", mask), ("resets", resets)):
        if tensor is not None and tensor.dtype != torch.bool:
            raise TypeError(f"{name}: expected torch.bool, received {tensor.dtype}; use {name}.bool()")
    if state is not None:
        check_state(state, scores, values)
    device = scores.device
    others = [("values", values), ("log_decay", log_decay), ("mask", mask), ("resets", resets)]
    if state is not None:
        others += [("state", x) for x in (state.max_score, state.normalizer, state.weighted_sum)]
    for name, tensor in others:
        if tensor is not None and tensor.device != device:
            raise ValueError(
                f"{name}: expected the device of scores, {device}, received {tensor.device}; "
                f"use {name}.to({str(device)!r})"
            )


def check_state(state: AttentionState, scores: Tensor, values: Tensor) -> None:
    """Refuse a state of another batch shape or another dim."""
    if not isinstance(state, AttentionState):
        raise TypeError(f"state: expected an AttentionState or None, received {type(state).__name__}")
    batch, dim = scores.shape[:-1], values.shape[-1]
    m, u, w = state.max_score, state.normalizer, state.weighted_sum
    if m.shape != batch or u.shape != batch or w.shape[:-1] != batch or w.shape[-1:] != (dim,):
        rows = tuple(batch)
        raise _refusal(
            "state",
            f"max_score {rows}, normalizer {rows}, weighted_sum {(*rows, dim)}",
            f"max_score {tuple(m.shape)}, normalizer {tuple(u.shape)}, weighted_sum {tuple(w.shape)}",
            f"is it of another model or batch? start with AttentionState.identity({rows}, {dim})",
        )
    for name, tensor in (("max_score", m), ("normalizer", u), ("weighted_sum", w)):
        if not tensor.is_floating_point():
            raise TypeError(f"state.{name}: expected a floating dtype, received {tensor.dtype}")


def check_numbers(scores: Tensor, values: Tensor, log_decay: Tensor | None) -> None:
    """With `check_finite`, refuse NaN and +inf by tensor and place. Inputs are canonical (masked is score -inf)."""
    if not _check_finite:
        return
    kept = scores != -torch.inf
    bad: tuple[tuple[str, Tensor, Tensor, str], ...] = (
        ("scores", scores, kept & ~scores.isfinite(), "finite numbers (or -inf for a masked token)"),
        ("values", values, kept[..., None] & ~values.isfinite(), "finite numbers"),
    )
    if log_decay is not None:
        wrong = log_decay.isnan() | (log_decay > 0)
        bad = (*bad, ("log_decay", log_decay, wrong, "numbers <= 0"))
    for name, tensor, where, expected in bad:
        if where.any():
            index = tuple(where.nonzero()[0].tolist())
            raise ValueError(f"{name}: expected {expected}, received {tensor[index].item()} at index {index}")
