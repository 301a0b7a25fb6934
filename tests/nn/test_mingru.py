"""minGRU: the paper's recurrence, one token after another, is what the parallel form must equal."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aaren.nn import MinGRU, MinGRUEncoder, MinGRUEncoderLayer
from aaren.nn._mingru import BLOCK, linear_recurrence

WIDTH = 6
LENGTHS = [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5, BLOCK * BLOCK + 70]
Randomise = Callable[[nn.Module], nn.Module]
Gradients = Callable[[nn.Module], dict[str, Tensor]]


def paper(
    layer: MinGRU, x: Tensor, h: Tensor, mask: Tensor | None = None, resets: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Section 3.1 of arXiv 2410.01201, token by token: gate, candidate by g, hidden state, output."""
    w_z, w_h = layer.in_proj.weight.chunk(2)
    b_z, b_h = (0, 0) if layer.in_proj.bias is None else layer.in_proj.bias.chunk(2)
    outputs = []
    for k in range(x.shape[1]):
        if resets is not None:
            h = torch.where(resets[:, k, None], 0, h)
        z = torch.sigmoid(x[:, k] @ w_z.T + b_z)
        candidate = x[:, k] @ w_h.T + b_h
        candidate = torch.where(candidate >= 0, candidate + 0.5, torch.sigmoid(candidate))
        after = (1 - z) * h + z * candidate
        h = after if mask is None else torch.where(mask[:, k, None], after, h)
        outputs.append(layer.out_proj(h))
    return torch.stack(outputs, 1), h


def inputs(batch: int, tokens: int, hidden: int = WIDTH) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, a state that a sequence may have left, and weights of a loss, in float64."""
    x, weights = 2 * torch.randn(2, batch, tokens, WIDTH, dtype=torch.float64)
    return x, 3 * torch.rand(batch, hidden, dtype=torch.float64), weights


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("expansion", [1, 2])
@pytest.mark.parametrize("tokens", LENGTHS)
def test_mingru_is_the_paper(
    tokens: int, expansion: int, bias: bool, randomised: Randomise, gradients: Gradients
) -> None:
    """From any state, outputs, final state and all gradients are those of the sequential recurrence."""
    layer = randomised(MinGRU(WIDTH, expansion, bias))
    x, begun, weights = inputs(2, tokens, WIDTH * expansion)
    mask, resets = torch.rand(2, tokens) < 0.7, torch.rand(2, tokens) < 0.1
    for extra in ({}, {"mask": mask}, {"resets": resets}, {"mask": mask, "resets": resets}):
        found = []
        for form in (layer, partial(paper, layer)):
            leaf, state = x.clone().requires_grad_(), begun.clone().requires_grad_()
            y, after = form(leaf, state, **extra)
            ((y * weights).sum() + after.square().sum()).backward()
            found.append(((y, after), (leaf.grad, state.grad, gradients(layer))))
        torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=1e-10)
        torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-9, atol=1e-9)


def test_a_sequence_begins_with_zeros(randomised: Randomise) -> None:
    """No state, `init_state` and a hidden state of zeros are the same beginning, to the bit."""
    layer = randomised(MinGRU(WIDTH, 2))
    x, _, _ = inputs(2, 40)
    expected = layer(x)
    for start in (layer.init_state(2), torch.zeros(2, 2 * WIDTH, dtype=torch.float64)):
        torch.testing.assert_close(layer(x, start), expected, rtol=0, atol=0)
    torch.testing.assert_close(paper(layer, x, layer.init_state(2)), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("tokens", LENGTHS)
def test_the_recurrence_is_the_papers_scan_in_log_space(tokens: int) -> None:
    """Where it is defined, the cumulated sum of logarithms that the paper publishes gives the same states."""
    gate, candidate, start = torch.randn(2, tokens, 5), torch.rand(2, tokens, 5) + 0.1, torch.rand(2, 5) + 0.1
    gate, candidate, start = gate.double(), candidate.double(), start.double()
    log_terms = torch.cat([start.log()[:, None], F.logsigmoid(gate) + candidate.log()], 1)
    log_factors = F.pad(F.logsigmoid(-gate).cumsum(1), (0, 0, 1, 0))
    expected = (log_factors + (log_terms - log_factors).logcumsumexp(1)).exp()[:, 1:]
    states = linear_recurrence(torch.sigmoid(-gate), torch.sigmoid(gate) * candidate, start)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("lengths", [[1] * 100, [BLOCK, BLOCK, 36], [33, 0, 1, 66], [99, 1]], ids=str)
def test_any_partition_gives_the_same(lengths: list[int], randomised: Randomise, gradients: Gradients) -> None:
    """Chunks of any lengths give outputs, final states and gradients of one call, from a state on and through it."""
    encoder = randomised(MinGRUEncoder(MinGRUEncoderLayer(WIDTH, 8, expansion=2), 2))
    x, *states = (inputs(2, 100)[0], *(inputs(2, 0, 2 * WIDTH)[1] for _ in range(2)))
    weights = torch.randn_like(x)
    found = []
    for cuts in ([100], lengths):
        leaves = [leaf.clone().requires_grad_() for leaf in (x, *states)]
        state, outputs = tuple(leaves[1:]), []
        for part in leaves[0].split(cuts, 1):
            y, state = encoder(part, state)
            outputs.append(y)
        y = torch.cat(outputs, 1)
        ((y * weights).sum() + sum(hidden.square().sum() for hidden in state)).backward()
        found.append((y.detach(), [h.detach() for h in state], [leaf.grad for leaf in leaves], gradients(encoder)))
    torch.testing.assert_close(found[1][:2], found[0][:2], rtol=0, atol=1e-10)
    torch.testing.assert_close(found[1][2:], found[0][2:], rtol=1e-9, atol=1e-9)


def test_the_layer_is_that_of_aaren(randomised: Randomise) -> None:
    """The output of minGRU is added to the input token, then norm, feed-forward and norm; or the norms come first."""
    x, state, _ = inputs(2, 7)
    for norm_first in (False, True):
        layer = randomised(MinGRUEncoderLayer(WIDTH, 10, norm_first=norm_first))
        if norm_first:
            z = x + paper(layer.self_attn, layer.norm1(x), state)[0]
            expected = z + layer.linear2(layer.linear1(layer.norm2(z)).relu())
        else:
            z = layer.norm1(x + paper(layer.self_attn, x, state)[0])
            expected = layer.norm2(z + layer.linear2(layer.linear1(z).relu()))
        torch.testing.assert_close(layer(x, state)[0], expected)


@pytest.mark.parametrize("junk", [0.0, 1e30, torch.nan, torch.inf])
def test_masked_is_deleted_over_many_blocks(junk: float, randomised: Randomise, gradients: Gradients) -> None:
    """Outputs, state and gradients are those of the sequence without its masked tokens, whatever stands there."""
    encoder = randomised(MinGRUEncoder(MinGRUEncoderLayer(WIDTH, 8), 2))
    x, _, weights = inputs(1, 100)
    mask = torch.rand(1, 100) < 0.5
    mask[0, BLOCK : 2 * BLOCK] = False
    state = encoder(inputs(1, 3)[0])[1]
    state = tuple(hidden.detach() for hidden in state)
    y, after = encoder(x.masked_fill(~mask[..., None], junk), state, mask)
    (y * weights)[mask].sum().backward()
    found = gradients(encoder)
    z, expected = encoder(x[mask][None], state)
    (z * weights[mask]).sum().backward()
    torch.testing.assert_close((y[mask], after), (z[0], expected), rtol=0, atol=1e-10)
    torch.testing.assert_close(found, gradients(encoder), rtol=1e-9, atol=1e-9)


def test_masked_tokens_leave_the_state_to_the_bit(randomised: Randomise) -> None:
    """A masked token leaves every bit of the state as it was, and its output is the state's."""
    layer = randomised(MinGRU(WIDTH))
    x, state, _ = inputs(2, 70)
    y, after = layer(x, state, torch.zeros(2, 70, dtype=torch.bool))
    assert torch.equal(after, state)
    torch.testing.assert_close(y, layer.out_proj(state)[:, None].expand_as(y))


@pytest.mark.parametrize("starts", [[], [0], [5], [31, 32, 33], [0, 10, 64, 99]], ids=str)
def test_resets_are_separate_sequences(starts: list[int], randomised: Randomise, gradients: Gradients) -> None:
    """A row with resets gives outputs, gradients and final state of its sequences, each run alone."""
    encoder = randomised(MinGRUEncoder(MinGRUEncoderLayer(WIDTH, 8), 2))
    x, _, weights = inputs(1, 100)
    state = tuple(hidden.detach() for hidden in encoder(inputs(1, 3)[0])[1])
    resets = torch.zeros(1, 100, dtype=torch.bool)
    resets[0, starts] = True
    y, after = encoder(x, state, resets=resets)
    (y * weights).sum().backward()
    found = gradients(encoder)
    parts, last = [], state
    for begin, end in itertools.pairwise(sorted({0, *starts, 100})):
        z, last = encoder(x[:, begin:end], None if begin in starts else state)
        parts.append(z)
    expected = torch.cat(parts, 1)
    (expected * weights).sum().backward()
    torch.testing.assert_close((y, after), (expected, last), rtol=0, atol=1e-10)
    torch.testing.assert_close(found, gradients(encoder), rtol=1e-9, atol=1e-9)


def test_a_masked_token_may_carry_a_reset(randomised: Randomise, gradients: Gradients) -> None:
    """A reset at a masked token starts the new sequence all the same; until its first token the state is 0.

    NaN behind the mask reaches no gradient.
    """
    layer = randomised(MinGRU(WIDTH))
    x, state, _ = inputs(1, 5)
    mask, resets = torch.tensor([[1, 1, 0, 1, 1]]).bool(), torch.tensor([[0, 0, 1, 0, 0]]).bool()
    y, after = layer(x.masked_fill(~mask[..., None], torch.nan), state, mask, resets=resets)
    alone, last = layer(x[:, 3:])
    torch.testing.assert_close((y[:, 3:], after), (alone, last))
    torch.testing.assert_close(y[0, 2], layer.out_proj.bias)
    y.sum().backward()
    assert all(gradient.isfinite().all() for gradient in gradients(layer).values())


def test_gradcheck(randomised: Randomise) -> None:
    """Gradients to inputs, state and parameters are those of finite differences, second ones too."""
    layer = randomised(MinGRU(3))
    x = torch.randn(2, BLOCK + 2, 3, dtype=torch.float64, requires_grad=True)
    state = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, BLOCK + 2) < 0.7
    resets = torch.rand(2, BLOCK + 2) < 0.1
    names = [name for name, _ in layer.named_parameters()]

    def call(x: Tensor, state: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(layer, given, (x, state, mask), {"resets": resets})

    leaves = (x, state, *layer.parameters())
    assert torch.autograd.gradcheck(call, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, leaves, fast_mode=True)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4, 1e30])
def test_outputs_and_gradients_are_finite(scale: float) -> None:
    """Inputs of any size, hence gates that are exactly 0 or 1, give finite outputs, states and gradients."""
    layer = MinGRU(8)
    x = (scale * torch.randn(2, 100, 8)).requires_grad_()
    y, state = layer(x)
    (y / max(scale, 1.0)).sum().backward()
    assert y.isfinite().all()
    assert state.isfinite().all()
    assert x.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_float32_is_near_float64() -> None:
    """Over five thousand tokens float32 differs from float64 by rounding only, in outputs and gradients."""
    layer = MinGRU(16)
    x = torch.randn(1, 5000, 16)
    found = []
    for dtype in (torch.float32, torch.float64):
        leaf = x.to(dtype).requires_grad_()
        y, _ = layer.to(dtype)(leaf)
        (dx,) = torch.autograd.grad(y.square().sum(), leaf)
        found.append((y.double(), dx.double()))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_module_has_the_dtype_it_is_made_with(dtype: torch.dtype) -> None:
    """`dtype` reaches every parameter and the outputs; the state is kept in float32 at least."""
    encoder = MinGRUEncoder(MinGRUEncoderLayer(8, 16, dtype=dtype), 2).eval()
    assert {parameter.dtype for parameter in encoder.parameters()} == {dtype}
    kept = torch.promote_types(dtype, torch.float32)
    assert {hidden.dtype for hidden in encoder.init_state(2)} == {kept}
    for start in (None, encoder.init_state(2)):
        y, state = encoder(torch.randn(2, 5, 8, dtype=dtype), start)
        assert y.dtype == dtype
        assert {hidden.dtype for hidden in state} == {kept}


def test_a_state_is_small_and_its_own() -> None:
    """The state holds memory for itself alone, not for the hidden states of all tokens."""
    _, (state,) = MinGRUEncoder(MinGRUEncoderLayer(8, 16), 1)(torch.randn(2, 50, 8))
    assert state.untyped_storage().nbytes() == state.numel() * state.element_size()


def test_a_state_dict_comes_back() -> None:
    """A state dict loads into another encoder, which then gives the same bits."""
    one, other = (MinGRUEncoder(MinGRUEncoderLayer(8, 16, expansion=2), 2).eval() for _ in range(2))
    x = torch.randn(2, 40, 8)
    assert not torch.equal(one(x)[0], other(x)[0])
    other.load_state_dict(one.state_dict(), strict=True)
    assert torch.equal(one(x)[0], other(x)[0])


def test_counts() -> None:
    """A minGRU has 3 weights for each pair of an input and a hidden number, and without bias nothing else."""
    assert sum(parameter.numel() for parameter in MinGRU(8, 2, bias=False).parameters()) == 3 * 8 * 16
    assert sum(parameter.numel() for parameter in MinGRU(8, 2).parameters()) == 3 * 8 * 16 + 2 * 16 + 8
    assert not any("bias" in name for name, _ in MinGRUEncoderLayer(8, 16, bias=False).named_parameters())
