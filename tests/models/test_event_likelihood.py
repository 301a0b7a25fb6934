"""The likelihood of the event model against processes whose likelihood is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from aaren.models import EventModel

WEIGHTS, LOCATIONS, SCALES = (0.5, 0.3, 0.2), (-1.0, 0.2, 1.1), (0.4, 0.9, 0.6)
MARKS = (0.6, 0.3, 0.1)
SEQUENCES = {
    "long": ([0.5, 0.9, 2.3, 2.4, 7.0, 7.75], [0, 2, 1, 0, 0, 1], 9.5),
    "far tail": ([0.0, 4.0, 4.125], [1, 1, 2], 60.0),
    "ends with an event": ([3.0, 3.5, 5.25, 11.0], [2, 0, 1, 1], 11.0),
    "one event": ([1.25], [0], 4.0),
}


def knowing(**fields: object) -> EventModel:
    """A model that says the mixture and the marks above after every event, whatever its encoder says."""
    model = EventModel(marks=3, components=3, d_model=8, nhead=2, dim_feedforward=8, **fields).eval()
    logs = ([math.log(weight) for weight in WEIGHTS], LOCATIONS, [math.log(scale) for scale in SCALES])
    with torch.no_grad():
        for parameter in (model.interval_head.weight, model.mark_head.weight):
            parameter.zero_()
        model.interval_head.bias.copy_(torch.tensor(logs).flatten())
        model.mark_head.bias.copy_(torch.tensor(MARKS).log())
    return model


def density(interval: float) -> float:
    """The density of the mixture of log-normal distributions."""
    return sum(
        w * math.exp(-(((math.log(interval) - m) / s) ** 2) / 2) / (interval * s * math.sqrt(2 * math.pi))
        for w, m, s in zip(WEIGHTS, LOCATIONS, SCALES, strict=True)
    )


def survival(interval: float) -> float:
    """The probability that an interval is longer."""
    if interval == 0:
        return 1.0
    parts = zip(WEIGHTS, LOCATIONS, SCALES, strict=True)
    return sum(w * math.erfc((math.log(interval) - m) / s / math.sqrt(2)) / 2 for w, m, s in parts)


def renewal(times: list[float], marks: list[int], end: float) -> float:
    """The log-likelihood of a renewal process with independent marks, given its first event."""
    total = math.log(survival(end - times[-1]))
    for before, time, mark in zip(times, times[1:], marks[1:], strict=False):
        total += math.log(density(time - before)) + math.log(MARKS[mark])
    return total


def padded() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Times, marks, mask and ends of all sequences in one batch."""
    longest = max(len(times) for times, _, _ in SEQUENCES.values())
    rest = [longest - len(times) for times, _, _ in SEQUENCES.values()]
    times = [[*own, *[math.nan] * more] for (own, _, _), more in zip(SEQUENCES.values(), rest, strict=True)]
    marks = [[*own, *[0] * more] for (_, own, _), more in zip(SEQUENCES.values(), rest, strict=True)]
    times_of = torch.tensor(times, dtype=torch.float64)
    ends = torch.tensor([end for _, _, end in SEQUENCES.values()], dtype=torch.float64)
    return times_of, torch.tensor(marks), times_of.isfinite(), ends


@pytest.mark.parametrize("fields", [{}, {"decay": "time"}, {"encoder": "transformer"}, {"encoder": "gru"}])
def test_a_renewal_process_of_log_normal_intervals(fields: dict[str, object]) -> None:
    """Densities, marks and survival of each sequence are the closed form, alone and padded in a batch."""
    model = knowing(**fields)
    times, marks, mask, ends = padded()
    with torch.no_grad():
        together, _ = model.log_likelihood(times, marks, mask, end=ends)
        for index, (own, kinds, end) in enumerate(SEQUENCES.values()):
            alone, _ = model.log_likelihood(
                torch.tensor([own], dtype=torch.float64), torch.tensor([kinds]), end=ends[index : index + 1]
            )
            truth = renewal(own, kinds, end)
            assert float(together.total()[index]) == pytest.approx(truth, abs=1e-5)
            assert float(alone.total()) == pytest.approx(truth, abs=1e-5)
            assert float(alone.survival) == pytest.approx(math.log(survival(end - own[-1])), abs=1e-5)


def test_a_renewal_process_goes_on_over_chunks() -> None:
    """Cut at any event, the likelihoods of the two chunks add up to the closed form; the end counts in the last."""
    model = knowing()
    own, kinds, end = SEQUENCES["long"]
    times, marks = torch.tensor([own], dtype=torch.float64), torch.tensor([kinds])
    with torch.no_grad():
        for place in range(1, len(own)):
            first, state = model.log_likelihood(times[:, :place], marks[:, :place])
            rest, _ = model.log_likelihood(times[:, place:], marks[:, place:], end=torch.tensor([end]), state=state)
            assert float(first.total() + rest.total()) == pytest.approx(renewal(own, kinds, end), abs=1e-5)
