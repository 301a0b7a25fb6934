"""The configuration of a classifier: plain data, checked when it is made, JSON in and out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aaren.models._encoder_config import EncoderConfig, require_at_least, require_choice


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(EncoderConfig):
    """What a `Classifier` is built from: an encoder (see `EncoderConfig`) and the fields below.

    The sizes of the encoder are by default those of the paper's protocol. `decay="time"` is refused, since cases
    have no time stamps.

    Args:
        channels: number of channels of a series.
        classes: number of classes.
        positions: "sinusoidal" or None; without, one layer sees a series as a multiset of rows.
        early_weight: weight in the loss of the mean over all tokens before the last one; 0 trains the last one only
            (the paper), more trains the answers before the end of a series too.
    """

    channels: int
    classes: int
    positions: Literal["sinusoidal"] | None = "sinusoidal"
    early_weight: float = 0.0
    d_model: int = 128
    nhead: int = 8
    num_layers: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("channels", self.channels, 1)
        require_at_least("classes", self.classes, 2)
        require_choice("positions", self.positions, (None, "sinusoidal"))
        if self.decay == "time":
            raise ValueError("decay: expected None or 'learned', as cases have no time stamps; received 'time'")
        if not 0 <= self.early_weight < float("inf"):
            raise ValueError(f"early_weight: expected 0 or a positive number, received {self.early_weight}")
