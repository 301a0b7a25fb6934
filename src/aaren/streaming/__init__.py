"""Live streams, one or many by key: what a model says after every row, and state that can be saved and restored."""

from aaren.streaming._anomaly import Anomaly, AnomalyStream
from aaren.streaming._base import ModelStream
from aaren.streaming._classifier import ClassifierStream, ClassPrediction
from aaren.streaming._classify import classify
from aaren.streaming._drift_report import ColumnDrift, DriftReport, MarkDrift
from aaren.streaming._durable import DurableStreams
from aaren.streaming._event_path import EventPath
from aaren.streaming._event_predict import events_after
from aaren.streaming._event_prediction import EventPrediction
from aaren.streaming._event_stream import EventStream
from aaren.streaming._fleet_drift import FleetDrift, StreamDrift
from aaren.streaming._layout import Field, RecordLayout
from aaren.streaming._open import open_stream
from aaren.streaming._policy_stream import PolicyAction, PolicyStream
from aaren.streaming._pool import StreamPool
from aaren.streaming._pool_gaps import GapBudget
from aaren.streaming._pool_result import PoolResult, RowStatus
from aaren.streaming._predict import forecast_after
from aaren.streaming._prediction import Prediction, time_texts
from aaren.streaming._snapshot import write_atomically
from aaren.streaming._state_store import StateStore
from aaren.streaming._store import StreamStore
from aaren.streaming._stream import Stream
from aaren.streaming._threshold import StreamingTail

__all__ = [
    "Anomaly",
    "AnomalyStream",
    "ClassPrediction",
    "ClassifierStream",
    "ColumnDrift",
    "DriftReport",
    "DurableStreams",
    "EventPath",
    "EventPrediction",
    "EventStream",
    "Field",
    "FleetDrift",
    "GapBudget",
    "MarkDrift",
    "ModelStream",
    "PolicyAction",
    "PolicyStream",
    "PoolResult",
    "Prediction",
    "RecordLayout",
    "RowStatus",
    "StateStore",
    "Stream",
    "StreamDrift",
    "StreamPool",
    "StreamStore",
    "StreamingTail",
    "classify",
    "events_after",
    "forecast_after",
    "open_stream",
    "time_texts",
    "write_atomically",
]
