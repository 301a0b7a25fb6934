"""The event model: events in, the distribution of the next event out after every one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from aaren.models._build_encoder import build_encoder
from aaren.models._event_config import EventConfig
from aaren.models._event_distribution import EventDistribution
from aaren.models._event_preprocessing import EventPreprocessing
from aaren.models._model import Model
from aaren.nn import SinusoidalPositions

_LARGEST_SAMPLE = 10_000
_LOG_SCALES = (-5.0, 1.0)  # of a component, in deviations of the log-interval: one event cannot make a density endless


class EventState(NamedTuple):
    """What an event model keeps between calls.

    Args:
        time: of the last event, since the start, in units, float64 of shape (batch,); -inf before the first.
        hidden: the encoder's last output, from which the next event is predicted, shape (batch, d_model).
        encoder: the encoder's state.
    """

    time: Float[Tensor, " batch"]
    hidden: Float[Tensor, "batch d"]
    encoder: Any


class EventLogLikelihood(NamedTuple):
    """Log-likelihood of sequences, event by event; 0 for events that are not scored.

    Args:
        time: log-density of the interval before each event, per unit of the model, shape (batch, tokens).
        mark: log-probability of its mark, the same shape.
        survival: log-probability that none came from the last event to the end, shape (batch,).
        scored: which events count: all that are there but the first of a sequence, shape (batch, tokens).
    """

    time: Float[Tensor, "batch tokens"]
    mark: Float[Tensor, "batch tokens"]
    survival: Float[Tensor, " batch"]
    scored: Bool[Tensor, "batch tokens"]

    def total(self) -> Float[Tensor, " batch"]:
        """Of each sequence, shape (batch,)."""
        return self.time.sum(1) + self.mark.sum(1) + self.survival


class ExpectedEvent(NamedTuple):
    """What is expected after the last event.

    Args:
        mean: expected interval in units, restricted to the longest one of training, shape (batch,).
        median: median interval, shape (batch,).
        mark_probabilities: shape (batch, marks).
    """

    mean: Float[Tensor, " batch"]
    median: Float[Tensor, " batch"]
    mark_probabilities: Float[Tensor, "batch marks"]


class SampledEvents(NamedTuple):
    """Events drawn from a model.

    Args:
        times: since the start, in units, float64 of shape (batch, events).
        marks: the same shape; -1 if events have none.
        mask: False for events after the end that was asked for.
    """

    times: Float[Tensor, "batch events"]
    marks: Int[Tensor, "batch events"]
    mask: Bool[Tensor, "batch events"]


class EventModel(Model[EventConfig, EventPreprocessing]):
    r"""Marked temporal point process: a causal encoder of the events so far, and the distribution of the next one.

    .. math::
        \log p = \sum_{i \ge 2} \left( \log p(\tau_i) + \log p(m_i) \right) + \log P(\tau > end - t_n)

    A token is the embedding of its mark, and, with `intervals`, of the logarithm of the interval before it; the
    sinusoidal encoding of its time since the start is added before every layer (of a GRU, before the first). Time is in
    units of the mean training interval. An interval of 0, which a simple process does not have, counts as half of the
    smallest positive one of the training part. The first event of a sequence is not scored.

    Args:
        config: an `EventConfig`, or leave it out and give its fields by name.
        preprocessing: names of marks and units; needed to stream and save, and for the scale of intervals.
        metadata: data, metrics and versions for the model card; plain data.

    Source: arXiv 2405.13956, section 4.2; arXiv 2002.09291 (encoder); arXiv 1909.12127 (mixture). `decay="time"` and
    `intervals` are this project's.

    Example:
        >>> model = EventModel(marks=3, d_model=16)
        >>> times = torch.tensor([[0.0, 0.4, 2.0]], dtype=torch.float64)
        >>> distribution, state = model(times, torch.tensor([[0, 2, 1]]))
        >>> distribution.mark_logits.shape, distribution.mean().shape
        (torch.Size([1, 3, 3]), torch.Size([1, 3]))
        >>> distribution, state = model(times + 3, torch.tensor([[1, 1, 0]]), state)  # more events, in constant memory
    """

    kind = "events"
    config_type = EventConfig
    preprocessing_type = EventPreprocessing

    def __init__(
        self,
        config: EventConfig | None = None,
        *,
        preprocessing: EventPreprocessing | None = None,
        metadata: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(config, preprocessing, metadata, fields)
        config = self.config
        if preprocessing is not None:
            preprocessing.require_sizes(config.marks)
        self.mark_embedding = nn.Embedding(max(1, config.marks), config.d_model)
        self.interval_embedding = nn.Linear(2, config.d_model) if config.intervals else None
        self.positions = SinusoidalPositions(config.d_model)
        self.encoder = build_encoder(config)
        self.interval_head = nn.Linear(config.d_model, 3 * config.components)
        self.mark_head = nn.Linear(config.d_model, config.marks) if config.marks else None
        with torch.no_grad():  # components that start apart
            self.interval_head.bias[config.components : 2 * config.components] = torch.linspace(
                -1.5, 1.5, config.components
            )

    @property
    def _scale(self) -> tuple[float, float, float, float]:
        """Mean and deviation of the log-intervals, what 0 counts as, and the longest interval."""
        known = self.preprocessing
        return (
            (0.0, 1.0, 1e-6, 1e6)
            if known is None
            else (
                known.log_mean,
                known.log_deviation,
                known.floor,
                known.longest,
            )
        )

    def forward(
        self,
        times: Float[Tensor, "batch tokens"],
        marks: Int[Tensor, "batch tokens"] | None = None,
        state: EventState | None = None,
        mask: Bool[Tensor, "batch tokens"] | None = None,
    ) -> tuple[EventDistribution, EventState]:
        """The distribution of the next event after every event.

        Args:
            times: time since the start in units of the mean training interval, never falling, shape (batch, tokens);
                float64 for long streams.
            marks: from 0, shape (batch, tokens); None if events have none.
            state: what the call before returned, or None at the start of a sequence.
            mask: shape (batch, tokens), True for an event that is there; a False one is as if deleted.

        Returns:
            The distribution, batch shape (batch, tokens), and the state.

        Raises:
            ValueError: a shape is wrong, marks are missing or unknown, or times fall.
        """
        mask = torch.ones_like(times, dtype=torch.bool) if mask is None else mask
        self._check(times, marks, mask)
        before = None if state is None else state.encoder  # None lets the Transformer take its fastest path
        state = self.init_state(len(times)) if state is None else state
        intervals, begun, last = self._intervals(times, mask, state.time)
        clean = times.double().masked_fill(~mask, 0)
        embedded = self.mark_embedding(
            torch.zeros_like(times, dtype=torch.int64) if marks is None else marks.masked_fill(~mask, 0)
        )
        if self.interval_embedding is not None:
            mean, deviation, _, _ = self._scale
            log = torch.where(begun, (self._floored(intervals).log() - mean) / deviation, 0.0)
            features = torch.stack([log, begun.to(log.dtype)], -1).to(embedded.dtype)
            embedded = embedded + self.interval_embedding(features)
        encoded, encoder_state = self.encoder(
            embedded,
            before,
            None if bool(mask.all()) else mask,
            elapsed=intervals.to(embedded.dtype),
            added=self.positions(clean).to(embedded.dtype),
        )
        # the output of the last event that is there
        place = torch.where(mask, torch.arange(1, mask.shape[1] + 1, device=mask.device), 0).amax(1)
        outputs = torch.cat([state.hidden[:, None].to(encoded.dtype), encoded], 1)
        hidden = outputs.gather(1, place[:, None, None].expand(-1, 1, encoded.shape[-1]))[:, 0]
        return self.distribution(encoded), EventState(last, hidden, encoder_state)

    def distribution(self, encoded: Float[Tensor, "*batch d"]) -> EventDistribution:
        """The next event by the encoder's output, or by the `hidden` of a state."""
        mean, deviation, _, _ = self._scale
        weights, locations, scales = self.interval_head(encoded).double().chunk(3, -1)
        return EventDistribution(
            weights.log_softmax(-1),
            mean + deviation * locations,
            deviation * scales.clamp(*_LOG_SCALES).exp(),
            # marks may be thousands, for which float64 would cost much memory and tell nothing
            encoded.new_zeros(*encoded.shape[:-1], 0) if self.mark_head is None else self.mark_head(encoded),
        )

    def init_state(self, batch_size: int = 1) -> EventState:
        """The state of a sequence that has not begun."""
        weight = self.interval_head.weight
        return EventState(
            torch.full((batch_size,), -torch.inf, dtype=torch.float64, device=weight.device),
            torch.zeros(batch_size, self.config.d_model, device=weight.device, dtype=weight.dtype),
            self.encoder.init_state(batch_size),
        )

    def log_likelihood(
        self,
        times: Float[Tensor, "batch tokens"],
        marks: Int[Tensor, "batch tokens"] | None = None,
        mask: Bool[Tensor, "batch tokens"] | None = None,
        *,
        end: Float[Tensor, " batch"] | None = None,
        state: EventState | None = None,
    ) -> tuple[EventLogLikelihood, EventState]:
        """The exact log-likelihood of sequences, or of chunks that go on from a state.

        Args:
            times: as in `forward`.
            marks: as in `forward`.
            mask: as in `forward`.
            end: end of the observation since the start, in units, shape (batch,); None for the last event.
            state: as in `forward`.
        """
        mask = torch.ones_like(times, dtype=torch.bool) if mask is None else mask
        after, new = self.forward(times, marks, state, mask)
        state = self.init_state(len(times)) if state is None else state
        intervals, begun, last = self._intervals(times, mask, state.time)
        before = self._before(after, self.distribution(state.hidden), mask)
        scored = mask & begun
        time = before.log_density(torch.where(scored, self._floored(intervals), 1.0)).masked_fill(~scored, 0)
        mark = torch.zeros_like(time)
        if marks is not None:
            chosen = marks.masked_fill(~mask, 0)[..., None]
            mark = before.mark_log_probabilities().gather(-1, chosen)[..., 0].masked_fill(~scored, 0)
        rest = torch.zeros_like(last) if end is None else end.double() - last
        open_end = last.isfinite() & (rest > 0)
        survival = self.distribution(new.hidden).log_survival(torch.where(open_end, rest, 0.0))
        return EventLogLikelihood(time, mark, survival, scored), new

    def expected_next(self, state: EventState) -> ExpectedEvent:
        """When the next event is expected, as an interval from the last one, and with which marks."""
        distribution = self.distribution(state.hidden)
        return ExpectedEvent(
            distribution.mean(self._scale[3]), distribution.quantile(0.5), distribution.mark_logits.softmax(-1)
        )

    @torch.no_grad()
    def sample(
        self,
        state: EventState,
        n: int | None = None,
        *,
        until: float | None = None,
        generator: torch.Generator | None = None,
    ) -> SampledEvents:
        """Draw future events, in the model's units; `EventStream.sample` draws them in those of the user's data.

        Times, `until` among them, count from the start of the sequence in mean training intervals; marks are numbers.

        Args:
            state: after at least one event.
            n: how many events at most.
            until: up to which time; without `n`, 10,000 events at most. One of the two must be given.
            generator: decides the draws.

        Raises:
            ValueError: the state has seen no event, or neither `n` nor `until` is given, or there are too many.
        """
        if (n is None and until is None) or (n is not None and n < 1):
            raise ValueError(f"expected n >= 1, until, or both, received n={n}, until={until}")
        if not bool(state.time.isfinite().all()):
            raise ValueError("state: expected one after at least one event, received a new one; give it an event first")
        training = [module for module in self.modules() if module.training]
        self.eval()  # dropout would draw from another process
        try:
            return self._sample(state, n, until, generator)
        finally:
            for module in training:
                module.training = True

    def _sample(
        self, state: EventState, n: int | None, until: float | None, generator: torch.Generator | None
    ) -> SampledEvents:
        times: list[Tensor] = []
        marks: list[Tensor] = []
        time = state.time
        while n is None or len(times) < n:
            interval, mark = self.distribution(state.hidden).sample(generator)
            time = time + interval
            if until is not None and not bool((time <= until).any()):
                break
            if n is None and len(times) == _LARGEST_SAMPLE:
                raise ValueError(f"until: expected at most {_LARGEST_SAMPLE} events up to it, received more")
            times.append(time)
            marks.append(mark)
            _, state = self.forward(time[:, None], mark[:, None] if self.config.marks else None, state)
        batch = len(time)
        all_times = torch.stack(times, 1) if times else time.new_zeros(batch, 0)
        all_marks = torch.stack(marks, 1) if marks else torch.zeros(batch, 0, dtype=torch.int64, device=time.device)
        inside = torch.ones_like(all_times, dtype=torch.bool) if until is None else all_times <= until
        return SampledEvents(all_times, all_marks, inside)

    def describe(self) -> str:
        """What the model does, in one sentence."""
        names = () if self.preprocessing is None else self.preprocessing.marks
        if not self.config.marks:
            return "Predicts the time of the next event."
        shown = f": {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}" if names else ""
        return f"Predicts the time of the next event and which of {self.config.marks} marks it has{shown}."

    def _floored(self, intervals: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return torch.where(intervals > 0, intervals, self._scale[2])

    def _intervals(
        self, times: Float[Tensor, "batch tokens"], mask: Bool[Tensor, "batch tokens"], last: Float[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"], Float[Tensor, " batch"]]:
        """Time since the event before (0 where there is none), whether there is one, and the time of the last event."""
        known = times.double().masked_fill(~mask, -torch.inf)
        reached = torch.cat([last[:, None], known], 1).cummax(1).values
        before = reached[:, :-1]
        begun = before.isfinite()
        given = torch.where(begun & mask, times.double() - before, 0.0)
        if bool((given < 0).any()):
            raise ValueError("times: expected times that never fall, received an event before the one before it")
        # not a view, which would keep the whole chunk
        return given, begun, reached[:, -1].clone(memory_format=torch.contiguous_format)

    def _before(
        self, after: EventDistribution, first: EventDistribution, mask: Bool[Tensor, "batch tokens"]
    ) -> EventDistribution:
        """What was said of each event by the last one before it that is there."""
        tokens = mask.shape[1]
        places = torch.where(mask, torch.arange(1, tokens + 1, device=mask.device), 0)
        reached = torch.cat([torch.zeros_like(places[:, :1]), places], 1).cummax(1).values[:, :-1, None]
        return EventDistribution(
            *(
                torch.cat([one[:, None], rest], 1).gather(1, reached.expand(-1, -1, rest.shape[-1]))
                for one, rest in zip(first, after, strict=True)
            )
        )

    def _check(self, times: Tensor, marks: Tensor | None, mask: Tensor) -> None:
        if times.dim() != 2 or times.shape[1] == 0 or mask.shape != times.shape:
            raise ValueError(
                f"times: expected shape (batch, tokens >= 1) and a mask of the same shape, received "
                f"{tuple(times.shape)} and {tuple(mask.shape)}"
            )
        if (marks is None) != (self.config.marks == 0) or (marks is not None and marks.shape != times.shape):
            received = None if marks is None else tuple(marks.shape)
            expected = None if self.config.marks == 0 else tuple(times.shape)
            raise ValueError(f"marks: expected {expected}, received {received}")
        if marks is not None and bool(((marks < 0) | (marks >= self.config.marks))[mask].any()):
            raise ValueError(f"marks: expected numbers from 0 to {self.config.marks - 1}, received others")
        if not bool(times[mask].isfinite().all()):
            raise ValueError("times: expected finite numbers, received others")
