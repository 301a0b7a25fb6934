"""Training on a well-kept trainer; needs the extra "train"."""

from aaren.errors import MissingDependencyError

try:
    import lightning as _lightning  # noqa: F401
except ImportError as error:
    raise MissingDependencyError("lightning", "train", "training") from error

from aaren.training._fit import Batch, TrainingData, fit
from aaren.training._forecaster import TrainingResult, forecasting_data, train_forecaster
from aaren.training._options import TrainingOptions
from aaren.training._policy import PolicyResult, policy_data, policy_options, train_policy
from aaren.training._policy_windows import EpisodeWindows
from aaren.training._record import append_record, hardware, save_with_record, versions

__all__ = [
    "Batch",
    "EpisodeWindows",
    "PolicyResult",
    "TrainingData",
    "TrainingOptions",
    "TrainingResult",
    "append_record",
    "fit",
    "forecasting_data",
    "hardware",
    "policy_data",
    "policy_options",
    "save_with_record",
    "train_forecaster",
    "train_policy",
    "versions",
]
