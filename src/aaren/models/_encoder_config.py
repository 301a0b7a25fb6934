"""What the configurations of all models have in common: the encoder, and JSON in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from aaren.errors import ModelFileError

Config = TypeVar("Config", bound="EncoderConfig")


def require_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}: expected one of {allowed}, received {value!r}")


def require_at_least(name: str, value: object, least: int) -> None:
    """Refuse what is not a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: expected a whole number of at least {least}, received {value!r}")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The encoder of a model; every model's configuration has these fields besides its own.

    Args:
        encoder: "aaren", "transformer", "gru" or "mingru".
        d_model: width.
        nhead: heads (not used by GRU and minGRU).
        num_layers: encoder layers.
        dim_feedforward: width of the feed-forward networks (not used by the GRU).
        dropout: probability in training.
        activation: "relu" or "gelu" (not used by the GRU).
        norm_first: layer norm before attention and feed-forward rather than after (not used by the GRU).
        decay: how Aaren's older tokens fade: None, "learned" or "time".
    """

    encoder: Literal["aaren", "transformer", "gru", "mingru"] = "aaren"
    d_model: int = 64
    nhead: int = 4
    num_layers: int = 2
    dim_feedforward: int = 256
    dropout: float = 0.1
    activation: Literal["relu", "gelu"] = "gelu"
    norm_first: bool = False
    decay: Literal["learned", "time"] | None = None

    def __post_init__(self) -> None:
        for name in ("d_model", "nhead", "num_layers", "dim_feedforward"):
            require_at_least(name, getattr(self, name), 1)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected 0 <= dropout < 1, received {self.dropout}")
        require_choice("encoder", self.encoder, ("aaren", "transformer", "gru", "mingru"))
        require_choice("activation", self.activation, ("relu", "gelu"))
        require_choice("decay", self.decay, (None, "learned", "time"))
        if self.decay and self.encoder != "aaren":
            raise ValueError(f"decay: expected None for encoder {self.encoder!r}, received {self.decay!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        fields = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    @classmethod
    def from_dict(cls: type[Config], data: Mapping[str, Any]) -> Config:
        """The configuration that `to_dict` wrote.

        Raises:
            ModelFileError: an entry is missing, unknown or out of range.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if set(data) != names:
            wrong = sorted(set(data) ^ names)
            raise ModelFileError(f"configuration: expected the entries {sorted(names)}; missing or unknown: {wrong}")
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        try:
            return cls(**fields)
        except (ValueError, TypeError) as error:
            raise ModelFileError(f"configuration: {error}") from None
