"""Fixtures of the operator's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch

from aaren.ops._native_backend import _native

sys.path.insert(0, str(Path(__file__).parent))  # for `operator_cases`, which is not a test module


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors here are small: a second thread would only wait, and on a busy machine for long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """For the tests of what PyTorch splits over threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=() if _native is None else _native.supported())
def instructions(request: pytest.FixtureRequest) -> Iterator[str]:
    """The native kernels of each instruction set that this machine has, one after another."""
    before = _native.in_use()
    _native.use(request.param)
    yield request.param
    _native.use(before)


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """Switch jaxtyping's run-time checks off, so that the library's own messages are what a user would see."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The table of backends, as a copy that is thrown away after the test."""
    from aaren.ops import _registry

    table = dict(_registry._BACKENDS)
    monkeypatch.setattr(_registry, "_BACKENDS", table)
    monkeypatch.setattr(_registry, "_AUTO", {})
    return table


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """Fresh memory is full of NaN, so that an element that nobody wrote is seen."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.utils.deterministic.fill_uninitialized_memory = before[1]
