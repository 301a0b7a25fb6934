"""How well an event model does on sequences: likelihood, times, marks and calibration, averaged per event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aaren.data import EventSet
from aaren.models import EventModel, EventPreprocessing

_TOKENS = 4096  # of a batch, padding included


class EventDataset(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Sequences in units of the model, gathered and padded a batch at a time.

    Args:
        events: the sequences.
        preprocessing: of the model.

    Raises:
        DataError: the events are of another kind than the training part.
    """

    def __init__(self, events: EventSet, preprocessing: EventPreprocessing) -> None:
        preprocessing.require_set(events)
        self.sequences, self.unit = events.sequences, preprocessing.unit
        self.marked = bool(events.marks)

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A batch: times since the start (batch, tokens) float64, mask, end (batch,), and marks if there are any."""
        chosen = [self.sequences[index] for index in indices]
        tokens = max(len(one.times) for one in chosen)
        times = np.zeros((len(chosen), tokens))
        marks, mask = np.zeros((len(chosen), tokens), dtype=np.int64), np.zeros((len(chosen), tokens), dtype=np.bool_)
        for row, one in enumerate(chosen):
            size = len(one.times)
            times[row, :size], mask[row, :size] = (one.times - one.start) / self.unit, True
            if one.marks is not None:
                marks[row, :size] = one.marks
        end = np.array([(one.end - one.start) / self.unit for one in chosen])
        batch = {"times": times, "mask": mask, "end": end, **({"marks": marks} if self.marked else {})}
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One sequence, without the batch dimension."""
        return {name: tensor[0] for name, tensor in self.__getitems__([index]).items()}

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """All sequences, once each, in batches of a bounded number of tokens; long ones go together."""
        order = sorted(range(len(self)), key=lambda index: len(self.sequences[index].times))
        batch: list[int] = []
        for index in order:
            if batch and (len(batch) + 1) * len(self.sequences[index].times) > _TOKENS:
                yield self.__getitems__(batch)
                batch = []
            batch.append(index)
        if batch:
            yield self.__getitems__(batch)


@dataclass
class EventErrors:
    """Sums over events, divided once at the end.

    Example:
        >>> errors = EventErrors()
        >>> errors.add_times(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
        >>> summary = errors.summary()
        >>> summary["rmse"], summary["sequence_sum_rmse"], summary["events"]
        (1.0, 0.0, 2)
    """

    _events: int = 0
    _timed: bool = False
    _squared: float = 0.0
    _absolute: float = 0.0
    _sums_squared: float = 0.0
    _likelihood: dict[str, float] = field(default_factory=dict)
    _right: int | None = None
    _compensators: list[NDArray[np.float64]] = field(default_factory=list)

    def add_events(self, count: int) -> None:
        """So many events, of whose times nothing was said."""
        self._events += count

    def add_times(
        self, expected: NDArray[np.float64], truth: NDArray[np.float64], median: NDArray[np.float64] | None = None
    ) -> None:
        """Intervals of one sequence: the expected ones and those that came; the median, where there is one."""
        error = expected - truth
        self.add_events(len(error))
        self._timed = True
        self._squared += float(np.square(error).sum())
        self._sums_squared += float(error.sum()) ** 2
        self._absolute += float(np.abs((expected if median is None else median) - truth).sum())

    def add_log_likelihood(self, **terms: float) -> None:
        """Sums of log-likelihood by what they are of: "time" (survival included), "mark"."""
        for name, value in terms.items():
            self._likelihood[name] = self._likelihood.get(name, 0.0) + value

    def add_marks(self, right: NDArray[np.bool_]) -> None:
        """Whether the most probable mark came."""
        self._right = (self._right or 0) + int(right.sum())

    def add_compensators(self, values: NDArray[np.float64]) -> None:
        """Compensators of intervals, which are exponential with rate 1 if the model is right."""
        self._compensators.append(values)

    def summary(self) -> dict[str, float]:
        """Per event: nll (in all, and of what), rmse, mae, sequence_sum_rmse, accuracy, ks; none that was not added.

        "rmse" is the root of the mean squared error of the expected time over all events. "sequence_sum_rmse" is what a
        public code calls so: it squares the sum of each sequence's errors, in which errors of both signs cancel; it is
        here only for comparison. "mae" is of the median. "ks" is the largest distance between the distribution of the
        compensators and the exponential one of rate 1 (Kolmogorov-Smirnov).
        """
        count = self._events or np.nan
        result: dict[str, float] = {}
        if self._likelihood:
            result["nll"] = -sum(self._likelihood.values()) / count
            result |= {f"nll_{name}": -value / count for name, value in self._likelihood.items()}
        if self._timed:
            result["rmse"] = float(np.sqrt(self._squared / count))
            result["mae"] = self._absolute / count
            result["sequence_sum_rmse"] = float(np.sqrt(self._sums_squared / count))
        if self._right is not None:
            result["accuracy"] = self._right / count
        if self._compensators:
            result["ks"] = exponential_distance(np.concatenate(self._compensators))
        result["events"] = self._events
        return result


def exponential_distance(values: NDArray[np.float64]) -> float:
    """The largest distance between the empirical distribution of values and the exponential one of rate 1.

    Example:
        >>> uniform = (np.arange(1000) + 0.5) / 1000
        >>> exponential_distance(-np.log(1 - uniform)) < 0.001
        True
    """
    below = -np.expm1(-np.sort(values))
    steps = np.arange(len(values) + 1) / len(values)
    return float(max((steps[1:] - below).max(), (below - steps[:-1]).max()))


@torch.no_grad()
def evaluate_events(model: EventModel, events: EventSet) -> dict[str, Any]:
    """Errors of a model on sequences, in the user's unit of time.

    Args:
        model: with preprocessing.
        events: the sequences.

    Returns:
        `EventErrors.summary()`. The first event of a sequence is not scored; the likelihood has the survival term of
        the last interval.

    Raises:
        DataError: the events are of another kind than the training part.
        ValueError: the model has no preprocessing.
    """
    preprocessing = model.preprocessing
    if preprocessing is None:
        raise ValueError("model: expected preprocessing (marks and units), received None; train or load a model")
    model.eval()
    errors, unit = EventErrors(), preprocessing.unit
    for batch in EventDataset(events, preprocessing).batches():
        given = {name: tensor.to(model.device) for name, tensor in batch.items()}
        _add(errors, model, given, unit)
    return errors.summary()


def _add(errors: EventErrors, model: EventModel, batch: dict[str, Tensor], unit: float) -> None:
    """The events of one batch."""
    times, mask, marks = batch["times"], batch["mask"], batch.get("marks")
    found, _ = model.log_likelihood(times, marks, mask, end=batch["end"])
    scored = found.scored
    count = int(scored.sum())
    # a density per unit of the model is one per unit of the user's time, times the unit
    terms = {"time": float(found.time.sum() + found.survival.sum()) - count * float(np.log(unit))}
    if marks is not None:
        terms["mark"] = float(found.mark.sum())
    errors.add_log_likelihood(**terms)
    said, _ = model(times, marks, mask=mask)
    before = type(said)(*(part[:, :-1] for part in said))
    longest = np.inf if model.preprocessing is None else model.preprocessing.longest
    intervals, there = torch.diff(times, dim=1), mask[:, 1:]
    expected, median = before.mean(longest), before.quantile(0.5)
    for row in range(len(times)):
        own = there[row]
        one, truth, middle = (unit * x[row][own].cpu().numpy() for x in (expected, intervals, median))
        errors.add_times(one, truth, middle)
    errors.add_compensators(-before.log_survival(intervals)[there].cpu().numpy())
    if marks is not None:
        errors.add_marks((before.mark_logits.argmax(-1) == marks[:, 1:])[there].cpu().numpy())
