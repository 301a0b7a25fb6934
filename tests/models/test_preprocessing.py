"""From rows to tokens and back: calendar, elapsed time, units, JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from forecaster_cases import forecaster, preprocessing

from aaren.data import Scaler, Schema
from aaren.errors import ModelFileError
from aaren.models import Preprocessing

TIMES = np.array(["2024-01-01T00", "2024-01-01T01", "2024-01-01T04", "2024-01-01T04:30"], dtype="datetime64[us]")


def test_elapsed_time_is_in_intervals() -> None:
    """The time since the row before is counted in intervals, 0 for the first row."""
    assert preprocessing().elapsed(TIMES, 4).tolist() == [0, 1, 3, 0.5]


def test_without_time_every_row_is_one_step() -> None:
    """Rows without time are one step apart and have no calendar."""
    plain = Preprocessing(Schema(("OT",)), Scaler(("OT",), np.zeros(1), np.ones(1)))
    assert plain.elapsed(None, 3).tolist() == [0, 1, 1]
    assert plain.elapsed(TIMES, 4).tolist() == [0, 1, 1, 1]
    assert plain.elapsed(None, 0).tolist() == []
    assert plain.features(TIMES, 4).shape == (4, 0)
    assert preprocessing().features(None, 2).shape == (2, 0)


def test_the_calendar_is_sine_and_cosine() -> None:
    """Each calendar name gives two features."""
    features = preprocessing().features(TIMES, 4)
    angle = 2 * np.pi * np.array([0, 1, 4, 4]) / 24
    np.testing.assert_allclose(features, np.stack([np.sin(angle), np.cos(angle)], 1), atol=1e-6)


def test_targets_go_back_to_their_units() -> None:
    """Scaled targets of any leading shape come back by the deviation and mean of their own column."""
    one = preprocessing()
    scaled = np.arange(12.0).reshape(2, 3, 2)
    expected = scaled * one.scaler.deviation[:2] + one.scaler.mean[:2]
    np.testing.assert_allclose(one.to_units(scaled), expected)


def test_json_round_trip() -> None:
    """Preprocessing with and without time comes back from JSON as it was."""
    plain = Preprocessing(Schema(("OT",)), Scaler(("OT",), np.zeros(1), np.ones(1)), irregular=True)
    for one in (preprocessing(), plain):
        again = Preprocessing.from_dict(json.loads(json.dumps(one.to_dict())))
        assert again.to_dict() == one.to_dict()
        assert again.schema == one.schema
        assert (again.calendar, again.interval, again.irregular) == (one.calendar, one.interval, one.irregular)
        np.testing.assert_array_equal(again.scaler.deviation, one.scaler.deviation)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, r"missing or unknown: \['extra'\]"),
        ({"interval_microseconds": 0}, "expected a positive number or null, received 0"),
        ({"interval_microseconds": -5}, "expected a positive number or null, received -5"),
        ({"interval_microseconds": 10**30}, "expected what `save` writes"),
        ({"interval_microseconds": float("inf")}, "expected what `save` writes"),
        ({"interval_microseconds": "1"}, "expected what `save` writes"),
        ({"calendar": ["century"]}, "expected calendar features"),
        ({"calendar": 3}, "expected what `save` writes"),
        ({"schema": []}, "expected a schema"),
        ({"schema": [[]]}, "expected what `save` writes"),
        ({"scaler": None}, "expected what `save` writes"),
        ({"scaler": {"names": ["a"], "mean": [10**400], "deviation": [1]}}, "expected what `save` writes"),
        ({"scaler": {"names": ["a"], "mean": [0], "deviation": [1]}}, "scaler for exactly the inputs of the schema"),
        ({"scaler": {"names": ["OT", "load", "wind"], "mean": [0] * 3, "deviation": [1, 1, 0]}}, "positive deviations"),
    ],
    ids=str,
)
def test_what_save_does_not_write_is_refused(change: dict[str, Any], message: str) -> None:
    """Unknown entries, senseless numbers and parts that do not fit each other are refused."""
    with pytest.raises(ModelFileError, match=message):
        Preprocessing.from_dict({**preprocessing().to_dict(), **change})


@pytest.mark.parametrize("entry", list(preprocessing().to_dict()))
def test_missing_entries_are_refused(entry: str) -> None:
    """An entry that is missing is refused by name."""
    data = {key: value for key, value in preprocessing().to_dict().items() if key != entry}
    with pytest.raises(ModelFileError, match=rf"missing or unknown: \['{entry}'\]"):
        Preprocessing.from_dict(data)


@pytest.mark.parametrize("fields", [{"inputs": 4}, {"targets": 1}, {"calendar": 0}], ids=str)
def test_a_model_takes_no_columns_of_another(fields: dict[str, int]) -> None:
    """A forecaster refuses preprocessing whose numbers of columns are not those of its configuration."""
    with pytest.raises(ValueError, match=r"preprocessing: expected \(inputs, targets, calendar features\) = "):
        forecaster(**fields, preprocessing=preprocessing())
