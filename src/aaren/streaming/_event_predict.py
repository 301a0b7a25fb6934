"""What an event model expects after the end of each sequence of a file, in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from aaren.data import EventSet
from aaren.models import EventDistribution, EventModel
from aaren.streaming._event_prediction import EventPrediction, make_event_prediction

_CHUNK = 512


@torch.no_grad()
def events_after(
    model: EventModel, events: EventSet, *, quantiles: Sequence[float] = (0.1, 0.9)
) -> dict[str, EventPrediction]:
    """The next event after the last one of every sequence.

    Args:
        model: a trained event model; it reads each sequence whole, in chunks.
        events: read with the model's marks.
        quantiles: levels of the next time to tell beside mean and median.

    Returns:
        An `EventPrediction` by name of the sequence, without a log-likelihood.

    Raises:
        DataError: the events are of another kind than the training part.
        ValueError: the model has no preprocessing.
    """
    preprocessing = model.preprocessing
    if preprocessing is None:
        raise ValueError("model: expected preprocessing (marks and units), received None; train or load a model")
    preprocessing.require_set(events)
    model.eval()
    results = {}
    for one in events.sequences:
        state = model.init_state(1)
        times = torch.from_numpy((one.times - one.start) / preprocessing.unit)[None].to(model.device)
        marks = None if one.marks is None else torch.from_numpy(one.marks)[None].to(model.device)
        for first in range(0, times.shape[1], _CHUNK):
            chunk = slice(first, first + _CHUNK)
            _, state = model(times[:, chunk], None if marks is None else marks[:, chunk], state)
        distribution: EventDistribution = model.distribution(state.hidden)
        mark = None if one.marks is None else int(one.marks[-1])
        results[one.name] = make_event_prediction(
            preprocessing, len(one.times), float(one.times[-1]), mark, distribution, quantiles, None
        )
    return results
