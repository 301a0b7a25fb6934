"""Backends by name: unknown, missing and foreign ones raise and say why; "auto" takes the best that is there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from aaren.errors import BackendError
from aaren.ops import AttentionState, Backend, backends, choose_backend, prefix_attention, register_backend

CPU = torch.device("cpu")


def dummy(name: str, **fields: object) -> Backend:
    """A backend that marks its outputs with 7."""

    def forward(scores: object, values: torch.Tensor, log_decay: object, state: object) -> tuple[object, object]:
        return torch.full_like(values, 7), state

    return Backend(name, "a dummy", forward, **fields)


def test_every_backend_says_what_it_is() -> None:
    """The four stock backends are there, each with a summary, the preferred one first."""
    names = [backend.name for backend in backends()]
    assert {"blocks", "scan", "recurrence", "definition"} <= set(names)
    assert all(backend.summary for backend in backends())
    priorities = [backend.priority for backend in backends()]
    assert priorities == sorted(priorities, reverse=True)
    assert choose_backend("auto", CPU).name == next(b.name for b in backends() if b.runs_on(CPU))


def test_unknown_name_raises_with_the_known_ones() -> None:
    """A name that nobody registered raises, and the message lists the names that exist."""
    with pytest.raises(BackendError, match=r"expected one of auto, .*blocks.*; received 'flash'"):
        prefix_attention(torch.zeros(1), torch.zeros(1, 1), backend="flash")


def test_missing_backend_raises_with_its_reason(registry: dict[str, object]) -> None:
    """A backend that is known but cannot run says why, and what to use instead."""
    register_backend(dummy("fresh", priority=99, missing="the extension was not built"))
    with pytest.raises(BackendError, match="'fresh' cannot run here: the extension was not built; use backend='auto'"):
        prefix_attention(torch.zeros(1), torch.zeros(1, 1), backend="fresh")


def test_backend_of_another_device_raises(registry: dict[str, object]) -> None:
    """A backend for other devices says for which, and where the scores are."""
    register_backend(dummy("gpu", devices=frozenset({"cuda", "xpu"}), priority=99))
    with pytest.raises(BackendError, match="'gpu' runs on cuda, xpu; the scores are on cpu; use backend='auto'"):
        prefix_attention(torch.zeros(1), torch.zeros(1, 1), backend="gpu")


def test_auto_takes_the_highest_priority_that_runs_there(registry: dict[str, object]) -> None:
    """Asked for "auto", it passes over what is missing or of another device, and takes the best of the rest."""
    register_backend(dummy("missing", priority=99, missing="not built"))
    register_backend(dummy("gpu", priority=98, devices=frozenset({"cuda"})))
    register_backend(dummy("best", priority=97, devices=frozenset({"cpu"})))
    register_backend(dummy("second", priority=96))
    assert choose_backend("auto", CPU).name == "best"
    assert choose_backend("auto", torch.device("cuda")).name == "gpu"
    assert choose_backend("auto", torch.device("meta")).name == "second"
    state = AttentionState.identity((), 1)
    assert prefix_attention(torch.zeros(2), torch.zeros(2, 1), state)[0].eq(7).all()


def test_register_replaces(registry: dict[str, object]) -> None:
    """A second backend of the same name takes the place of the first."""
    known = len(backends())
    register_backend(replace(dummy("scan"), summary="a replacement"))
    assert len(backends()) == known
    assert choose_backend("scan", CPU).summary == "a replacement"


def test_a_reference_cannot_pass_as_a_kernel(registry: dict[str, object]) -> None:
    """The op refuses a backend that is no kernel: our own mistake, so an AssertionError."""
    none = (None, None, None, None)
    with pytest.raises(AssertionError, match="'scan' is not a kernel"):
        torch.ops.aaren.prefix_attention(torch.zeros(1), torch.zeros(1, 1), *none, "scan")
    outputs, *rest = torch.ops.aaren.prefix_attention(torch.zeros(1), torch.zeros(1, 1), *none, "blocks")
    gradients = outputs, rest[2], rest[3]
    with pytest.raises(AssertionError, match="'scan' has no backward"):
        torch.ops.aaren.prefix_attention_backward(
            *gradients, torch.zeros(1), torch.zeros(1, 1), *none, outputs, *rest, "scan"
        )


def test_the_registry_fixture_restores(registry: dict[str, object]) -> None:
    """What an earlier test registered is gone."""
    assert not {"fresh", "gpu", "best", "second", "missing"} & {backend.name for backend in backends()}
