"""Live streams: a forecast after every row, state that can be saved and restored."""

from aaren.streaming._prediction import Prediction
from aaren.streaming._stream import Stream

__all__ = ["Prediction", "Stream"]
