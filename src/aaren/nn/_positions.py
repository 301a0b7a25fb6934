"""Positions for models that want them: without any, a prefix is a multiset for each layer."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class SinusoidalPositions(nn.Module):
    """Sines and cosines of the position, for sequences of any length.

    Args:
        d_model: width; even.

    Source: arXiv 1706.03762, section 3.5.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        if d_model % 2:
            raise ValueError(f"d_model: expected an even width for sinusoidal positions, received {d_model}")
        self.d_model = d_model

    def forward(
        self, positions: Int[Tensor, "*batch tokens"] | Float[Tensor, "*batch tokens"]
    ) -> Float[Tensor, "*batch tokens d"]:
        """Encode positions or times from 0 on, shape (..., tokens), as (..., tokens, d_model) float32."""
        # float64 angles: a stream may be millions of tokens old. Not a buffer, which `module.float()` would round
        exponent = torch.arange(0, self.d_model, 2, dtype=torch.float64, device=positions.device) / self.d_model
        angles = positions[..., None] * torch.exp(-math.log(10000.0) * exponent)
        return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2).float()


class LearnedPositions(nn.Module):
    """A learned vector for each of the first `max_tokens` positions.

    Args:
        max_tokens: number of positions.
        d_model: width.
    """

    def __init__(self, max_tokens: int, d_model: int) -> None:
        super().__init__()
        self.max_tokens = max_tokens
        self.embedding = nn.Embedding(max_tokens, d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, positions: Int[Tensor, "*batch tokens"]) -> Float[Tensor, "*batch tokens d"]:
        """Look positions up, shape (..., tokens), as (..., tokens, d_model).

        Raises:
            ValueError: a position is beyond `max_tokens`.
        """
        if positions.numel() and int(positions.max()) >= self.max_tokens:
            raise ValueError(
                f"positions: expected less than {self.max_tokens}, received {int(positions.max())}; "
                "use sinusoidal positions or none for streams without an end"
            )
        return self.embedding(positions)
