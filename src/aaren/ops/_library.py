"""The operator as PyTorch sees it: `torch.ops.aaren.prefix_attention`, with fake kernel, autograd and vmap.

`Library.define` and `impl` are used rather than `torch.library.custom_op`: half the overhead per call, which
matters where a call is one token. The op takes canonical inputs and the name of a kernel backend.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from aaren.ops._checks import check_inputs, check_state
from aaren.ops._kernel import Gradients, Saved, end_of_backward, gradients_to_state
from aaren.ops._reference import start_state
from aaren.ops._registry import kernel
from aaren.ops._state import AttentionState, kept_dtype

_STATE = "Tensor? max_score, Tensor? normalizer, Tensor? weighted_sum"
_INPUTS = f"Tensor scores, Tensor values, Tensor? log_decay, {_STATE}"
_library = torch.library.Library("aaren", "DEF")
# outputs have the memory layout of the values, so a compiler must hand those over as it traced them
_TAGS = [torch.Tag.pt2_compliant_tag, torch.Tag.needs_exact_strides]
_library.define(
    f"prefix_attention({_INPUTS}, str backend) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=_TAGS,
)
_library.define(
    f"prefix_attention_backward(Tensor grad_outputs, Tensor? grad_normalizer, Tensor? grad_weighted_sum, {_INPUTS}, "
    "Tensor outputs, Tensor gain, Tensor final_max, Tensor final_normalizer, Tensor final_weighted_sum, str backend) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=_TAGS,
)

Five = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
Six = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _state(max_score: Tensor | None, normalizer: Tensor | None, weighted_sum: Tensor | None) -> AttentionState | None:
    """The three optional tensors of the schema as a state."""
    if max_score is None or normalizer is None or weighted_sum is None:
        return None
    return AttentionState(max_score, normalizer, weighted_sum)


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Autocast reaches into an op and would run a kernel's matrix products in bfloat16; entered only if it is on."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _forward(
    scores: Tensor,
    values: Tensor,
    log_decay: Tensor | None,
    max_score: Tensor | None,
    normalizer: Tensor | None,
    weighted_sum: Tensor | None,
    backend: str,
) -> Five:
    state = _state(max_score, normalizer, weighted_sum)
    check_inputs(scores, values, state, log_decay, None, None)  # a loaded graph comes this way, past the Python call
    if scores.numel() == 0:
        start = start_state(scores, values, state)
        saved: object = Saved(torch.empty_like(values), scores.to(start.max_score.dtype, copy=True), start)
    else:
        with _without_autocast(scores.device):
            saved = kernel(backend).forward(scores, values, log_decay, state)
    if not isinstance(saved, Saved):
        raise AssertionError(f"backend {backend!r} is not a kernel")
    return saved.outputs, saved.gain, saved.state.max_score, saved.state.normalizer, saved.state.weighted_sum


def _fake_forward(
    scores: Tensor,
    values: Tensor,
    log_decay: Tensor | None,
    max_score: Tensor | None,
    normalizer: Tensor | None,
    weighted_sum: Tensor | None,
    backend: str,
) -> Five:
    kept = kept_dtype(scores.device)
    batch, dim = scores.shape[:-1], values.shape[-1]
    return (
        torch.empty_like(values),
        scores.new_empty(scores.shape, dtype=kept),
        scores.new_empty(batch, dtype=kept),
        scores.new_empty(batch, dtype=kept),
        scores.new_empty((*batch, dim), dtype=kept),
    )


def _backward(
    grad_outputs: Tensor,
    grad_normalizer: Tensor | None,
    grad_weighted_sum: Tensor | None,
    scores: Tensor,
    values: Tensor,
    log_decay: Tensor | None,
    max_score: Tensor | None,
    normalizer: Tensor | None,
    weighted_sum: Tensor | None,
    outputs: Tensor,
    gain: Tensor,
    final_max: Tensor,
    final_normalizer: Tensor,
    final_weighted_sum: Tensor,
    backend: str,
) -> Six:
    run = kernel(backend).backward
    if run is None:
        raise AssertionError(f"backend {backend!r} has no backward")
    final = AttentionState(final_max, final_normalizer, final_weighted_sum)
    state = _state(max_score, normalizer, weighted_sum)
    check_inputs(scores, values, state, log_decay, None, None)
    check_state(final, scores, values)
    shaped = (("grad_outputs", grad_outputs, values), ("outputs", outputs, values), ("gain", gain, scores))
    for name, tensor, like in shaped:
        if tensor.shape != like.shape:
            raise ValueError(f"{name}: expected shape {tuple(like.shape)}, received {tuple(tensor.shape)}")
    end = end_of_backward(final, grad_normalizer, grad_weighted_sum)
    # an op must return tensors: an empty one stands for "no gradient"
    none = [scores.new_empty(0) for _ in range(4)]
    if scores.numel() == 0:
        # the final state is the initial one
        no_decay = None if log_decay is None else torch.zeros_like(log_decay)
        acc, r = (torch.zeros_like(final_weighted_sum), torch.zeros_like(final_max)) if end is None else end
        grad_lse = (final.output() * acc).sum(-1) - r
        found = Gradients(torch.zeros_like(scores), torch.zeros_like(values), no_decay, acc, grad_lse)
    else:
        start_mean = None if state is None else start_state(scores, values, state).output()
        with _without_autocast(scores.device):
            found = run(grad_outputs, end, scores, values, log_decay, start_mean, Saved(outputs, gain, final))
    to_state = None if state is None else gradients_to_state(state, found.start_mean, found.start_lse)
    return (
        found.scores,
        found.values,
        none[0] if found.log_decay is None else found.log_decay,
        none[1] if to_state is None else to_state.max_score,
        none[2] if to_state is None else to_state.normalizer,
        none[3] if to_state is None else to_state.weighted_sum,
    )


def _fake_backward(
    grad_outputs: Tensor,
    grad_normalizer: Tensor | None,
    grad_weighted_sum: Tensor | None,
    scores: Tensor,
    values: Tensor,
    log_decay: Tensor | None,
    max_score: Tensor | None,
    normalizer: Tensor | None,
    weighted_sum: Tensor | None,
    *saved: Tensor | str,
) -> Six:
    def like(tensor: Tensor | None) -> Tensor:
        return scores.new_empty(0) if tensor is None else tensor.new_empty(tensor.shape)

    return (
        torch.empty_like(scores),
        torch.empty_like(values),
        scores.new_empty(0) if log_decay is None else torch.empty_like(log_decay),
        like(max_score),
        like(normalizer),
        like(weighted_sum),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Five) -> None:
    *tensors, ctx.backend = inputs
    ctx.set_materialize_grads(False)  # of the final state there are none, most of the time
    ctx.save_for_backward(*tensors, *output)


def _autograd(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    grad_outputs, _, _, grad_normalizer, grad_weighted_sum = grads
    saved = ctx.saved_tensors
    if grad_outputs is None:
        grad_outputs = torch.zeros_like(saved[6])
    results = torch.ops.aaren.prefix_attention_backward(
        grad_outputs, grad_normalizer, grad_weighted_sum, *saved, ctx.backend
    )
    inputs = saved[:6]
    return (*(None if x is None else grad for x, grad in zip(inputs, results, strict=True)), None)


def _no_second_backward(ctx: Any, *grads: Tensor) -> Any:
    raise RuntimeError(
        "prefix_attention: expected one differentiation, received a request for second derivatives, which kernels do "
        "not have; use backend='definition', 'recurrence' or 'scan'"
    )


def _vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Five, tuple[int, ...]]:
    """A mapped dimension is one more leading dimension, which the op takes anyway."""
    *tensors, backend = args
    *dims, _ = in_dims

    def lead(tensor: Tensor | None, dim: int | None) -> Tensor | None:
        if tensor is None:
            return None
        if dim is None:
            return tensor.expand(info.batch_size, *tensor.shape)
        return tensor.movedim(dim, 0)

    moved = [lead(tensor, dim) for tensor, dim in zip(tensors, dims, strict=True)]
    return torch.ops.aaren.prefix_attention(*moved, backend), (0,) * 5


_library.impl("prefix_attention", _forward, "CompositeExplicitAutograd")
_library.impl("prefix_attention_backward", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("aaren::prefix_attention", _fake_forward, lib=_library)
torch.library.register_fake("aaren::prefix_attention_backward", _fake_backward, lib=_library)
torch.library.register_autograd("aaren::prefix_attention", _autograd, setup_context=_setup_context, lib=_library)
torch.library.register_autograd("aaren::prefix_attention_backward", _no_second_backward, lib=_library)
torch.library.register_vmap("aaren::prefix_attention", _vmap, lib=_library)
