"""Models: inputs, an encoder, a head, and the directory that they are saved in."""

from aaren.models._config import ForecasterConfig
from aaren.models._directory import check_tensors
from aaren.models._forecaster import Forecast, Forecaster, ForecasterState, future_of
from aaren.models._load import load
from aaren.models._preprocessing import Preprocessing

__all__ = [
    "Forecast",
    "Forecaster",
    "ForecasterConfig",
    "ForecasterState",
    "Preprocessing",
    "check_tensors",
    "future_of",
    "load",
]
