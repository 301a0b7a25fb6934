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
from aaren.ops import AttentionState, checks_finite, choose_backend, is_plain, native_layers_step, native_unchanged

LARGEST_INPUT = 8192  # numbers in the tokens of a batch; beyond it the matrix products of a library are faster
_ACTIVATIONS: tuple[Any, ...] = (F.relu, F.gelu)  # by their numbers in native/layer.h
_KINDS = {"self_attn": Aaren, "linear1": nn.Linear, "linear2": nn.Linear, "norm1": nn.LayerNorm, "norm2": nn.LayerNorm}
_DROPOUTS = ("dropout", "dropout1", "dropout2")
_BY_TIME = 4  # place in a layer's arguments
Attributes = dict[str, Any]


class Plan(NamedTuple):
    """What the native call needs to know of some layers, and what must not have changed since it was looked up.

    The plans that are kept here hold no reference to the module that they are for: else neither would ever go away.

    Args:
        modules: every submodule, with the dictionary and the name that it was found by, and its attributes.
        weights: every parameter, with the dictionary and the name that it was found by, its address, shape and dtype.
        values: dictionary, name and value of what else decides the numbers: activations, epsilons, absent biases, ...
        dropouts: attributes of all dropouts.
        arguments: of each layer, for `native_layers_step`.
        states: (heads, dim) of each layer's state.
    """

    modules: list[tuple[Attributes, str, nn.Module, Attributes]]
    weights: list[tuple[Attributes, str, nn.Parameter, int, torch.Size, torch.dtype]]
    values: list[tuple[Attributes, str, object]]
    dropouts: list[Attributes]
    arguments: list[tuple[Any, ...]]
    states: list[tuple[int, int]]

    def holds(self) -> bool:
        """Whether nothing was replaced, resized, moved, set or hooked, and no dropout is active."""
        return (
            native_unchanged(self.modules, self.weights, self.values, self.dropouts, _ABSENT)
            and not torch.nn.modules.module._has_any_global_hook()
        )

    def add_module(self, modules: Attributes, name: str, module: nn.Module) -> None:
        """Watch a submodule."""
        self.modules.append((modules, name, module, vars(module)))

    def add_values(self, owner: object, *names: str) -> None:
        """Watch attributes."""
        self.values.extend((vars(owner), name, vars(owner)[name]) for name in names)

    def add_weight(self, owner: nn.Module, name: str, shape: tuple[int, ...], optional: bool) -> int | None:
        """Watch a parameter; its address, 0 if there rightly is none, or None if it is not of that shape and kind."""
        parameters: Attributes = owner._parameters
        weight = parameters.get(name)
        # a parameter that is None was registered as None, or is an attribute; if in neither place, it was taken away
        place = parameters if name in parameters else vars(owner)
        if weight is None and optional and name in place:
            self.values.append((place, name, None))
            return 0
        if type(weight) is not nn.Parameter or weight.shape != shape or not _fits(weight):
            return None
        if weight.untyped_storage().nbytes() < weight.nbytes:  # memory that was given back
            return None
        self.weights.append((parameters, name, weight, weight.data_ptr(), weight.shape, weight.dtype))
        return weight.data_ptr()


_ABSENT = object()
_plans: WeakKeyDictionary[nn.Module, Plan] = WeakKeyDictionary()


def make_plan(owner: nn.Module, kind: type[nn.Module]) -> Plan | None:
    """A new plan of a layer or a stack; None where a layer is not as its class made it, or not float32 on the CPU."""
    layers: list[Any] = [owner]
    plan = Plan([], [], [], [], [], [])
    if not isinstance(owner, kind):
        stack: Any = owner._modules["layers"]
        layers = list(stack)
        # a hook or an override of a layer in a stack would be passed by; a layer itself calls this from within
        if type(stack) is not nn.ModuleList or any(type(layer) is not kind for layer in layers):
            return None
        plan.add_module(owner._modules, "layers", stack)
        for name, layer in zip(stack._modules, layers, strict=True):
            plan.add_module(stack._modules, name, layer)
        plan.values.append((stack._modules, str(len(layers)), _ABSENT))
    fits = all(_add_layer(plan, layer, layers[0].d_model) for layer in layers)
    return plan if fits and plan.holds() else None


def _add_layer(plan: Plan, layer: nn.Module, width: int) -> bool:
    """Add a layer to a plan; False if it does not fit."""
    parts: dict[str, Any] = layer._modules
    attention, activation = parts["self_attn"], layer.activation
    if any(type(parts[name]) is not kind for name, kind in _KINDS.items()):
        return False
    if type(attention.out_proj) is not nn.Linear or any(type(parts[name]) is not nn.Dropout for name in _DROPOUTS):
        return False
    number = next((index for index, known in enumerate(_ACTIVATIONS) if activation is known), None)
    heads = attention.num_heads
    if number is None or layer.d_model != width or attention.embed_dim != width or heads * attention.head_dim != width:
        return False
    for name in (*_KINDS, *_DROPOUTS):
        plan.add_module(parts, name, parts[name])
    plan.add_module(attention._modules, "out_proj", attention.out_proj)
    linear1, linear2, norm1, norm2 = (parts[name] for name in ("linear1", "linear2", "norm1", "norm2"))
    plan.add_values(layer, "activation", "norm_first", "d_model")
    plan.add_values(attention, "num_heads", "head_dim", "embed_dim", "decay")
    plan.add_values(norm1, "eps")
    plan.add_values(norm2, "eps")
    hidden = linear1.weight.shape[0]
    wanted: list[tuple[nn.Module, str, tuple[int, ...], bool]] = [
        (attention, "query", (width,), False),
        (attention, "decay_rate", (heads,), True),
        (attention, "in_proj_weight", (3 * width, width), False),
        (attention, "in_proj_bias", (3 * width,), True),
    ]
    for module, shape in (
        (attention.out_proj, (width, width)),
        (linear1, (hidden, width)),
        (linear2, (width, hidden)),
        (norm1, (width,)),
        (norm2, (width,)),
    ):
        wanted += [(module, "weight", shape, False), (module, "bias", shape[:1], True)]
    addresses = [plan.add_weight(*one) for one in wanted]
    if None in addresses:
        return False
    sizes = width, heads, hidden, layer.norm_first, attention.decay == "time"
    plan.arguments.append((*sizes, number, norm1.eps, norm2.eps, tuple(addresses)))
    plan.dropouts.extend(vars(parts[name]) for name in _DROPOUTS)
    plan.states.append((heads, width // heads))
    return True


def may_fuse(device: torch.device) -> bool:
    """Whether nothing but the native kernels is asked for: no checks of numbers, no autocast, no other backend."""
    asked = checks_finite() or torch.is_autocast_enabled("cpu")
    return not asked and choose_backend("auto", device).name == "native"


def _fits(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu" and x.is_contiguous()


def fused_step(
    owner: nn.Module,
    kind: type[nn.Module],
    x: Float[Tensor, "batch *one d"],
    states: Sequence[AttentionState],
    elapsed: Float[Tensor, " batch *one"] | None,
    added: Float[Tensor, "batch *one d"] | None = None,
) -> tuple[Float[Tensor, "batch *one d"], tuple[AttentionState, ...]] | None:
    """One token through a layer or a stack of them, or None where something asks for the long way.

    That is: gradients, a compiler or another tracer, autocast, `check_finite`, another dtype than float32, another
    device than the CPU, a batch of more numbers than `LARGEST_INPUT`, active dropout, an activation of the user's own,
    and submodules that were replaced or hooked.

    Args:
        owner: the layer, or the encoder with its stack `layers`; what was found out about it is kept while it lives.
        kind: `AarenEncoderLayer`.
        x: shape (batch, width) or (batch, 1, width).
        states: one for each layer.
        elapsed: time since the token before.
        added: added to the input of every layer, shape of x.
    """
    batch = x.shape[0]
    if torch.is_grad_enabled() or not 0 < x.numel() <= LARGEST_INPUT or not is_plain(x):
        return None
    if not _fits(x := x.contiguous()):
        return None
    if added is not None and not (is_plain(added) and added.shape == x.shape and _fits(added := added.contiguous())):
        return None
    if not may_fuse(x.device):
        return None
    plan = _plans.get(owner)
    if plan is None or not plan.holds():
        plan = make_plan(owner, kind)
        if plan is None:
            return None
        _plans[owner] = plan
    if len(states) != len(plan.states) or x.shape[-1] != plan.arguments[0][0]:
        return None
    parts: list[Tensor] = []
    for (heads, dim), state in zip(plan.states, states, strict=True):
        if type(state) is not AttentionState:
            return None
        m, u, w = state.max_score, state.normalizer, state.weighted_sum
        if m.shape != (batch, heads) or u.shape != m.shape or w.shape != (batch, heads, dim):
            return None
        if not (m.is_cpu and u.is_cpu and w.is_cpu):
            return None
        parts += (m, u, w)
    if not is_plain(*parts):
        return None
    if elapsed is None:
        if any(arguments[_BY_TIME] for arguments in plan.arguments):
            return None
    elif not (is_plain(elapsed) and elapsed.is_cpu):
        return None
    else:
        elapsed = elapsed.to(torch.float32).contiguous()
    return native_layers_step(plan.arguments, x, elapsed, added, states)
