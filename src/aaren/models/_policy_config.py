"""The configuration of a policy: plain data, checked when it is made, JSON in and out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aaren.models._encoder_config import EncoderConfig, require_at_least


@dataclass(frozen=True, kw_only=True)
class PolicyConfig(EncoderConfig):
    """What a `Policy` is built from: an encoder (see `EncoderConfig`) of the paper's sizes, and the fields below.

    Args:
        observations: numbers in an observation.
        actions: numbers in an action.
        context: K, steps of a training window and of the window that is read again before each action; None for
            whole episodes.
        max_episode_steps: length of the table of time steps; no episode may be longer.

    `decay` is None or "learned": the steps of an episode are equally spaced.

    Source: arXiv 2106.01345 (Decision Transformer), appendix A; arXiv 2405.13956 has the same sizes.
    """

    observations: int
    actions: int
    context: int | None = 20
    max_episode_steps: int = 1000
    d_model: int = 128
    nhead: int = 1
    num_layers: int = 3
    dim_feedforward: int = 512
    dropout: float = 0.1
    activation: Literal["relu", "gelu"] = "relu"
    norm_first: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("observations", "actions", "max_episode_steps"):
            require_at_least(name, getattr(self, name), 1)
        if self.context is not None:
            require_at_least("context", self.context, 1)
            if self.context > self.max_episode_steps:
                raise ValueError(
                    f"context: expected at most max_episode_steps = {self.max_episode_steps}, received {self.context}; "
                    "leave it out (None) for whole episodes"
                )
        if self.decay == "time":
            raise ValueError("decay: expected None or 'learned', since steps are equally spaced; received 'time'")
