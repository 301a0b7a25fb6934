"""The options that all verbs of `aaren train` have: the encoder's sizes, how to train, what to print."""

# annotations are values here, not text: cyclopts would look for their names in the module of a subclass
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from aaren._matmul_precision import MatmulPrecision

Flag = Parameter(negative=())
Absent = Parameter(parse=False)  # the verb has no such option; the field keeps its default

Precision = Literal["32-true", "bf16-mixed"]
_SIZES = ("d_model", "nhead", "num_layers", "dim_feedforward", "dropout")
_TRAINING = (
    *("epochs", "batch_size", "learning_rate", "learning_rate_decay", "warmup_steps", "patience", "seed"),
    *("accelerator", "precision", "matmul_precision", "compile"),
)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options with the defaults of a forecaster; a subclass has those of another verb, and its words where they differ.

    The command line takes the options from the fields, in their order, and the help from the docstrings.

    Parameters
    ----------
    d_model
        Width.
    nhead
        Heads; a divisor of the width.
    num_layers
        Layers.
    dim_feedforward
        Width of the feed-forward networks.
    dropout
        Dropout probability.
    epochs
        Passes over the training part, at most.
    batch_size
        Sequences in a step.
    learning_rate
        Of the first epoch.
    learning_rate_decay
        Factor after each epoch.
    patience
        Epochs without improvement before stopping.
    seed
        Decides weights, order and dropout.
    accelerator
        "auto", "cpu" or "gpu".
    precision
        "32-true" or "bf16-mixed".
    matmul_precision
        Of float32 products. On CPUs with AVX-512, "medium" lets PyTorch take oneDNN in place of MKL: on AMD processors
        twice as fast and as exact; on Intel processors with AMX it is bfloat16. `aaren doctor` measures it.
    compile
        Run the encoder through torch.compile; needs a C++ compiler and some minutes at the start.
    resume
        Go on from the last checkpoint in the folder, if there is one; a training that ended well leaves none.
    json
        Print the whole record as one JSON line instead of a table.
    """

    d_model: int = 64
    nhead: int = 4
    num_layers: int = 2
    dim_feedforward: int = 256
    dropout: float = 0.1
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    learning_rate_decay: float = 0.8
    warmup_steps: Annotated[int | None, Absent] = None
    patience: int = 3
    seed: int = 0
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    precision: Precision = "32-true"
    matmul_precision: MatmulPrecision = "highest"
    compile: Annotated[bool, Flag] = False
    resume: Annotated[bool, Flag] = False
    json: Annotated[bool, Flag] = False

    def sizes(self) -> dict[str, Any]:
        """Fields of the configuration of any encoder."""
        return {name: getattr(self, name) for name in _SIZES}

    def training(self) -> dict[str, Any]:
        """Fields of `TrainingOptions`, without those that are left to the library."""
        fields = {name: getattr(self, name) for name in _TRAINING}
        return {name: value for name, value in fields.items() if value is not None}
