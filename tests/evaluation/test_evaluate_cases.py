"""Classifiers on labelled series: batches, early answers, baselines, and cases of another kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from aaren.data import CaseSet, cases_from_arrays, find_parts, read_cases
from aaren.errors import DataError
from aaren.evaluation import CaseDataset, case_baselines, case_logits, evaluate_cases, prepare_classes
from aaren.evaluation import _evaluate_cases as module
from aaren.evaluation._case_baselines import nearest, resampled
from aaren.models import Classifier


@pytest.fixture(scope="module")
def vowels() -> CaseSet:
    """Real series of unequal lengths; a test that needs them fails without them."""
    return read_cases(find_parts("JapaneseVowels")["train"]).select(range(0, 270, 9))


@pytest.fixture(scope="module")
def model(vowels: CaseSet) -> Classifier:
    """A small classifier with random weights."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"d_model": 16, "nhead": 2, "num_layers": 1, "dim_feedforward": 16}
    return Classifier(preprocessing=prepare_classes(vowels), channels=12, classes=9, **sizes).eval()


@torch.no_grad()
def test_early_logits_are_those_of_the_cut_series(model: Classifier, vowels: CaseSet) -> None:
    """The answers after each tenth are exactly what the model says of the series cut there, in whole rows."""
    found = case_logits(model, vowels)
    for index, case in enumerate(vowels.cases[:8]):
        scaled = torch.from_numpy(model.preprocessing.scaler.transform(case).astype(np.float32))
        for tenth in range(1, 11):
            rows = -(-len(case) * tenth // 10)
            said, _ = model(scaled[None, :rows])
            np.testing.assert_allclose(found[index, tenth - 1], said.logits[0, -1].numpy(), atol=1e-5)


def test_batches_change_nothing(model: Classifier, vowels: CaseSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the cases fall into batches, each gets its own answer, in the order of the cases."""
    whole = case_logits(model, vowels)
    monkeypatch.setattr(module, "_TOKENS", 40)
    batches = module._batches(vowels.lengths)
    assert sorted(np.concatenate(batches).tolist()) == list(range(30))
    assert len(batches) > 5
    assert all(len(batch) == 1 or vowels.lengths[batch].max() * len(batch) <= 40 for batch in batches)
    np.testing.assert_allclose(case_logits(model, vowels), whole, atol=1e-5)


def test_evaluate_cases(model: Classifier, vowels: CaseSet) -> None:
    """Metrics are averages over cases; the early curve ends with the accuracy of the whole series."""
    found = evaluate_cases(model, vowels)
    assert list(found["early"]) == [str(tenth / 10) for tenth in range(1, 11)]
    assert found["early"]["1.0"] == found["accuracy"]
    parts = [evaluate_cases(model, vowels.select(part)) for part in (range(7), range(7, 30))]
    for name in ("accuracy", "log_loss"):
        assert found[name] == pytest.approx((7 * parts[0][name] + 23 * parts[1][name]) / 30, abs=1e-6)


def test_a_batch_is_padded_and_scaled(vowels: CaseSet) -> None:
    """A batch holds each case in training deviations, true under its mask, and nothing behind it."""
    preprocessing = prepare_classes(vowels)
    batch = CaseDataset(vowels, preprocessing).__getitems__([3, 0, 20])
    assert batch["mask"].sum(1).tolist() == vowels.lengths[[3, 0, 20]].tolist()
    assert batch["values"].shape[1] == vowels.lengths[[3, 0, 20]].max()
    assert batch["labels"].tolist() == vowels.labels[[3, 0, 20]].tolist()
    scaled = preprocessing.scaler.transform(vowels.cases[20]).astype(np.float32)
    assert np.array_equal(batch["values"][2][batch["mask"][2]].numpy(), scaled)
    assert not batch["values"][~batch["mask"]].any()
    everything = np.concatenate([preprocessing.scaler.transform(case) for case in vowels.cases])
    np.testing.assert_allclose(everything.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(everything.std(0), 1, atol=1e-9)


def test_baselines_on_real_series() -> None:
    """On real series the nearest neighbour reaches about the archive's published accuracy, the majority its share."""
    parts = find_parts("BasicMotions")
    train = read_cases(parts["train"])
    test = read_cases(parts["test"], classes=train.classes)
    found = {name: errors["accuracy"] for name, errors in case_baselines(train, test).items()}
    assert found["most frequent class"] == 0.25
    assert 0.5 <= found["nearest neighbour"] <= 0.8
    assert 0.6 <= found["nearest, normalised"] <= 0.85


def test_nearest_is_the_nearest() -> None:
    """The neighbour is the one that a loop over all distances finds; normalising forgets level and size."""
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal((length, 2)) for length in (5, 9, 7, 9, 4, 8)]
    arrays[2][1, 0] = np.nan
    cases = cases_from_arrays(arrays, list("ababab"))
    train, test = cases.select(range(4)), cases.select([4, 5])
    scaled = [[resampled(case, 9) for case in part.cases] for part in (train, test)]
    everything = np.concatenate(train.cases)
    deviation = np.nanstd(everything, axis=0)
    expected = [
        int(np.argmin([(np.square((one - other) / deviation)).sum() for other in scaled[0]])) for one in scaled[1]
    ]
    assert nearest(train, test).tolist() == expected
    louder = cases_from_arrays([100 + 50 * array for array in arrays], list("ababab"))
    assert nearest(train, louder.select([3, 1]), normalised=True).tolist() == [3, 1]


def test_resampling() -> None:
    """Linear in between, ends kept, gaps filled, a missing channel 0."""
    case = np.array([[0.0, np.nan, 1.0], [np.nan, np.nan, 1.0], [4.0, np.nan, 1.0]])
    assert resampled(case, 5).T.tolist() == [[0, 1, 2, 3, 4], [0] * 5, [1] * 5]
    assert resampled(case[:1], 3).T.tolist() == [[0] * 3, [0] * 3, [1] * 3]


def test_cases_of_another_kind(model: Classifier, vowels: CaseSet) -> None:
    """Other channels, other classes, no class, numbers beyond float32 and a model without names are refused."""
    one = vowels.cases[0]
    with pytest.raises(DataError, match="expected cases of 12 channels as in training, received 1"):
        case_logits(model, cases_from_arrays([one[:, 0]], ["1"], classes=vowels.classes))
    with pytest.raises(DataError, match=r"expected the classes .*'9'.*received"):
        case_logits(model, cases_from_arrays([one], ["1"], classes=("1", "2")))
    unknown = CaseSet((one,), np.array([-1]), vowels.classes, vowels.channels, "x", None)
    assert case_logits(model, unknown).shape == (1, 10, 9)
    with pytest.raises(DataError, match="expected a class for every case, received none for case 1"):
        evaluate_cases(model, unknown)
    huge = one.copy()
    huge[2, 4] = 1e300
    with pytest.raises(DataError, match=r"column 'channel_5': .*received 1e\+300 in row 3 of case 1"):
        case_logits(model, cases_from_arrays([huge], ["1"], classes=vowels.classes))
    with pytest.raises(ValueError, match="expected preprocessing"):
        case_logits(Classifier(channels=12, classes=9, d_model=8), vowels)
    with pytest.raises(DataError, match="at least two classes, received 1"):
        prepare_classes(cases_from_arrays([[1.0], [2.0]], ["a", "a"]))
