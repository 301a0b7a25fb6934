"""Streams of classifiers: the same as in parallel, series after series, bad rows, snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import aaren
from aaren.data import CaseSet, find_parts, read_cases
from aaren.errors import DataError, ModelFileError
from aaren.evaluation import prepare_classes
from aaren.models import Classifier
from aaren.streaming import ClassifierStream, classify

KINDS: list[dict[str, Any]] = [
    {"encoder": "aaren", "decay": "learned", "positions": "sinusoidal"},
    {"encoder": "aaren"},
    {"encoder": "transformer"},
    {"encoder": "gru"},
    {"encoder": "mingru"},
]


def build(cases: CaseSet, **fields: Any) -> Classifier:
    """A small classifier with random weights everywhere, so that no output is constant."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        sizes = {
            "positions": None,
            "d_model": 16,
            "nhead": 2,
            "num_layers": 2,
            "dim_feedforward": 16,
            "channels": 12,
            "classes": 9,
        }
        model = Classifier(preprocessing=prepare_classes(cases), **{**sizes, **fields}).eval()
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def vowels() -> CaseSet:
    """Twelve real utterances of unequal lengths, some of their values missing."""
    cases = read_cases(find_parts("JapaneseVowels")["test"]).select(range(0, 360, 30))
    generator = np.random.default_rng(1)
    for case in cases.cases[::2]:
        case[generator.random(case.shape) < 0.1] = np.nan
    return cases


@pytest.fixture(scope="module")
def model(vowels: CaseSet) -> Classifier:
    """A classifier with Aaren, as the paper has it."""
    return build(vowels)


def rows_of(case: np.ndarray) -> list[dict[str, Any]]:
    """Rows as a user feeds them: by channel, None where a value is missing."""
    names = [f"channel_{number}" for number in range(1, case.shape[1] + 1)]
    return [{n: None if np.isnan(v) else v for n, v in zip(names, row.tolist(), strict=True)} for row in case]


def bits(stream: ClassifierStream) -> list[bytes]:
    """All tensors of the state, bit by bit."""
    return [leaf.numpy().tobytes() for leaf in pytree.tree_leaves(stream.state)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
def test_streamed_is_parallel(kind: dict[str, Any], vowels: CaseSet) -> None:
    """Row by row, series after series, real data get the probabilities of one parallel pass over all of them."""
    model = build(vowels, **kind)
    stream = model.stream()
    whole = classify(model, vowels)
    for case, expected in zip(vowels.cases, whole, strict=True):
        stream.reset()
        for row in rows_of(case):
            said = stream.update(row)
        assert said.length == expected.length == len(case)
        assert said.best == expected.best
        assert list(said.probabilities) == list(vowels.classes)
        assert sum(said.probabilities.values()) == pytest.approx(1)
        for name, value in expected.probabilities.items():
            assert said.probabilities[name] == pytest.approx(value, abs=2e-5)
    assert stream.rows == vowels.lengths.sum()


def test_the_state_is_flat(model: Classifier, vowels: CaseSet) -> None:
    """The state has as many bytes after 400 rows as after the first."""
    stream = model.stream()
    row = rows_of(vowels.cases[1])[0]
    stream.update(row)
    first = stream.nbytes()
    for _ in range(399):
        said = stream.update(row)
    assert stream.nbytes() == first
    assert (said.row, said.length) == (400, 400)


def test_reset_begins_anew(model: Classifier, vowels: CaseSet) -> None:
    """After a reset the stream says what a new one says, bit for bit, but the numbering of rows goes on."""
    used, new = model.stream(), model.stream()
    for row in rows_of(vowels.cases[0]):
        used.update(row)
    before = used.state
    kept = [leaf.clone() for leaf in pytree.tree_leaves(before)]
    used.reset()
    assert bits(used) == bits(new)
    for row in rows_of(vowels.cases[3]):
        left, right = used.update(row), new.update(row)
        assert (left.length, left.probabilities) == (right.length, right.probabilities)
    assert left.row == right.row + len(vowels.cases[0])
    assert all(torch.equal(a, b) for a, b in zip(pytree.tree_leaves(before), kept, strict=True)), "states are values"


def test_what_it_says_is_plain_data(model: Classifier, vowels: CaseSet) -> None:
    """A prediction as plain data names row, length, class, and all classes in the order of training."""
    said = model.stream().update(vowels.cases[1][0])
    plain = said.to_dict()
    assert list(plain) == ["row", "length", "class", "probabilities"]
    assert (plain["row"], plain["length"], plain["class"]) == (1, 1, said.best)
    assert list(plain["probabilities"]) == list(vowels.classes)
    assert max(plain["probabilities"], key=plain["probabilities"].get) == said.best


def test_mapping_sequence_and_text_are_one(model: Classifier, vowels: CaseSet) -> None:
    """A row as mapping, as array, or as text from a file gives the same answer."""
    row = vowels.cases[1][0]
    cells = rows_of(row[None])[0]
    said = [model.stream().update(one) for one in (cells, row, {name: str(value) for name, value in cells.items()})]
    assert said[0] == said[1] == said[2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_bad_rows(bad: float, model: Classifier, vowels: CaseSet) -> None:
    """A row that is not finite is refused with its number and channel and leaves the state; skip and impute say how."""
    row = vowels.cases[1][0].tolist()
    worse = [*row[:4], bad, *row[5:]]
    strict, skipping, imputing = (model.stream(on_bad_row=policy) for policy in ("error", "skip", "impute"))
    for stream in (strict, skipping, imputing):
        stream.update(row)
    before = bits(strict)
    with pytest.raises(DataError, match="stream, line 2, column 'channel_5': expected a finite number"):
        strict.update(worse)
    assert (bits(strict), strict.rows) == (before, 1)
    assert skipping.update(worse) is None
    assert (bits(skipping), skipping.rows, skipping.skipped) == (before, 2, 1)
    missing = strict.update([*row[:4], None, *row[5:]])
    assert imputing.update(worse).probabilities == missing.probabilities


@pytest.mark.usefixtures("without_shape_checks")
def test_rows_that_are_none(model: Classifier) -> None:
    """Absent channels, words and wrong lengths are refused by name; nothing changes."""
    stream = model.stream()
    names = [f"channel_{number}" for number in range(1, 13)]
    for row, message in (
        (dict.fromkeys(names[:-1], 1), "column 'channel_12'.*no such column"),
        ({**dict.fromkeys(names, 1), "channel_2": "x"}, "column 'channel_2': expected a number, received 'x'"),
        ([1.0] * 11, "expected a flat row of 12 values"),
        (7, "expected a flat row"),
    ):
        with pytest.raises(DataError, match=message):
            stream.update(row)
    assert (stream.rows, stream.state.position.tolist()) == (0, [0])
    with pytest.raises(ValueError, match="on_bad_row"):
        model.stream(on_bad_row="ignore")
    with pytest.raises(ValueError, match="expected preprocessing"):
        Classifier(channels=1, classes=2, d_model=8).stream()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
def test_a_snapshot_goes_on_bit_for_bit(kind: dict[str, Any], vowels: CaseSet, tmp_path: Path) -> None:
    """Saved in the middle of a series and restored, a stream says the same, bit for bit, with the same row numbers."""
    model = build(vowels, **kind)
    stream, rows = model.stream(), rows_of(vowels.cases[0])
    for row in rows[:6]:
        stream.update(row)
    stream.save(tmp_path / "state")
    restored = model.stream(tmp_path / "state")
    assert (restored.rows, bits(restored)) == (6, bits(stream))
    assert [restored.update(row) for row in rows[6:]] == [stream.update(row) for row in rows[6:]]


def test_snapshots_at_fault(model: Classifier, vowels: CaseSet, tmp_path: Path) -> None:
    """Cut, with a flipped bit, or of another model, a snapshot is refused."""
    stream = model.stream()
    stream.update(vowels.cases[1][0])
    stream.save(tmp_path / "state")
    whole = (tmp_path / "state").read_bytes()
    flipped = bytearray(whole)
    flipped[-20] ^= 1
    for data in (whole[:-7], whole[:100], b"", bytes(flipped)):
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(ModelFileError, match="bad: "):
            model.stream(tmp_path / "bad")
    with pytest.raises(ModelFileError, match="of another model"):
        build(vowels, num_layers=1).stream(tmp_path / "state")


def test_the_stream_of_a_loaded_model(model: Classifier, vowels: CaseSet, tmp_path: Path) -> None:
    """`model.stream()` of a loaded classifier is a ClassifierStream that says the same."""
    model.save(tmp_path / "model")
    stream = aaren.load(tmp_path / "model").stream()
    assert isinstance(stream, ClassifierStream)
    assert stream.schema.inputs[:2] == ("channel_1", "channel_2")
    assert stream.update(vowels.cases[1][0]) == model.stream().update(vowels.cases[1][0])


@contextmanager
def overflowing(model: Classifier) -> Iterator[None]:
    """Weights after which no number is one."""
    with torch.no_grad():
        kept = model.embed.weight.clone()
        model.embed.weight.fill_(3e38)
        yield
        model.embed.weight.copy_(kept)


@pytest.mark.parametrize("fields", [{"encoder": "transformer"}, {"encoder": "mingru"}, {"norm_first": True}])
def test_a_row_that_the_model_cannot_take_changes_nothing(vowels: CaseSet, fields: dict[str, Any]) -> None:
    """A finite number after which nothing would be one is refused with its row, and the state is what it was."""
    model = build(vowels, **fields)
    row = np.nan_to_num(vowels.cases[1][0])
    stream, other = ClassifierStream(model), ClassifierStream(model)
    stream.update(row)
    other.update(row)
    with overflowing(model):
        with pytest.raises(DataError, match="line 2: expected a row that the model can take"):
            stream.update(row)
        skipping = ClassifierStream(model, on_bad_row="skip")
        assert skipping.update(row) is None
        assert skipping.skipped == 1
    assert stream.update(row).to_dict() == {**other.update(row).to_dict()}  # type: ignore[union-attr]
    huge = np.full(12, 1e16)
    with pytest.raises(DataError, match=r"channel_1': expected a finite number within 1e\+15 training deviations"):
        stream.update(huge)


def test_a_model_that_trains_on_streams_without_dropout(vowels: CaseSet) -> None:
    """Training mode that is set after the stream was opened does not make its answers random."""
    model = build(vowels, dropout=0.5)
    row = np.nan_to_num(vowels.cases[1][0])
    expected = ClassifierStream(model).update(row)
    stream = ClassifierStream(model)
    model.train()
    found = stream.update(row)
    model.eval()
    assert found is not None
    assert expected is not None
    assert found.probabilities == expected.probabilities
