"""Law 10: `torch.compile` without a graph break and `torch.export` with the state as a pytree."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from operator_cases import random_case
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from aaren.ops import AttentionState, prefix_attention

pytestmark = pytest.mark.compiled

Results = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    """No compiled code of another test, and no warnings about PyTorch's own use of its old names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\..*")
        warnings.filterwarnings("ignore", message=r".*torch\.jit\..*", category=DeprecationWarning)
        torch.compiler.reset()
        yield
        torch.compiler.reset()


def function(s: Tensor, v: Tensor, decay: Tensor, m: Tensor, u: Tensor, w: Tensor) -> Results:
    mask = s > -1.0
    outputs, state = prefix_attention(s, v, AttentionState(m, u, w), log_decay=decay, mask=mask)
    return outputs, state.output(), state.lse()


def inputs(tokens: int) -> list[Tensor]:
    case = random_case((2,), tokens, 4, seed=tokens, decay=True, state=True, dtype=torch.float32)
    tensors = [case.scores, case.values, case.log_decay, *vars(case.state).values()]
    return [x.requires_grad_() for x in tensors]


def with_gradients(run: object, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    found = run(*leaves)
    return *found, *torch.autograd.grad(sum(x.sin().sum() for x in found), leaves)


@pytest.mark.parametrize("dynamic", [None, True])
def test_compiled_gives_the_same_numbers(dynamic: bool | None) -> None:
    """One graph, forward and backward, gives the numbers of the eager call, for several lengths."""
    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic)
    for tokens in (5, 64, 33, 300):
        for a, b in zip(
            with_gradients(compiled, inputs(tokens)), with_gradients(function, inputs(tokens)), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_another_length_does_not_compile_again() -> None:
    """With dynamic shapes one compilation serves every length above one."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=counter)
    for tokens in (5, 17, 64, 2, 300):
        compiled(*inputs(tokens))
    assert counter.frame_count == 1


@pytest.mark.parametrize("backend", ["scan", "definition"])
def test_references_compile(backend: str) -> None:
    """The references, being plain PyTorch, compile too."""

    def call(s: Tensor, v: Tensor) -> Tensor:
        return prefix_attention(s, v, backend=backend)[0]

    case = random_case((2,), 20, 3)
    outputs = torch.compile(call, fullgraph=True, backend="aot_eager")(case.scores, case.values)
    torch.testing.assert_close(outputs, call(case.scores, case.values), rtol=1e-10, atol=1e-10)


def test_single_steps_compile() -> None:
    """The streaming path, one token without gradient, is one graph as well."""
    case = random_case((2,), 6, 3)

    def call(s: Tensor, v: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        return prefix_attention(s, v, state)

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    state, outputs = AttentionState.identity((2,), 3), []
    with torch.no_grad():
        for k in range(6):
            token = case.tokens(k, k + 1)
            output, state = compiled(token.scores, token.values, state)
            outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, -2), case.call("definition")[0], rtol=1e-11, atol=1e-11)


class Layer(torch.nn.Module):
    """A small module with the library's call shape."""

    def forward(self, scores: Tensor, values: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        """One call of the operator."""
        return prefix_attention(scores, values, state)


@pytest.mark.parametrize("grad", [True, False])
def test_export_with_state_in_and_out(grad: bool) -> None:
    """An exported program takes a state and gives one, for any number of tokens, and carries a stream on."""
    case = random_case((2,), 50, 3, state=True, dtype=torch.float32)
    tokens = torch.export.Dim("tokens", min=2, max=4096)
    shapes = ({1: tokens}, {1: tokens}, [None, None, None])
    example = random_case((2,), 8, 3, dtype=torch.float32)
    with torch.set_grad_enabled(grad):
        program = torch.export.export(Layer(), (example.scores, example.values, case.state), dynamic_shapes=shapes)
    run, state, outputs = program.module(), case.state, []
    for start, stop in ((0, 8), (8, 11), (11, 50)):
        part = case.tokens(start, stop)
        output, state = run(part.scores, part.values, state)
        assert isinstance(state, AttentionState)
        outputs.append(output)
    expected, final = case.call("definition")
    torch.testing.assert_close(torch.cat(outputs, -2), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state.lse(), final.lse(), rtol=1e-6, atol=1e-6)
