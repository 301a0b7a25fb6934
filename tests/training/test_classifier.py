"""Training classifiers: what is learned, what is set aside, what is recorded, and what cannot be learned."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import aaren
from aaren.data import CaseSet, cases_from_arrays, stratified_split
from aaren.errors import DataError, ModelFileError
from aaren.evaluation import case_logits as logits_of
from aaren.evaluation import evaluate_cases, fit_temperatures, log_loss, prepare_classes, rows_of_parts, softmax
from aaren.models import Classifier
from aaren.training import CLASSIFIER_OPTIONS, ClassifierResult, _classifier, classification_data, train_classifier

FAST: dict[str, Any] = {
    "epochs": 8,
    "batch_size": 8,
    "optimizer": "adamw",  # RAdam is slow in its first steps
    "learning_rate": 2e-2,
    "accelerator": "cpu",
}
TINY: dict[str, Any] = {"d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 8, "dropout": 0.0}


def waves(count: int = 48, seed: int = 0, *, shuffled: bool = False) -> CaseSet:
    """Noisy series of unequal lengths that rise or fall; shuffled labels say nothing about them."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    arrays = []
    for label in labels:
        length = int(generator.integers(6, 13))
        ramp = (2 * label - 1) * np.linspace(0.3, 1.5, length)
        arrays.append(np.stack([ramp, np.zeros(length)], 1) + 0.3 * generator.standard_normal((length, 2)))
    if shuffled:
        labels = generator.permutation(labels)
    return cases_from_arrays(arrays, [("falls", "rises")[label] for label in labels], classes=("falls", "rises"))


def train(directory: Path, cases: CaseSet, *, test: CaseSet | None = None, **changes: Any) -> ClassifierResult:
    """A short run on the CPU without a progress bar."""
    own = {name: changes.pop(name) for name in ("resume", "validation", "early_weight") if name in changes}
    options = dataclasses.replace(CLASSIFIER_OPTIONS, **{**FAST, **changes})
    return train_classifier(cases, directory, test=test, options=options, progress=False, **TINY, **own)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> ClassifierResult:
    """A trained classifier with a test part."""
    return train(tmp_path_factory.mktemp("trained"), waves(), test=waves(40, seed=1))


def test_the_paper_options() -> None:
    """The default options are the paper's: RAdam 1e-3, batch 16, clip 4, patience 10, at most 100 epochs."""
    assert CLASSIFIER_OPTIONS.optimizer == "radam"
    assert (CLASSIFIER_OPTIONS.learning_rate, CLASSIFIER_OPTIONS.learning_rate_decay) == (1e-3, 1.0)
    assert (CLASSIFIER_OPTIONS.batch_size, CLASSIFIER_OPTIONS.clip) == (16, 4.0)
    assert (CLASSIFIER_OPTIONS.patience, CLASSIFIER_OPTIONS.epochs) == (10, 100)


def test_what_is_there_is_learned(result: ClassifierResult) -> None:
    """Rising and falling series are told apart, better than by the most frequent class."""
    assert result.metrics["test"]["accuracy"] > 0.9
    assert result.metrics["baselines"]["most frequent class"]["accuracy"] == 0.5
    assert result.metrics["test"] == evaluate_cases(result.model, waves(40, seed=1))


def test_shuffled_labels_fall_to_chance(tmp_path: Path) -> None:
    """With shuffled labels the test accuracy is that of guessing: nothing of the test part leaks."""
    shuffled = train(tmp_path, waves(shuffled=True), test=waves(200, seed=2, shuffled=True))
    assert abs(shuffled.metrics["test"]["accuracy"] - 0.5) < 0.13  # 3.7 deviations of 200 coins


def test_the_test_part_decides_nothing(result: ClassifierResult, tmp_path: Path) -> None:
    """Another test part, or none, gives the same model to the bit."""
    other = train(tmp_path / "other", waves(), test=waves(40, seed=9, shuffled=True))
    none = train(tmp_path / "none", waves())
    assert result.model.fingerprint() == other.model.fingerprint() == none.model.fingerprint()
    assert set(none.metrics) == {"validation"}


def test_scale_and_temperatures_come_from_their_parts(result: ClassifierResult) -> None:
    """The scale is that of the cases that were learned, the temperatures those of those set aside."""
    cases = waves()
    first, second = stratified_split(cases.labels, 0.2, 0)
    preprocessing = result.model.preprocessing
    expected = prepare_classes(cases.select(first)).scaler
    assert preprocessing.scaler.to_dict() == expected.to_dict()
    aside = cases.select(second)
    rows = rows_of_parts(aside.lengths)
    assert preprocessing.temperatures == fit_temperatures(logits_of(result.model, aside), rows, aside.labels)
    assert result.metrics["validation"]["cases"] == len(aside)


def test_answers_before_the_end_are_calibrated(tmp_path: Path) -> None:
    """Of new series, after the first parts of them, probabilities are nearer to the truth than with one temperature."""
    cases, new = waves(200), waves(400, seed=1)
    model = train(tmp_path, cases).model
    known = model.preprocessing
    one = dataclasses.replace(known, temperatures=((1, known.temperatures[-1][1]),))
    logits, rows = logits_of(model, new), rows_of_parts(new.lengths)
    loss = {}
    for name, preprocessing in (("by rows", known), ("one", one)):
        temperatures = preprocessing.temperature(torch.from_numpy(rows)).numpy()
        loss[name] = [log_loss(softmax(logits[:, part], temperatures[:, part]), new.labels) for part in range(10)]
    assert all(a < b for a, b in zip(loss["by rows"][:3], loss["one"][:3], strict=True))
    found = evaluate_cases(model, new)
    assert found["early_calibration_error"]["1.0"] == found["calibration_error"]
    assert found["early"]["1.0"] == found["accuracy"]


def test_the_score_orders_by_mistakes_then_by_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more mistake always weighs more than any loss; among equal mistakes the smaller loss wins."""
    cases = waves(20)
    model = Classifier(preprocessing=prepare_classes(cases), channels=2, classes=2, **TINY)
    data = classification_data(model, cases, cases)
    batch = data.validation.__getitems__(range(20))
    found: list[float] = []
    for wrong, sure in ((0, 1.0), (0, 0.1), (1, 30.0), (2, 0.01)):
        logits = sure * (2 * torch.eye(2)[batch["labels"]] - 1)
        logits[:wrong] *= -1
        said = aaren.models.Classification(logits[:, None])
        monkeypatch.setattr(model, "forward", lambda *_, said=said: (said, None))
        score, samples = data.score(model, batch)
        assert samples == 20
        found.append(float(score))
    assert found == sorted(found)
    assert len(set(found)) == 4


def test_the_record_and_the_card(result: ClassifierResult, tmp_path: Path) -> None:
    """The record is JSON with data, options and metrics; the loaded model is the trained one; the card has figures."""
    trained = train(tmp_path, waves(), test=waves(40, seed=1))
    (line,) = (tmp_path / "record.jsonl").read_text(encoding="utf-8").splitlines()
    record = json.loads(line)
    assert record["kind"] == "classifier"
    assert record["data"]["class_counts"] == [24, 24]
    assert record["metrics"]["test"]["accuracy"] == result.metrics["test"]["accuracy"]
    assert record["options"]["optimizer"] == "adamw"
    loaded = aaren.load(tmp_path)
    assert loaded.fingerprint() == trained.model.fingerprint() == record["fingerprint"]
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"accuracy {result.metrics['test']['accuracy']:.4f}" in card


def test_resume_goes_on_as_if_it_had_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after an epoch and resumed, a run ends with the bits of one that was not stopped."""
    whole = train(tmp_path / "whole", waves(), epochs=3)
    from aaren.training import _fit

    real = _fit._Task.on_train_epoch_end

    def stop(task: Any) -> None:
        real(task)
        if task.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_fit._Task, "on_train_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", waves(), epochs=3)
    assert (tmp_path / "stopped" / "checkpoints" / "last.safetensors").exists()
    assert train(tmp_path / "stopped", waves(), epochs=3, resume=True).model.fingerprint() == whole.model.fingerprint()


def test_early_weight_trains_early_answers(tmp_path: Path) -> None:
    """With weight on earlier tokens, their loss in the objective is there and answers after 30 % are above chance."""
    early = train(tmp_path, waves(), test=waves(40, seed=1), early_weight=1.0)
    assert early.metrics["test"]["early"]["0.3"] > 0.7
    assert early.record["config"]["early_weight"] == 1.0


def test_cases_at_fault(tmp_path: Path) -> None:
    """Unlabelled cases, one class, single cases, another kind of test part and shares out of range train nothing."""
    good = waves(8)
    unknown = dataclasses.replace(good, labels=np.array([0, 1, 0, 1, 0, 1, 0, -1]))
    one = cases_from_arrays([[1.0], [2.0]], ["a", "a"])
    single = cases_from_arrays([[1.0], [2.0]], ["a", "b"])
    for cases, options, message in (
        (unknown, {}, "expected a class for every case"),
        (good, {"test": unknown}, "expected a class for every case"),
        (one, {}, "at least two classes"),
        (single, {}, "at least two cases to divide"),
        (good, {"test": single}, "expected cases of 2 channels as in training, received 1"),
    ):
        with pytest.raises(DataError, match=message):
            train(tmp_path / "model", cases, **options)
    with pytest.raises(ValueError, match="fraction: expected a number between 0 and 1"):
        train(tmp_path / "model", good, validation=1.5)
    assert not (tmp_path / "model").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ModelFileError, match="cannot be written"):
        train(tmp_path / "file", good)


def test_the_parts_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training sees the learned cases alone, validation those set aside, and the temperatures are of the latter."""
    cases = waves()
    first, second = stratified_split(cases.labels, 0.25, 0)
    seen: dict[str, Any] = {}

    def watched_fit(model: Classifier, data: Any, *arguments: Any, **options: Any) -> Any:
        seen["train"], seen["validation"] = data.train.labels.tolist(), data.validation.labels.tolist()
        seen["values"] = [data.train[0]["values"][0].tolist(), data.validation[0]["values"][0].tolist()]
        return real_fit(model, data, *arguments, **options)

    def watched_temperatures(logits: Any, rows: Any, labels: Any) -> tuple[tuple[int, float], ...]:
        seen["temperatures"] = labels.tolist()
        return ((1, 2.0),)

    real_fit = _classifier.fit
    monkeypatch.setattr(_classifier, "fit", watched_fit)
    monkeypatch.setattr(_classifier, "fit_temperatures", watched_temperatures)
    result = train(tmp_path, cases, test=waves(20, seed=1), validation=0.25, epochs=1)
    assert seen["train"] == cases.labels[first].tolist()
    assert seen["validation"] == seen["temperatures"] == cases.labels[second].tolist()
    assert result.model.preprocessing is not None
    scaler = result.model.preprocessing.scaler
    for place, index in enumerate((first[0], second[0])):
        np.testing.assert_allclose(seen["values"][place], scaler.transform(cases.cases[index])[0], rtol=1e-5)
    assert result.record["training"]["samples"] == len(first)
    assert result.model.preprocessing.temperatures == ((1, 2.0),)
    # the reported probabilities are the calibrated ones
    cold = log_loss(softmax(logits_of(result.model, waves(20, seed=1))[:, -1] / 2.0), waves(20, seed=1).labels)
    assert result.record["metrics"]["test"]["log_loss"] == pytest.approx(cold, rel=1e-5)


def test_padding_does_not_count_in_the_loss() -> None:
    """What stands behind a short case in its batch changes no loss, with a weight on early answers too."""
    model = Classifier(channels=2, classes=2, early_weight=0.5, preprocessing=prepare_classes(waves()), **TINY).eval()
    data = classification_data(model, waves(), waves())
    batch = data.train.__getitems__([0, 1, 2, 3])  # type: ignore[attr-defined]
    assert not bool(batch["mask"].all())
    dirty = {**batch, "values": batch["values"].masked_fill(~batch["mask"][..., None], 7.0)}
    with torch.no_grad():
        assert data.loss(model, dirty)[0] == data.loss(model, batch)[0]
        alone = [data.loss(model, data.train.__getitems__([index]))[0] for index in range(4)]  # type: ignore[attr-defined]
        together = float(data.loss(model, batch)[0])
    assert together == pytest.approx(float(torch.stack(alone).mean()), rel=1e-5)
