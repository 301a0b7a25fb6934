"""The event model: causal, the same in parallel and in chunks, exact in its likelihood."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from event_model_cases import MARKS, event_model, event_set, events
from torch.utils import _pytree as pytree

import aaren
from aaren.data import EventSequence, EventSet
from aaren.errors import ModelFileError
from aaren.models import EventConfig, EventDistribution, EventModel, EventPreprocessing

KINDS: dict[str, dict[str, Any]] = {
    "aaren": {},
    "aaren, learned decay": {"decay": "learned"},
    "aaren, time decay": {"decay": "time"},
    "aaren, as the paper": {"intervals": False},
    "transformer": {"encoder": "transformer"},
    "gru": {"encoder": "gru"},
    "mingru": {"encoder": "mingru"},
    "without marks": {"marks": 0},
}


def difference(a: EventDistribution, b: EventDistribution) -> float:
    """The largest difference of two distributions' parameters."""
    return max((float((x - y).abs().max()) for x, y in zip(a, b, strict=True) if x.numel()), default=0.0)


def cut(distribution: EventDistribution, start: int, stop: int | None = None) -> EventDistribution:
    """Some tokens of a distribution."""
    return EventDistribution(*(part[:, start:stop] for part in distribution))


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_and_single_events_equal_one_pass(kind: str) -> None:
    """A sequence in one pass, in chunks, and event by event gives the same distributions and likelihood."""
    model = event_model(**KINDS[kind])
    times, marks = events(marks=model.config.marks)
    with torch.no_grad():
        whole, _ = model(times, marks)
        likelihood, _ = model.log_likelihood(times, marks)
        for size in (1, 2, 4):
            state, said, total = None, [], 0.0
            for start in range(0, times.shape[1], size):
                part = slice(start, start + size)
                given = None if marks is None else marks[:, part]
                found, _ = model.log_likelihood(times[:, part], given, state=state)
                distribution, state = model(times[:, part], given, state)
                said.append(distribution)
                total = total + found.total()
            together = EventDistribution(*(torch.cat(parts, 1) for parts in zip(*said, strict=True)))
            assert difference(whole, together) < 1e-5
            assert float((total - likelihood.total()).abs().max()) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_looks_ahead(kind: str) -> None:
    """Other events later, or NaN in them behind a mask, change nothing before."""
    model = event_model(**KINDS[kind])
    times, marks = events(marks=model.config.marks)
    with torch.no_grad():
        whole, _ = model(times, marks)
        changed = None if marks is None else torch.cat([marks[:, :5], (marks[:, 5:] + 1) % MARKS], 1)
        later, _ = model(torch.cat([times[:, :5], times[:, 5:] + 3], 1), changed)
        assert difference(cut(whole, 0, 5), cut(later, 0, 5)) < 1e-6
        assert difference(cut(whole, 5), cut(later, 5)) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_masked_event_equals_a_deleted_one(kind: str) -> None:
    """Masked events, in the middle, at the end or all of them, are as if they were not there, whatever they hold."""
    model = event_model(**KINDS[kind])
    times, marks = events(batch=1, marks=model.config.marks)
    mask = torch.ones_like(times, dtype=torch.bool)
    mask[:, [3, 4, 8]] = False
    kept = mask[0]
    spoilt = times.masked_fill(~mask, torch.nan)
    wrong = None if marks is None else marks.masked_fill(~mask, -7)
    with torch.no_grad():
        short, after = model(times[:, kept], None if marks is None else marks[:, kept])
        long, state = model(spoilt, wrong, mask=mask)
        assert difference(short, EventDistribution(*(part[:, kept] for part in long))) < 1e-5
        assert torch.equal(state.time, after.time)
        assert torch.allclose(state.hidden, after.hidden, atol=1e-5)
        one, _ = model.log_likelihood(times[:, kept], None if marks is None else marks[:, kept])
        two, _ = model.log_likelihood(spoilt, wrong, mask)
        assert torch.allclose(one.total(), two.total(), atol=1e-5)
        _, same = model(spoilt, wrong, after, torch.zeros_like(mask))
        assert torch.equal(same.time, after.time)
        assert torch.equal(same.hidden, after.hidden)


def test_gradients_are_finite_behind_masks() -> None:
    """NaN behind a mask reaches no gradient, and events at the same time give finite ones."""
    model = event_model(decay="time")
    times, marks = events()
    times[:, 4] = times[:, 3]
    mask = torch.ones_like(times, dtype=torch.bool)
    mask[0, 6:] = False
    found, _ = model.log_likelihood(times.masked_fill(~mask, torch.nan), marks, mask, end=times[:, -1] + 1)
    found.total().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    assert all(p.grad is not None for name, p in model.named_parameters())


def test_likelihood_by_hand() -> None:
    """The log-likelihood is the sum over events from the second on, and the survival of the rest, event by event."""
    model = event_model()
    times, marks = events(batch=1)
    end = times[:, -1] + 2.5
    with torch.no_grad():
        found, _ = model.log_likelihood(times, marks, end=end)
        distribution, _ = model(times, marks)
        total = 0.0
        for event in range(1, times.shape[1]):
            before = EventDistribution(*(part[:, event - 1] for part in distribution))
            total += float(before.log_density(times[:, event] - times[:, event - 1]))
            total += float(before.mark_log_probabilities()[0, marks[0, event]])
        last = EventDistribution(*(part[:, -1] for part in distribution))
        total += float(last.log_survival(torch.tensor([2.5])))
    assert float(found.total()) == pytest.approx(total, abs=1e-5)
    assert found.scored.tolist() == [[False] + [True] * 8]
    assert found.time[0, 0] == found.mark[0, 0] == 0


def test_intervals_of_zero_count_as_the_floor() -> None:
    """An event at the time of the one before it is scored as one after half of the smallest training interval."""
    model = event_model()
    assert model.preprocessing is not None
    floor = model.preprocessing.floor
    marks = torch.tensor([[0, 1]])
    with torch.no_grad():
        same, _ = model.log_likelihood(torch.tensor([[1.0, 1.0]], dtype=torch.float64), marks)
        near, _ = model.log_likelihood(torch.tensor([[1.0, 1.0 + floor]], dtype=torch.float64), marks)
    assert float(same.time.sum()) == pytest.approx(float(near.time.sum()), abs=1e-6)


def test_old_streams_keep_their_intervals() -> None:
    """After 1e9 mean intervals, intervals and are what they were; float32 would round them to 64."""
    model = event_model()
    times, marks = events(batch=1)
    with torch.no_grad():
        _, state = model(times[:, :1] + 1e9, marks[:, :1])
        found, _ = model.log_likelihood(times[:, 1:2] + 1e9, marks[:, 1:2], state=state)
        distribution = model.distribution(state.hidden)
        expected = distribution.log_density(times[:, 1] - times[:, 0])
    assert float(found.time[0, 0]) == pytest.approx(float(expected), abs=1e-5)


def test_sampling() -> None:
    """Samples are the generator's, go on in time, end where asked, and follow the model by time rescaling."""
    model = event_model()
    with torch.no_grad():
        _, state = model(*(x[:, :3] for x in events(batch=1)))
    state = pytree.tree_map(lambda x: x.expand(300, *x.shape[1:]).contiguous(), state)
    first = model.sample(state, 12, generator=torch.Generator().manual_seed(5))
    again = model.sample(state, 12, generator=torch.Generator().manual_seed(5))
    assert torch.equal(first.times, again.times)
    assert bool((first.times.diff(dim=1) > 0).all())
    assert bool(first.mask.all())
    with torch.no_grad():
        said, _ = model(first.times, first.marks, state)
    before = EventDistribution(*(part[:, :-1] for part in said))
    uniform = before.log_survival(first.times.diff(dim=1)).exp().flatten().sort().values
    steps = torch.arange(1, len(uniform) + 1, dtype=torch.float64) / len(uniform)
    assert float((uniform - steps).abs().max()) < 1.63 / math.sqrt(len(uniform))
    until = float(state.time[0]) + 4
    ended = model.sample(state, until=until, generator=torch.Generator().manual_seed(5))
    assert bool((ended.times[ended.mask] <= until).all())
    assert bool((ended.times[~ended.mask] > until).all())
    assert model.sample(state, until=float(state.time[0])).times.shape == (300, 0)
    both = model.sample(state, 2, until=until, generator=torch.Generator().manual_seed(5))
    assert both.times.shape == (300, 2)
    assert torch.equal(both.mask, ended.mask[:, :2])


def test_expected_next() -> None:
    """The expectation after a state is that of the last token's distribution; the mean is restricted."""
    model = event_model()
    times, marks = events()
    with torch.no_grad():
        distribution, state = model(times, marks)
        expected = model.expected_next(state)
    assert model.preprocessing is not None
    longest = model.preprocessing.longest
    assert torch.allclose(expected.mean, distribution.mean(longest)[:, -1])
    assert torch.allclose(expected.median, distribution.quantile(0.5)[:, -1])
    assert torch.allclose(expected.mark_probabilities.sum(-1), torch.ones(2))


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes, marks, falling times and states without events are refused in words."""
    monkeypatch.setattr("aaren.models._event_model._LARGEST_SAMPLE", 20)
    model, plain = event_model(), event_model(marks=0)
    times, marks = events()
    for call, words in (
        (lambda: model(times[0], marks[0]), r"times: expected shape \(batch, tokens >= 1\)"),
        (lambda: model(times[:, :0], marks[:, :0]), "tokens >= 1"),
        (lambda: model(times), r"marks: expected \(2, 9\), received None"),
        (lambda: plain(times, marks), r"marks: expected None, received \(2, 9\)"),
        (lambda: model(times, marks + 3), "marks: expected numbers from 0 to 2"),
        (lambda: model(times.flip(1), marks), "times that never fall"),
        (lambda: model(times * torch.nan, marks), "finite numbers"),
        (lambda: model.sample(model.init_state(1), 3), "at least one event"),
        (lambda: model.sample(model(times, marks)[1]), "expected n >= 1, until, or both"),
        (lambda: model.sample(model(times, marks)[1], 0, until=3.0), "expected n >= 1, until, or both"),
        (lambda: model.sample(model(times, marks)[1], until=1e9), "at most 20 events"),
        (lambda: EventConfig(marks=-1), "marks: expected"),
        (lambda: EventConfig(marks=1, components=0), "components: expected"),
        (lambda: EventConfig(marks=1, d_model=7), "d_model: expected an even width"),
        (lambda: EventConfig(marks=1, intervals=2), "intervals: expected"),
        (lambda: EventModel(marks=2, preprocessing=model.preprocessing), "expected 2 marks"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize("kind", ["aaren, time decay", "transformer", "without marks"])
def test_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    """A model comes back from its directory with the same numbers, its card says what it does."""
    model = event_model(**KINDS[kind])
    model.save(tmp_path / "model")
    again = aaren.load(tmp_path / "model")
    assert again.preprocessing == model.preprocessing
    times, marks = events(marks=model.config.marks)
    with torch.no_grad():
        assert difference(model(times, marks)[0], again(times, marks)[0]) == 0
    assert "time of the next event" in (tmp_path / "model" / "MODEL_CARD.md").read_text()


def test_preprocessing_of_known_intervals() -> None:
    """Unit, rate, logarithms, floor and counts are those of the training part."""
    times = np.array([1.0, 2.0, 2.0, 5.0])
    one = EventSet((EventSequence("a", times, np.array([0, 1, 1, 1]), 0.0, 9.0),), ("x", "y"), "made", None, "keep")
    found = EventPreprocessing.fit(one)
    assert (found.unit, found.mark_counts, found.longest) == (4 / 3, (1, 3), 3 / (4 / 3))
    assert found.rate == 3 / 8  # three intervals in the 8 from the first event to the end
    assert found.floor == 0.5 / (4 / 3)
    logs = np.log(np.array([1, 0.5, 3]) / (4 / 3))
    assert (found.log_mean, found.log_deviation) == pytest.approx((logs.mean(), logs.std()))
    assert EventPreprocessing.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    "change",
    [
        {"unit": 0},
        {"unit": "x"},
        {"floor": -1},
        {"rate": float("nan")},
        {"log_mean": float("inf")},
        {"log_deviation": 0},
        {"marks": ["a"]},
        {"mark_counts": [1]},
        {"duplicates": "some"},
        {"columns": ["time"]},
        {"columns": 3},
        {"more": 1},
    ],
)
def test_damaged_preprocessing(change: dict[str, Any]) -> None:
    """An entry that is missing, unknown or out of range is refused."""
    good = EventPreprocessing.fit(event_set()).to_dict()
    with pytest.raises(ModelFileError, match="preprocessing"):
        EventPreprocessing.from_dict({**good, **change})
    lost = {name: value for name, value in good.items() if name not in change}
    with pytest.raises(ModelFileError, match="missing or unknown"):
        EventPreprocessing.from_dict({**lost, "other": 1})


def test_sampling_has_no_dropout_and_restores_the_mode() -> None:
    """A model in training samples what it samples in evaluation, and is as it was, module by module."""
    model = event_model(dropout=0.5)
    with torch.no_grad():
        _, state = model(*(x[:, :3] for x in events(batch=1)))
    expected = model.sample(state, 8, generator=torch.Generator().manual_seed(5))
    model.train()
    model.encoder.eval()
    modes = [module.training for module in model.modules()]
    assert torch.equal(model.sample(state, 8, generator=torch.Generator().manual_seed(5)).times, expected.times)
    assert [module.training for module in model.modules()] == modes
    model.train()
    assert torch.equal(model.sample(state, 8, generator=torch.Generator().manual_seed(5)).times, expected.times)
    assert all(module.training for module in model.modules())


def test_preprocessing_knows_the_rule_for_short_sequences() -> None:
    """The rule is kept where it is not the first one; descriptions from before there were two are read."""
    known = EventPreprocessing.fit(event_set())
    assert "short" not in known.to_dict()
    assert EventPreprocessing.from_dict(known.to_dict()) == known
    dropping = EventPreprocessing.fit(dataclasses.replace(event_set(), short="drop"))
    assert EventPreprocessing.from_dict(dropping.to_dict()).short == "drop"
    with pytest.raises(ModelFileError, match="preprocessing: expected what `save` writes"):
        EventPreprocessing.from_dict({**known.to_dict(), "short": "keep"})
