"""Metrics of event models by hand, against processes with known answers, and on a model that knows the truth."""

from __future__ import annotations

import dataclasses
import math

import event_process_cases as cases
import numpy as np
import pytest
import torch

from aaren.data import EventSequence, EventSet, find_parts, read_events
from aaren.errors import DataError
from aaren.evaluation import (
    EventDataset,
    EventErrors,
    best_pair,
    evaluate_events,
    event_baselines,
    exponential_distance,
    mark_transitions,
)
from aaren.models import EventModel, EventPreprocessing


def log_normal(sequences: int, seed: int = 0, marks: int = 2) -> EventSet:
    """Renewal processes with log-normal intervals, exp(0.3 + 0.5 z), in hours that start at 100."""
    random = np.random.default_rng(seed)
    found = []
    for index in range(sequences):
        times = 100 + np.cumsum(np.exp(0.3 + 0.5 * random.standard_normal(5 + index % 40)))
        found.append(
            EventSequence(str(index), times, random.integers(0, marks, len(times)), times[0], times[-1] + index % 2)
        )
    return EventSet(tuple(found), tuple("ab"[:marks]), "made", None)


def knowing(events: EventSet) -> EventModel:
    """A model that says exp(0.3 + 0.5 z) hours and even marks after every event."""
    preprocessing = EventPreprocessing.fit(events)
    model = EventModel(marks=2, components=1, d_model=4, dim_feedforward=4, preprocessing=preprocessing)
    scale = 0.5 / preprocessing.log_deviation
    location = (0.3 - math.log(preprocessing.unit) - preprocessing.log_mean) / preprocessing.log_deviation
    with torch.no_grad():
        for parameter in (*model.interval_head.parameters(), *model.mark_head.parameters()):
            parameter.zero_()
        model.interval_head.bias[1], model.interval_head.bias[2] = location, math.log(scale)
    return model


def test_a_model_that_knows_the_truth() -> None:
    """Its NLL, RMSE, accuracy are those of the process, in the user's unit, and its compensators are exponential."""
    events = log_normal(150)
    found = evaluate_events(knowing(events), events)
    gaps = np.concatenate([np.diff(one.times) for one in events.sequences])
    z = (np.log(gaps) - 0.3) / 0.5
    density = -(z**2) / 2 - np.log(gaps * 0.5 * math.sqrt(2 * math.pi))
    ends = np.array([one.end - one.times[-1] for one in events.sequences])
    survival = sum(math.log(math.erfc((math.log(rest) - 0.3) / 0.5 / math.sqrt(2)) / 2) for rest in ends if rest)
    assert found["events"] == len(gaps)
    assert found["nll_time"] == pytest.approx(-(density.sum() + survival) / len(gaps), abs=1e-4)
    assert found["nll_mark"] == pytest.approx(math.log(2), abs=1e-6)
    assert found["nll"] == pytest.approx(found["nll_time"] + found["nll_mark"])
    mean = math.exp(0.3 + 0.125)
    assert found["rmse"] == pytest.approx(math.sqrt(np.mean((gaps - mean) ** 2)), rel=2e-3)  # the mean is restricted
    assert found["mae"] == pytest.approx(np.abs(gaps - math.exp(0.3)).mean(), rel=1e-4)
    first = np.concatenate([one.marks[1:] for one in events.sequences]) == 0
    assert found["accuracy"] == pytest.approx(first.mean())
    assert found["ks"] < 1.63 / math.sqrt(len(gaps))


def test_wrong_models_are_told_by_time_rescaling() -> None:
    """A model that is right about one process is far from exponential on another."""
    events = log_normal(60)
    model = knowing(events)
    with torch.no_grad():
        model.interval_head.bias[1] += 1
    assert evaluate_events(model, events)["ks"] > 0.2


def test_true_rmse_and_the_public_one() -> None:
    """With a bias b the true RMSE is b at any length; the public metric grows with it, and errors cancel in it."""
    for size in (4, 100):
        biased, alternating = EventErrors(), EventErrors()
        truth = np.ones(size)
        for _ in range(3):
            biased.add_times(truth + 0.5, truth)
            alternating.add_times(truth + np.tile([0.5, -0.5], size // 2), truth)
        assert biased.summary()["rmse"] == alternating.summary()["rmse"] == 0.5
        assert biased.summary()["sequence_sum_rmse"] == pytest.approx(0.5 * math.sqrt(size))
        assert alternating.summary()["sequence_sum_rmse"] == 0


def test_averages_are_per_event() -> None:
    """One long and many short sequences weigh by their events, however they are batched."""
    events = log_normal(80)
    model = knowing(events)
    whole = evaluate_events(model, events)
    parts = [evaluate_events(model, events.take([index])) for index in range(80)]
    for name in ("nll", "accuracy", "mae"):
        weighted = sum(part[name] * part["events"] for part in parts) / whole["events"]
        assert whole[name] == pytest.approx(weighted, rel=1e-6)


def test_batches_hold_every_sequence_once() -> None:
    """No sequence is dropped or doubled, long or short, and padding is masked."""
    events = log_normal(70)
    dataset = EventDataset(events, EventPreprocessing.fit(events))
    lengths = [int(row.sum()) for batch in dataset.batches() for row in batch["mask"]]
    assert sorted(lengths) == sorted(len(one.times) for one in events.sequences)
    one = dataset[7]
    assert one["times"][0] == 0  # since the start
    assert len(dataset) == 70


def test_poisson_baseline_is_the_likelihood() -> None:
    """The Poisson baseline's rate is the maximum-likelihood one, its NLL the process's own; marks by frequency."""
    train, test = cases.poisson(2.0, 200, 20.0, marks=3), cases.poisson(2.0, 200, 20.0, marks=3, seed=1)
    preprocessing = EventPreprocessing.fit(train)
    exposure = sum(one.end - one.times[0] for one in train.sequences)
    assert preprocessing.rate == pytest.approx((train.events - 200) / exposure)
    found = event_baselines(preprocessing, test, mark_transitions(train))
    assert found["Poisson"]["nll_time"] == pytest.approx(cases.poisson_nll(test, 2.0), abs=2e-3)
    entropy = -sum(p * math.log(p) for p in (1 / 6, 2 / 6, 3 / 6))
    assert found["Poisson"]["nll_mark"] == pytest.approx(entropy, abs=0.02)
    assert found["Poisson"]["ks"] < 0.02 < found["renewal log-normal"]["ks"]
    assert found["most frequent mark"]["accuracy"] == pytest.approx(0.5, abs=0.02)
    assert found["last mark"]["accuracy"] == pytest.approx((1 + 4 + 9) / 36, abs=0.02)


def test_markov_marks() -> None:
    """Marks that follow a chain are found by the Markov baseline, and by no other."""
    marks = np.tile([0, 1, 2], 20)
    one = EventSequence("a", np.arange(60.0), marks, 0.0, 59.0)
    events = EventSet((one,), ("a", "b", "c"), "made", None)
    assert mark_transitions(events).tolist() == [[0, 20, 0], [0, 0, 20], [19, 0, 0]]
    found = event_baselines(EventPreprocessing.fit(events), events, mark_transitions(events))
    assert found["Markov marks"]["accuracy"] == 1
    assert found["last mark"]["accuracy"] == 0
    assert found["last mark"]["nll_mark"] == pytest.approx(math.log(61 / 60) + math.log(3), abs=0.01)  # never, then any
    assert found["most frequent mark"]["accuracy"] < 0.4


def test_the_last_mark_again_is_a_distribution() -> None:
    """As likely as it was in training, and the other marks by their frequency: the likelihood is that by hand."""
    marks = np.array([0, 0, 0, 1, 1, 0, 0, 0, 1])  # six of eight are again, five thirds of them frequent
    one = EventSequence("a", np.arange(9.0), marks, 0.0, 8.0)
    events = EventSet((one,), ("a", "b"), "made", None)
    found = event_baselines(EventPreprocessing.fit(events), events, mark_transitions(events))
    again, zero = 6 / 10, 7 / 11
    each = [math.log((1 - again) * (1 - zero))] * 2 + [math.log((1 - again) * zero)]
    each += [math.log(again + (1 - again) * zero)] * 4 + [math.log(again + (1 - again) * (1 - zero))]
    assert found["last mark"]["nll_mark"] == pytest.approx(-sum(each) / 8)
    assert found["last mark"]["accuracy"] == 5 / 8


def test_times_and_marks_are_joined() -> None:
    """The best process and the best rule for marks together are a simple way, whose likelihoods add up."""
    ways = {
        "Poisson": {"nll": 3.0, "nll_time": 1.0, "nll_mark": 2.0, "rmse": 5.0, "accuracy": 0.1},
        "renewal": {"nll": 2.5, "nll_time": 0.5, "nll_mark": 2.0, "rmse": 6.0, "accuracy": 0.1},
        "last mark": {"accuracy": 0.9},
        "Markov marks": {"accuracy": 0.7, "nll_mark": 0.25},
    }
    both = {"nll": 0.75, "nll_time": 0.5, "nll_mark": 0.25, "rmse": 6.0, "accuracy": 0.7}
    assert best_pair(ways) == {"renewal, Markov marks": both}
    assert best_pair(ways | best_pair(ways)) == best_pair(ways)
    assert best_pair(ways | {"renewal": {**ways["renewal"], "nll_mark": 0.25}}) == {}  # as good at marks as any rule
    assert best_pair({name: ways[name] for name in ("Poisson", "renewal", "last mark")}) == {}
    assert best_pair({"Poisson": {"nll": 1.0, "nll_time": 1.0}}) == {}


def test_exponential_distance() -> None:
    """The distance of exponential numbers is small, of others as large as it is by hand."""
    random = np.random.default_rng(0)
    assert exponential_distance(random.exponential(1, 20_000)) < 0.0116
    assert exponential_distance(np.array([0.0])) == 1
    assert exponential_distance(np.array([math.log(2)])) == pytest.approx(0.5)


def test_events_of_another_kind() -> None:
    """Other marks, and dates in place of numbers, are refused; so is a model without preprocessing."""
    events = log_normal(3)
    model = knowing(events)
    with pytest.raises(DataError, match="expected the 2 marks of training, received 3"):
        evaluate_events(model, cases.poisson(1.0, 2, 9.0, marks=3))
    dated = EventSet(events.sequences, events.marks, "made", None, dated=True)
    with pytest.raises(DataError, match="times as numbers as in training, received dates"):
        evaluate_events(model, dated)
    with pytest.raises(ValueError, match="expected preprocessing"):
        evaluate_events(EventModel(marks=2, d_model=4), events)


@pytest.mark.usefixtures("real_data")
def test_real_baselines() -> None:
    """On StackOverflow the most frequent mark of training has the published share, and Markov marks do better."""
    parts = {name: read_events(path, duplicates="keep") for name, path in find_parts("StackOverflow-EasyTPP").items()}
    preprocessing = EventPreprocessing.fit(parts["train"])
    found = event_baselines(preprocessing, parts["test"], mark_transitions(parts["train"]))
    assert found["most frequent mark"]["accuracy"] == pytest.approx(0.425, abs=1e-3)
    assert found["Markov marks"]["accuracy"] == pytest.approx(0.444, abs=1e-3)


def test_a_perfect_prediction_has_errors_of_zero() -> None:
    """Errors that are all 0 are told as such; where nothing was said of times, there are none."""
    errors = EventErrors()
    errors.add_times(np.ones(3), np.ones(3))
    assert errors.summary() == {"rmse": 0.0, "mae": 0, "sequence_sum_rmse": 0, "events": 3}
    silent = EventErrors()
    silent.add_events(3)
    silent.add_marks(np.array([True, True, False]))
    assert silent.summary() == {"accuracy": pytest.approx(2 / 3), "events": 3}


def test_the_log_normal_baseline_is_judged_as_the_model_is() -> None:
    """A model that says what the renewal baseline says has its errors and its likelihood, in the far tail too."""
    events = log_normal(40)
    last = events.sequences[0]
    far = dataclasses.replace(last, end=float(last.times[-1]) + 1e12)  # its survival is below the least float64
    events = dataclasses.replace(events, sequences=(far, *events.sequences[1:]))
    model = knowing(events)
    with torch.no_grad():
        model.interval_head.bias[1:3] = 0
    own = evaluate_events(model, events)
    found = event_baselines(model.preprocessing, events)["renewal log-normal"]
    for name in ("nll_time", "rmse", "mae", "ks"):
        assert found[name] == pytest.approx(own[name], rel=1e-6), name
    assert found["nll_time"] > 1


def test_marks_without_events_of_their_kind() -> None:
    """A set that has names of marks and events without, and events with marks for a model of none, are refused."""
    events = log_normal(3)
    bare = dataclasses.replace(
        events, sequences=tuple(dataclasses.replace(one, marks=None) for one in events.sequences)
    )
    for wrong in (bare, dataclasses.replace(bare, marks=())):
        with pytest.raises(DataError, match="events with marks as in training, received events without marks"):
            evaluate_events(knowing(events), wrong)
    unmarked = EventModel(marks=0, d_model=4, preprocessing=EventPreprocessing.fit(dataclasses.replace(bare, marks=())))
    with pytest.raises(DataError, match="events without marks as in training, received events with marks"):
        evaluate_events(unmarked, events)
