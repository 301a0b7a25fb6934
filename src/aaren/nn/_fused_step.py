"""One token through a whole encoder layer in a single native call, where nothing stands in the way.

A streamed token is some twenty small operations a layer, each of which takes longer to call than to compute.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from aaren.nn._aaren import Aaren
from aaren.ops import AttentionState, checks_finite, choose_backend, is_plain, native_layer_step

LARGEST_BATCH = 8  # beyond it the matrix products of a library are faster
_ACTIVATIONS: dict[Any, int] = {F.relu: 0, F.gelu: 1}
_KINDS = {"self_attn": Aaren, "linear1": nn.Linear, "linear2": nn.Linear, "norm1": nn.LayerNorm, "norm2": nn.LayerNorm}
_DROPOUTS = ("dropout", "dropout1", "dropout2")


class _Plan(NamedTuple):
    """What the native call needs to know of a layer, and what must not have changed since it was looked up."""

    modules: list[tuple[dict[str, nn.Module | None], str, nn.Module]]
    weights: list[tuple[dict[str, nn.Parameter | None], str, nn.Parameter]]
    addresses: list[int]
    activation: object
    arguments: tuple[Any, ...]

    def holds(self, layer: nn.Module) -> bool:
        """Whether no submodule was replaced or hooked and no parameter replaced or moved."""
        for modules, name, module in self.modules:
            if modules.get(name) is not module or module._forward_hooks or module._forward_pre_hooks:
                return False
        for parameters, name, weight in self.weights:
            if parameters.get(name) is not weight:
                return False
        moved = [weight.data_ptr() for _, _, weight in self.weights] != self.addresses
        return not moved and layer.activation is self.activation


_plans: WeakKeyDictionary[nn.Module, _Plan] = WeakKeyDictionary()


def _make_plan(layer: nn.Module) -> _Plan | None:
    """The plan of a layer, or None where it is not as `AarenEncoderLayer` made it, or not float32 on the CPU."""
    parts: dict[str, Any] = layer._modules
    attention = parts["self_attn"]
    if any(type(parts[name]) is not kind for name, kind in _KINDS.items()) or layer.activation not in _ACTIVATIONS:
        return None
    if type(attention.out_proj) is not nn.Linear:
        return None
    modules = [(layer._modules, name, parts[name]) for name in _KINDS]
    modules.append((attention._modules, "out_proj", attention.out_proj))
    linear1, linear2, norm1, norm2 = (parts[name] for name in ("linear1", "linear2", "norm1", "norm2"))
    owners = [(attention, "query"), (attention, "in_proj_weight"), (attention, "in_proj_bias")]
    owners += [(m, name) for m in (attention.out_proj, linear1, linear2, norm1, norm2) for name in ("weight", "bias")]
    weights, addresses = [], []
    for owner, name in owners:
        weight = owner._parameters.get(name)
        if weight is None and "bias" not in name:
            return None
        if weight is not None:
            if not (type(weight) is nn.Parameter and _fits(weight)):
                return None
            weights.append((owner._parameters, name, weight))
        addresses.append(0 if weight is None else weight.data_ptr())
    sizes = attention.embed_dim, attention.num_heads, linear1.out_features, layer.norm_first
    arguments = (*sizes, _ACTIVATIONS[layer.activation], norm1.eps, norm2.eps, tuple(addresses))
    plan = _Plan(modules, weights, [w.data_ptr() for _, _, w in weights], layer.activation, arguments)
    return plan if plan.holds(layer) else None


def _plan_of(layer: nn.Module, batch: int, state: AttentionState) -> _Plan | None:
    """The plan of a layer that takes the single call for this state, or None."""
    if layer.training and any(layer._modules[name].p > 0 for name in _DROPOUTS):  # type: ignore[union-attr, operator]
        return None
    plan = _plans.get(layer)
    if plan is None or not plan.holds(layer):
        plan = _make_plan(layer)
        if plan is None:
            return None
        _plans[layer] = plan
    width, heads = plan.arguments[:2]
    return plan if state.weighted_sum.shape == (batch, heads, width // heads) else None


def _fits(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu" and x.is_contiguous()


def fused_step(
    layers: Iterable[nn.Module],
    x: Float[Tensor, "batch 1 d"],
    states: Sequence[AttentionState],
    elapsed: Float[Tensor, "batch 1"] | None,
    added: Float[Tensor, "batch 1 d"] | None = None,
) -> tuple[Float[Tensor, "batch 1 d"], list[AttentionState]] | None:
    """One token through layers that follow one another, or None where something asks for the long way.

    That is: gradients, a compiler or another tracer, autocast, `check_finite`, another dtype than float32, another
    device than the CPU, a batch above `LARGEST_BATCH`, active dropout, an activation of the user's own, and
    submodules that were replaced or hooked.
    """
    batch = x.shape[0]
    if torch.is_grad_enabled() or not 0 < batch <= LARGEST_BATCH or not is_plain(x):
        return None
    if not _fits(x := x.contiguous()):
        return None
    if added is not None and not (is_plain(added) and added.shape == x.shape and _fits(added := added.contiguous())):
        return None
    if checks_finite() or torch.is_autocast_enabled("cpu") or choose_backend("auto", x.device).name != "native":
        return None
    plans = []
    for layer, state in zip(layers, states, strict=True):
        plan = _plan_of(layer, batch, state)
        if plan is None:
            return None
        plans.append((layer, plan, state))
    after = []
    for layer, plan, state in plans:
        attention: Any = layer._modules["self_attn"]
        x = x if added is None else x + added
        x, new = native_layer_step(plan.arguments, x, attention.log_decay(x, elapsed), state)
        after.append(new)
    return x, after
