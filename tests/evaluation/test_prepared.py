"""Prepared tables: nothing of validation or test in training, nothing outside of a part in its truth."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_cases import HORIZON, HOUR, LOOK_BACK, table, values

from aaren.data import Series, SeriesSet
from aaren.errors import DataError
from aaren.evaluation import WindowDataset, check_compatible, model_inputs, prepare, take_batch

SPLIT = (60, 30, 30)
PARTS = ("train", "validation", "test")


def spoiled(data: SeriesSet, rows: slice) -> SeriesSet:
    """The same table with garbage in some rows of every series."""
    series = []
    for one in data.series:
        array = one.values.copy()
        array[rows] = 1e4 * np.random.default_rng(9).standard_normal(array[rows].shape)
        series.append(Series(one.name, one.times, array))
    return dataclasses.replace(data, series=tuple(series))


def test_the_scaler_knows_the_training_part_alone() -> None:
    """Garbage in validation and test rows leaves the scaler as it is; garbage in training rows does not."""
    data = table([values(120, missing=0.1)])
    fitted = prepare(data, SPLIT).preprocessing.scaler
    train = data.series[0].values[:60]
    np.testing.assert_allclose(fitted.mean, np.nanmean(train, axis=0))
    np.testing.assert_allclose(fitted.deviation, np.nanstd(train, axis=0))
    assert prepare(spoiled(data, slice(60, None)), SPLIT).preprocessing.scaler.to_dict() == fitted.to_dict()
    assert prepare(spoiled(data, slice(59, 60)), SPLIT).preprocessing.scaler.to_dict() != fitted.to_dict()


def test_arrays_are_the_scaled_table() -> None:
    """Values are scaled, missing ones stay missing, and the calendar and elapsed time are those of the rows."""
    data = table([values(120, missing=0.1)])
    prepared = prepare(data, SPLIT)
    scaler = prepared.preprocessing.scaler
    expected = (data.series[0].values - scaler.mean) / scaler.deviation
    np.testing.assert_allclose(prepared.values, expected.astype(np.float32))
    assert np.isnan(prepared.values).any()
    assert prepared.calendar.shape == (120, 6)
    assert prepared.elapsed.tolist() == [0.0] + [1.0] * 119
    assert prepared.source == data.source


def test_truth_is_of_the_part_alone() -> None:
    """`targets_inside` holds the targets of its part, in every series, and NaN everywhere else."""
    prepared = prepare(table([values(120), values(130, seed=1)], targets="a"), SPLIT)
    assert prepared.offsets == (0, 120)
    for part, (start, stop) in zip(PARTS, ((0, 60), (60, 90), (90, 120)), strict=True):
        assert prepared.rows(part) == [(start, stop), (start + 120, stop + 120)]
        inside = prepared.targets_inside(part)
        assert inside.shape == (250, 1)
        known = np.zeros(250, dtype=bool)
        known[start:stop] = known[start + 120 : stop + 120] = True
        np.testing.assert_array_equal(np.isfinite(inside[:, 0]), known)
        np.testing.assert_array_equal(inside[known], prepared.values[known, :1])


@pytest.mark.parametrize("part", PARTS)
def test_windows_of_several_series(part: str) -> None:
    """Windows are all those whose forecast rows lie in the part, and none reaches into another series."""
    prepared = prepare(table([values(120), values(130, seed=1)]), SPLIT)
    length = LOOK_BACK + HORIZON
    expected = []
    for (start, stop), offset in zip(prepared.rows(part), prepared.offsets, strict=True):
        first = start if part == "train" else start - LOOK_BACK
        expected += [row for row in range(first, stop - length + 1) if row >= offset]
    assert prepared.windows(part, LOOK_BACK, HORIZON).tolist() == expected
    assert prepared.windows(part, LOOK_BACK, HORIZON, 5).tolist() == [
        row
        for (_, stop), low in zip(prepared.rows(part), (0, 1), strict=True)
        for row in expected[low * len(expected) // 2 : (low + 1) * len(expected) // 2 : 5]
        if row < stop
    ]


def test_batches_are_the_rows_of_their_windows() -> None:
    """A batch holds the rows of each window and the truth of the part; one window is a batch of one."""
    prepared = prepare(table([values(120), values(130, seed=1)]), SPLIT)
    dataset = WindowDataset(prepared, "validation", LOOK_BACK, HORIZON)
    starts = prepared.windows("validation", LOOK_BACK, HORIZON)
    truth = prepared.targets_inside("validation")
    assert len(dataset) == len(starts) == 2 * (30 - HORIZON + 1)
    batch = dataset.__getitems__([0, 5, len(dataset) - 1])
    for row, index in enumerate((0, 5, len(dataset) - 1)):
        past = slice(starts[index], starts[index] + LOOK_BACK)
        whole = slice(starts[index], starts[index] + LOOK_BACK + HORIZON)
        for name, array in (
            ("values", prepared.values),
            ("calendar", prepared.calendar),
            ("elapsed", prepared.elapsed),
        ):
            np.testing.assert_array_equal(batch[name][row].numpy(), array[past])
            assert torch.equal(dataset[index][name], batch[name][row])
        np.testing.assert_array_equal(batch["block"][row].numpy(), truth[whole])
    assert batch["block"][0, :LOOK_BACK].isnan().all()
    assert take_batch(batch) is batch


@pytest.mark.parametrize(("part", "outside"), [("train", slice(60, None)), ("validation", slice(90, None))])
def test_no_part_sees_what_comes_after_it(part: str, outside: slice) -> None:
    """Garbage in all later parts changes no batch: neither what a model sees nor what it is judged by."""
    data = table([values(120), values(130, seed=1)])
    clean, dirty = (
        WindowDataset(prepare(one, SPLIT), part, LOOK_BACK, HORIZON) for one in (data, spoiled(data, outside))
    )
    for name, tensor in clean.__getitems__(range(len(clean))).items():
        torch.testing.assert_close(dirty.__getitems__(range(len(clean)))[name], tensor, rtol=0, atol=0, equal_nan=True)


def test_a_calendar_without_features_is_none() -> None:
    """A table without time gives a model no calendar."""
    plain = dataclasses.replace(table([values(120)]))
    inputs = model_inputs(WindowDataset(prepare(plain, SPLIT), "test", LOOK_BACK, HORIZON).__getitems__([0]))
    assert inputs["calendar"].shape == (1, LOOK_BACK, 6)
    inputs = model_inputs({"values": inputs["values"], "calendar": inputs["calendar"][..., :0], "elapsed": None})
    assert inputs["calendar"] is None


def test_a_trained_models_preprocessing_is_used_as_it_is() -> None:
    """With a preprocessing given, nothing is fitted."""
    trained = prepare(table([values(120)]), SPLIT).preprocessing
    other = prepare(table([7 * values(120, seed=3) + 1]), SPLIT, trained)
    assert other.preprocessing is trained
    assert abs(other.values[:60].mean()) > 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (table([values(120)], step=HOUR), "expected rows every 10800 s as in training, received 3600 s; resample"),
        (table([values(120)], targets=["b", "a"]), r"expected the targets \('a', 'b'\).*received \('b', 'a'\)"),
        (table([values(120)], targets=["a"]), r"received \('a',\) and \(\)"),
    ],
)
def test_another_kind_of_table_is_refused(other: SeriesSet, message: str) -> None:
    """Another interval, and other or swapped columns, are refused with both, before anything is scaled."""
    trained = prepare(table([values(120)]), SPLIT).preprocessing
    with pytest.raises(DataError, match=message):
        prepare(other, SPLIT, trained)
    check_compatible(table([values(50)]), trained)


def test_a_table_without_time_is_not_one_with_time() -> None:
    """A model of rows without time refuses rows with time, and says so."""
    timed = table([values(120)])
    sampling = dataclasses.replace(timed.sampling, kind="none", interval=None)
    untimed = dataclasses.replace(
        timed, sampling=sampling, series=tuple(Series(s.name, None, s.values) for s in timed.series)
    )
    prepared = prepare(untimed, SPLIT)
    assert prepared.calendar.shape == (120, 0)
    assert prepared.elapsed.tolist() == [0.0] + [1.0] * 119
    with pytest.raises(DataError, match="expected rows every row, without time as in training, received 10800 s"):
        check_compatible(timed, prepared.preprocessing)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_part_without_truth_is_refused(part: int) -> None:
    """A part whose targets are all missing is refused by name: nothing could be trained, chosen or judged on it."""
    array = values(120)
    array[(slice(0, 60), slice(60, 90), slice(90, 120))[part], 0] = np.nan
    message = "expected values to fit a scale on" if part == 0 else f"known targets in the {PARTS[part]} part"
    with pytest.raises(DataError, match=message):
        prepare(table([array], targets="a"), SPLIT)


@pytest.mark.parametrize("lengths", [(70, 4), (12, 70)])
def test_windows_that_do_not_fit_are_refused(lengths: Any) -> None:
    """A look-back or horizon that is longer than the part is refused."""
    prepared = prepare(table([values(120)]), SPLIT)
    with pytest.raises(DataError, match=f"room for look-back {lengths[0]} and horizon {lengths[1]}"):
        WindowDataset(prepared, "train", *lengths)


def test_rows_of_another_kind_of_sampling_are_refused() -> None:
    """A model of equal intervals takes no irregular rows, nor the other way round: streams would differ from files."""
    data = table([values(120)])
    regular = prepare(data, SPLIT).preprocessing
    irregular = dataclasses.replace(data, sampling=dataclasses.replace(data.sampling, kind="irregular"))
    check_compatible(data, regular)
    with pytest.raises(DataError, match=r"expected rows at equal intervals .* received irregular rows"):
        check_compatible(irregular, regular)
    with pytest.raises(DataError, match="expected irregular rows as in training, received rows at equal intervals"):
        check_compatible(data, dataclasses.replace(regular, irregular=True))


def test_values_beyond_float32_are_not_taken_for_missing() -> None:
    """A number that float32 cannot hold is an error with row and column, not one value less in the error."""
    data = table([values(120)])
    data.series[0].values[100, 0] = 1e300
    with pytest.raises(DataError, match=r"within 1e\+15 training deviations of the mean, received 1e\+300 in row 100"):
        prepare(data, SPLIT)
