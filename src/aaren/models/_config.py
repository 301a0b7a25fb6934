"""The configuration of a forecaster: plain data, checked when it is made, JSON in and out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aaren.models._encoder_config import EncoderConfig, require_at_least, require_choice


@dataclass(frozen=True, kw_only=True)
class ForecasterConfig(EncoderConfig):
    """What a `Forecaster` is built from: an encoder (see `EncoderConfig`) and the fields below.

    Args:
        inputs: number of input channels; the first `targets` of them are forecast.
        targets: number of channels to forecast.
        horizon: number of steps to forecast.
        calendar: number of calendar features given with each token.
        look_back: tokens of a training sequence, and of the window in which `"window"` normalises.
        positions: None, "sinusoidal" or "learned" (the first `look_back` tokens).
        normalization: "running" (causal, streams) or "window" (the paper's protocol: one forecast, at the last token).
        half_life: of the running mean and deviation, in tokens; None means `look_back`.
        highway: last rows that a linear map takes straight to the forecast, beside the encoder; 0 for none.
        quantiles: levels between 0 and 1 to forecast beside the mean, ascending.
    """

    inputs: int
    targets: int
    horizon: int
    calendar: int = 0
    look_back: int = 96
    positions: Literal["sinusoidal", "learned"] | None = None
    normalization: Literal["running", "window"] = "running"
    half_life: float | None = None
    highway: int = 0
    quantiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("inputs", "targets", "horizon", "look_back"):
            require_at_least(name, getattr(self, name), 1)
        require_at_least("calendar", self.calendar, 0)
        require_at_least("highway", self.highway, 0)
        if self.targets > self.inputs:
            raise ValueError(f"targets: expected at most inputs = {self.inputs}, received {self.targets}")
        require_choice("positions", self.positions, (None, "sinusoidal", "learned"))
        require_choice("normalization", self.normalization, ("running", "window"))
        if self.positions == "learned" and self.normalization == "running":
            raise ValueError(
                "positions: expected None or 'sinusoidal' with normalization='running', whose streams outlive any "
                "table of positions; received 'learned'"
            )
        if self.half_life is not None and not self.half_life > 0:
            raise ValueError(f"half_life: expected a positive number of tokens, received {self.half_life}")
        levels = tuple(self.quantiles)
        if list(levels) != sorted(set(levels)) or not all(0 < level < 1 for level in levels):
            raise ValueError(f"quantiles: expected ascending levels between 0 and 1, received {levels}")
        object.__setattr__(self, "quantiles", levels)  # a list, too, so that equal configurations compare equal
