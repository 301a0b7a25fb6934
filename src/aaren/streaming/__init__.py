"""Live streams: a forecast after every row, state that can be saved and restored."""

from aaren.streaming._predict import forecast_after
from aaren.streaming._prediction import Prediction
from aaren.streaming._snapshot import write_atomically
from aaren.streaming._stream import Stream

__all__ = ["Prediction", "Stream", "forecast_after", "write_atomically"]
