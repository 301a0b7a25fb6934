"""Training options: checked when they are made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from training_cases import table

from aaren.evaluation import prepare
from aaren.models import Forecaster
from aaren.training import TrainingOptions, forecasting_data

NAN = float("nan")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        *[
            (name, 0, "a whole number of at least 1, received 0")
            for name in ("epochs", "batch_size", "patience", "stride")
        ],
        ("epochs", 1.5, "a whole number of at least 1, received 1.5"),
        ("epochs", None, "a whole number of at least 1, received None"),
        ("learning_rate", 0.0, r"a positive number of at most 1e\+18, received 0.0"),
        ("learning_rate", NAN, r"a positive number of at most 1e\+18, received nan"),
        ("learning_rate", 1e300, r"a positive number of at most 1e\+18, received 1e\+300"),
        ("learning_rate_decay", -0.5, "a number above 0 and at most 1, received -0.5"),
        ("learning_rate_decay", 1.01, "a number above 0 and at most 1, received 1.01"),
        ("learning_rate_decay", NAN, "a number above 0 and at most 1, received nan"),
        ("weight_decay", -0.1, r"0 to 1e\+18, received -0.1"),
        ("weight_decay", float("inf"), r"0 to 1e\+18, received inf"),
        ("clip", -1.0, r"0 to 1e\+18, received -1.0"),
        ("clip", NAN, r"0 to 1e\+18, received nan"),
        ("warmup_steps", -1, "0 or a whole number of steps, received -1"),
        ("warmup_steps", 0.5, "0 or a whole number of steps, received 0.5"),
        ("optimizer", "sgd", "'adamw' or 'radam', received 'sgd'"),
        ("matmul_precision", "low", "'highest', 'high' or 'medium', received 'low'"),
        ("seed", np.int64(3), "a whole number, received"),
    ],
)
def test_wrong_options_are_refused(field: str, value: Any, message: str, without_shape_checks: None) -> None:
    """An option out of range is refused at once, with what was expected and received."""
    with pytest.raises(ValueError, match=f"^{field}: expected {message}"):
        TrainingOptions(**{field: value})


@pytest.mark.parametrize(
    ("look_back", "normalization", "stride", "expected"),
    [(96, "running", None, 12), (5, "running", None, 1), (96, "window", None, 1), (96, "window", 7, 7)],
)
def test_the_stride_of_windows(look_back: int, normalization: Any, stride: int | None, expected: int) -> None:
    """Windows overlap by seven eighths where every token forecasts, and begin at every row where the last one does."""
    prepared = prepare(table(rows=1200), (0.7, 0.1, 0.2))
    model = Forecaster(
        inputs=1, targets=1, horizon=1, calendar=4, look_back=look_back, normalization=normalization, d_model=8
    )
    train = forecasting_data(model, prepared, TrainingOptions(stride=stride)).train
    assert len(train) == len(range(0, 840 - look_back, expected))
