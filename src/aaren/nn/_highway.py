"""A linear map from the last rows straight to the forecast, beside the encoder."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


class LinearHighway(nn.Module):
    r"""The autoregressive part of a forecast, shared by all channels and relative to the last known value.

    .. math:: y_{k,h} = x_{last} + \sum_{p=0}^{rows-1} W_{h,p}\, (x_{k-p} - x_{last})

    It is what makes linear models strong, at every token and in constant memory: the state is the last `rows` rows.
    A missing row has no term in the sum; where none of the last `rows` values is known, x_last is the given mean.

    Args:
        rows: number of last rows, the current one included.
        horizon: steps to forecast.

    Source: the highway of LSTNet (arXiv 1703.07015, section 3.6), relative to the last value as NLinear
    (arXiv 2205.13504).
    """

    def __init__(self, rows: int, horizon: int) -> None:
        super().__init__()
        self.rows, self.horizon = rows, horizon
        self.weight = nn.Parameter(torch.zeros(horizon, rows))

    def forward(
        self,
        x: Float[Tensor, "batch tokens channels"],
        observed: Bool[Tensor, "batch tokens channels"],
        mean: Float[Tensor, "batch any channels"],
        state: Float[Tensor, "batch rows channels"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens horizon channels"], Float[Tensor, "batch rows channels"]]:
        """Forecast from every token on.

        Args:
            x: values, shape (batch, tokens, channels).
            observed: the same shape; False where a value is missing.
            mean: stands for the last value where none is known; one for each token, or one for all.
            state: the last rows before x, NaN where missing, shape (batch, rows, channels); None at the start.

        Returns:
            forecasts, shape (batch, tokens, horizon, channels), and the state.
        """
        batch, _, channels = x.shape
        before = self.init_state(batch, channels).to(x) if state is None else state.to(x.dtype)
        whole = torch.cat([before, x.masked_fill(~observed, torch.nan)], 1)
        known = whole.isfinite()
        place = torch.arange(whole.shape[1], device=x.device)[None, :, None]
        latest = torch.where(known, place, -1).cummax(1).values
        in_reach = (place - latest < self.rows) & (latest >= 0)
        values = whole.masked_fill(~known, 0)
        last = torch.where(in_reach, values.gather(1, latest.clamp(min=0)), 0)[:, self.rows :]
        last = torch.where(in_reach[:, self.rows :], last, mean.to(x.dtype))

        # views of (batch, tokens, channels, rows), the latest row first
        past, there = (y.unfold(1, self.rows, 1)[:, 1:].flip(-1) for y in (values, known))
        differences = torch.where(there, past - last[..., None], 0)
        forecasts = last[..., None] + F.linear(differences, self.weight.to(x.dtype))
        return forecasts.transpose(2, 3), whole[:, -self.rows :].clone()

    def init_state(self, batch_size: int, channels: int) -> Float[Tensor, "batch rows channels"]:
        """No rows yet: NaN in float32, shape (batch_size, rows, channels)."""
        return torch.full((batch_size, self.rows, channels), torch.nan, dtype=torch.float32, device=self.weight.device)
