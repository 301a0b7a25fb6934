"""Point processes whose likelihood is known, to measure models and metrics against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aaren.data import EventSequence, EventSet


def poisson(rate: float, sequences: int, end: float, marks: int = 0, seed: int = 0) -> EventSet:
    """Poisson processes of one rate, with independent marks; mark k has weight k + 1."""
    random = np.random.default_rng(seed)
    weights = np.arange(1, marks + 1) / max(1, np.arange(1, marks + 1).sum())
    found = []
    while len(found) < sequences:
        times = np.sort(random.uniform(0, end, random.poisson(rate * end)))
        if len(times) >= 2:
            kinds = random.choice(marks, len(times), p=weights) if marks else None
            found.append(EventSequence(str(len(found)), times, kinds, 0.0, end))
    return EventSet(tuple(found), tuple(f"m{k}" for k in range(marks)), "poisson", None)


def poisson_nll(events: EventSet, rate: float) -> float:
    """The true negative log-likelihood per event after the first, given the first; without that of the marks."""
    exposure = sum(one.end - float(one.times[0]) for one in events.sequences)
    count = events.events - len(events.sequences)
    return (rate * exposure - count * float(np.log(rate))) / count


def hawkes(sequences: int, end: float, seed: int, mu: float = 0.4, alpha: float = 0.8, beta: float = 2.0) -> EventSet:
    """Exponential Hawkes processes, λ(t) = μ + αβ Σ exp(−β(t − t_i)), by Ogata's thinning."""
    random = np.random.default_rng(seed)
    found = []
    while len(found) < sequences:
        time, excited, times = 0.0, 0.0, []
        while True:
            bound = mu + excited
            wait = random.exponential(1 / bound)
            time, excited = time + wait, excited * np.exp(-beta * wait)
            if time > end:
                break
            if random.uniform() * bound < mu + excited:
                times.append(time)
                excited += alpha * beta
        if len(times) >= 2:
            found.append(EventSequence(str(len(found)), np.array(times), None, 0.0, end))
    return EventSet(tuple(found), (), "hawkes", None)


def hawkes_nll(events: EventSet, mu: float = 0.4, alpha: float = 0.8, beta: float = 2.0) -> float:
    """The true negative log-likelihood per event after the first, given the first."""
    total, count = 0.0, 0
    for one in events.sequences:
        total += _hawkes(one.times, one.end, mu, alpha, beta)
        count += len(one.times) - 1
    return -total / count


def _hawkes(times: NDArray[np.float64], end: float, mu: float, alpha: float, beta: float) -> float:
    excited, total = alpha * beta, 0.0
    for wait in np.diff(times):
        total -= mu * wait + excited * (1 - np.exp(-beta * wait)) / beta
        excited *= np.exp(-beta * wait)
        total += np.log(mu + excited)
        excited += alpha * beta
    rest = end - times[-1]
    return total - mu * rest - excited * (1 - np.exp(-beta * rest)) / beta
