"""The single native call of a streamed token: it is the long way's result, and steps aside where it must."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from aaren.nn import AarenEncoder, AarenEncoderLayer
from aaren.nn import _encoder as encoder_module
from aaren.nn import _fused_step as fused
from aaren.ops import AttentionState, check_finite


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many layers took the single call for a token: one entry for each layer and token."""
    made: list[int] = []

    def counted(*arguments: Any) -> object:
        made.extend([1] * len(arguments[0]))
        return native(*arguments)

    native = fused.native_layers_step
    monkeypatch.setattr(fused, "native_layers_step", counted)
    return made


def long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token from now on runs through PyTorch's operations."""
    monkeypatch.setattr(encoder_module, "fused_step", lambda *arguments: None)


def stream(
    encoder: AarenEncoder, x: Tensor, elapsed: Tensor | None = None
) -> tuple[Tensor, tuple[AttentionState, ...]]:
    """All tokens one by one."""
    state, outputs = encoder.init_state(len(x)), []
    with torch.no_grad():
        for k in range(x.shape[1]):
            y, state = encoder.step(x[:, k], state, elapsed=None if elapsed is None else elapsed[:, k])
            outputs.append(y)
    return torch.stack(outputs, 1), state


OPTIONS = [
    {},
    {"norm_first": True},
    {"bias": False, "activation": "gelu"},
    {"decay": "learned", "activation": F.gelu},
    {"decay": "time", "norm_first": True},
]


@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize(("width", "heads", "hidden"), [(1, 1, 1), (6, 3, 5), (36, 4, 70), (128, 8, 512)])
@pytest.mark.parametrize("options", OPTIONS)
def test_single_call_is_the_long_way(
    options: dict[str, object],
    width: int,
    heads: int,
    hidden: int,
    batch: int,
    calls: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Outputs and states agree to rounding, at odd widths too, and every token really took the single call."""
    torch.manual_seed(0)
    encoder = AarenEncoder(AarenEncoderLayer(width, heads, hidden, **options), 2).eval()
    x, elapsed = torch.randn(batch, 7, width), torch.rand(batch, 7)
    y, state = stream(encoder, x, elapsed)
    assert len(calls) == 2 * 7
    long_way(monkeypatch)
    expected, end = stream(encoder, x, elapsed)
    assert len(calls) == 2 * 7
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=5e-6)
    for a, b in zip(state, end, strict=True):
        torch.testing.assert_close(a.output(), b.output(), rtol=1e-5, atol=5e-6)
        torch.testing.assert_close(a.lse(), b.lse(), rtol=1e-5, atol=5e-6)
        assert all(part.dtype == torch.float64 for part in vars(a).values())


def test_state_is_a_value(calls: list[int]) -> None:
    """The state that is given is left as it was, and the new one shares no memory with it."""
    layer = AarenEncoderLayer(8, 2, 16).eval()
    with torch.no_grad():
        _, state = layer(torch.randn(2, 5, 8))
        before = copy.deepcopy(state)
        first, _ = layer(x := torch.randn(2, 1, 8), state)
        second, after = layer(x, state)
    assert len(calls) == 2
    assert torch.equal(first, second)
    for a, b, c in zip(vars(state).values(), vars(before).values(), vars(after).values(), strict=True):
        assert torch.equal(a, b)
        assert a.untyped_storage().data_ptr() != c.untyped_storage().data_ptr()


def scale_weights(layer: AarenEncoderLayer) -> None:
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(1.5)


def scale_data(layer: AarenEncoderLayer) -> None:
    for weight in layer.parameters():
        weight.data = weight.data * 1.5


def replace_parameter(layer: AarenEncoderLayer) -> None:
    layer.linear1.weight = nn.Parameter(torch.randn_like(layer.linear1.weight))


def replace_module(layer: AarenEncoderLayer) -> None:
    layer.linear2 = nn.Linear(16, 8)


def replace_activation(layer: AarenEncoderLayer) -> None:
    layer.activation = F.gelu


def load_weights(layer: AarenEncoderLayer) -> None:
    layer.load_state_dict(AarenEncoderLayer(8, 2, 16).state_dict())


def transpose_in_place(layer: AarenEncoderLayer) -> None:
    weight = layer.self_attn.out_proj.weight
    weight.data = weight.data.t()


def take_neurons_out(layer: AarenEncoderLayer) -> None:
    layer.linear1.weight.data, layer.linear1.bias.data = layer.linear1.weight.data[:4], layer.linear1.bias.data[:4]
    layer.linear2.weight.data = layer.linear2.weight.data[:, :4]


def prune(layer: AarenEncoderLayer) -> None:
    layer.linear1.weight = nn.Parameter(layer.linear1.weight[:4] * 3)
    layer.linear1.bias = nn.Parameter(layer.linear1.bias[:4])
    layer.linear2.weight = nn.Parameter(layer.linear2.weight[:, :4].contiguous())


def other_epsilon(layer: AarenEncoderLayer) -> None:
    layer.norm1.eps = 0.5


def norms_first(layer: AarenEncoderLayer) -> None:
    layer.norm_first = True


def bias_as_an_attribute(layer: AarenEncoderLayer) -> None:
    del layer.linear1.bias
    layer.linear1.bias = torch.ones(16)


def forward_of_its_own(layer: AarenEncoderLayer) -> None:
    layer.linear1.forward = lambda x: 2 * F.linear(x, layer.linear1.weight)


@pytest.mark.parametrize(
    "change",
    [
        scale_weights,
        scale_data,
        replace_parameter,
        replace_module,
        replace_activation,
        load_weights,
        transpose_in_place,
        take_neurons_out,
        prune,
        other_epsilon,
        norms_first,
        bias_as_an_attribute,
        forward_of_its_own,
    ],
)
def test_a_changed_layer_is_seen(
    change: Callable[[AarenEncoderLayer], None], calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever changes in a layer between two tokens counts from the next token on."""
    torch.manual_seed(0)
    layer = AarenEncoderLayer(8, 2, 16).eval()
    x = torch.randn(2, 1, 8)
    with torch.no_grad():
        old, state = layer(x, layer.init_state(2))
        change(layer)
        new, _ = layer(x, state)
        assert (new - layer_of(layer, x, state, monkeypatch)).abs().max() < 1e-5
        assert (new - old).abs().max() > 1e-3


def layer_of(layer: AarenEncoderLayer, x: Tensor, state: AttentionState, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The output of the long way."""
    with monkeypatch.context() as patch:
        long_way(patch)
        return layer(x, state)[0]


@pytest.mark.parametrize("part", ["linear1", "norm2"])
def test_a_bias_that_was_not_there_counts(part: str, calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bias that is given to a layer made without counts from the next token on."""
    layer = AarenEncoderLayer(8, 2, 16, bias=False).eval()
    x = torch.randn(2, 1, 8)
    with torch.no_grad():
        old, state = layer(x, layer.init_state(2))
        old, _ = layer(x, state)
        assert len(calls) == 2
        getattr(layer, part).bias = nn.Parameter(torch.ones(16 if part == "linear1" else 8))
        new, _ = layer(x, state)
        assert (new - layer_of(layer, x, state, monkeypatch)).abs().max() < 1e-5
        assert (new - old).abs().max() > 1e-2


def other_hidden(layer: AarenEncoderLayer) -> None:
    layer.linear1 = nn.Linear(8, 64)


def other_norm(layer: AarenEncoderLayer) -> None:
    layer.norm1 = nn.LayerNorm(4)


def shrunk_data(layer: AarenEncoderLayer) -> None:
    layer.linear1.weight.data = torch.randn(16, 4)


def other_heads(layer: AarenEncoderLayer) -> None:
    layer.self_attn.num_heads = 4


def freed(layer: AarenEncoderLayer) -> None:
    layer.linear1.weight.untyped_storage().resize_(0)


def halved_where_it_lies(layer: AarenEncoderLayer) -> None:
    weight = layer.linear1.weight
    weight.data = weight.data.flatten().view(torch.float16)[: weight.numel()].view(weight.shape)


@pytest.mark.parametrize("change", [other_hidden, other_norm, shrunk_data, other_heads, freed, halved_where_it_lies])
def test_parts_that_do_not_fit_are_errors(change: Callable[[AarenEncoderLayer], None], calls: list[int]) -> None:
    """Weights of other sizes or dtypes, or whose memory is gone, are PyTorch's errors and never read beyond."""
    layer = AarenEncoderLayer(8, 2, 16).eval()
    with torch.no_grad():
        _, state = layer(torch.randn(2, 1, 8), layer.init_state(2))
        change(layer)
        with pytest.raises((RuntimeError, ValueError)):
            layer(torch.randn(2, 1, 8), state)
    assert len(calls) == 1


def test_layers_of_different_width_are_an_error(without_shape_checks: None) -> None:
    """A stack whose layers do not have one width is refused before a number is written."""
    encoder = AarenEncoder(AarenEncoderLayer(8, 2, 16), 2).eval()
    encoder.layers[1] = AarenEncoderLayer(4096, 2, 16).eval()
    with torch.no_grad(), pytest.raises(ValueError, match="expected"):
        encoder.step(torch.randn(1, 8), encoder.init_state(1))


def parts_of_one_row(state: AttentionState) -> AttentionState:
    return AttentionState(state.max_score[:1, :1], state.normalizer[:1, :1], state.weighted_sum)


def elsewhere(state: AttentionState) -> AttentionState:
    return state.to(device="meta")


@pytest.mark.parametrize("change", [parts_of_one_row, elsewhere])
def test_a_broken_state_is_an_error(
    change: Callable[[AttentionState], AttentionState], calls: list[int], without_shape_checks: None
) -> None:
    """A state whose parts do not fit, or lie on another device, is refused and never read beyond."""
    layer = AarenEncoderLayer(8, 2, 16).eval()
    with torch.no_grad(), pytest.raises(ValueError, match="state: expected"):
        layer(torch.randn(2, 1, 8), change(layer.init_state(2)))
    assert not calls


def test_times_elsewhere_are_an_error(calls: list[int]) -> None:
    """Elapsed times on another device are PyTorch's error, as with gradients; their address means nothing here."""
    layer = AarenEncoderLayer(8, 2, 16, decay="time").eval()
    with torch.no_grad(), pytest.raises(RuntimeError, match="device"):
        layer.step(torch.randn(2, 8), layer.init_state(2), elapsed=torch.ones(2, device="meta"))
    assert not calls


def test_no_state_is_the_start_with_and_without_gradients(without_shape_checks: None) -> None:
    """`step` takes None for a sequence that has not begun, with gradients and without."""
    encoder = AarenEncoder(AarenEncoderLayer(8, 2, 16), 2).eval()
    x = torch.randn(2, 8)
    expected, _ = encoder.step(x, encoder.init_state(2))
    with torch.no_grad():
        found, _ = encoder.step(x, None)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=5e-6)


def test_an_encoder_with_a_forward_of_its_own_steps_through_it() -> None:
    """A subclass that overrides `forward` has a `step` that goes through it, with gradients and without."""

    class Doubled(AarenEncoder):
        def forward(self, *arguments: Any, **options: Any) -> Any:
            y, state = super().forward(*arguments, **options)
            return 2 * y, state

    encoder = Doubled(AarenEncoderLayer(8, 2, 16), 2).eval()
    x, state = torch.randn(2, 8), encoder.init_state(2)
    expected, _ = encoder.step(x, state)
    with torch.no_grad():
        found, _ = encoder.step(x, state)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=5e-6)


def test_a_hook_on_all_modules_is_called(calls: list[int]) -> None:
    """A global hook of PyTorch sees the submodules, so its owner takes the long way."""
    layer = AarenEncoderLayer(8, 2, 16).eval()
    seen: list[str] = []
    with torch.no_grad():
        _, state = layer(torch.randn(2, 1, 8), layer.init_state(2))
        watching = nn.modules.module.register_module_forward_hook(
            lambda module, inputs, output: seen.append(type(module).__name__)
        )
        try:
            layer(torch.randn(2, 1, 8), state)
        finally:
            watching.remove()
    assert "Linear" in seen
    assert len(calls) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, where it makes a tangent
def test_views_that_negate_and_forward_derivatives_take_the_long_way(calls: list[int]) -> None:
    """A negating view has its own numbers, and a forward-mode derivative its tangent, as with gradients on."""
    layer = AarenEncoderLayer(8, 2, 16).eval()
    x, state = torch.randn(2, 1, 8), layer.init_state(2)
    with torch.no_grad():
        torch.testing.assert_close(layer(torch._neg_view(x), state)[0], layer(-x, state)[0], rtol=1e-5, atol=5e-6)
        assert len(calls) == 1
        with forward_ad.dual_level():
            y, _ = layer(forward_ad.make_dual(x, torch.ones_like(x)), state)
            tangent = forward_ad.unpack_dual(y).tangent
        near = (layer(x.double().float() + 1e-3, state)[0] - layer(x - 1e-3, state)[0]) / 2e-3
    torch.testing.assert_close(tangent, near, rtol=2e-2, atol=2e-2)


def hook(layer: AarenEncoderLayer) -> None:
    layer.linear1.register_forward_hook(lambda module, inputs, output: output * 2)


def subclass(layer: AarenEncoderLayer) -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    layer.linear1 = Doubled(8, 16)


def strange_activation(layer: AarenEncoderLayer) -> None:
    layer.activation = torch.tanh


def dropout(layer: AarenEncoderLayer) -> None:
    layer.train()


def double(layer: AarenEncoderLayer) -> None:
    layer.double()


def parametrize(layer: AarenEncoderLayer) -> None:
    nn.utils.parametrizations.weight_norm(layer.linear2)


@pytest.mark.parametrize("change", [hook, subclass, strange_activation, dropout, double, parametrize])
def test_steps_aside_for_what_it_does_not_know(change: Callable[[AarenEncoderLayer], None], calls: list[int]) -> None:
    """Hooks, subclasses, unknown activations, active dropout, float64 and parametrisations take the long way."""
    layer = AarenEncoderLayer(8, 2, 16, dropout=0.5).eval()
    x = torch.randn(2, 1, 8)
    with torch.no_grad():
        _, state = layer(x, layer.init_state(2))
        assert len(calls) == 1
        change(layer)
        layer(x.to(layer.norm1.weight.dtype), state)
    assert len(calls) == 1


def test_steps_aside_for_gradients_autocast_checks_and_tracers(calls: list[int]) -> None:
    """Gradients, autocast, `check_finite`, `vmap`, function modes, masks and large batches take the long way."""
    layer = AarenEncoderLayer(8, 2, 16).eval()
    x, state = torch.randn(2, 1, 8), layer.init_state(2)
    assert layer(x, state)[0].requires_grad
    with torch.no_grad():
        with torch.autocast("cpu"):
            layer(x, state)
        with check_finite(), pytest.raises(ValueError, match="nan at index"):
            layer(x * torch.nan, state)
        with torch.device("cpu"):
            layer(x, state)
        layer(x, state, torch.ones(2, 1, dtype=torch.bool))
        big = fused.LARGEST_INPUT // 8 + 1
        layer(torch.randn(big, 1, 8), layer.init_state(big))
        torch.func.vmap(lambda token: layer(token, state)[0])(torch.randn(3, 2, 1, 8))
    assert not calls


def hook_layer(encoder: AarenEncoder) -> None:
    encoder.layers[1].register_forward_hook(lambda module, inputs, output: (2 * output[0], output[1]))


def subclass_layer(encoder: AarenEncoder) -> None:
    class Doubled(AarenEncoderLayer):
        def forward(self, *arguments: object, **options: object) -> tuple[Tensor, AttentionState]:
            y, state = super().forward(*arguments, **options)
            return 2 * y, state

    torch.manual_seed(1)
    encoder.layers[1] = Doubled(8, 2, 16).eval()


@pytest.mark.parametrize("change", [hook_layer, subclass_layer])
def test_a_layer_of_another_kind_is_called(
    change: Callable[[AarenEncoder], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder whose layer is hooked or of a subclass calls that layer, as on the long way."""
    torch.manual_seed(0)
    encoder = AarenEncoder(AarenEncoderLayer(8, 2, 16), 2, nn.LayerNorm(8)).eval()
    x = torch.randn(2, 4, 8)
    plain, _ = stream(encoder, x)
    change(encoder)
    y, state = stream(encoder, x)
    long_way(monkeypatch)
    expected, end = stream(encoder, x)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=5e-6)
    torch.testing.assert_close(state[1].output(), end[1].output(), rtol=1e-5, atol=5e-6)
    assert (y - plain).abs().max() > 1e-6


def test_nothing_is_kept_alive() -> None:
    """A layer and an encoder that took the single call go away with their last user."""
    layer, encoder = AarenEncoderLayer(8, 2, 16).eval(), AarenEncoder(AarenEncoderLayer(8, 2, 16), 2).eval()
    with torch.no_grad():
        layer(torch.randn(1, 1, 8), layer.init_state(1))
        encoder.step(torch.randn(1, 8), encoder.init_state(1))
    watched = [weakref.ref(layer), weakref.ref(encoder), weakref.ref(encoder.layers[1])]
    assert all(owner in fused._plans for owner in (layer, encoder))
    del layer, encoder
    gc.collect()
    assert [reference() for reference in watched] == [None] * 3


def shorten(encoder: AarenEncoder) -> None:
    del encoder.layers[1]
    encoder.num_layers = 1


def restack(encoder: AarenEncoder) -> None:
    encoder.layers = nn.ModuleList(reversed(encoder.layers))


@pytest.mark.parametrize("change", [shorten, restack])
def test_a_changed_stack_is_seen(change: Callable[[AarenEncoder], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that are taken out or put elsewhere count from the next token on."""
    torch.manual_seed(0)
    encoder = AarenEncoder(AarenEncoderLayer(8, 2, 16), 2).eval()
    x = torch.randn(2, 8)
    with torch.no_grad():
        old, _ = encoder.step(x, encoder.init_state(2))
        change(encoder)
        new, state = encoder.step(x, encoder.init_state(2))
        long_way(monkeypatch)
        expected, _ = encoder.step(x, encoder.init_state(2))
    torch.testing.assert_close(new, expected, rtol=1e-5, atol=5e-6)
    assert len(state) == encoder.num_layers
    assert (new - old).abs().max() > 1e-3


def test_a_state_of_another_model_is_refused() -> None:
    """Too few states, or one of another width, are refused as on the long way."""
    encoder = AarenEncoder(AarenEncoderLayer(8, 2, 16), 2).eval()
    state = encoder.init_state(1)
    with torch.no_grad():
        with pytest.raises(ValueError, match="expected 2 entries"):
            encoder.step(torch.randn(1, 8), state[:1])
        other = AarenEncoder(AarenEncoderLayer(8, 4, 16), 2).init_state(1)
        with pytest.raises(ValueError, match="state: expected"):
            encoder.step(torch.randn(1, 8), (state[0], other[1]))
