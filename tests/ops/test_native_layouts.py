"""The native backend reads any layout in memory, and writes the one that PyTorch and its compiler expect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from operator_cases import Case, assert_close, cases, law, random_case, results
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from aaren.ops import AttentionState, prefix_attention

EVERYTHING = {"decay": True, "state": True, "masked": 0.2, "resets": 0.1}
LEADS = [(), (3,), (2, 3), (2, 1, 3), (2, 3, 1, 2)]


def memory_order(x: Tensor, order: list[int]) -> Tensor:
    """The same numbers, dimensions lying in memory in this order, outermost first."""
    return x.permute(order).contiguous().permute([order.index(k) for k in range(x.dim())])


def reversed_order(x: Tensor) -> Tensor:
    """First dimension densest."""
    return memory_order(x, list(range(x.dim()))[::-1])


def rotated(x: Tensor) -> Tensor:
    """First dimension outermost but one: (batch, heads, tokens, dim) with the heads outside."""
    return memory_order(x, [*range(1, x.dim()), 0])


def swapped(x: Tensor) -> Tensor:
    """The two dimensions before the last swapped, as a projection leaves its heads."""
    if x.dim() < 3:
        return x
    order = list(range(x.dim()))
    order[-3], order[-2] = order[-2], order[-3]
    return memory_order(x, order)


def spaced(x: Tensor) -> Tensor:
    """Every third element of a larger tensor, in every dimension."""
    wide = torch.full([3 * size for size in x.shape], torch.nan, dtype=x.dtype)
    part = wide[tuple(slice(1, None, 3) for _ in x.shape)]
    return part.copy_(x)


def in_the_middle(x: Tensor) -> Tensor:
    """Dense, at an odd place of a larger tensor with NaN around it."""
    memory = torch.full([x.numel() + 4], torch.nan, dtype=x.dtype)
    return memory[3 : 3 + x.numel()].view(x.shape).copy_(x)


def columns(x: Tensor) -> Tensor:
    """A slice of a wider last dimension, as one of several parts of a fused projection."""
    wide = torch.full([*x.shape[:-1], 2 * x.shape[-1] + 1], torch.nan, dtype=x.dtype)
    return wide[..., 1 : 1 + x.shape[-1]].copy_(x)


LAYOUTS = [reversed_order, rotated, swapped, spaced, in_the_middle, columns]
NAMES = [layout.__name__ for layout in LAYOUTS]


def outcome(
    scores: Tensor, values: Tensor, log_decay: Tensor, state: AttentionState, grad_outputs: Tensor, **options: Tensor
) -> dict[str, Tensor]:
    """Outputs, state and all gradients from given tensors, which are used as they lie."""
    tensors = {"scores": scores, "values": values, "log_decay": log_decay, **vars(state)}
    leaves = [x.detach().requires_grad_() for x in tensors.values()]
    outputs, final = prefix_attention(
        leaves[0], leaves[1], AttentionState(*leaves[3:]), log_decay=leaves[2], backend="native", **options
    )
    grads = torch.autograd.grad(
        [outputs, final.normalizer, final.weighted_sum],
        leaves,
        [grad_outputs, torch.ones_like(final.normalizer), torch.ones_like(final.weighted_sum)],
    )
    found = {"outputs": outputs.detach()} | {name: x.detach() for name, x in vars(final).items()}
    return found | {f"grad {name}": grad for name, grad in zip(tensors, grads, strict=True)}


def parts(lead: tuple[int, ...], tokens: int, dim: int, dtype: torch.dtype) -> tuple[dict[str, object], Case]:
    """Dense arguments of `outcome`, and the case that they are from."""
    case = random_case(lead, tokens, dim, **EVERYTHING, dtype=dtype)
    g = torch.Generator().manual_seed(1)
    grad_outputs = torch.randn(*lead, tokens, dim, generator=g, dtype=torch.float64).to(dtype)
    return {
        "scores": case.scores,
        "values": case.values,
        "log_decay": case.log_decay,
        "state": case.state,
        "grad_outputs": grad_outputs,
        "mask": case.mask,
        "resets": case.resets,
    }, case


@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMES)
@pytest.mark.parametrize("lead", LEADS, ids=str)
@pytest.mark.parametrize(("dtype", "dim"), [(torch.float32, 37), (torch.float64, 1), (torch.bfloat16, 20)], ids=str)
def test_any_layout_gives_the_bits_of_a_dense_one(
    lead: tuple[int, ...], layout: Callable[[Tensor], Tensor], dtype: torch.dtype, dim: int, poisoned_memory: None
) -> None:
    """Each argument alone and all at once, in any layout with none to four leading dimensions; nothing beside is read.

    Outputs, and gradients to the values, are laid out as `torch.empty_like` of the values.
    """
    dense, case = parts(lead, 21, dim, dtype)
    state = AttentionState(*(layout(x) if x.dim() else x for x in vars(case.state).values()))
    strange = {name: state if name == "state" else layout(x) for name, x in dense.items()}
    expected = outcome(**dense)
    for arguments in (*({**dense, name: x} for name, x in strange.items()), strange):
        found = outcome(**arguments)
        for name, want in expected.items():
            assert torch.equal(found[name], want), name
        layout_of_values = torch.empty_like(arguments["values"]).stride()
        assert found["outputs"].stride() == found["grad values"].stride() == layout_of_values


@pytest.mark.parametrize("expanded", [(0,), (1,), (2,), (0, 1), (0, 1, 2, 3)], ids=str)
def test_stride_zero(expanded: tuple[int, ...], poisoned_memory: None) -> None:
    """Inputs, states and incoming gradients that are expanded along any dimensions are as good as copies."""
    dense, _ = parts((3, 2), 21, 18, torch.float32)

    def widened(x: Tensor) -> Tensor:
        return x[tuple(slice(0, 1) if k in expanded else slice(None) for k in range(x.dim()))].expand(x.shape)

    strange = {name: widened(x) for name, x in dense.items() if isinstance(x, Tensor)}
    strange["state"] = AttentionState(*(widened(x) for x in vars(dense["state"]).values()))
    copies = {name: x.contiguous() for name, x in strange.items() if isinstance(x, Tensor)}
    copies["state"] = AttentionState(*(x.contiguous() for x in vars(strange["state"]).values()))
    found, expected = outcome(**strange), outcome(**copies)
    for name, want in expected.items():
        assert torch.equal(found[name], want), name


@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMES)
@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 1, 3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_step_reads_any_layout(lead: tuple[int, ...], layout: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    """The step of a stream has the bits of the dense one too."""
    case = random_case(lead, 1, 19, **EVERYTHING, dtype=dtype)
    state = AttentionState(*(layout(x) if x.dim() else x for x in vars(case.state).values()))
    strange = replace(
        case, scores=layout(case.scores), values=layout(case.values), log_decay=layout(case.log_decay), state=state
    )
    with torch.no_grad():
        (expected, final), (outputs, after) = case.call("auto"), strange.call("auto")
    assert torch.equal(outputs, expected)
    for a, b in zip(vars(after).values(), vars(final).values(), strict=True):
        assert torch.equal(a, b)


def strides(x: Tensor) -> list[int]:
    """Strides of the dimensions that have more than one element; those of the others mean nothing."""
    return [stride for stride, size in zip(x.stride(), x.shape, strict=True) if size > 1]


def op_arguments(layout: Callable[[Tensor], Tensor], lead: tuple[int, ...], options: dict[str, bool]) -> list[object]:
    """Canonical inputs of the op, floating ones in a layout, with gradients asked for."""
    case = random_case(lead, 9, 6, **options, dtype=torch.float32)
    state = (None, None, None) if case.state is None else vars(case.state).values()
    tensors = (case.scores, case.values, case.log_decay, *state)
    return [x if x is None or not x.dim() else layout(x).requires_grad_() for x in tensors]


@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMES)
@pytest.mark.parametrize("lead", LEADS, ids=str)
@pytest.mark.parametrize("options", [{}, {"decay": True, "state": True}], ids=["plain", "decay, state"])
@pytest.mark.parametrize("backend", ["native", "blocks"])
def test_fake_kernels_know_the_strides(
    backend: str, layout: Callable[[Tensor], Tensor], lead: tuple[int, ...], options: dict[str, bool]
) -> None:
    """Shapes, dtypes and strides of results are those that the compiler was told, forward and backward."""
    inputs = [x if x is None else x.detach() for x in op_arguments(layout, lead, options)]
    mode = FakeTensorMode()

    def both(op: Callable[..., tuple[Tensor, ...]], *arguments: object) -> tuple[Tensor, ...]:
        real = op(*arguments, backend)
        with mode:
            fake = op(*(mode.from_tensor(x) if isinstance(x, Tensor) else x for x in arguments), backend)
        for a, b in zip(real, fake, strict=True):
            assert (a.shape, strides(a), a.dtype) == (b.shape, strides(b), b.dtype)
        return real

    made = both(torch.ops.aaren.prefix_attention, *inputs)
    both(torch.ops.aaren.prefix_attention_backward, made[0], made[3], made[4], *inputs, *made)


@pytest.mark.parametrize("layout", [swapped, reversed_order, spaced], ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("options", [{}, {"decay": True, "state": True}], ids=["plain", "decay, state"])
def test_opcheck(layout: Callable[[Tensor], Tensor], options: dict[str, bool]) -> None:
    """PyTorch's own checks of schema, autograd, fake kernel and dynamic shapes pass, forward and backward."""
    inputs = op_arguments(layout, (2, 3), options)
    torch.library.opcheck(torch.ops.aaren.prefix_attention.default, (*inputs, "native"))
    inputs = [x if x is None else x.detach() for x in inputs]
    made = torch.ops.aaren.prefix_attention(*inputs, "native")
    grads = [torch.randn_like(made[k]) for k in (0, 3, 4)]
    torch.library.opcheck(torch.ops.aaren.prefix_attention_backward.default, (*grads, *inputs, *made, "native"))


@st.composite
def any_call(draw: st.DrawFn) -> tuple[Case, list[int]]:
    """A case of any shape and options, each tensor in a layout of its own, and where the calls are cut."""
    case = draw(cases(dim=draw(st.sampled_from([1, 2, 5, 16, 35]))))
    kinds = st.sampled_from([torch.clone, reversed_order, rotated, swapped, spaced, in_the_middle, columns])

    def strange(x: Tensor | None) -> Tensor | None:
        return x if x is None or not x.dim() else draw(kinds)(x)

    state = case.state and AttentionState(*(strange(x) for x in vars(case.state).values()))
    moved = {name: strange(getattr(case, name)) for name in ("scores", "values", "log_decay", "mask", "resets")}
    cuts = sorted(draw(st.lists(st.integers(0, case.scores.shape[-1]), max_size=4)))
    return replace(case, state=state, **moved), cuts


@law(150)
@given(call=any_call())
def test_native_is_the_definition(call: tuple[Case, list[int]]) -> None:
    """Any shape, layout, mask, reset, decay, state and chunks: the definition's results and gradients in float64."""
    case, cuts = call
    assert_close(results(case, "native", cuts), results(case, "definition"), outputs=1e-9)
