"""Backends of prefix attention by name: which exist, which can run here, which one "auto" means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from aaren.errors import BackendError
from aaren.ops import _blocks, _native_backend, _reference
from aaren.ops._kernel import Backward, Step


@dataclass(frozen=True)
class Backend:
    """One way to compute prefix attention.

    Args:
        name: what a user writes as `backend="name"`.
        summary: one line for `aaren doctor`.
        forward: canonical inputs (scores, values, log_decay, state) to (outputs, state), or, for a kernel, to `Saved`.
        backward: the closed-form backward of a kernel; None if autograd differentiates `forward`.
        devices: device types it runs on; None means all.
        priority: "auto" takes the highest that runs on the device of the scores; references have 0.
        step: one token without gradients, for streams; the reference's where a backend has none of its own.
        missing: why it cannot run here (not built, no such device); None if it can.
    """

    name: str
    summary: str
    forward: Callable[..., object]
    backward: Backward | None = None
    devices: frozenset[str] | None = None
    priority: int = 0
    step: Step = _reference.step
    missing: str | None = None

    def runs_on(self, device: torch.device) -> bool:
        """Whether it is built and knows this kind of device."""
        return self.missing is None and (self.devices is None or device.type in self.devices)


_BACKENDS: dict[str, Backend] = {}
_AUTO: dict[str, Backend] = {}  # the choice of "auto" by type of device


def register_backend(backend: Backend) -> None:
    """Add a backend, or replace the one of the same name."""
    _BACKENDS[backend.name] = backend
    _AUTO.clear()


def backends() -> tuple[Backend, ...]:
    """All known backends, the ones that "auto" prefers first."""
    return tuple(sorted(_BACKENDS.values(), key=lambda backend: -backend.priority))


def kernel(name: str) -> Backend:
    """The backend of this name, known to be there."""
    return _BACKENDS[name]


def choose_backend(name: str, device: torch.device) -> Backend:
    """The backend that `backend=name` means for tensors on `device`.

    Args:
        name: a backend's name, or "auto" for the fastest that runs there.
        device: device of the scores.

    Raises:
        BackendError: the name is unknown, or that backend cannot run here (the message says why).

    Example:
        >>> choose_backend("auto", torch.device("cpu")).name
        'native'
    """
    if name == "auto":
        if device.type not in _AUTO:
            _AUTO[device.type] = next(backend for backend in backends() if backend.runs_on(device))
        return _AUTO[device.type]
    backend = _BACKENDS.get(name)
    if backend is None:
        known = ", ".join(["auto", *_BACKENDS])
        raise BackendError(f"backend: expected one of {known}; received {name!r}")
    if backend.missing is not None:
        raise BackendError(f"backend {name!r} cannot run here: {backend.missing}; use backend='auto'")
    if not backend.runs_on(device):
        devices = ", ".join(sorted(backend.devices or ()))
        raise BackendError(f"backend {name!r} runs on {devices}; the scores are on {device}; use backend='auto'")
    return backend


register_backend(
    Backend(
        "native",
        "one pass over the tokens in C++, closed-form backward; CPU",
        _native_backend.forward,
        _native_backend.backward,
        devices=frozenset({"cpu"}),
        priority=20,
        step=_native_backend.step,
        missing=_native_backend.missing,
    )
)
register_backend(
    Backend(
        "blocks",
        "blocks of tokens by matrix products, closed-form backward; any device",
        _blocks.forward,
        _blocks.backward,
        priority=10,
    )
)
register_backend(Backend("scan", "the paper's Algorithm 1 (reference)", _reference.scan))
register_backend(Backend("recurrence", "the paper's RNN cell, token by token (reference)", _reference.recurrence))
register_backend(Backend("definition", "masked softmax in float64, quadratic (oracle)", _reference.definition))
