"""What must be right before anything is timed: every backend of the operator, every encoder's stream.

Each function returns what is wrong, one line each; nothing if all is right. Nothing here is timed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from _peers import D_MODEL, ENCODERS, TRANSFORMER, bare_step, encoder, random
from aaren.ops import AttentionState, backends, prefix_attention

Inputs = tuple[Tensor, Tensor, Tensor]


def inputs(
    shape: tuple[int, ...], *, layered: bool = False, grad: bool = False, dtype: torch.dtype = torch.float32
) -> Inputs:
    """Scores of deviation 1.5, values and log-decays for (batch, heads, tokens, dim).

    With `layered` they lie in memory as a layer's projection leaves them, (batch, tokens, heads, dim).
    """
    g = torch.Generator().manual_seed(0)
    scores = 1.5 * torch.randn(shape[:-1], generator=g, dtype=dtype)
    values = torch.randn(shape, generator=g, dtype=dtype)
    log_decay = -torch.rand(shape[:-1], generator=g, dtype=dtype)
    found = (scores, values, log_decay)
    if layered:
        found = (lay(scores), lay(values), lay(log_decay))
    return found[0].requires_grad_(grad), found[1].requires_grad_(grad), found[2].requires_grad_(grad)


def lay(x: Tensor) -> Tensor:
    """The same (batch, heads, tokens, ...) in memory as (batch, tokens, heads, ...)."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def _error(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference, relative to the largest number expected, or to 1; NaN anywhere gives NaN."""
    errors = [(a - b).abs().max() / b.abs().max().clamp(min=1) for a, b in zip(found, expected, strict=True)]
    return torch.stack(errors).max().item()


def _outcome(backend: str, data: Inputs, decay: bool, state: bool) -> list[Tensor]:
    """Outputs, state and gradients of one call, in float64."""
    scores, values, log_decay = data
    start = AttentionState.leaf(scores[..., 0].double(), values[..., 0, :].double()) if state else None
    outputs, final = prefix_attention(scores, values, start, log_decay=log_decay if decay else None, backend=backend)
    leaves = [scores, values, *([log_decay] if decay else [])]
    target = outputs.double().sin().sum() + final.output().sum() + final.lse().sum()
    gradients = torch.autograd.grad(target, leaves, materialize_grads=True)
    return [x.detach().double() for x in (outputs, final.output(), final.lse(), *gradients)]


def _timed_backends() -> list[str]:
    """All backends that run here, by name, but the two references that nobody times."""
    here = torch.device("cpu")
    return [b.name for b in backends() if b.runs_on(here) and b.name not in ("definition", "recurrence")]


def operator_faults(quick: bool = False) -> list[str]:
    """Every timed backend against the float64 definition at odd sizes, in both layouts: outputs, state, gradients."""
    wrong = []
    for tokens in (1, 17) if quick else (1, 17, 63, 130, 257):
        for decay, state in ((False, False), (True, False), (False, True), (True, True)):
            for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
                for dim, layered in ((5, False), (16, True)):
                    shape = (2, 3, tokens, dim)
                    data = inputs(shape, layered=layered, grad=True, dtype=dtype)
                    expected = _outcome("definition", data, decay, state)
                    for name in _timed_backends():
                        error = _error(_outcome(name, data, decay, state), expected)
                        if not error <= tolerance:
                            wrong.append(f"{name}, {dtype}, shape {shape}, {decay=}, {state=}: error {error:.3g}")
    return wrong


def timed_faults(shape: tuple[int, ...], layered: bool = False, gradients: bool = True) -> list[str]:
    """The fast backends at a size that is timed: the first and the last row against Algorithm 1 in float64."""
    wrong = []
    data = inputs(shape, layered=layered, grad=gradients)

    def rows(x: Tensor) -> Tensor:
        return torch.stack([x[0, 0], x[-1, -1]])

    def outcome(backend: str, scores: Tensor, values: Tensor) -> list[Tensor]:
        outputs, _ = prefix_attention(scores, values, backend=backend)
        grads = torch.autograd.grad(outputs.sin().sum(), [scores, values]) if gradients else ()
        return [x.detach().double() for x in (outputs, *grads)]

    few = [rows(x.detach()).double().requires_grad_(gradients) for x in data[:2]]
    expected = outcome("scan", few[0], few[1])
    for name in (name for name in _timed_backends() if name != "scan"):
        error = _error([rows(x) for x in outcome(name, data[0], data[1])], expected)
        if not error <= 1e-4:
            wrong.append(f"{name}, {shape}, {layered=}: error {error:.3g} against Algorithm 1 in float64")
    return wrong


def _streamed(model: Any, x: Tensor) -> Tensor:
    """The outputs of one token after another."""
    state, outputs = model.init_state(len(x)), []
    for token in x.unbind(1):
        y, state = model.step(token, state)
        outputs.append(y)
    return torch.stack(outputs, 1)


def encoder_faults() -> list[str]:
    """Every encoder streamed against its parallel pass, outputs and all gradients; the Transformer's fused kernel."""
    wrong = []
    x = random(2, 13, D_MODEL)
    weights = random(*x.shape, seed=2)
    for name in ENCODERS:
        model = encoder(name, layers=2)
        parameters = list(model.parameters())
        parallel, streamed = model(x)[0], _streamed(model, x)
        grads = [torch.autograd.grad((y * weights).sum(), parameters) for y in (parallel, streamed)]
        with torch.no_grad():
            error = _error([streamed, _streamed(model, x), *grads[1]], [parallel, parallel, *grads[0]])
        if not error <= 1e-3:
            wrong.append(f"{name}: streamed and parallel differ, error {error:.3g}")
    return wrong + _transformer_faults(x)


class _Attentions(TorchDispatchMode):
    """Which attention operators of PyTorch run, and whether causally."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[str, bool]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and note it if it is attention."""
        name = func.name()
        if "attention" in name:
            flags = {a.name: b for a, b in zip(func._schema.arguments, args, strict=False)} | (kwargs or {})
            self.found.append((name, bool(flags.get("is_causal", False))))
        return func(*args, **(kwargs or {}))


def _transformer_faults(x: Tensor) -> list[str]:
    """The baseline at its best: a fused causal kernel in training, and the bare loop equal to the module's step."""
    wrong = []
    model = encoder(TRANSFORMER, layers=1)
    with _Attentions() as attentions:
        expected = model(x)[0]
    if len(attentions.found) != 1 or "flash" not in attentions.found[0][0] or not attentions.found[0][1]:
        wrong.append(f"{TRANSFORMER}: expected one fused causal attention, found {attentions.found}")
    caches = model.init_state(len(x), capacity=x.shape[1])
    with torch.no_grad():
        bare = torch.stack([bare_step(model, token, caches, k) for k, token in enumerate(x.unbind(1))], 1)
        if not _error([bare], [expected]) <= 1e-4:
            wrong.append(f"{TRANSFORMER}: the bare loop differs from the parallel pass")
    return wrong


def model_faults(quick: bool = False) -> list[str]:
    """Operator and encoders: the gate of whatever times or weighs a model."""
    return operator_faults(quick) + encoder_faults()
