"""What the layers hold: counts of the paper, names of PyTorch, initial draws, dropout."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aaren.nn import (
    Aaren,
    AarenEncoder,
    AarenEncoderLayer,
    CausalSelfAttention,
    GRUEncoder,
    MinGRUEncoder,
    MinGRUEncoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)


def count(module: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def test_counts_are_those_of_the_paper() -> None:
    """A layer of width 512 has 3,152,896 parameters as Aaren, 512 more than as a Transformer."""
    assert count(AarenEncoderLayer(512, 8, 2048)) == 3_152_896
    assert count(TransformerEncoderLayer(512, 8, 2048)) == 3_152_384
    assert count(nn.TransformerEncoderLayer(512, 8, 2048)) == 3_152_384


def test_decay_adds_one_rate_for_each_head() -> None:
    """A decay costs `num_heads` parameters and nothing else."""
    plain, learned, timed = (count(Aaren(16, 4, decay=decay)) for decay in (None, "learned", "time"))
    assert learned == timed == plain + 4


def test_bias_false_removes_every_bias() -> None:
    """Without biases a layer has the weights, the norms' scales and the query token."""
    names = {name for name, _ in AarenEncoderLayer(8, 2, 16, bias=False).named_parameters()}
    assert not any("bias" in name for name in names)
    reference = {name for name, _ in nn.TransformerEncoderLayer(8, 2, 16, bias=False).named_parameters()}
    assert names == reference | {"self_attn.query"}


def test_a_torch_state_dict_fits_but_for_the_query() -> None:
    """A checkpoint of `torch.nn.TransformerEncoderLayer` loads; only the query token is missing."""
    theirs = nn.TransformerEncoderLayer(16, 4, 32).state_dict()
    missing, unexpected = AarenEncoderLayer(16, 4, 32).load_state_dict(theirs, strict=False)
    assert missing == ["self_attn.query"]
    assert unexpected == []
    TransformerEncoderLayer(16, 4, 32).load_state_dict(theirs, strict=True)


@pytest.mark.parametrize("activation", ["relu", "gelu", F.silu])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_the_baseline_is_the_layer_of_torch(
    activation: str | Callable[[Tensor], Tensor],
    norm_first: bool,
    bias: bool,
    randomised: Callable[[nn.Module], nn.Module],
    gradients: Callable[[nn.Module], dict[str, Tensor]],
) -> None:
    """With the same parameters, outputs and gradients are those of PyTorch's layer under a causal mask."""
    options = {"activation": activation, "norm_first": norm_first, "bias": bias}
    theirs = randomised(nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=True, **options)).train()
    ours = randomised(TransformerEncoderLayer(16, 4, 32, 0.0, **options)).train()
    ours.load_state_dict(theirs.state_dict())
    x, weights = torch.randn(2, 3, 6, 16, dtype=torch.float64)
    causal = nn.Transformer.generate_square_subsequent_mask(6, dtype=torch.float64)
    expected = theirs(x, src_mask=causal, is_causal=True)
    y, _ = ours(x)
    torch.testing.assert_close(y, expected)
    (expected * weights).sum().backward()
    (y * weights).sum().backward()
    torch.testing.assert_close(gradients(ours), gradients(theirs))


@pytest.mark.parametrize("attention", [Aaren(64, 4), CausalSelfAttention(64, 4), nn.MultiheadAttention(64, 4)])
def test_attention_starts_as_in_torch(attention: nn.Module) -> None:
    """Projections start uniform within Xavier's bound, biases at 0, as in `torch.nn.MultiheadAttention`."""
    bound = (6 / (3 * 64 + 64)) ** 0.5
    assert 0.99 * bound < attention.in_proj_weight.abs().max() <= bound
    assert attention.in_proj_weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert not attention.in_proj_bias.any()
    assert not attention.out_proj.bias.any()


@pytest.mark.parametrize(
    "stack",
    [
        AarenEncoder(AarenEncoderLayer(8, 2, 16, decay="learned"), 3),
        TransformerEncoder(TransformerEncoderLayer(8, 2, 16), 3),
        MinGRUEncoder(MinGRUEncoderLayer(8, 16), 3),
    ],
)
def test_every_copy_draws_its_own_weights(stack: nn.Module) -> None:
    """No two layers of an encoder start from the same weights, in any matrix or query."""
    drawn = [
        {name: p for name, p in layer.named_parameters() if p.dim() == 2 or name.endswith("query")}
        for layer in stack.layers
    ]
    for one, other in itertools.combinations(drawn, 2):
        assert all(not torch.equal(one[name], other[name]) for name in one)


def test_the_layer_that_is_copied_stays_as_it_is() -> None:
    """An encoder copies its layer; the original keeps its weights and shares none."""
    layer = AarenEncoderLayer(8, 2, 16)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    encoder = AarenEncoder(layer, 2)
    torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)
    mine = {parameter.data_ptr() for parameter in layer.parameters()}
    assert mine.isdisjoint(parameter.data_ptr() for parameter in encoder.parameters())


def test_the_last_norm_is_applied() -> None:
    """`norm` acts on the encoder's outputs and on nothing else."""
    norm = nn.LayerNorm(8, elementwise_affine=False)
    encoder = AarenEncoder(AarenEncoderLayer(8, 2, 16, norm_first=True), 2, norm=norm).eval()
    x = torch.randn(2, 5, 8)
    y, state = encoder(x)
    encoder.norm = None
    plain, plain_state = encoder(x)
    torch.testing.assert_close(y, norm(plain))
    torch.testing.assert_close(state[1].weighted_sum, plain_state[1].weighted_sum)


@pytest.mark.parametrize(
    "module",
    [
        AarenEncoder(AarenEncoderLayer(8, 2, 16, dropout=0.5), 2),
        TransformerEncoder(TransformerEncoderLayer(8, 2, 16, dropout=0.5), 2),
        GRUEncoder(8, 2, dropout=0.5),
        MinGRUEncoder(MinGRUEncoderLayer(8, 16, dropout=0.5), 2),
    ],
)
def test_dropout_acts_in_training_only(module: nn.Module) -> None:
    """Two calls differ in training and agree to the bit in evaluation."""
    x = torch.randn(2, 5, 8)
    module.train()
    assert not torch.equal(module(x)[0], module(x)[0])
    module.eval()
    assert torch.equal(module(x)[0], module(x)[0])


def test_dropout_of_masked_gru_layers_stands_between_them() -> None:
    """With a mask, too, dropout acts in training, on what the second layer reads and not on the first one's state."""
    module, x, mask = (
        GRUEncoder(8, 2, dropout=0.5),
        torch.randn(2, 5, 8),
        torch.tensor([[True] * 5, [True, False] * 2 + [True]]),
    )
    before = module.eval()(x, mask=mask)[1]
    (y, state), (z, _) = module.train()(x, mask=mask), module(x, mask=mask)
    assert not torch.equal(y, z)
    torch.testing.assert_close(state[:, 0], before[:, 0])
    assert not torch.allclose(state[:, 1], before[:, 1])


def test_one_gru_layer_has_no_dropout() -> None:
    """Dropout stands between GRU layers, so one layer has none (and no warning of it)."""
    module = GRUEncoder(8, 1, dropout=0.5).train()
    x = torch.randn(2, 5, 8)
    assert torch.equal(module(x)[0], module(x)[0])
