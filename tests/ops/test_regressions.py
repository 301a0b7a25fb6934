"""Named regressions: five published mistakes, each written out and each refused by the check that ours passes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from operator_cases import FAST
from torch import Tensor

from aaren.ops import prefix_attention

Form = Callable[[Tensor, Tensor], Tensor]


def no_rescaling(s: Tensor, v: Tensor) -> Tensor:
    """exp(s - running maximum), summed up without rescaling the older terms when the maximum moves."""
    weights = torch.exp(s - s.cummax(-1).values)
    return (weights[..., None] * v).cumsum(-2) / weights.cumsum(-1)[..., None]


def added_epsilon(s: Tensor, v: Tensor) -> Tensor:
    """The right weights without a maximum, divided by a normaliser to which 1e-8 was added."""
    weights = torch.exp(s)
    return (weights[..., None] * v).cumsum(-2) / (weights.cumsum(-1)[..., None] + 1e-8)


def global_maximum(s: Tensor, v: Tensor) -> Tensor:
    """One maximum for the whole sequence: a prefix far below it underflows to 0 / 0."""
    weights = torch.exp(s - s.amax(-1, keepdim=True))
    return (weights[..., None] * v).cumsum(-2) / weights.cumsum(-1)[..., None]


def zero_start(s: Tensor, v: Tensor) -> Tensor:
    """The RNN cell with m_0 = 0 instead of -inf."""
    m, u, w, outputs = torch.zeros_like(s[..., 0]), 0.0, torch.zeros_like(v[..., 0, :]), []
    for k in range(s.shape[-1]):
        new = torch.maximum(m, s[..., k])
        old_scale, new_scale = torch.exp(m - new), torch.exp(s[..., k] - new)
        u, w = u * old_scale + new_scale, w * old_scale[..., None] + new_scale[..., None] * v[..., k, :]
        m = new
        outputs.append(w / u[..., None])
    return torch.stack(outputs, -2)


def reject(form: Form, deviation: float, shift: float = 0.0, tokens: int = 50) -> float:
    """The largest error of a float32 form against the float64 definition; raises if it is above 1e-5 or NaN."""
    g = torch.Generator().manual_seed(0)
    s, v = shift + deviation * torch.randn(4, tokens, generator=g), torch.randn(4, tokens, 3, generator=g)
    expected, _ = prefix_attention(s.double(), v.double(), backend="definition")
    error = (form(s, v) - expected).abs().max().item()
    assert error <= 1e-5, f"error {error}"
    return error


@pytest.mark.parametrize(
    ("form", "deviation", "shift", "message"),
    [
        (no_rescaling, 0.1, 0.0, r"error 0\.\d"),
        (no_rescaling, 3.0, 0.0, r"error [1-9]"),
        (added_epsilon, 1.0, -12.0, r"error 0\.\d|error \d"),
        (global_maximum, 60.0, 0.0, "error nan"),
        (zero_start, 1.0, -120.0, "error nan"),
    ],
)
def test_published_mistakes_are_refused(form: Form, deviation: float, shift: float, message: str) -> None:
    """The accuracy check refuses each of the published forms, on inputs that a model does produce."""
    with pytest.raises(AssertionError, match=message):
        reject(form, deviation, shift)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(("deviation", "shift"), [(0.1, 0.0), (3.0, 0.0), (1.0, -12.0), (60.0, 0.0), (1.0, -120.0)])
def test_ours_pass_where_they_fail(backend: str, deviation: float, shift: float) -> None:
    """Every backend passes the same check on the same inputs."""
    reject(lambda s, v: prefix_attention(s, v, backend=backend)[0], deviation, shift)


def test_each_mistake_is_right_somewhere() -> None:
    """The forms are the published ones and not plain nonsense: on harmless scores the check accepts the other three."""
    for form in (added_epsilon, global_maximum, zero_start):
        assert reject(form, 0.1) <= 1e-5
    assert reject(no_rescaling, 0.0) <= 1e-5


def test_log_sum_exp_in_float32_drifts_on_a_long_stream() -> None:
    """A float32 (lse, mean) between steps is off by more than 1e-2 after 1e6 tokens; our kept state is not."""
    numpy = pytest.importorskip("numpy")
    scores = numpy.random.default_rng(0).normal(0, 1.5, 1_000_000)
    single = numpy.logaddexp.accumulate(scores.astype(numpy.float32), dtype=numpy.float32)[-1]
    exact = numpy.logaddexp.reduce(scores)
    state = None
    for chunk in torch.from_numpy(scores).float().chunk(1000):
        _, state = prefix_attention(chunk, chunk[:, None], state)
    assert abs(single - exact) > 1e-2
    assert abs(state.lse().item() - exact) < 1e-6
