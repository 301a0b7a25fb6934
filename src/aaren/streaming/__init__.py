"""Live streams: a forecast after every row, state that can be saved and restored."""

from aaren.streaming._predict import forecast_after
from aaren.streaming._prediction import Prediction, time_texts
from aaren.streaming._snapshot import write_atomically
from aaren.streaming._stream import Stream

__all__ = ["Prediction", "Stream", "forecast_after", "time_texts", "write_atomically"]
