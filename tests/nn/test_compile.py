"""Graphs: `torch.compile` without a break and `torch.export`, state in and out, any length."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from aaren.nn import AarenEncoder, AarenEncoderLayer
from aaren.ops import AttentionState


def encoder(decay: str | None = None, layers: int = 2) -> AarenEncoder:
    """A small encoder in evaluation mode."""
    return AarenEncoder(AarenEncoderLayer(8, 2, 16, decay=decay), layers).eval()


def close(one: object, other: object) -> None:
    """Outputs and states are equal but for rounding."""
    leaves = pytree.tree_leaves(one), pytree.tree_leaves(other)
    for a, b in zip(*leaves, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    """Every test compiles for itself."""
    torch.compiler.reset()


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # PyTorch's own, inside its compiler
def test_inductor_compiles_a_layer() -> None:
    """The default compiler gives the numbers of eager execution, state in and out."""
    eager = encoder(layers=1)
    x, state = torch.randn(2, 5, 8), eager.init_state(2)
    with torch.no_grad():
        close(torch.compile(eager, fullgraph=True)(x, state), eager(x, state))


@pytest.mark.compiled
def test_a_compiled_encoder_streams() -> None:
    """One graph without a break gives the same outputs and state: prompt, then chunks and tokens from the state."""
    eager = encoder()
    compiled = torch.compile(eager, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 9, 8)
    with torch.no_grad():
        y, state = compiled(x[:, :5])
        close((y, state), eager(x[:, :5]))
        assert all(isinstance(layer, AttentionState) for layer in state)
        z, after = compiled(x[:, 5:8], state)
        close((z, after), eager(x[:, 5:8], state))
        last, end = compiled(x[:, 8:], after)
        whole, final = eager(x)
        close((last, end), (whole[:, 8:], final))


@pytest.mark.compiled
@pytest.mark.parametrize("decay", [None, "time"])
def test_length_is_dynamic(decay: str | None) -> None:
    """Chunks of every length run without a second compilation after the first dynamic one."""
    eager = encoder(decay)
    compiled = torch.compile(eager, fullgraph=True, dynamic=True, backend="aot_eager")
    state = eager.init_state(2)
    with torch.no_grad():
        compiled(torch.randn(2, 3, 8), state, elapsed=torch.ones(2, 3))
        with torch.compiler.set_stance("fail_on_recompile"):
            for tokens in (2, 7, 40):
                x, elapsed = torch.randn(2, tokens, 8), torch.rand(2, tokens)
                close(compiled(x, state, elapsed=elapsed), eager(x, state, elapsed=elapsed))


@pytest.mark.compiled
def test_gradients_of_a_compiled_encoder(gradients: Callable[[nn.Module], dict[str, Tensor]]) -> None:
    """Compiled training gives the gradients of eager training, with mask, resets and decay."""
    eager = encoder("learned").double()
    compiled = torch.compile(copy.deepcopy(eager), fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    mask, resets = torch.rand(2, 6) < 0.7, torch.rand(2, 6) < 0.3
    found = []
    for module in (eager, compiled):
        y, state = module(x, module.init_state(2), mask, resets=resets)
        (y.square().sum() + state[1].output().sum()).backward()
        found.append(list(gradients(module).values()))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.compiled
@pytest.mark.parametrize("gradient", [True, False])
def test_an_exported_encoder_streams(gradient: bool) -> None:
    """An exported program takes chunks of any length and the state as a pytree, and hands the state on."""
    eager = encoder()
    state = eager.init_state(2)
    shapes = {"x": {1: Dim("tokens", min=1, max=4096)}, "state": tuple([None] * 3 for _ in state)}
    with torch.set_grad_enabled(gradient):
        program = torch.export.export(eager, (torch.randn(2, 5, 8), state), dynamic_shapes=shapes)
        run = program.module()
        x = torch.randn(2, 20, 8)
        expected, final = eager(x)
        outputs = []
        for part in x.split([7, 2, 11], 1):
            y, state = run(part, state)
            assert all(isinstance(layer, AttentionState) for layer in state)
            outputs.append(y)
    close((torch.cat(outputs, 1), state), (expected, final))


@pytest.mark.compiled
def test_an_exported_step_is_one_token() -> None:
    """Exported with one token, the program is a step, and equals the module's own."""
    eager = encoder()
    with torch.no_grad():
        program = torch.export.export(eager, (torch.randn(2, 1, 8), eager.init_state(2)))
        run = program.module()
        state = expected = eager.init_state(2)
        for _ in range(3):
            x = torch.randn(2, 1, 8)
            y, state = run(x, state)
            z, expected = eager(x, expected)
            close((y, state), (z, expected))


@pytest.mark.compiled
def test_an_exported_program_is_saved_and_loaded(tmp_path: Path) -> None:
    """The state survives serialisation as the type it is, and nothing but the state's type need be trusted to load."""
    eager = encoder()
    x, state = torch.randn(2, 5, 8), eager.init_state(2)
    path = tmp_path / "encoder.pt2"
    torch.export.save(torch.export.export(eager, (x, state)), path)
    with torch.serialization.safe_globals([AttentionState]):
        y, after = torch.export.load(path).module()(x, state)
    assert isinstance(after[0], AttentionState)
    close((y, after), eager(x, state))
