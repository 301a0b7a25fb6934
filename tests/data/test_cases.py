"""Labelled series from arrays, and their stratified split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaren.data import cases_from_arrays, stratified_split
from aaren.errors import DataError


def test_arrays_are_copied_and_labels_sorted_by_value():
    """Cases are float64 copies; classes that are all numbers are sorted as numbers, others as text."""
    array = np.arange(6, dtype=np.int32).reshape(3, 2)
    cases = cases_from_arrays([array, array[:1]], [10, 9])
    array[:] = 7
    assert cases.cases[0].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert cases.cases[0].dtype == np.float64
    assert (cases.classes, cases.labels.tolist()) == (("9", "10"), [1, 0])
    assert cases_from_arrays([[1.0], [2.0]], ["10", "b"]).classes == ("10", "b")
    assert (cases.channels, cases.lengths.tolist(), cases.sha256) == (("channel_1", "channel_2"), [3, 1], None)


def test_classes_of_training_give_the_labels_their_meaning():
    """With the classes of training, labels are positions among those, whichever of them occur."""
    assert cases_from_arrays([[1.0]], ["b"], classes=("a", "b", "c")).labels.tolist() == [1]


def test_select_and_describe():
    """Chosen cases keep their labels and classes; the description tells sizes, lengths and missing values."""
    cases = cases_from_arrays([[1.0, np.nan], [2.0], [3.0]], ["x", "y", "x"])
    chosen = cases.select([2, 0])
    assert [case[0, 0] for case in chosen.cases] == [3, 1]
    assert (chosen.labels.tolist(), chosen.classes) == ([0, 0], ("x", "y"))
    assert cases.describe() == (
        "arrays: 3 cases of 1 channels, length 1 to 2\nclasses: x (2), y (1)\nmissing values: 1"
    )


@pytest.mark.parametrize(
    ("arrays", "labels", "options", "message"),
    [
        ([], [], {}, "arrays: expected at least one case"),
        ([[1.0]], ["a", "b"], {}, "expected a label for each of 1 arrays, received 2"),
        ([[1.0], []], ["a", "b"], {}, r"arrays, case 2: expected a case of shape .* received \(0, 1\)"),
        ([np.zeros((2, 0))], ["a"], {}, r"case 1: .* received \(2, 0\)"),
        ([np.zeros((2, 2, 2))], ["a"], {}, "case 1: expected a case of shape"),
        ([[1.0], [np.inf]], ["a", "b"], {}, "case 2: expected finite values"),
        ([["x"]], ["a"], {}, "case 1: expected an array of numbers"),
        ([np.zeros((2, 2)), np.zeros((2, 3))], ["a", "b"], {}, "case 2: expected 2 channels .* received 3"),
        ([[1.0]], ["a"], {"channels": ("u", "v")}, "expected names of 1 channels, received 2"),
        ([[1.0]], ["z"], {"classes": ("a", "b")}, "case 1: expected one of the classes 'a', 'b', received 'z'"),
        ([[1.0]], ["a"], {"classes": ("a", "a")}, "expected different classes, received 'a' twice"),
        ([[1.0]], ["a"], {"classes": ()}, "expected the names of the classes, received none"),
    ],
)
def test_arrays_at_fault(arrays, labels, options, message):
    """Arrays that are no labelled series are refused with the number of the case."""
    with pytest.raises(DataError, match=message):
        cases_from_arrays(arrays, labels, **options)


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=60),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31),
)
def test_a_stratified_split_divides_every_class(labels, fraction, seed):
    """Both sides together are all cases once; each class of two or more is on both, in its share within one case."""
    counts = np.bincount(labels)
    if counts.max() < 2:
        with pytest.raises(DataError, match="at least two cases"):
            stratified_split(labels, fraction, seed)
        return
    first, second = stratified_split(labels, fraction, seed)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(len(labels)))
    assert all((np.diff(side) > 0).all() for side in (first, second))
    for label in set(labels):
        aside = sum(labels[index] == label for index in second)
        total = labels.count(label)
        assert (1 <= aside <= total - 1) if total > 1 else aside == 0
        if total > 1:
            assert abs(aside - fraction * total) <= 1


def test_a_stratified_split_is_decided_by_its_seed():
    """The same seed gives the same sides, another seed others."""
    labels = [0, 1] * 30
    assert np.array_equal(stratified_split(labels, 0.3, 5)[1], stratified_split(labels, 0.3, 5)[1])
    assert not np.array_equal(stratified_split(labels, 0.3, 5)[1], stratified_split(labels, 0.3, 6)[1])
    for fraction in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="fraction"):
            stratified_split(labels, fraction, 0)
    with pytest.raises(ValueError, match="seed: expected 0 or a positive number, received -1"):
        stratified_split(labels, 0.5, -1)


def test_masks_select_as_positions_do():
    """A mask and its positions select the same cases; numbers that are no positions are refused."""
    cases = cases_from_arrays([[1.0], [2.0], [3.0], [4.0]], ["b", "a", "b", "a"])
    for chosen in (cases.labels == 0, [1, 3], np.array([1, 3])):
        assert [case[0, 0] for case in cases.select(chosen).cases] == [2.0, 4.0]
    for wrong in (np.array([0.9]), [], np.array([True])):
        with pytest.raises(DataError, match="expected positions of cases or a mask of 4"):
            cases.select(wrong)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([None, "a"], {}, "case 1: expected a class, received None"),
        ([float("nan"), 1.0], {}, "case 1: expected a class, received nan"),
        (["a", ""], {}, "case 2: expected a class, received ''"),
        (["a", "b"], {"channels": ("u", "u")}, "expected different names of channels"),
        (["a", "b"], {"channels": "uv"}, "expected a list of names as channels, received 'uv'"),
        (["a", "b"], {"classes": "ab"}, "expected a list of names as classes, received 'ab'"),
    ],
)
def test_labels_and_names_at_fault(labels, options, message):
    """A label that is missing is no class, and names are a list of different ones."""
    with pytest.raises(DataError, match=message):
        cases_from_arrays([[[1.0, 2.0]], [[3.0, 4.0]]], labels, **options)


def test_classes_may_be_numbers():
    """Numbers name classes as their texts do."""
    assert cases_from_arrays([[1.0], [2.0]], [1, 2], classes=[1, 2]).classes == ("1", "2")
