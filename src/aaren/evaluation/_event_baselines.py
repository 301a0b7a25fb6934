"""What an event model must beat to be worth its cost: processes and rules that forget nearly all of the past."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from aaren.data import EventSet
from aaren.evaluation._events import EventErrors
from aaren.models import EventDistribution, EventPreprocessing

Array = NDArray[np.float64]


def mark_transitions(train: EventSet) -> NDArray[np.int64]:
    """How often each mark follows each, shape (marks, marks), row by the earlier one."""
    counts = np.zeros((len(train.marks), len(train.marks)), dtype=np.int64)
    for one in train.sequences:
        if one.marks is not None:
            np.add.at(counts, (one.marks[:-1], one.marks[1:]), 1)
    return counts


def event_baselines(
    preprocessing: EventPreprocessing, events: EventSet, transitions: NDArray[np.int64] | None = None
) -> dict[str, dict[str, float]]:
    """Errors of simple ways to predict the next event, as `EventErrors.summary` gives them.

    Args:
        preprocessing: what the training part tells.
        events: the sequences to predict.
        transitions: of the training part, from `mark_transitions`; without them there are no Markov marks, and of
            the last mark no likelihood.

    Returns:
        By name: "Poisson" (constant rate, fitted by maximum likelihood, independent marks), "renewal log-normal"
        (independent log-normal intervals and marks; its mean is restricted as the model's is); and where events have
        marks, "most frequent mark", "last mark" (again, as often as in the training part, else any by its frequency)
        and "Markov marks" (each mark by the one before it), which say nothing of times. Counts of marks have 1 added.

    Raises:
        DataError: the events are of another kind than the training part.
    """
    preprocessing.require_set(events)
    result = {}
    for name, (density, survival, mean, median) in _processes(preprocessing).items():
        errors = EventErrors()
        for one in events.sequences:
            intervals = np.diff(one.times)
            positive = np.where(intervals > 0, intervals, preprocessing.floor * preprocessing.unit)
            errors.add_times(np.full(len(intervals), mean), intervals, np.full(len(intervals), median))
            last = np.array([one.end - one.times[-1]])
            errors.add_log_likelihood(time=float(density(positive).sum() + survival(last)[0]))
            errors.add_compensators(-survival(intervals))
            if one.marks is not None:
                errors.add_log_likelihood(mark=float(_frequencies(preprocessing)[one.marks[1:]].sum()))
                errors.add_marks(one.marks[1:] == np.argmax(preprocessing.mark_counts))
        result[name] = errors.summary()
    found = result | (_marks(preprocessing, events, transitions) if events.marks else {})
    return found | best_pair(found)


def best_pair(found: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The best simple way to say both when and which: those of the best likelihood, of processes and of rules.

    Args:
        found: from `event_baselines`.

    Returns:
        Its errors, by a name such as "renewal log-normal, Markov marks"; nothing where no rule is better at marks than
        the processes are.
    """
    times, marks = (
        {name: one[part] for name, one in found.items() if one.get(part) is not None and math.isfinite(one[part])}
        for part in ("nll_time", "nll_mark")
    )
    if not times or not marks:
        return {}
    when, which = min(times, key=times.__getitem__), min(marks, key=marks.__getitem__)
    if marks[which] >= marks.get(when, math.inf):
        return {}
    accuracy = {"accuracy": found[which]["accuracy"], "nll_mark": marks[which], "nll": times[when] + marks[which]}
    return {f"{when}, {which}": {**found[when], **accuracy}}


def _processes(
    preprocessing: EventPreprocessing,
) -> dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array], float, float]]:
    """Log-density, log-survival, mean and median of the intervals of each process, in the user's time."""
    rate = preprocessing.rate
    location, scale = preprocessing.log_mean + math.log(preprocessing.unit), preprocessing.log_deviation
    one = torch.zeros(1, dtype=torch.float64)
    log_normal = EventDistribution(one, one + location, one + scale, one[:0])  # a mixture of one, to be judged alike

    return {
        "Poisson": (lambda x: math.log(rate) - rate * x, lambda x: -rate * x, 1 / rate, math.log(2) / rate),
        "renewal log-normal": (
            lambda x: log_normal.log_density(torch.from_numpy(x)).numpy(),
            lambda x: log_normal.log_survival(torch.from_numpy(x)).numpy(),
            float(log_normal.mean(preprocessing.longest * preprocessing.unit)),
            math.exp(location),
        ),
    }


def _frequencies(preprocessing: EventPreprocessing) -> Array:
    counts = np.array(preprocessing.mark_counts) + 1.0
    return np.log(counts / counts.sum())


def _marks(
    preprocessing: EventPreprocessing, events: EventSet, transitions: NDArray[np.int64] | None
) -> dict[str, dict[str, float]]:
    frequent, last, markov = EventErrors(), EventErrors(), EventErrors()
    smooth = None if transitions is None else (transitions + 1.0) / (transitions + 1.0).sum(1, keepdims=True)
    again = None if transitions is None else (np.trace(transitions) + 1.0) / (transitions.sum() + 2.0)
    frequencies = _frequencies(preprocessing)
    for one in events.sequences:
        assert one.marks is not None, "a set with names of marks has marks"
        before, after = one.marks[:-1], one.marks[1:]
        for errors in (frequent, last, markov):
            errors.add_events(len(after))
        frequent.add_marks(after == np.argmax(preprocessing.mark_counts))
        frequent.add_log_likelihood(mark=float(frequencies[after].sum()))
        last.add_marks(after == before)
        if smooth is not None and again is not None:
            chances = again * (after == before) + (1 - again) * np.exp(frequencies[after])
            last.add_log_likelihood(mark=float(np.log(chances).sum()))
            markov.add_marks(after == smooth.argmax(1)[before])
            markov.add_log_likelihood(mark=float(np.log(smooth[before, after]).sum()))
    found = {"most frequent mark": frequent.summary(), "last mark": last.summary()}
    if smooth is not None:
        found["Markov marks"] = markov.summary()
    for errors_of in found.values():
        errors_of.pop("nll", None)  # a likelihood of marks alone is none of events
    return found
