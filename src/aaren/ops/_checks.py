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
    everywhere. A score of -inf is a mask, and what is behind a mask is not looked at.

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


def _require(condition: bool, name: str, expected: str, received: object, remedy: str = "") -> None:
    if not condition:
        raise ValueError(f"{name}: expected {expected}, received {received}" + (f"; {remedy}" if remedy else ""))


def check_inputs(
    scores: Tensor,
    values: Tensor,
    state: AttentionState | None,
    log_decay: Tensor | None,
    mask: Tensor | None,
    resets: Tensor | None,
) -> None:
    """Refuse wrong shapes, dtypes and devices with what was expected, what came and what to do."""
    _require(scores.dim() >= 1, "scores", "shape (..., tokens)", tuple(scores.shape))
    _require(
        values.dim() == scores.dim() + 1 and values.shape[:-1] == scores.shape,
        "values",
        f"shape (..., tokens, dim) = {(*scores.shape, 'dim')} to go with scores {tuple(scores.shape)}",
        tuple(values.shape),
        "expand or reshape one of the two",
    )
    for name, tensor in (("log_decay", log_decay), ("mask", mask), ("resets", resets)):
        if tensor is not None:
            shape, received = tuple(scores.shape), tuple(tensor.shape)
            _require(received == shape, name, f"the shape of scores, {shape}", received, f"use {name}.expand")
    for name, tensor in (("scores", scores), ("values", values), ("log_decay", log_decay)):
        if tensor is not None and not tensor.is_floating_point():
            raise TypeError(f"{name}: expected a floating dtype, received {tensor.dtype}; use {name}.float()")
    for name, tensor in (("mask", mask), ("resets", resets)):
        if tensor is not None and tensor.dtype != torch.bool:
            raise TypeError(f"{name}: expected torch.bool, received {tensor.dtype}; use {name}.bool()")
    if state is not None:
        check_state(state, scores, values)
    others = {"values": values, "log_decay": log_decay, "mask": mask, "resets": resets}
    others["state"] = None if state is None else state.weighted_sum
    for name, tensor in others.items():
        if tensor is not None and tensor.device != scores.device:
            raise ValueError(
                f"{name}: expected the device of scores, {scores.device}, received {tensor.device}; "
                f"use {name}.to({str(scores.device)!r})"
            )


def check_state(state: AttentionState, scores: Tensor, values: Tensor) -> None:
    """Refuse a state of another batch shape or another dim."""
    if not isinstance(state, AttentionState):
        raise TypeError(f"state: expected an AttentionState or None, received {type(state).__name__}")
    batch, dim = tuple(scores.shape[:-1]), values.shape[-1]
    expected = f"max_score {batch}, normalizer {batch}, weighted_sum {(*batch, dim)}"
    shapes = (tuple(state.max_score.shape), tuple(state.normalizer.shape), tuple(state.weighted_sum.shape))
    received = f"max_score {shapes[0]}, normalizer {shapes[1]}, weighted_sum {shapes[2]}"
    _require(
        shapes == (batch, batch, (*batch, dim)),
        "state",
        expected,
        received,
        f"is it of another model or batch? start with AttentionState.identity({batch}, {dim})",
    )
    for name, tensor in vars(state).items():
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
