"""Configurations: checked when they are made, plain data in JSON, refused with a reason."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from aaren.errors import ModelFileError
from aaren.models import Forecaster, ForecasterConfig

LEAST: dict[str, Any] = {"inputs": 3, "targets": 2, "horizon": 4}
FULL = ForecasterConfig(
    inputs=5,
    targets=2,
    horizon=7,
    calendar=4,
    look_back=33,
    encoder="aaren",
    d_model=24,
    nhead=3,
    num_layers=5,
    dim_feedforward=17,
    dropout=0.25,
    activation="relu",
    norm_first=True,
    decay="time",
    positions="learned",
    normalization="window",
    half_life=2.5,
    highway=9,
    quantiles=(0.05, 0.5),
)
WRONG: list[tuple[dict[str, Any], str]] = [
    *[
        ({name: value}, rf"{name}: expected a whole number of at least 1, received {value!r}")
        for name in ("inputs", "targets", "horizon", "look_back", "d_model", "nhead", "num_layers", "dim_feedforward")
        for value in (0, -3)
    ],
    *[({"d_model": value}, rf"d_model: expected a whole number .*, received {value!r}") for value in (8.0, True, "8")],
    ({"positions": "learned"}, "positions: expected None or 'sinusoidal' with normalization='running'"),
    ({"calendar": -1}, "calendar: expected a whole number of at least 0, received -1"),
    ({"highway": -1}, "highway: expected a whole number of at least 0, received -1"),
    ({"targets": 4}, "targets: expected at most inputs = 3, received 4"),
    ({"dropout": 1.0}, "dropout: expected 0 <= dropout < 1, received 1.0"),
    ({"dropout": -0.1}, "dropout: expected .*, received -0.1"),
    ({"dropout": float("nan")}, "dropout: expected .*, received nan"),
    ({"encoder": "lstm"}, "encoder: expected one of 'aaren', 'transformer', 'gru', 'mingru', received"),
    ({"activation": "tanh"}, "activation: expected one of 'relu', 'gelu', received 'tanh'"),
    ({"decay": "fast"}, "decay: expected one of None, 'learned', 'time', received 'fast'"),
    ({"decay": "time", "encoder": "gru"}, "decay: expected None for encoder 'gru', received 'time'"),
    ({"decay": "time", "encoder": "mingru"}, "decay: expected None for encoder 'mingru', received 'time'"),
    ({"decay": "learned", "encoder": "transformer"}, "decay: expected None for encoder 'transformer', received 'lea"),
    ({"positions": "rotary"}, "positions: expected one of None, 'sinusoidal', 'learned', received 'rotary'"),
    ({"normalization": "batch"}, "normalization: expected one of 'running', 'window', received 'batch'"),
    ({"half_life": 0.0}, "half_life: expected a positive number of tokens, received 0.0"),
    ({"half_life": float("nan")}, "half_life: expected a positive number of tokens, received nan"),
    ({"quantiles": (0.0, 0.5)}, r"quantiles: expected ascending levels between 0 and 1, received \(0.0, 0.5\)"),
    ({"quantiles": (0.5, 1.0)}, "quantiles: expected .*, received"),
    ({"quantiles": (0.9, 0.1)}, "quantiles: expected .*, received"),
    ({"quantiles": (0.1, 0.1)}, "quantiles: expected .*, received"),
    ({"quantiles": (float("nan"),)}, "quantiles: expected .*, received"),
]


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(("fields", "message"), WRONG, ids=[str(fields) for fields, _ in WRONG])
def test_a_wrong_field_is_refused_with_what_was_expected(fields: dict[str, Any], message: str) -> None:
    """A field out of range is refused when the configuration is made, with what was expected and received."""
    with pytest.raises(ValueError, match=message):
        ForecasterConfig(**{**LEAST, **fields})


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(("fields", "message"), WRONG, ids=[str(fields) for fields, _ in WRONG])
def test_a_wrong_field_in_a_file_is_a_model_file_error(fields: dict[str, Any], message: str) -> None:
    """The same field in a file is refused as a damaged file, with the same reason."""
    with pytest.raises(ModelFileError, match=message):
        ForecasterConfig.from_dict({**ForecasterConfig(**LEAST).to_dict(), **fields})


def test_every_field_survives_json() -> None:
    """A configuration whose fields all differ from the defaults comes back from JSON as it was."""
    plain = ForecasterConfig(**LEAST)
    default = {name for name in plain.to_dict() if getattr(plain, name) == getattr(FULL, name)}
    assert default == {"encoder", "targets"}  # decay needs Aaren; the targets have no default
    for config in (plain, FULL):
        assert ForecasterConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.usefixtures("without_shape_checks")
def test_a_list_of_quantiles_is_a_tuple_of_quantiles() -> None:
    """Quantiles given as a list make the same, hashable configuration."""
    levels: Any = [0.1, 0.9]
    config = ForecasterConfig(**LEAST, quantiles=levels)
    assert config == ForecasterConfig(**LEAST, quantiles=(0.1, 0.9))
    assert hash(config) == hash(ForecasterConfig.from_dict(config.to_dict()))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(ForecasterConfig)])
def test_a_missing_entry_is_refused_by_name(name: str) -> None:
    """An entry that is missing, one with a default included, is refused by name."""
    data = FULL.to_dict()
    del data[name]
    with pytest.raises(ModelFileError, match=rf"missing or unknown: \['{name}'\]"):
        ForecasterConfig.from_dict(data)


def test_an_unknown_entry_is_refused_by_name() -> None:
    """An entry of a later version is refused by name, not ignored."""
    with pytest.raises(ModelFileError, match=r"missing or unknown: \['heads'\]"):
        ForecasterConfig.from_dict({**FULL.to_dict(), "heads": 3})


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("value", ["x", {"x": 1}, [[]], [None]])
@pytest.mark.parametrize("name", ["half_life", "quantiles", "dropout", "encoder", "inputs", "decay"])
def test_an_entry_of_another_type_is_a_model_file_error(name: str, value: Any) -> None:
    """Text, objects and nested lists where a number or a choice belongs are refused as a damaged file."""
    with pytest.raises(ModelFileError, match="configuration: "):
        ForecasterConfig.from_dict({**ForecasterConfig(**LEAST).to_dict(), name: value})


def test_a_forecaster_takes_a_configuration_or_fields() -> None:
    """Fields by name are a configuration; both at once, or nothing, are refused."""
    assert Forecaster(**LEAST).config == ForecasterConfig(**LEAST)
    with pytest.raises(TypeError, match="expected either a ForecasterConfig or its fields"):
        Forecaster(ForecasterConfig(**LEAST), **LEAST)
    with pytest.raises(TypeError, match="expected either a ForecasterConfig or its fields"):
        Forecaster()


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"nhead": 3}, "nhead: expected a divisor of the width 64"), ({"d_model": 7, "nhead": 1}, "even width")],
)
def test_sizes_that_do_not_fit_each_other_are_refused(fields: dict[str, Any], message: str) -> None:
    """Heads that do not divide the width, and odd widths with sinusoidal positions, make no model."""
    with pytest.raises(ValueError, match=message):
        Forecaster(**LEAST, **fields, positions="sinusoidal")
