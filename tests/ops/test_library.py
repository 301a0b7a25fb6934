"""Law 10: the operator as PyTorch sees it. opcheck, gradcheck, vmap, and no second derivatives."""

from __future__ import annotations

import pytest
import torch
from operator_cases import FAST, random_case
from torch import Tensor
from torch.autograd import forward_ad

from aaren.ops import AttentionState, prefix_attention

OPTIONS = [(False, False), (True, False), (False, True), (True, True)]


def op_inputs(dtype: torch.dtype, decay: bool, state: bool, tokens: int = 19, grad: bool = True) -> list[Tensor | None]:
    """Canonical inputs of the op: scores, values, log_decay and the three parts of the state."""
    case = random_case((2, 3), tokens, 4, decay=decay, state=state, dtype=dtype)
    parts = (None, None, None) if case.state is None else vars(case.state).values()
    return [x if x is None else x.requires_grad_(grad) for x in (case.scores, case.values, case.log_decay, *parts)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("decay", "state"), OPTIONS)
@pytest.mark.parametrize("tokens", [1, 19])
def test_opcheck_forward(dtype: torch.dtype, decay: bool, state: bool, tokens: int) -> None:
    """Schema, fake kernel, autograd registration and dynamic shapes are right, whichever inputs are there."""
    torch.library.opcheck(torch.ops.aaren.prefix_attention.default, (*op_inputs(dtype, decay, state, tokens), "blocks"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("decay", "state"), OPTIONS)
def test_opcheck_backward(dtype: torch.dtype, decay: bool, state: bool) -> None:
    """The backward op passes the same checks."""
    inputs = op_inputs(dtype, decay, state, grad=False)
    made = torch.ops.aaren.prefix_attention(*inputs, "blocks")
    gradients = [torch.randn_like(made[k]) for k in (0, 3, 4)]
    torch.library.opcheck(torch.ops.aaren.prefix_attention_backward.default, (*gradients, *inputs, *made, "blocks"))


@pytest.mark.parametrize(("decay", "state"), OPTIONS)
@pytest.mark.parametrize("tokens", [1, 19])
def test_fake_kernels_know_strides(decay: bool, state: bool, tokens: int) -> None:
    """Results are laid out as the fake kernels say, which is what compiled code relies on."""
    inputs = op_inputs(torch.float32, decay, state, tokens, grad=False)
    made = torch.ops.aaren.prefix_attention(*inputs, "blocks")
    gradients = torch.ops.aaren.prefix_attention_backward(made[0], made[3], made[4], *inputs, *made, "blocks")
    assert all(x.is_contiguous() for x in (*made, *gradients))


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(("decay", "state"), OPTIONS)
def test_gradcheck(backend: str, decay: bool, state: bool) -> None:
    """Gradients are the finite differences of outputs, `state.output()` and `state.lse()`."""
    case = random_case((2,), 6, 2, decay=decay, state=state)
    inputs = [
        case.scores,
        case.values,
        *([case.log_decay] if decay else []),
        *(vars(case.state).values() if state else []),
    ]

    def function(scores: Tensor, values: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_decay = rest[0] if decay else None
        start = AttentionState(*rest[-3:]) if state else None
        outputs, final = prefix_attention(scores, values, start, log_decay=log_decay, backend=backend)
        return outputs, final.output(), final.lse()

    assert torch.autograd.gradcheck(function, [x.requires_grad_() for x in inputs])


@pytest.mark.parametrize("backend", ["definition", "scan", "recurrence"])
def test_references_have_second_derivatives(backend: str) -> None:
    """The reference backends, which autograd differentiates, can be differentiated twice."""
    case = random_case((2,), 5, 2)
    function = lambda s, v: prefix_attention(s, v, backend=backend)[0]  # noqa: E731
    assert torch.autograd.gradgradcheck(function, [case.scores.requires_grad_(), case.values.requires_grad_()])


def test_kernels_refuse_second_derivatives() -> None:
    """The backend "blocks" says that it has none and which backends do, rather than return zeros."""
    case = random_case((2,), 5, 2)
    scores = case.scores.requires_grad_()
    outputs, _ = prefix_attention(scores, case.values, backend="blocks")
    (gradient,) = torch.autograd.grad(outputs.sin().sum(), scores, create_graph=True)
    with pytest.raises(RuntimeError, match=r"second derivatives.*use backend='definition', 'recurrence' or 'scan'"):
        gradient.sum().backward()


def test_only_the_gradients_that_are_asked_for() -> None:
    """A call may be differentiated in one input alone."""
    case = random_case((2,), 20, 3, decay=True, state=True)
    for name in ("scores", "values", "log_decay"):
        found = []
        for backend in ("blocks", "definition"):
            leaf = getattr(case, name).detach().clone().requires_grad_()
            inputs = {"scores": case.scores, "values": case.values, "log_decay": case.log_decay, name: leaf}
            outputs, _ = prefix_attention(**inputs, state=case.state, backend=backend)
            found.append(torch.autograd.grad(outputs.sin().sum(), leaf)[0])
        torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", FAST)
def test_vmap_is_one_more_dimension(backend: str) -> None:
    """`torch.func.vmap` over any input, in any position, gives the batched numbers, with gradients."""
    case = random_case((3,), 20, 4, decay=True, state=True)
    expected, final = case.call("definition")

    def call(s: Tensor, v: Tensor, decay: Tensor, m: Tensor, u: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        outputs, state = prefix_attention(s, v, AttentionState(m, u, w), log_decay=decay, backend=backend)
        return outputs, state.lse()

    values = case.values.movedim(0, 2).requires_grad_()
    arguments = case.scores, values, case.log_decay, *vars(case.state).values()
    outputs, lse = torch.func.vmap(call, in_dims=(0, 2, 0, 0, 0, 0))(*arguments)
    torch.testing.assert_close(outputs, expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(lse, final.lse(), rtol=1e-11, atol=1e-11)
    (gradient,) = torch.autograd.grad(outputs.sum(), values)
    plain = case.values.detach().requires_grad_()
    batched, _ = prefix_attention(case.scores, plain, case.state, log_decay=case.log_decay, backend="definition")
    (wanted,) = torch.autograd.grad(batched.sum(), plain)
    torch.testing.assert_close(gradient, wanted.movedim(0, 2), rtol=1e-11, atol=1e-11)


def test_vmap_shares_what_is_not_mapped() -> None:
    """Values that are shared by all scores are expanded, without a state as well."""
    case = random_case((3,), 20, 4)
    values = case.values[0]
    outputs = torch.func.vmap(lambda s: prefix_attention(s, values)[0])(case.scores)
    expected = torch.stack([prefix_attention(s, values, backend="definition")[0] for s in case.scores])
    torch.testing.assert_close(outputs, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")  # in torch, at its first jvp
@pytest.mark.parametrize("log_decay", [False, True])
def test_forward_mode_is_refused(log_decay: bool) -> None:
    """A kernel, which has no forward-mode derivative, says so instead of giving 0; the references have one."""
    scores, values, tangent = torch.zeros(5), torch.arange(10.0).view(5, 2), torch.arange(5.0)
    decay = torch.full_like(scores, -0.1) if log_decay else None

    def outputs(x: torch.Tensor, backend: str) -> torch.Tensor:
        return prefix_attention(x, values, log_decay=decay, backend=backend)[0]

    with pytest.raises(RuntimeError, match=r"forward-mode.*backend='definition'"):
        torch.func.jvp(lambda x: outputs(x, "blocks"), (scores,), (tangent,))
    for backend in ("definition", "scan", "recurrence"):
        _, derivative = torch.func.jvp(lambda x, name=backend: outputs(x, name), (scores,), (tangent,))
        assert derivative.abs().max() > 0.1


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")  # in torch, at its first jvp
def test_forward_mode_through_the_state_is_refused_too() -> None:
    """A tangent in any part of the state is refused by a kernel, and right in the step, which the reference takes."""
    scores, values = torch.randn(2, 2), torch.randn(2, 2, 3)
    start = AttentionState.leaf(torch.randn(2).double(), torch.randn(2, 3).double())

    def last(weighted_sum: Tensor, tokens: int) -> Tensor:
        state = AttentionState(start.max_score, start.normalizer, weighted_sum)
        return prefix_attention(scores[:, :tokens], values[:, :tokens], state)[0][:, -1]

    w = start.weighted_sum
    with pytest.raises(RuntimeError, match=r"forward-mode.*backend='definition'"):
        torch.func.jvp(lambda w: last(w, 2), (w,), (torch.ones_like(w),))
    with torch.no_grad(), forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(last(forward_ad.make_dual(w, torch.ones_like(w)), 1)).tangent
    near = (last(w + 0.5, 1) - last(w - 0.5, 1)).double()  # linear in the weighted sum
    torch.testing.assert_close(tangent.double(), near, rtol=1e-5, atol=1e-6)


def test_the_op_itself_reads_nothing_beyond() -> None:
    """Called past the Python face, as a loaded graph calls it, the op still refuses what does not fit."""
    op, back = torch.ops.aaren.prefix_attention, torch.ops.aaren.prefix_attention_backward
    none = (None, None, None, None)
    with pytest.raises(ValueError, match="values: expected shape"):
        op(torch.zeros(1), torch.ones(1 << 22, 4), *none, "native")
    one = AttentionState.identity((1,), 4)
    parts = (one.max_score, one.normalizer, one.weighted_sum)
    with pytest.raises(ValueError, match="state: expected"):
        op(torch.zeros(1 << 20, 1), torch.ones(1 << 20, 1, 4), None, *parts, "native")
    scores, values = torch.zeros(1, 8), torch.ones(1, 8, 4)
    outputs, gain, *final = op(scores, values, *none, "native")
    for wrong in ((outputs[:, :1], gain), (outputs, gain[:, :1])):
        with pytest.raises(ValueError, match="expected shape"):
            back(outputs, None, None, scores, values, *none, *wrong, *final, "native")


def test_a_view_that_negates_has_its_own_numbers() -> None:
    """PyTorch's lazy negation is resolved before a kernel reads memory, in the step too."""
    scores, values, state = (
        torch.randn(2, 1),
        torch.randn(2, 1, 3),
        AttentionState.leaf(torch.ones(2), torch.ones(2, 3)),
    )
    with torch.no_grad():
        negated, _ = prefix_attention(torch._neg_view(scores), torch._neg_view(values), state)
        expected, _ = prefix_attention(-scores, -values, state)
    assert torch.equal(negated, expected)
