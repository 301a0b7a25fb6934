"""Forecasts follow the level and the unit of their series, as far as the normalisation promises it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from forecaster_cases import ENCODERS, SMALL, forecaster, inputs, name
from torch import Tensor

from aaren.models import Forecaster, ForecasterState

CASES = [{**encoder, "highway": highway, "quantiles": (0.2, 0.8)} for encoder in ENCODERS for highway in (0, 5)]
SCALE = torch.tensor([30.0, 0.7, 2.0])
SHIFT = torch.tensor([-400.0, 5.0, 60.0])


def changed(values: Tensor) -> Tensor:
    """The same series in other units."""
    return values * SCALE + SHIFT


def moved(quantity: Tensor) -> Tensor:
    """The same forecast of the targets in other units; the targets are the first channels."""
    return quantity * SCALE[: SMALL["targets"]] + SHIFT[: SMALL["targets"]]


@pytest.mark.parametrize("case", CASES, ids=name)
def test_a_window_is_normalised_by_itself(case: dict[str, Any]) -> None:
    """With "window", a scaled and shifted window has the scaled and shifted forecast, missing values included."""
    model = forecaster(**case, normalization="window").double()
    arguments = {key: tensor.double() for key, tensor in inputs(3, 12, missing=0.2).items()}
    arguments["values"] = arguments["values"] * 50  # the constant under the root must not matter
    before, _ = model(**arguments)
    after, _ = model(**{**arguments, "values": changed(arguments["values"])})
    torch.testing.assert_close(after.mean, moved(before.mean), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(
        after.quantiles, moved(before.quantiles.transpose(-1, -2)).transpose(-1, -2), rtol=1e-4, atol=1e-3
    )


def warm(model: Forecaster, past: Tensor) -> ForecasterState:
    """A state whose running norm has seen the past and whose other parts have not."""
    seen = torch.ones_like(past, dtype=torch.bool)
    return model.init_state(len(past))._replace(norm=model.norm(past, seen)[2])


@pytest.mark.parametrize("case", CASES, ids=name)
def test_the_running_norm_follows_once_it_has_forgotten_training(case: dict[str, Any]) -> None:
    """With "running", the same holds as soon as the training statistics have faded."""
    model = forecaster(**case, half_life=5.0).double()
    generator = torch.Generator().manual_seed(1)
    past = 50 * torch.randn(2, 400, 3, generator=generator, dtype=torch.float64)
    arguments = {key: tensor.double() for key, tensor in inputs(2, 8, missing=0.2).items()}
    arguments["values"] = arguments["values"] * 50
    before, _ = model(**arguments, state=warm(model, past))
    after, _ = model(**{**arguments, "values": changed(arguments["values"])}, state=warm(model, changed(past)))
    torch.testing.assert_close(after.mean, moved(before.mean), rtol=1e-4, atol=1e-2)


def test_the_running_norm_starts_from_the_training_statistics() -> None:
    """Without a past, a wild first value is judged by the training statistics: the forecast follows it in part."""
    model = forecaster(calendar=0)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    forecast, _ = model(torch.full((1, 1, 3), 90.0))
    fade = 2 ** (-1 / SMALL["look_back"])  # 8 tokens of mean 0, one token older, beside one of 90
    torch.testing.assert_close(forecast.mean, torch.full((1, 1, 4, 2), 90 / (1 + 8 * fade)))


def test_missing_values_do_not_move_the_running_mean() -> None:
    """Values that are missing neither move nor age the mean that a head of zeros forecasts: as if they were deleted."""
    model = forecaster(calendar=0)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    values = inputs(1, 10)["values"] + 3
    gaps = values.clone()
    gaps[:, [2, 5, 6]] = torch.nan
    kept = values[:, [0, 1, 3, 4, 7, 8, 9]]
    torch.testing.assert_close(model(gaps)[0].mean[:, -1], model(kept)[0].mean[:, -1])


def test_half_life_is_the_look_back_unless_given() -> None:
    """`half_life=None` means the look-back."""
    values = inputs(1, 12)["values"]
    same = [forecaster(calendar=0, half_life=half_life)(values)[0].mean for half_life in (None, 12.0, 3.0)]
    assert torch.equal(same[0], same[1])
    assert not torch.allclose(same[0], same[2])


def test_window_statistics_by_hand() -> None:
    """A head of zeros forecasts the mean of the window's known values."""
    model = forecaster(calendar=0, normalization="window")
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    values = inputs(2, 9, missing=0.4)["values"]
    forecast, _ = model(values)
    expected = values.nanmean(1)[:, None, None, : SMALL["targets"]].expand_as(forecast.mean)
    torch.testing.assert_close(forecast.mean, expected)
    with torch.no_grad():
        model.head.bias.fill_(1.0)
    deviation = forecaster(calendar=0, normalization="window")
    deviation.load_state_dict(model.state_dict())
    known = values[..., : SMALL["targets"]]
    spread = ((known - known.nanmean(1, keepdim=True)).square().nanmean(1) + 1e-5).sqrt()[:, None, None]
    torch.testing.assert_close(deviation(values)[0].mean, expected + spread)
