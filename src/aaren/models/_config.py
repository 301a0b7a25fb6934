"""The configuration of a forecaster: plain data, checked when it is made, JSON in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aaren.errors import ModelFileError


def _choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}: expected one of {allowed}, received {value!r}")


def _at_least(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: expected a whole number of at least {least}, received {value!r}")


@dataclass(frozen=True)
class ForecasterConfig:
    """What a `Forecaster` is built from.

    Args:
        inputs: number of input channels; the first `targets` of them are forecast.
        targets: number of channels to forecast.
        horizon: number of steps to forecast.
        calendar: number of calendar features given with each token.
        look_back: tokens of a training sequence, and of the window in which `"window"` normalises.
        encoder: "aaren", "transformer", "gru" or "mingru".
        d_model: width.
        nhead: heads (not used by GRU and minGRU).
        num_layers: encoder layers.
        dim_feedforward: width of the feed-forward networks (not used by the GRU).
        dropout: probability in training.
        activation: "relu" or "gelu" (not used by the GRU).
        norm_first: layer norm before attention and feed-forward rather than after (not used by the GRU).
        decay: how Aaren's older tokens fade: None, "learned" or "time".
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
    encoder: Literal["aaren", "transformer", "gru", "mingru"] = "aaren"
    d_model: int = 64
    nhead: int = 4
    num_layers: int = 2
    dim_feedforward: int = 256
    dropout: float = 0.1
    activation: Literal["relu", "gelu"] = "gelu"
    norm_first: bool = False
    decay: Literal["learned", "time"] | None = None
    positions: Literal["sinusoidal", "learned"] | None = None
    normalization: Literal["running", "window"] = "running"
    half_life: float | None = None
    highway: int = 0
    quantiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("inputs", "targets", "horizon", "look_back", "d_model", "nhead", "num_layers", "dim_feedforward"):
            _at_least(name, getattr(self, name), 1)
        _at_least("calendar", self.calendar, 0)
        _at_least("highway", self.highway, 0)
        if self.targets > self.inputs:
            raise ValueError(f"targets: expected at most inputs = {self.inputs}, received {self.targets}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected 0 <= dropout < 1, received {self.dropout}")
        _choice("encoder", self.encoder, ("aaren", "transformer", "gru", "mingru"))
        _choice("activation", self.activation, ("relu", "gelu"))
        _choice("decay", self.decay, (None, "learned", "time"))
        if self.decay and self.encoder != "aaren":
            raise ValueError(f"decay: expected None for encoder {self.encoder!r}, received {self.decay!r}")
        _choice("positions", self.positions, (None, "sinusoidal", "learned"))
        _choice("normalization", self.normalization, ("running", "window"))
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

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**dataclasses.asdict(self), "quantiles": list(self.quantiles)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> ForecasterConfig:
        """The configuration that `to_dict` wrote.

        Raises:
            ModelFileError: an entry is missing, unknown or out of range.
        """
        names = {field.name for field in dataclasses.fields(ForecasterConfig)}
        if set(data) != names:
            wrong = sorted(set(data) ^ names)
            raise ModelFileError(f"configuration: expected the entries {sorted(names)}; missing or unknown: {wrong}")
        try:
            return ForecasterConfig(**{**data, "quantiles": tuple(data["quantiles"])})
        except (ValueError, TypeError) as error:
            raise ModelFileError(f"configuration: {error}") from None
