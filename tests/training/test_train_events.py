"""Training of event models: they reach the likelihood of a known process, and leave a directory that loads."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))  # for `event_process_cases`

import event_process_cases as cases
import torch

import aaren
from aaren.data import split_sequences
from aaren.errors import DataError
from aaren.evaluation import evaluate_events
from aaren.models import EventModel, EventPreprocessing
from aaren.training import EVENT_OPTIONS, PAPER_OPTIONS, event_loss, train_events

TINY = {"d_model": 16, "num_layers": 1, "dim_feedforward": 16, "components": 4, "dropout": 0.0}


def test_a_hawkes_process_is_learned(tmp_path: Path) -> None:
    """On an exponential Hawkes process the NLL comes near the true one, which the Poisson baseline does not."""
    train, validation, test = split_sequences(cases.hawkes(300, 25.0, seed=2), (200, 50, 50))
    options = replace(EVENT_OPTIONS, epochs=8, learning_rate=1e-2, learning_rate_decay=0.8)
    result = train_events(
        train, tmp_path, validation=validation, test=test, options=options, progress=False, decay="time", **TINY
    )
    truth, found = cases.hawkes_nll(test), result.metrics["test"]
    poisson = result.metrics["baselines"]["Poisson"]["nll"]
    assert truth - 0.02 < found["nll"] < truth + 0.06
    assert found["nll"] < truth + 0.25 * (poisson - truth)
    assert found["ks"] < 0.06


def test_a_poisson_process_is_learned(tmp_path: Path) -> None:
    """On a Poisson process, whose intervals no log-normal has, the held-out NLL of time and mark is near the true one.

    It is below it by chance alone; with the survival of the last intervals left out it is not near.
    """
    train, validation, test = split_sequences(cases.poisson(2.0, 350, 8.0, marks=2, seed=3), (200, 50, 100))
    options = replace(EVENT_OPTIONS, epochs=8, learning_rate=1e-2, learning_rate_decay=0.8)
    result = train_events(train, tmp_path, validation=validation, test=test, options=options, progress=False, **TINY)
    truth, found = cases.poisson_nll(test, 2.0), result.metrics["test"]
    assert found["nll_time"] == pytest.approx(truth, abs=0.03)
    chance = sum(one.marks[1:].mean() * (len(one.times) - 1) for one in test.sequences) / found["events"]
    marks = -chance * math.log(2 / 3) - (1 - chance) * math.log(1 / 3)
    assert found["nll_mark"] == pytest.approx(marks, abs=0.02)
    assert found["ks"] < 0.04
    closed = [replace(one, end=float(one.times[-1])) for one in test.sequences]
    unended = evaluate_events(result.model, replace(test, sequences=tuple(closed)))
    assert abs(unended["nll_time"] - truth) > 0.04


def test_a_directory_and_its_record(tmp_path: Path) -> None:
    """The model loads with the same numbers; the record has data, options and metrics of every part; test is last."""
    parts = split_sequences(cases.poisson(1.0, 30, 12.0, marks=2))
    options = replace(EVENT_OPTIONS, epochs=2)
    result = train_events(
        parts[0],
        tmp_path,
        validation=parts[1],
        test=parts[2],
        split=(0.6, 0.2, 0.2),
        options=options,
        progress=False,
        **TINY,
    )
    again = aaren.load(tmp_path)
    assert evaluate_events(again, parts[2]) == result.metrics["test"]
    record = json.loads((tmp_path / "record.jsonl").read_text())
    assert record["kind"] == "events"
    assert record["data"]["split"] == [0.6, 0.2, 0.2]
    assert record["data"]["test"] == {"source": "poisson", "sha256": None, "sequences": 6, "events": parts[2].events}
    assert set(record["metrics"]) == {"validation", "test", "baselines"}
    same = train_events(parts[0], tmp_path / "b", validation=parts[1], options=options, progress=False, **TINY)
    assert same.metrics["validation"] == result.metrics["validation"]
    assert "test" not in same.metrics
    assert same.model.fingerprint() == result.model.fingerprint()


def test_the_loss_is_per_event() -> None:
    """The loss of a batch is the NLL per scored event, weighted by their number."""
    events = cases.poisson(1.0, 8, 12.0, marks=2)
    model = EventModel(marks=2, d_model=8, preprocessing=EventPreprocessing.fit(events)).eval()
    from aaren.evaluation import EventDataset

    dataset = EventDataset(events, model.preprocessing)
    with torch.no_grad():
        loss, samples = event_loss(model, dataset.__getitems__(range(8)))
        alone = [event_loss(model, dataset.__getitems__([index])) for index in range(8)]
    assert samples == events.events - 8
    assert float(loss) == pytest.approx(sum(float(one) * count for one, count in alone) / samples, rel=1e-5)


def test_options_of_the_paper() -> None:
    """The paper's options are Adam's 1e-4 without decay and batches of 16."""
    assert (PAPER_OPTIONS.learning_rate, PAPER_OPTIONS.learning_rate_decay, PAPER_OPTIONS.batch_size) == (1e-4, 1, 16)
    assert PAPER_OPTIONS.weight_decay == 0


def test_parts_that_do_not_belong_together(tmp_path: Path) -> None:
    """A validation part with other marks is refused before training, and nothing is written."""
    with pytest.raises(DataError, match="expected the 2 marks of training, received 3"):
        train_events(
            cases.poisson(1.0, 3, 9.0, marks=2), tmp_path / "m", validation=cases.poisson(1.0, 3, 9.0, marks=3)
        )
    assert not (tmp_path / "m").exists()
