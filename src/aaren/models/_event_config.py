"""The configuration of an event model."""

from __future__ import annotations

from dataclasses import dataclass

from aaren.models._encoder_config import EncoderConfig, require_at_least


@dataclass(frozen=True, kw_only=True)
class EventConfig(EncoderConfig):
    """What an `EventModel` is built from: an encoder (see `EncoderConfig`) and the fields below.

    The defaults are the paper's, but for `intervals`: it has False.

    Args:
        marks: number of marks; 0 if events have none.
        components: log-normal distributions in the mixture for the next interval.
        intervals: whether a token carries the logarithm of the interval before it, beside its mark and the encoding
            of its time.
    """

    marks: int
    components: int = 8
    intervals: bool = True
    d_model: int = 64
    nhead: int = 1
    num_layers: int = 2
    dim_feedforward: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("marks", self.marks, 0)
        require_at_least("components", self.components, 1)
        if self.d_model % 2:
            raise ValueError(f"d_model: expected an even width for the encoding of time, received {self.d_model}")
        if not isinstance(self.intervals, bool):
            raise ValueError(f"intervals: expected True or False, received {self.intervals!r}")
