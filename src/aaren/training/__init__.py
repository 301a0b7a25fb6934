"""Training on a well-kept trainer; needs the extra "train"."""

from aaren.errors import MissingDependencyError

try:
    import lightning as _lightning  # noqa: F401
except ImportError as error:
    raise MissingDependencyError("lightning", "train", "training") from error

from aaren.training._classifier import (
    CLASSIFIER_OPTIONS,
    ClassifierResult,
    classification_data,
    train_classifier,
)
from aaren.training._events import EVENT_OPTIONS, PAPER_OPTIONS, EventResult, event_loss, train_events
from aaren.training._fit import Batch, TrainingData, fit
from aaren.training._forecaster import TrainingResult, forecasting_data, train_forecaster
from aaren.training._options import TrainingOptions
from aaren.training._policy import PolicyResult, policy_data, policy_options, train_policy
from aaren.training._policy_windows import EpisodeWindows
from aaren.training._record import append_record, hardware, save_with_record, versions

__all__ = [
    "CLASSIFIER_OPTIONS",
    "EVENT_OPTIONS",
    "PAPER_OPTIONS",
    "Batch",
    "ClassifierResult",
    "EpisodeWindows",
    "EventResult",
    "PolicyResult",
    "TrainingData",
    "TrainingOptions",
    "TrainingResult",
    "append_record",
    "classification_data",
    "event_loss",
    "fit",
    "forecasting_data",
    "hardware",
    "policy_data",
    "policy_options",
    "save_with_record",
    "train_classifier",
    "train_events",
    "train_forecaster",
    "train_policy",
    "versions",
]
