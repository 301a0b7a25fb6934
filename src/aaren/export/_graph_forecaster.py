"""A forecaster as a graph: a row or a chunk of rows in, the forecast after the last one out."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from aaren.export._graph_encoder import Positions, State, encoder_graph
from aaren.export._wide import Wide, constant, stack, where
from aaren.models import Forecaster


class RunningMoments(nn.Module):
    """Mean and deviation of all values so far, older ones fading; see `aaren.nn.RunningNorm`.

    All scores are 0, so the maximum stays what it was, and a weight is a power of one factor.

    Args:
        half_life: observed values after which a value counts half.
        epsilon: added to the variance.
        chunk: whether there may be several rows.
        pairs: the form of sums.
    """

    def __init__(self, half_life: float, epsilon: float, *, chunk: bool, pairs: bool) -> None:
        super().__init__()
        self.decay, self.epsilon, self.chunk = -math.log(2) / half_life, epsilon, chunk
        self.factor = constant(math.exp(self.decay), pairs=pairs)
        self.log_factor = constant(self.decay, pairs=pairs)

    def forward(self, x: Tensor, observed: Tensor, u: Wide, w: Wide) -> tuple[Tensor, Tensor, Wide, Wide]:
        """Mean and deviation after each row, shape (rows, channels) float32, and the two sums after the last.

        Args:
            x: shape (rows, channels), 0 where missing.
            observed: the same shape.
            u: sum of the weights, shape (channels,).
            w: weighted sums of x and its square, shape (channels, 2).
        """
        mean, variance, u, w = (self._chunk if self.chunk else self._one)(x, observed, u, w)
        return mean, (variance.clamp(min=0) + self.epsilon).sqrt(), u, w

    def _one(self, x: Tensor, observed: Tensor, u: Any, w: Any) -> tuple[Tensor, Tensor, Wide, Wide]:
        value, there = u.of(x[0]), observed[0]
        square = value * value
        both = stack(value, square)
        u = where(there, u * self.factor + torch.ones_like(x[0]), u)
        w = where(there[:, None], w * self.factor + both, w)
        mean, square = (w.each(lambda y, place=place: y[:, place]) / u for place in (0, 1))
        variance = square - mean * mean
        return mean.narrow()[None], variance.narrow()[None], u, w

    def _chunk(self, x: Tensor, observed: Tensor, u: Any, w: Any) -> tuple[Tensor, Tensor, Wide, Wide]:
        """Moments about the mean so far, which lose no digits in float32 either."""
        w1, w2 = (w.each(lambda y, place=place: y[:, place]) for place in (0, 1))
        about = (w1 / u).narrow()
        dtype = u.work().dtype
        difference = torch.where(observed, x - about, 0).to(dtype)
        count = observed.to(dtype).cumsum(0)
        places = torch.arange(x.shape[0])
        seen = (places[:, None] >= places[None, :])[..., None] & observed[None]
        weights = torch.where(seen, (self.decay * (count[:, None] - count[None])).exp(), 0.0)
        kept = (self.decay * count).exp()
        w1_about = w1 - u * about
        w2_about = w2 - (w1 + w1_about) * about
        total = kept * u.work() + weights.sum(1)
        first = (kept * w1_about.work() + (weights * difference[None]).sum(1)) / total
        second = (kept * w2_about.work() + (weights * difference[None].square()).sum(1)) / total
        mean, variance = about + first, second - first.square()

        old, last = (u.of(count[-1]) * self.log_factor).exp(), weights[-1]
        added = [u.of(part) for part in (last.sum(0), (last * difference).sum(0), (last * difference.square()).sum(0))]
        u = u * old + added[0]
        shifted = added[1] + added[0] * about
        w1 = w1 * old + shifted
        w2 = w2 * old + added[2] + (added[1] + shifted) * about
        return mean.float(), variance.float(), u, stack(w1, w2)


class ForecasterGraph(nn.Module):
    """Normalise, embed, encode, and forecast `horizon` steps of the targets, all of it in the user's units.

    Args:
        model: with preprocessing.
        chunk: whether there may be several rows.
        pairs: the form of numbers of more digits than float32.
    """

    def __init__(self, model: Forecaster, *, chunk: bool, pairs: bool) -> None:
        super().__init__()
        assert model.preprocessing is not None, "a model without is refused"
        config, scaler = model.config, model.preprocessing.scaler
        self.config = config
        self.mean, self.deviation = (constant(x, pairs=pairs) for x in (scaler.mean, scaler.deviation))
        self.norm = RunningMoments(model.norm.half_life, model.norm.epsilon, chunk=chunk, pairs=pairs)
        self.embed, self.head, self.highway = model.embed, model.head, model.highway
        self.positions = Positions(model.config.d_model, pairs=pairs) if model.positions else None
        self.encoder = encoder_graph(model.encoder, chunk=chunk)

    def forward(self, row: State, state: State) -> tuple[State, State]:
        """Outputs and state after rows `values`, with `calendar` and `elapsed` where the model has them."""
        scaled = ((row["values"] - self.mean) / self.deviation).narrow()
        observed = scaled.abs() < math.inf
        x = torch.where(observed, scaled, 0)  # a missing value enters nowhere
        sums = state["norm.normalizer"], state["norm.weighted_sum"]
        mean, deviation, normalizer, weighted_sum = self.norm(x, observed, *sums)
        parts = [torch.where(observed, (x - mean) / deviation, 0), observed.float()]
        if self.config.calendar:
            parts.append(row["calendar"])
        elapsed = row.get("elapsed")
        if elapsed is not None:
            parts.append(torch.log1p(elapsed)[:, None])
        embedded = self.embed(torch.cat(parts, -1))
        position = state["position"]
        if self.positions is not None:
            places = normalizer.of(position + torch.arange(x.shape[0]))
            embedded = embedded + self.positions(places)
        encoded, after = self.encoder(embedded, state, elapsed)

        n = self.config.targets
        base, rows = self._base(x[:, :n], observed[:, :n], mean[-1, :n], state.get("highway"))
        raw = self.head(encoded[-1:])[0].unflatten(0, (self.config.horizon, n, 1 + len(self.config.quantiles)))
        raw = raw * deviation[-1, :n, None] + base[..., None]
        centre, scale = (one.each(lambda y: y[:n]) for one in (self.mean, self.deviation))
        outputs = {"mean": normalizer.of(raw[..., 0]) * scale + centre}
        if self.config.quantiles:
            ordered = normalizer.of(raw[..., 1:].topk(len(self.config.quantiles), -1, largest=False).values)
            outputs["quantiles"] = ordered * scale.each(_column) + centre.each(_column)
        after |= {"norm.max_score": state["norm.max_score"], "norm.normalizer": normalizer}
        after |= {"norm.weighted_sum": weighted_sum, "position": position + x.shape[0]}
        return outputs, after if rows is None else {**after, "highway": rows}

    def _base(self, x: Tensor, observed: Tensor, mean: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What the head's outputs are added to after the last row; see `aaren.nn.LinearHighway`."""
        if self.highway is None or before is None:
            return mean[None], None
        rows = torch.cat([before, torch.where(observed, x, math.nan)])[-self.highway.rows :]
        known = rows.abs() < math.inf
        clean = torch.where(known, rows, 0)
        places = torch.arange(1, self.highway.rows + 1)[:, None] * known
        latest = places.amax(0)
        last = torch.where((places == latest) & known, clean, 0).sum(0)
        last = torch.where(latest > 0, last, mean)
        differences = torch.where(known, clean - last, 0)
        return last + self.highway.weight.flip(1) @ differences, rows


def _column(x: Tensor) -> Tensor:
    return x[:, None]
