"""Fixtures of the module tests: encoders of every kind behind one call, with parameters that hide nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from aaren.nn import (
    AarenEncoder,
    AarenEncoderLayer,
    GRUEncoder,
    MinGRUEncoder,
    MinGRUEncoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)

WIDTH = 8
_AAREN = {
    "aaren": {},
    "aaren-norm-first": {"norm_first": True, "activation": "gelu"},
    "aaren-learned-decay": {"decay": "learned"},
    "aaren-time-decay": {"decay": "time"},
}


def _randomised(module: nn.Module) -> nn.Module:
    """The module in float64 and evaluation mode, all parameters random: zero biases would hide mistakes."""
    generator = torch.Generator().manual_seed(7)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.3 * noise)
    return module


def _gradients(module: nn.Module) -> dict[str, Tensor]:
    """Take the gradients of all parameters, zeros where there is none, and clear them."""
    found = {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in module.named_parameters()
    }
    module.zero_grad(set_to_none=True)
    return found


@pytest.fixture(scope="session")
def randomised() -> Callable[[nn.Module], nn.Module]:
    """Give a module random parameters, float64 and evaluation mode."""
    return _randomised


@pytest.fixture(scope="session")
def gradients() -> Callable[[nn.Module], dict[str, Tensor]]:
    """Take and clear the gradients of a module's parameters."""
    return _gradients


@pytest.fixture(scope="session", params=_AAREN)
def aaren_encoder(request: pytest.FixtureRequest) -> nn.Module:
    """Two Aaren layers, of every decay and order of norms."""
    layer = AarenEncoderLayer(WIDTH, 2, 16, **_AAREN[request.param])
    return _randomised(AarenEncoder(layer, 2, norm=nn.LayerNorm(WIDTH) if layer.norm_first else None))


@pytest.fixture(scope="session", params=[*_AAREN, "transformer", "gru", "mingru"])
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    """Two layers of every kind of encoder."""
    if request.param in _AAREN:
        return _randomised(AarenEncoder(AarenEncoderLayer(WIDTH, 2, 16, **_AAREN[request.param]), 2))
    if request.param == "transformer":
        return _randomised(TransformerEncoder(TransformerEncoderLayer(WIDTH, 2, 16), 2))
    if request.param == "mingru":
        return _randomised(MinGRUEncoder(MinGRUEncoderLayer(WIDTH, 16), 2))
    return _randomised(GRUEncoder(WIDTH, 2))


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    """The same random numbers whichever tests ran before; one thread, since threads only wait on such small tensors."""
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """Switch jaxtyping's run-time checks off, so that the library's own messages are what a user would see."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
