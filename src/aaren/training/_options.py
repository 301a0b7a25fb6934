"""How to train: plain data, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from aaren._matmul_precision import MatmulPrecision

LARGEST = 1e18
"""Of any number here: far beyond use, and the product of two is still one that float32 holds."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Args:
        epochs: passes over the training part, at most.
        batch_size: samples in a step.
        optimizer: "adamw" or "radam", both with decoupled weight decay.
        learning_rate: in the first epoch, once warmed up.
        learning_rate_decay: factor after each epoch, at most 1 (the paper's forecasting protocol has 0.5).
        warmup_steps: steps over which the learning rate rises evenly to its full value; 0 for none.
        weight_decay: decoupled, as in AdamW.
        patience: epochs without a better validation score before stopping.
        clip: largest norm of the gradient; 0 for no limit.
        stride: of a forecaster, rows between the starts of two training windows; None is 1 for windows that give one
            forecast, and an eighth of the look-back for those that give one at every token.
        seed: decides initial weights, order of windows and dropout.
        accelerator: "auto", "cpu", "gpu", ... as Lightning names them.
        precision: "32-true", "bf16-mixed", ... as Lightning names them.
        matmul_precision: of float32 products during the fit, whatever the process has set: "highest", "high" or
            "medium", as `torch.set_float32_matmul_precision` names them. On CPUs with AVX-512, "medium" lets PyTorch
            take oneDNN in place of MKL: on AMD processors twice as fast and as exact; on Intel processors with AMX it
            is bfloat16, and on GPUs "high" and "medium" are TF32. `aaren doctor` measures it on the CPU.
        compile: run the encoder through `torch.compile`, which needs a C++ compiler and some minutes at the start.
    """

    epochs: int = 10
    batch_size: int = 32
    optimizer: Literal["adamw", "radam"] = "adamw"
    learning_rate: float = 1e-3
    learning_rate_decay: float = 0.8
    warmup_steps: int = 0
    weight_decay: float = 0.0
    patience: int = 3
    clip: float = 1.0
    stride: int | None = None
    seed: int = 0
    accelerator: str = "auto"
    precision: str = "32-true"
    matmul_precision: MatmulPrecision = "highest"
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "stride"):
            value = getattr(self, name)
            if (value is not None or name != "stride") and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name}: expected a whole number of at least 1, received {value!r}")
        if not isinstance(self.warmup_steps, int) or self.warmup_steps < 0:
            raise ValueError(f"warmup_steps: expected 0 or a whole number of steps, received {self.warmup_steps!r}")
        if self.optimizer not in ("adamw", "radam"):
            raise ValueError(f"optimizer: expected 'adamw' or 'radam', received {self.optimizer!r}")
        if self.matmul_precision not in get_args(MatmulPrecision):
            raise ValueError(
                f"matmul_precision: expected 'highest', 'high' or 'medium', received {self.matmul_precision!r}"
            )
        if not isinstance(self.seed, int):
            raise ValueError(f"seed: expected a whole number, received {self.seed!r}")
        if not 0 < self.learning_rate <= LARGEST:
            raise ValueError(
                f"learning_rate: expected a positive number of at most {LARGEST:g}, received {self.learning_rate}"
            )
        if not 0 < self.learning_rate_decay <= 1:
            raise ValueError(
                f"learning_rate_decay: expected a number above 0 and at most 1, received {self.learning_rate_decay}"
            )
        for name in ("weight_decay", "clip"):
            if not 0 <= getattr(self, name) <= LARGEST:
                raise ValueError(f"{name}: expected 0 to {LARGEST:g}, received {getattr(self, name)}")
