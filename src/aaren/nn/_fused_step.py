"""One token through encoder layers in a single native call, where nothing stands in the way.

A streamed token is some twenty small operations a layer, each of which takes longer to call than to compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from aaren.nn._aaren import Aaren
from aaren.ops import AttentionState, checks_finite, choose_backend, is_plain, native_layers_step

LARGEST_BATCH = 8  # beyond it the matrix products of a library are faster
_ACTIVATIONS: dict[Any, int] = {F.relu: 0, F.gelu: 1}
_KINDS = {"self_attn": Aaren, "linear1": nn.Linear, "linear2": nn.Linear, "norm1": nn.LayerNorm, "norm2": nn.LayerNorm}
_BY_TIME = 4  # place in a layer's arguments
_DROPOUTS = ("dropout", "dropout1", "dropout2")


class _Plan(NamedTuple):
    """What the native call needs to know of some layers, and what must not have changed since it was looked up.

    Args:
        modules: every submodule, with the dictionary and the name that it was found by.
        weights: every parameter, likewise.
        addresses: of the parameters.
        activations: of each layer, with the attributes that it was found in (a plan must not keep its layer alive).
        dropouts: of all layers.
        arguments: of each layer, for `native_layers_step`.
        shapes: (heads, dim) of each layer's state.
    """

    modules: list[tuple[dict[str, nn.Module | None], str, nn.Module]]
    weights: list[tuple[dict[str, nn.Parameter | None], str, nn.Parameter]]
    addresses: list[int]
    activations: list[tuple[dict[str, Any], object]]
    dropouts: list[nn.Dropout]
    arguments: list[tuple[Any, ...]]
    shapes: list[tuple[int, int]]

    def holds(self) -> bool:
        """Whether nothing was replaced, hooked or moved, and no dropout is active."""
        for modules, name, module in self.modules:
            if modules.get(name) is not module or module._forward_hooks or module._forward_pre_hooks:
                return False
        for parameters, name, weight in self.weights:
            if parameters.get(name) is not weight:
                return False
        for attributes, activation in self.activations:
            if attributes.get("activation") is not activation:
                return False
        for dropout in self.dropouts:
            if dropout.training and dropout.p > 0:
                return False
        return [weight.data_ptr() for _, _, weight in self.weights] == self.addresses


_plans: WeakKeyDictionary[nn.Module, _Plan] = WeakKeyDictionary()


def _make_plan(owner: nn.Module, kind: type[nn.Module]) -> _Plan | None:
    """The plan of a layer or a stack, or None where a layer is not as its class made it, or not float32 on the CPU."""
    layers: list[Any] = [owner]
    plan = _Plan([], [], [], [], [], [], [])
    if not isinstance(owner, kind):
        stack: Any = owner._modules["layers"]
        layers = list(stack)
        # a hook or an override of a layer in a stack would be passed by; a layer itself calls this from within
        if type(stack) is not nn.ModuleList or any(type(layer) is not kind for layer in layers):
            return None
        children: dict[str, Any] = stack._modules
        plan.modules.append((owner._modules, "layers", stack))
        plan.modules.extend((children, name, layer) for name, layer in zip(children, layers, strict=True))
    fits = all(_add_layer(plan, layer) for layer in layers)
    return plan if fits and plan.holds() else None


def _add_layer(plan: _Plan, layer: nn.Module) -> bool:
    """Add a layer to a plan; False if it does not fit."""
    parts: dict[str, Any] = layer._modules
    attention = parts["self_attn"]
    if any(type(parts[name]) is not kind for name, kind in _KINDS.items()) or layer.activation not in _ACTIVATIONS:
        return False
    if type(attention.out_proj) is not nn.Linear or any(type(parts[name]) is not nn.Dropout for name in _DROPOUTS):
        return False
    plan.modules.extend((layer._modules, name, parts[name]) for name in (*_KINDS, *_DROPOUTS))
    plan.modules.append((attention._modules, "out_proj", attention.out_proj))
    linear1, linear2, norm1, norm2 = (parts[name] for name in ("linear1", "linear2", "norm1", "norm2"))
    owners = [(attention, "query"), (attention, "decay_rate")]
    owners += [(attention, "in_proj_weight"), (attention, "in_proj_bias")]
    owners += [(m, name) for m in (attention.out_proj, linear1, linear2, norm1, norm2) for name in ("weight", "bias")]
    addresses = []
    for owner, name in owners:
        weight = owner._parameters.get(name)
        if weight is None and "bias" not in name and name != "decay_rate":
            return False
        if weight is not None:
            if not (type(weight) is nn.Parameter and _fits(weight)):
                return False
            plan.weights.append((owner._parameters, name, weight))
            plan.addresses.append(weight.data_ptr())
        addresses.append(0 if weight is None else weight.data_ptr())
    width, heads = attention.embed_dim, attention.num_heads
    sizes = width, heads, linear1.out_features, layer.norm_first, attention.decay == "time"
    plan.arguments.append((*sizes, _ACTIVATIONS[layer.activation], norm1.eps, norm2.eps, tuple(addresses)))
    plan.activations.append((vars(layer), layer.activation))
    plan.dropouts.extend(parts[name] for name in _DROPOUTS)
    plan.shapes.append((heads, width // heads))
    return True


def _fits(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu" and x.is_contiguous()


def fused_step(
    owner: nn.Module,
    kind: type[nn.Module],
    x: Float[Tensor, "batch *one d"],
    states: Sequence[AttentionState],
    elapsed: Float[Tensor, " batch *one"] | None,
) -> tuple[Float[Tensor, "batch *one d"], tuple[AttentionState, ...]] | None:
    """One token through a layer or a stack of them, or None where something asks for the long way.

    That is: gradients, a compiler or another tracer, autocast, `check_finite`, another dtype than float32, another
    device than the CPU, a batch above `LARGEST_BATCH`, active dropout, an activation of the user's own, and
    submodules that were replaced or hooked.

    Args:
        owner: the layer, or the encoder with its stack `layers`; what was found out about it is kept while it lives.
        kind: `AarenEncoderLayer`.
        x: shape (batch, width) or (batch, 1, width).
        states: one for each layer.
        elapsed: time since the token before.
    """
    batch = x.shape[0]
    if torch.is_grad_enabled() or not 0 < batch <= LARGEST_BATCH or not is_plain(x):
        return None
    if not _fits(x := x.contiguous()):
        return None
    if checks_finite() or torch.is_autocast_enabled("cpu") or choose_backend("auto", x.device).name != "native":
        return None
    plan = _plans.get(owner)
    if plan is None or not plan.holds():
        plan = _make_plan(owner, kind)
        if plan is None:
            return None
        _plans[owner] = plan
    if len(states) != len(plan.shapes):
        return None
    for (heads, dim), state in zip(plan.shapes, states, strict=True):
        if state.weighted_sum.shape != (batch, heads, dim):
            return None
    if elapsed is None:
        if any(arguments[_BY_TIME] for arguments in plan.arguments):
            return None
    else:
        elapsed = elapsed.to(torch.float32).contiguous()
    return native_layers_step(plan.arguments, x, elapsed, states)
