"""Every kind of forecaster: shapes, one call for any chunk, no look into the future, missing values without a trace."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from forecaster_cases import ALL, ENCODERS, RUNNING, SMALL, forecaster, inputs, name, part
from torch.utils import _pytree as pytree

from aaren.models import Forecast, Forecaster

BATCH, TOKENS = 2, 10
PLAIN = {"calendar": 0, "encoder": "gru"}
AT_THE_ENDS = [{**e, "highway": h, "quantiles": (0.2, 0.8)} for e in ENCODERS for h in (0, 5)]
BOTH = [{**case, "normalization": n} for case in AT_THE_ENDS for n in ("running", "window")]


@pytest.mark.parametrize("case", ALL, ids=name)
def test_shapes(case: dict[str, Any]) -> None:
    """Every combination of options forecasts (horizon, targets) at every token, or once for a whole window."""
    model = forecaster(**case)
    forecast, state = model(**inputs(BATCH, TOKENS, missing=0.2))
    tokens = TOKENS if case["normalization"] == "running" else 1
    assert forecast.mean.shape == (BATCH, tokens, SMALL["horizon"], SMALL["targets"])
    assert forecast.quantiles.shape == (*forecast.mean.shape, len(case["quantiles"]))
    assert forecast.mean.isfinite().all()
    assert forecast.quantiles.isfinite().all()
    assert state.position.tolist() == [TOKENS] * BATCH
    assert state.highway.shape == (BATCH, case["highway"], SMALL["targets"])


@pytest.mark.parametrize("case", RUNNING, ids=name)
def test_a_token_alone_is_the_long_way(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One token in float32 without gradients, with NumPy around the modules, says what PyTorch alone says."""
    model, arguments = forecaster(**case), inputs(BATCH, TOKENS, missing=0.3)
    state = long = model.init_state(BATCH)
    for k in range(TOKENS):
        token = part(arguments, k, k + 1)
        with torch.no_grad():
            assert model._is_one_token(token["values"], token.get("calendar"), token.get("elapsed"))
            said, state = model(**token, state=state)
            with monkeypatch.context() as patch:
                patch.setattr(model, "_is_one_token", lambda *given: False)
                expected, long = model(**token, state=long)
        for one, other in zip(pytree.tree_leaves((said, state)), pytree.tree_leaves((expected, long)), strict=True):
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("case", RUNNING, ids=name)
def test_any_cut_gives_the_same(case: dict[str, Any]) -> None:
    """In one call, in chunks, or token by token from `init_state`: the same forecasts and the same state."""
    model = forecaster(**case).double()
    arguments = {key: tensor.double() for key, tensor in inputs(BATCH, TOKENS, missing=0.3).items()}
    with torch.no_grad():
        expected, after = model(**arguments)
        for edges in ([0, 3, 4, 10], list(range(TOKENS + 1))):
            state, pieces = model.init_state(BATCH), []
            for start, stop in itertools.pairwise(edges):
                piece, state = model(**part(arguments, start, stop), state=state)
                pieces.append(piece)
            torch.testing.assert_close(torch.cat([p.mean for p in pieces], 1), expected.mean)
            torch.testing.assert_close(torch.cat([p.quantiles for p in pieces], 1), expected.quantiles)
            leaves = zip(pytree.tree_leaves(state), pytree.tree_leaves(after), strict=True)
            for one, other in leaves:
                torch.testing.assert_close(one, other, equal_nan=True)


@pytest.mark.parametrize("case", AT_THE_ENDS, ids=name)
def test_the_future_changes_no_earlier_forecast(case: dict[str, Any]) -> None:
    """Other rows after a token, wild or missing ones included, leave its forecast and those before as they were."""
    model = forecaster(**case)
    arguments = inputs(BATCH, TOKENS)
    changed = {key: tensor.clone() for key, tensor in arguments.items()}
    changed["values"][:, 6] = 1e4
    changed["values"][:, 7:] = torch.nan
    changed["calendar"][:, 6:] += 5
    changed["elapsed"][:, 6:] += 3
    with torch.no_grad():
        before, after = model(**arguments)[0], model(**changed)[0]
    torch.testing.assert_close(after.mean[:, :6], before.mean[:, :6])
    torch.testing.assert_close(after.quantiles[:, :6], before.quantiles[:, :6])
    assert (after.mean[:, 6] - before.mean[:, 6]).abs().max() > 1


@pytest.mark.parametrize("case", BOTH, ids=name)
def test_missing_values_leave_no_trace_in_gradients(case: dict[str, Any]) -> None:
    """NaN among the inputs and in the future gives finite gradients, and none to the missing values."""
    model = forecaster(**case)
    arguments = inputs(BATCH, TOKENS, missing=0.3)
    arguments["values"][:, :, 2] = torch.nan
    values = arguments["values"].requires_grad_()
    forecast, _ = model(**arguments)
    future = torch.randn_like(forecast.mean)
    future[..., ::2, :] = torch.nan
    model.loss(forecast, future).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    assert values.grad is not None
    assert values.grad[values.isnan()].eq(0).all()
    assert values.grad[~values.isnan()].abs().max() > 0


@pytest.mark.parametrize("normalization", ["running", "window"])
def test_infinity_is_a_missing_value(normalization: str) -> None:
    """Infinity among the inputs counts as missing, exactly as NaN does."""
    model = forecaster(**PLAIN, normalization=normalization, highway=3)
    values = inputs(missing=0.3)["values"]
    infinite = values.nan_to_num(nan=torch.inf)
    assert infinite.isinf().any()
    torch.testing.assert_close(model(infinite)[0].mean, model(values)[0].mean, rtol=0, atol=0)


@pytest.mark.parametrize("case", BOTH, ids=name)
def test_nothing_but_missing_values(case: dict[str, Any]) -> None:
    """A channel without any value, and a series without any, have finite forecasts."""
    model = forecaster(**case)
    arguments = inputs(BATCH, TOKENS)
    arguments["values"][0, :, 0] = torch.nan
    arguments["values"][1] = torch.nan
    forecast, _ = model(**arguments)
    assert forecast.mean.isfinite().all()
    assert forecast.quantiles.isfinite().all()


@pytest.mark.parametrize("case", RUNNING[::5], ids=name)
def test_series_of_a_batch_do_not_meet(case: dict[str, Any]) -> None:
    """A series alone has the forecasts that it has beside another one."""
    model = forecaster(**case)
    arguments = inputs(BATCH, TOKENS, missing=0.2)
    both = model(**arguments)[0].mean
    alone = model(**{key: tensor[1:] for key, tensor in arguments.items()})[0].mean
    torch.testing.assert_close(both[1:], alone)


def test_elapsed_time_counts_where_decay_is_of_time() -> None:
    """Elapsed time changes the forecasts of `decay="time"` and no others."""
    arguments = inputs()
    slower = {**arguments, "elapsed": 7 * arguments["elapsed"]}
    for encoder in ENCODERS:
        model = forecaster(**encoder)
        same = torch.equal(model(**arguments)[0].mean, model(**slower)[0].mean)
        assert same == (encoder.get("decay") != "time")


@pytest.mark.parametrize("encoder", ["transformer", "gru", "mingru"])
def test_models_differ_in_the_encoder_alone(encoder: str) -> None:
    """Configurations that differ in `encoder` build models that differ in the encoder's parameters alone."""
    extras = {"positions": "learned", "normalization": "window", "highway": 5, "quantiles": (0.5,)}

    def outside(model: Forecaster) -> dict[str, torch.Size]:
        return {key: x.shape for key, x in model.state_dict().items() if not key.startswith("encoder.")}

    aaren, other = Forecaster(**SMALL, **extras, encoder="aaren"), Forecaster(**SMALL, **extras, encoder=encoder)
    assert outside(aaren) == outside(other)
    assert len(outside(aaren)) == 6
    assert aaren.encoder.state_dict().keys() != other.encoder.state_dict().keys()


@pytest.mark.parametrize("encoder", ENCODERS, ids=name)
def test_a_window_is_forecast_from_its_last_token(encoder: dict[str, Any]) -> None:
    """With "window" the last token has a say in the one forecast, as has the first one."""
    model = forecaster(**encoder, normalization="window")
    arguments = inputs()
    before = model(**arguments)[0].mean
    for token in (0, -1):
        changed = arguments["calendar"].clone()
        changed[:, token] += 3
        assert (model(**{**arguments, "calendar": changed})[0].mean - before).abs().max() > 1e-3


def test_a_state_is_where_its_model_is() -> None:
    """Every tensor of `init_state`, the running norm's included, lies on the device of the weights."""
    model = forecaster(highway=3).to("meta")
    assert {leaf.device.type for leaf in pytree.tree_leaves(model.init_state(2))} == {"meta"}


@pytest.mark.usefixtures("without_shape_checks")
def test_wrong_calls_are_refused() -> None:
    """Wrong shapes, missing calendar features, a missing elapsed time or a foreign state are refused with a reason."""
    model = forecaster(**PLAIN)
    values = torch.zeros(2, 5, 3)
    for wrong in (values[0], values[..., :2], values[:, :0]):
        with pytest.raises(ValueError, match=r"values: expected shape \(batch, tokens >= 1, 3\), received"):
            model(wrong)
    with pytest.raises(ValueError, match="calendar: expected 0 features for each token, received 1"):
        model(values, torch.zeros(2, 5, 1))
    with pytest.raises(ValueError, match="calendar: expected 2 features for each token, received 0"):
        forecaster()(values)
    with pytest.raises(ValueError, match=r"elapsed: expected the time .*, received None"):
        forecaster(calendar=0, decay="time")(values)
    with pytest.raises(ValueError, match=r"elapsed: expected shape \(batch, tokens\) = \(2, 5\), received \(2, 4\)"):
        forecaster(calendar=0)(values, elapsed=torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"state: expected .* received"):
        model(values, state=model.init_state(3))
    with pytest.raises(ValueError, match=r"state: expected .* received"):
        model(values, state=forecaster(calendar=0, encoder="gru", d_model=16).init_state(2))
    window = forecaster(calendar=0, normalization="window")
    with pytest.raises(ValueError, match="state: expected None with normalization='window'"):
        window(values, state=window.init_state(2))


def test_learned_positions_end_with_the_look_back() -> None:
    """A window that is longer than learned positions is refused, not wrapped around."""
    model = forecaster(**PLAIN, positions="learned", normalization="window")
    model(torch.zeros(1, SMALL["look_back"], 3))
    with pytest.raises(ValueError, match="positions: expected less than 12, received 12"):
        model(torch.zeros(1, SMALL["look_back"] + 1, 3))


def test_quantiles_never_cross() -> None:
    """Forecast quantiles ascend, although the head's own numbers do not."""
    model = forecaster(quantiles=(0.1, 0.5, 0.9))
    raw: list[torch.Tensor] = []
    model.head.register_forward_hook(lambda module, args, output: raw.append(output.view(2, 10, 4, 2, 4)[..., 1:]))
    forecast: Forecast = model(**inputs())[0]
    assert (raw[0].diff(dim=-1) < 0).any()
    assert (forecast.quantiles.diff(dim=-1) >= 0).all()


def test_dropout_is_for_training() -> None:
    """Dropout acts in training mode and not in evaluation mode."""
    model = forecaster(dropout=0.5)
    arguments = inputs()
    assert torch.equal(model(**arguments)[0].mean, model(**arguments)[0].mean)
    model.train()
    assert not torch.equal(model(**arguments)[0].mean, model(**arguments)[0].mean)
