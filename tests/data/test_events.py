"""Files of events: every published layout gives the same sequences; the real ones are as their authors say."""

from __future__ import annotations

import gzip
import math
import pickle
from collections.abc import Callable
from pathlib import Path

import event_cases as cases
import numpy as np
import pandas as pd
import pytest

from aaren.data import EventSet, read_events, sine_events, split_sequences, uber_sequences
from aaren.errors import DataError

FILES: dict[str, Callable[[], bytes]] = {
    "e.json": cases.easytpp,
    "e.json.gz": lambda: gzip.compress(cases.easytpp()),
    "flat.npz": lambda: cases.npz(**cases.flat()),
    "padded.npz": lambda: cases.npz(**cases.padded()),
    "lists.npz": lambda: cases.npz(
        arrival_times=cases.objects(*cases.TIMES), marks=cases.objects(*map(np.array, cases.MARKS))
    ),
    "e.csv": lambda: cases.csv().encode(),
    "e.csv.gz": lambda: gzip.compress(cases.csv().encode()),
    "torch.pkl": lambda: cases.torch_zip(cases.ifl_tpp()),
    "legacy.pkl": lambda: cases.torch_legacy(cases.ifl_tpp()),
    **{f"nhp{p}.pkl": lambda p=p: pickle.dumps(cases.nhp(), p) for p in range(6)},
    "numpy.pkl": lambda: pickle.dumps(
        cases.nhp([[np.float64(t) for t in own] for own in cases.TIMES], [np.array(own) for own in cases.MARKS]), 2
    ),
    "arrays.pkl": lambda: pickle.dumps(
        cases.ifl_tpp([np.array(own) for own in cases.TIMES], [np.array(own) for own in cases.MARKS]), 4
    ),
}


def same(found: EventSet) -> None:
    """The sequences are those of the cases."""
    for one, times, marks in zip(found.sequences, cases.TIMES, cases.MARKS, strict=True):
        assert one.times.dtype == np.float64
        np.testing.assert_array_equal(one.times, times)
        np.testing.assert_array_equal(one.marks, marks)
    assert len(found.marks) == 3


@pytest.mark.parametrize("name", FILES)
def test_every_layout_gives_the_same_events(name: str, write: Callable[..., Path]) -> None:
    """One set of sequences, written in each published layout, is read back the same."""
    found = read_events(write(FILES[name](), name))
    same(found)
    assert len(found.sha256) == 64
    spans = [(one.start, one.end) for one in found.sequences]
    known = name in ("torch.pkl", "legacy.pkl", "arrays.pkl")
    assert spans == ([(0.0, 20.0)] * 2 if known else [(0.0, 7.0), (3.0, 10.0)])


def test_text_folds(tmp_path: Path) -> None:
    """The text folds are read with the times beside them or with times that are named; ids count from 1."""
    path = cases.text(tmp_path)
    same(read_events(path))
    assert read_events(path).marks == ("1", "2", "3")
    (tmp_path / "time-1-train.txt").rename(tmp_path / "other.txt")
    same(read_events(path, times=tmp_path / "other.txt"))
    with pytest.raises(DataError, match=r"file of times, time-1-train.txt, .*times="):
        read_events(path)


def test_parts_of_a_pickle(write: Callable[..., Path]) -> None:
    """A pickle with several parts is one set that knows its parts."""
    value = cases.nhp()
    value["test"] = value["train"][:1]
    found = read_events(write(pickle.dumps(value), "e.pkl"))
    assert len(found.sequences) == 3
    same(found.part("train"))
    assert len(found.part("test").sequences) == 1
    with pytest.raises(DataError, match=r"train, test.*received 'dev'"):
        found.part("dev")


def test_tables(write: Callable[..., Path]) -> None:
    """Names of marks and sequences are kept, rows of sequences may alternate, dates count in seconds."""
    rows = ["when,kind,user", "2020-01-01 00:00,buy,b", "2020-01-01 00:00,sell,a", "2020-01-01 00:01,buy,b"]
    path = write("\n".join([*rows, "2020-01-02T00:00Z"[:16] + ",buy,a"]) + "\n")
    found = read_events(path, time="when", mark="kind", sequence="user")
    assert (found.dated, found.marks) == (True, ("buy", "sell"))
    assert [one.name for one in found.sequences] == ["b", "a"]
    assert np.diff(found.sequences[0].times).tolist() == [60.0]
    assert np.diff(found.sequences[1].times).tolist() == [86400.0]
    frame = pd.DataFrame({"time": [0, 1, 2], "mark": [10, 9, 10]})
    assert read_events(frame).marks == ("9", "10")
    assert read_events(frame, mark=None).sequences[0].marks is None
    assert read_events(frame, marks=["10", "9", "8"]).sequences[0].marks.tolist() == [0, 1, 0]


def test_equal_times(write: Callable[..., Path]) -> None:
    """Equal times are refused, dropped or kept, as asked."""
    path = write(cases.easytpp([[0.0, 1.0, 1.0, 2.0]], [[0, 1, 2, 0]]), "e.json")
    with pytest.raises(DataError, match=r"sequence '0', event 2 .*same time; read with duplicates='drop'.*'keep'"):
        read_events(path)
    assert read_events(path, duplicates="drop").sequences[0].marks.tolist() == [0, 1, 0]
    assert read_events(path, duplicates="keep").sequences[0].times.tolist() == [0, 1, 1, 2]


def test_real_files(real_data: Path) -> None:
    """StackOverflow, Wiki, Taxi and Taobao have the published numbers of sequences, events and marks."""
    folder = real_data / "events"
    for name, sequences, events, marks in (
        ("StackOverflow/easytpp/test.json.gz", 401, 26518, 22),
        ("StackOverflow/du2016/event-1-test.txt.gz", 1326, 97233, 22),
        ("Wiki/wikipedia.npz", 1000, 157471, 8227),
        ("Taxi/tritpp/taxi_unmarked.npz", 182, 17904, 0),
        ("Taxi/easytpp/valid.json.gz", 200, 7404, 10),
        ("Mooc-substitute-Taobao/easytpp/valid.json.gz", 200, 11472, 17),
    ):
        found = read_events(folder / name, duplicates="keep")
        assert (len(found.sequences), found.events, len(found.marks)) == (sequences, events, marks), name
    found = read_events(folder / "StackOverflow/du2016/stackoverflow_du2016_partial.npz", duplicates="keep")
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 3142, "test": 1326}
    fold = read_events(folder / "StackOverflow/du2016/event-1-test.txt.gz", duplicates="keep")
    assert found.part("test").events == fold.events  # the same sequences, from two files


def test_uber(real_data: Path) -> None:
    """Uber's pick-ups become sequences of 100 to 500 different minutes of one base and place."""
    found = uber_sequences(real_data / "events/Uber-substitute/uber_raw_apr14.npz")
    lengths = [len(one.times) for one in found.sequences]
    assert (min(lengths) >= 100, max(lengths) <= 500, len(lengths) > 100) == (True, True, True)
    assert all((np.diff(one.times) > 0).all() for one in found.sequences)
    assert len({one.name for one in found.sequences}) == len(lengths)


def test_sine() -> None:
    """Sin has the published shape, the same for the same seed, and its events follow the sine."""
    found = sine_events(seed=3, sequences=200)
    assert all(20 <= len(one.times) <= 200 and one.end == 32 * np.pi for one in found.sequences)
    again, other = sine_events(seed=3, sequences=200), sine_events(seed=4, sequences=200)
    assert all((a.times == b.times).all() for a, b in zip(found.sequences, again.sequences, strict=True))
    assert found.events != other.events
    phase = np.concatenate([one.times for one in found.sequences]) % (4 * np.pi)
    up = (np.sin(phase / 2) > 0).mean()
    assert abs(up - (0.5 + 1 / np.pi)) < 0.01  # the integral of 1 + sin over its upper half


def test_split_by_order() -> None:
    """Sequences are split in their order; each part is whole, and none is empty."""
    found = sine_events(seed=0, sequences=11)
    parts = split_sequences(found)
    names = [[one.name for one in part.sequences] for part in parts]
    assert [len(part) for part in names] == [6, 2, 3]
    assert [*names[0], *names[1], *names[2]] == [one.name for one in found.sequences]
    assert [len(part.sequences) for part in split_sequences(found, (7, 2, 1))] == [7, 2, 1]
    for fractions in ((0.9, 0.05, 0.05), (0.5, 0.5), (0.6, 0.6, 0.6), (-1, 1, 1), (10, 2, 2)):
        with pytest.raises(DataError, match="expected"):
            split_sequences(found, fractions)


def test_a_number_of_marks_keeps_the_names_of_the_file(write: Callable[..., Path], tmp_path: Path) -> None:
    """Marks of files that count from 1 are called so, also where their number is given."""
    assert read_events(cases.text(tmp_path), marks=4).marks == ("1", "2", "3", "4")
    assert read_events(write(cases.npz(**cases.padded()), "e.npz"), marks=3).marks == ("1", "2", "3")
    assert read_events(write(cases.npz(**cases.flat()), "f.npz"), marks=3).marks == ("0", "1", "2")
    assert read_events(write(cases.easytpp(), "e.json"), marks=5).marks == ("0", "1", "2", "3", "4")


def test_marks_of_thousands_of_digits(write: Callable[..., Path]) -> None:
    """A mark that has too many digits to be a number is a name, and comes after the numbers."""
    long = "9" * 5000
    assert read_events(write(f"time,mark\n1,{long}\n2,10\n3,9\n")).marks == ("9", "10", long)


def test_parts_by_name(write: Callable[..., Path]) -> None:
    """Named parts are training, validation (or the last tenth of training) and test (or none)."""
    value = cases.nhp()
    value["train"] = value["train"] * 10
    value["test"] = value["train"][:3]
    sizes = [len(one.sequences) for one in read_events(write(pickle.dumps(value), "e.pkl")).named_parts()]
    assert sizes == [18, 2, 3]
    value["dev"] = value.pop("test")[:1]
    train, validation, test = read_events(write(pickle.dumps(value), "f.pkl")).named_parts()
    assert (len(train.sequences), len(validation.sequences), test) == (20, 1, None)
    value["test"] = value.pop("train")
    with pytest.raises(DataError, match="received 'train'"):
        read_events(write(pickle.dumps(value), "g.pkl")).named_parts()


def test_splits_are_what_they_say() -> None:
    """Fractions are not cut by the rounding of floats, one sequence in each part is a split, and no number is none."""
    found = sine_events(seed=0, sequences=100)
    sizes = [[len(part.sequences) for part in split_sequences(found, (a, b, 1 - a - b))] for a, b in ((0.57, 0.29),)]
    assert sizes == [[57, 29, 14]]
    assert [len(part.sequences) for part in split_sequences(found, (1, 1, 1))] == [1, 1, 1]
    for odd in ((math.nan, 0.2, 0.2), (math.inf, 1, 1), (0.5, math.nan, 0.2), (10**400, 1, 1), (1, -math.inf, 1)):
        with pytest.raises(DataError, match="expected"):
            split_sequences(found, odd)
