"""The single native call of a pool of forecasters: it is the model's own forward, and steps aside where it must."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aaren import Forecaster, StreamPool
from aaren.data import Scaler, Schema
from aaren.models import FusedForecast, Preprocessing
from aaren.nn import LinearHighway
from aaren.nn._fused_step import LARGEST_INPUT
from aaren.ops import NativeForecaster, check_finite

NAMES, HOUR, START = ("x", "y", "z"), np.timedelta64(3600, "s"), np.datetime64("2026-01-01", "us")


def forecaster(*, irregular: bool = False, **fields: Any) -> Forecaster:
    """Two targets, one covariate, hourly, in units that are not those of the training deviation."""
    schema = Schema(NAMES[:2], NAMES[2:], ("date",))
    scaler = Scaler(NAMES, np.array([1.0, -20.0, 3.0]), np.array([0.5, 7.0, 1.0]))
    between = Preprocessing(schema, scaler, ("hour_of_day",), HOUR.astype("timedelta64[us]"), irregular)
    sizes = {"look_back": 12, "horizon": 5, "d_model": 12, "nhead": 2, "num_layers": 2, "dim_feedforward": 20}
    torch.manual_seed(3)
    model = Forecaster(preprocessing=between, inputs=3, targets=2, calendar=2, **{**sizes, **fields}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def rows(step: int, count: int) -> tuple[list[str], dict[str, Any]]:
    """The rows of that many streams at a step; some cells are missing, the whole first row too."""
    numbers = np.random.default_rng(step).standard_normal((count, 3)) * [0.5, 7.0, 1.0] + [1.0, -20.0, 3.0]
    cells: list[list[float | None]] = numbers.tolist()
    cells[0] = [None] * 3
    for place in range(step % 3, count, 3):
        cells[place][place % 3] = None
    columns = dict(zip(NAMES, map(list, zip(*cells, strict=True)), strict=True))
    return [f"stream {place}" for place in range(count)], {"date": [START + step * HOUR] * count, **columns}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Rows of each native call."""
    made: list[int] = []
    native = NativeForecaster.step

    def counted(self: Any, values: Any, *others: Any) -> None:
        made.append(len(values))
        native(self, values, *others)

    monkeypatch.setattr(NativeForecaster, "step", counted)
    return made


def long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on every call is the model's own forward."""
    monkeypatch.setattr(FusedForecast, "step", lambda *_: None)


def alike(left: StreamPool, right: StreamPool, said: Any, expected: Any) -> None:
    """Forecasts and states are the same, to the rounding of float32."""
    assert said.arrays.keys() == expected.arrays.keys()
    for name in ("mean", "quantiles"):
        np.testing.assert_allclose(said.arrays[name], expected.arrays[name], rtol=2e-4, atol=2e-4)
    for name in ("warming_up", "time"):
        assert (said.arrays[name] == expected.arrays[name]).all()
    keys = left.keys()
    ours, theirs = torch.from_numpy(left.records(keys)), torch.from_numpy(right.records(keys))
    for field in left.layout.fields:
        torch.testing.assert_close(field.of(ours), field.of(theirs), rtol=2e-4, atol=2e-4, equal_nan=True)


CASES: list[dict[str, Any]] = [
    {},
    {"highway": 4},
    {"highway": 1, "quantiles": (0.1, 0.5, 0.9)},
    {"quantiles": (0.5,), "norm_first": True, "decay": "learned"},
    {"positions": "sinusoidal", "activation": "relu", "half_life": 3.0},
    {"decay": "time", "irregular": True, "highway": 3},
]


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_native_is_the_models_own(
    case: dict[str, Any], count: int, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forecasts, quantiles in order, and every number of the records agree; every row took the single call."""
    model = forecaster(**case)
    pool, other = model.pool(count), model.pool(count)
    for step in range(7):
        keys, columns = rows(step, count)
        said = pool.update(keys, columns)
        assert steps == [count] * (step + 1)
        with monkeypatch.context() as patch:
            long_way(patch)
            expected = other.update(keys, columns)
        assert (np.diff(said.arrays["quantiles"], axis=-1) >= 0).all()
        alike(pool, other, said, expected)


def test_a_row_has_the_same_bits_in_any_company(steps: list[int]) -> None:
    """What a stream says and keeps does not depend on which rows came with its own, to the last bit."""
    model = forecaster(highway=4, quantiles=(0.1, 0.9))
    together, alone = model.pool(9), model.pool(9)
    for step in range(4):
        keys, columns = rows(step, 9)
        said = together.update(keys, columns)
        for place, key in enumerate(keys):
            own = alone.update([key], {name: [cells[place]] for name, cells in columns.items()})
            assert own.arrays["mean"].tobytes() == said.arrays["mean"][place].tobytes()
    assert together.records(keys).tobytes() == alone.records(keys).tobytes()
    assert len(steps) == 4 * 10


def scale_head(model: Forecaster) -> None:
    model.head.weight.data = model.head.weight.data * 1.5


def replace_embedding(model: Forecaster) -> None:
    model.embed = nn.Linear(8, 12)


def other_half_life(model: Forecaster) -> None:
    model.norm.half_life = 1.0


def replace_highway(model: Forecaster) -> None:
    model.highway = LinearHighway(4, 5)
    nn.init.normal_(model.highway.weight)


def other_layer(model: Forecaster) -> None:
    with torch.no_grad():
        model.encoder.layers[1].linear1.weight.mul_(2)


@pytest.mark.parametrize(
    "change",
    [scale_head, replace_embedding, other_half_life, replace_highway, other_layer],
    ids=lambda one: one.__name__,
)
def test_a_changed_model_is_seen(
    change: Callable[[Forecaster], None], steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever changes in a model between two rows counts from the next row on, still in a single call."""
    model = forecaster(highway=4)
    pool, other = model.pool(3), model.pool(3)
    for one in (pool, other):
        one.update(*rows(1, 3))
    change(model)
    said = pool.update(*rows(2, 3))
    assert steps == [3, 3, 3]
    long_way(monkeypatch)
    alike(pool, other, said, other.update(*rows(2, 3)))


def hook(model: Forecaster) -> None:
    model.head.register_forward_hook(lambda module, inputs, output: 2 * output)


def hook_model(model: Forecaster) -> None:
    model.register_forward_pre_hook(lambda module, inputs: None)


def forward_of_its_own(model: Forecaster) -> None:
    forward = model.forward
    model.forward = lambda *arguments, **options: forward(*arguments, **options)  # type: ignore[method-assign]


def subclass(model: Forecaster) -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    model.head = Doubled(12, 10)


def another_norm(model: Forecaster) -> None:
    model.encoder.norm = nn.RMSNorm(12)


def parametrize(model: Forecaster) -> None:
    nn.utils.parametrizations.weight_norm(model.embed)


@pytest.mark.parametrize(
    "change",
    [hook, hook_model, forward_of_its_own, subclass, another_norm, parametrize],
    ids=lambda one: one.__name__,
)
def test_steps_aside_for_what_it_does_not_know(
    change: Callable[[Forecaster], None], steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks, subclasses, modules of another kind and parametrisations take the model's own forward."""
    model = forecaster()
    pool, other = model.pool(3), model.pool(3)
    for one in (pool, other):
        one.update(*rows(1, 3))
    assert len(steps) == 2
    change(model)
    said = pool.update(*rows(2, 3))
    assert len(steps) == 2
    long_way(monkeypatch)
    alike(pool, other, said, other.update(*rows(2, 3)))


def test_steps_aside_for_checks_autocast_large_batches_and_other_encoders(steps: list[int]) -> None:
    """Those that ask for PyTorch's own operations get them, and large batches its products of matrices."""
    model = forecaster()
    pool = model.pool(LARGEST_INPUT)
    with check_finite():
        pool.update(*rows(1, 3))
    with torch.autocast("cpu"):
        pool.update(*rows(2, 3))
    pool.update(*rows(3, LARGEST_INPUT // 12 + 1))
    forecaster(encoder="gru").pool(3).update(*rows(1, 3))
    assert not steps
    pool.update(*rows(4, LARGEST_INPUT // 12 // 2))
    assert steps


def split_heads(model: Forecaster) -> None:
    for layer in model.encoder.layers:
        layer.self_attn.num_heads, layer.self_attn.head_dim = 4, 3


def shorter_highway(model: Forecaster) -> None:
    assert model.highway is not None
    model.highway.rows = 2


@pytest.mark.parametrize("change", [split_heads, shorter_highway], ids=lambda one: one.__name__)
def test_a_model_that_does_not_fit_the_records_is_an_error(
    change: Callable[[Forecaster], None], steps: list[int]
) -> None:
    """Heads or rows of another number than the records have room for: the model's error, not a write."""
    model = forecaster(highway=4)
    pool = model.pool(3)
    pool.update(*rows(1, 3))
    before = pool.records(pool.keys()).tobytes()
    change(model)
    with pytest.raises(Exception, match=r"state|expected|shape"):
        pool.update(*rows(2, 3))
    assert len(steps) == 1
    assert pool.records(pool.keys()).tobytes() == before


def test_numbers_beyond_float32_keep_nothing(steps: list[int]) -> None:
    """A row after which the forecast is no number is refused, and the record is what it was, byte for byte."""
    model = forecaster()
    with torch.no_grad():
        model.head.weight.mul_(1e38).mul_(1e3)
    pool = model.pool(2)
    result = pool.update(*rows(1, 2))
    assert steps == [2]
    assert result.errors.keys() == {0, 1}
    assert not len(pool)


def test_arrays_of_another_size_are_refused(without_shape_checks: None) -> None:
    """The native call reads and writes within its arrays, or says what it expected."""
    model = forecaster()
    pool = model.pool(2)
    pool.update(*rows(1, 2))
    fused, records = pool._form._fused, pool.records(pool.keys())  # type: ignore[attr-defined]
    right = (np.zeros((2, 3)), np.zeros((2, 2), np.float32), np.zeros(2, np.float32), None)
    with torch.no_grad():
        assert fused.step(*right, records) is not None
        for place in range(3):
            wrong = [array[:1] if place == index and array is not None else array for index, array in enumerate(right)]
            if place:
                with pytest.raises(ValueError, match="array: expected"):
                    fused.step(*wrong, records)
        with pytest.raises(ValueError, match="array: expected"):
            fused.step(*right, records[:1])


@pytest.fixture
def wide_default() -> Iterator[None]:
    """What is made without a dtype is float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_default_dtype_changes_nothing(steps: list[int], request: pytest.FixtureRequest) -> None:
    """A pool made under another default dtype has the same records, and says the same to the last bit."""
    model = forecaster(highway=4)
    pool = model.pool(3)
    expected = [pool.update(*rows(step, 3)).arrays["mean"].tobytes() for step in range(3)]
    request.getfixturevalue("wide_default")
    other = model.pool(3)
    assert [other.update(*rows(step, 3)).arrays["mean"].tobytes() for step in range(3)] == expected
    assert other.records(pool.keys()).tobytes() == pool.records(pool.keys()).tobytes()
    assert len(steps) == 6


def test_numbers_of_another_dtype_are_not_touched(steps: list[int]) -> None:
    """Records that hold a part of the state in another dtype take the model's own forward."""
    model = forecaster(highway=4)
    layout = model.pool(2).layout
    right = {name: (field.offset, field.dtype, field.shape) for name, field in layout.state_fields().items()}
    records = np.tile(np.frombuffer(layout.initial, np.uint8), (2, 1))
    arrays = (np.zeros((2, 3)), np.zeros((2, 2), np.float32), np.zeros(2, np.float32), None)
    assert model.preprocessing is not None
    scaler = model.preprocessing.scaler
    with torch.no_grad():
        for name, (offset, _, shape) in right.items():
            wrong = {**right, name: (offset, "float16", shape)}
            assert FusedForecast(model, scaler, wrong, layout.record_bytes).step(*arrays, records) is None
        assert not steps
        assert FusedForecast(model, scaler, right, layout.record_bytes).step(*arrays, records) is not None


def test_a_copy_of_a_pool_goes_its_own_way(steps: list[int]) -> None:
    """A deep copy goes on from the same states, with a model of its own."""
    pool = forecaster(highway=4).pool(3)
    pool.update(*rows(1, 3))
    other = copy.deepcopy(pool)
    with torch.no_grad():
        pool.model.get_parameter("head.bias").add_(1)
    said, expected = other.update(*rows(2, 3)), pool.update(*rows(2, 3))
    assert (np.abs(said.arrays["mean"] - expected.arrays["mean"]) > 0.1).all()
    alike(pool, other, expected, expected)
    assert steps == [3, 3, 3]
