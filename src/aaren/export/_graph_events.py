"""An event model as a graph: an event or a chunk of them in, the distribution of the next one out."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor, nn

from aaren.export._answers import LEVELS
from aaren.export._graph_encoder import Positions, State, encoder_graph
from aaren.export._wide import where
from aaren.models import EventModel

_PARTS, _ROUNDS = 64, 4
"""A bracket of a quantile is cut in so many parts so often."""


class EventGraph(nn.Module):
    """Embed mark and interval, encode with the time added to every layer, and say when and what comes next.

    Args:
        model: with preprocessing.
        chunk: whether there may be several events.
        pairs: the form of numbers of more digits than float32.
    """

    def __init__(self, model: EventModel, *, chunk: bool, pairs: bool) -> None:
        super().__init__()
        assert model.preprocessing is not None, "a model without is refused"
        self.known = model.preprocessing
        self.marks, self.intervals = model.mark_embedding, model.interval_embedding
        self.interval_head, self.mark_head = model.interval_head, model.mark_head
        self.positions = Positions(model.config.d_model, pairs=pairs)
        self.encoder = encoder_graph(model.encoder, chunk=chunk)

    def forward(self, row: State, state: State) -> tuple[State, State]:
        """Outputs and state after events `time`, and `mark` where events have one."""
        known, last = self.known, state["time"]
        time = row["time"] / known.unit
        begun = last.narrow() > -math.inf
        last = where(begun, last, time.each(lambda x: x[0]))
        before = type(time)(
            *(torch.cat([a[None], b[:-1]]) for a, b in zip(last.tensors(), time.tensors(), strict=True))
        )
        interval = (time - before).work()
        floored = torch.where(interval > 0, interval, known.floor)  # an interval of 0 counts as a small one
        begun = torch.cat([begun[None], torch.ones_like(interval[1:], dtype=torch.bool)])
        mark = row.get("mark")
        x = self.marks(torch.zeros_like(interval, dtype=torch.int64) if mark is None else mark)
        if self.intervals is not None:
            log = torch.where(begun, (floored.log() - known.log_mean) / known.log_deviation, 0)
            x = x + self.intervals(torch.stack([log, begun.to(log.dtype)], -1).float())
        encoded, after = self.encoder(x, state, interval.float(), self.positions(time))

        both = torch.cat([state["hidden"][None], encoded])[-2:]  # what said the last event, and what says the next
        mixture = Mixture(self.interval_head(both).to(interval.dtype), known.log_mean, known.log_deviation)
        likelihood = mixture.log_density(floored[-1])[0] - math.log(known.unit)
        outputs = {}
        if self.mark_head is not None and mark is not None:
            logits = self.mark_head(both).to(interval.dtype)
            likelihood = likelihood + log_softmax(logits[0]).index_select(0, mark[-1:])[0]
            outputs["mark_probabilities"] = time.of(logits[1].softmax(-1))
        outputs["log_likelihood"] = time.of(torch.where(begun[-1], likelihood, math.nan))
        outputs["mean"] = time.of(mixture.mean(known.longest)[1]) * known.unit
        quantiles = mixture.quantiles((0.5, *LEVELS))
        outputs["median"] = time.of(quantiles[0]) * known.unit
        outputs["quantiles"] = time.of(quantiles[1:]) * known.unit
        after |= {"time": time.each(lambda x: x[-1]), "hidden": encoded[-1]}
        return outputs, after


class Mixture:
    """Log-normal mixtures of an interval, as `aaren.models.EventDistribution`, in operations that runtimes have.

    Args:
        raw: the head's outputs, shape (batch, 3 components), in the dtype of the work.
        log_mean: of the training intervals.
        log_deviation: of the same.
    """

    def __init__(self, raw: Tensor, log_mean: float, log_deviation: float) -> None:
        weights, locations, scales = raw.chunk(3, -1)
        self.log_weights = log_softmax(weights)
        self.locations = log_mean + log_deviation * locations
        self.scales = log_deviation * scales.clamp(-5.0, 1.0).exp()

    def log_density(self, interval: Tensor) -> Tensor:
        """Log p of a positive interval by each mixture, shape (batch,)."""
        log = interval.log()
        z = (log - self.locations) / self.scales
        terms = self.log_weights - z * z / 2 - self.scales.log() - math.log(2 * math.pi) / 2
        return terms.logsumexp(-1) - log

    def mean(self, longest: float) -> Tensor:
        """The expected value of min(interval, longest), shape (batch,)."""
        whole = self.locations + self.scales * self.scales / 2
        z = (math.log(longest) - self.locations) / self.scales
        inside = (whole + log_ndtr(z - self.scales)).exp()
        return (self.log_weights.exp() * (inside + longest * log_ndtr(-z).exp())).sum(-1)

    def quantiles(self, levels: tuple[float, ...]) -> Tensor:
        """Of the last mixture, shape (levels,): a bracket of each logarithm is cut again and again."""
        locations, scales, weights = self.locations[-1], self.scales[-1], self.log_weights[-1].exp()
        z = torch.tensor([[NormalDist().inv_cdf(level)] for level in levels], dtype=weights.dtype)
        wanted = torch.tensor([[level] for level in levels], dtype=weights.dtype)
        ends = locations + z * scales  # the mixture's quantile lies between those of its components
        low, width = ends.amin(-1, keepdim=True), ends.amax(-1, keepdim=True) - ends.amin(-1, keepdim=True)
        cuts = torch.arange(1, _PARTS, dtype=weights.dtype) / _PARTS
        for _ in range(_ROUNDS):
            middle = low + width * cuts
            below = log_ndtr((middle[..., None] - locations) / scales).exp() @ weights
            width = width / _PARTS
            low = low + width * (below < wanted).to(weights.dtype).sum(-1, keepdim=True)
        return (low + width / 2)[:, 0].exp()


def log_softmax(x: Tensor) -> Tensor:
    """Of the last dimension; ExecuTorch's own has no float64."""
    return x - x.logsumexp(-1, keepdim=True)


def log_ndtr(x: Tensor) -> Tensor:
    r"""The logarithm of Φ(x), without loss far to the left; within 1e-9 in float64, 1e-6 in float32.

    .. math:: \log\mathrm{erfc}(z) = \log t - z^2 + P(t), \qquad t = \frac{1}{1 + z/2}, \quad z \ge 0

    Source: the form is that of W. H. Press et al., Numerical Recipes, section 6.2; the polynomial is interpolated here.
    """
    z = x.abs() * math.sqrt(0.5)
    t = 1 / (1 + z / 2)
    series = torch.zeros_like(t)
    for coefficient in reversed(_COEFFICIENTS[x.dtype]):
        series = series * t + coefficient
    tail = t.log() - z * z + series - math.log(2)
    return torch.where(x < 0, tail, (1 - tail.exp()).log())


def _coefficients(degree: int) -> list[float]:
    """Of P, by powers of t, interpolated where t is between 0 and 1."""

    def p(place: Any) -> Any:
        t = torch.from_numpy((place + 1) / 2)
        return (torch.special.erfcx(2 / t - 2) / t).log().numpy()

    powers = np.polynomial.Polynomial(chebyshev.cheb2poly(chebyshev.chebinterpolate(p, degree)))
    return powers(np.polynomial.Polynomial([-1, 2])).coef.tolist()


_COEFFICIENTS = {torch.float64: _coefficients(14), torch.float32: _coefficients(9)}
