"""Training on a well-kept trainer; needs the extra "train"."""

from aaren.errors import MissingDependencyError

try:
    import lightning as _lightning  # noqa: F401
except ImportError as error:
    raise MissingDependencyError("lightning", "train", "training") from error

from aaren.training._fit import TrainingOptions, fit
from aaren.training._record import append_record, hardware, versions
from aaren.training._train import TrainingResult, train_forecaster

__all__ = ["TrainingOptions", "TrainingResult", "append_record", "fit", "hardware", "train_forecaster", "versions"]
