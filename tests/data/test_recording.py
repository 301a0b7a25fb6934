"""Recordings whose rows are labelled: read, cut in time, and cut into windows that share nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaren.data import Recording, find, read_cases, read_recording, split_windows
from aaren.errors import DataError

ARFF = "@relation r\n@attribute 'A 1' numeric\n@attribute B real\n@attribute eye {open,shut}\n\n@data\n"


def recording(labels: list[int]) -> Recording:
    """Rows that hold their own number."""
    rows = np.arange(len(labels), dtype=float)[:, None]
    return Recording(rows, np.array(labels), ("a", "b", "c"), ("x",), "arrays", None)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), min_size=1, max_size=8),
    st.integers(1, 5),
    st.floats(0.1, 0.9),
)
def test_windows_share_no_row_and_cross_nothing(runs: list[tuple[int, int]], length: int, test: float) -> None:
    """Every row is in at most one window, all rows of a window have its class, and training ends before testing."""
    whole = recording([label for label, count in runs for _ in range(count)])
    try:
        parts = split_windows(whole, length, test=test)
    except DataError:
        return  # a part has no stretch of that length
    seen = [case[:, 0].astype(int) for part in parts for case in part.cases]
    rows = np.concatenate(seen)
    assert len(set(rows.tolist())) == len(rows)
    labels = np.concatenate([part.labels for part in parts])
    for window, label in zip(seen, labels, strict=True):
        assert np.array_equal(window, np.arange(window[0], window[0] + length))
        assert set(whole.labels[window].tolist()) == {int(label)}
    first, second = ([int(case[-1, 0]) for case in part.cases] for part in parts)
    cut = len(whole) - round(test * len(whole))
    assert max(first) < cut <= min(second) - length + 1


def test_no_window_is_left_out_that_fits() -> None:
    """A stretch of n rows gives n // length windows."""
    found = recording([0] * 7 + [1] * 2 + [0] * 6).windows(3)
    assert [case[0, 0] for case in found.cases] == [0, 3, 9, 12]
    assert found.labels.tolist() == [0, 0, 0, 0]
    assert found.classes == ("a", "b", "c")


def test_outliers_are_judged_by_the_training_part() -> None:
    """A value far from the training median is missing in both parts; the test part moves no bound."""
    values = np.concatenate([np.arange(8.0), np.full(8, 1000.0)])[:, None]
    values[3] = 1e6
    both = Recording(values, np.zeros(16, dtype=np.int64), ("a",), ("x",), "arrays", None)
    train, test = split_windows(both, 8, test=0.5, outliers=20.0)
    assert np.flatnonzero(np.isnan(train.cases[0][:, 0])).tolist() == [3]
    assert np.isnan(test.cases[0]).all()
    kept, _ = split_windows(both, 8, test=0.5)
    assert not np.isnan(kept.cases[0]).any()
    constant = Recording(np.ones((4, 1)), np.zeros(4, dtype=np.int64), ("a",), ("x",), "arrays", None)
    assert not np.isnan(constant.without_outliers(1.0, constant).values).any()


def test_formats_agree(tmp_path: Path) -> None:
    """The same rows as .arff, .csv and .csv.gz give the same recording; the class may be any column."""
    (tmp_path / "r.arff").write_text(ARFF + "1,2,open\n% a remark\n3,?,'shut'\n")
    (tmp_path / "r.csv").write_text("A 1,B,eye\n1,2,open\n3,,shut\n")
    (tmp_path / "r.csv.gz").write_bytes(gzip.compress((tmp_path / "r.csv").read_bytes()))
    (tmp_path / "front.csv").write_text("eye,A 1,B\nopen,1,2\nshut,3,NA\n")
    found = [read_recording(tmp_path / name) for name in ("r.arff", "r.csv", "r.csv.gz")]
    found.append(read_recording(tmp_path / "front.csv", label="eye"))
    for one in found:
        assert (one.classes, one.channels, one.labels.tolist()) == (("open", "shut"), ("A 1", "B"), [0, 1])
        assert np.array_equal(one.values, [[1.0, 2.0], [3.0, np.nan]], equal_nan=True)
    swapped = read_recording(tmp_path / "r.csv", classes=["shut", "open"])
    assert swapped.labels.tolist() == [1, 0]


def test_cut_alike(tmp_path: Path) -> None:
    """Windows tell how they were cut: length, label, rows and bounds; cut again by that they are the same."""
    generator = np.random.default_rng(0)
    values = np.column_stack([generator.normal(size=40), np.ones(40)])
    values[[5, 35], 0] = 1e3
    rows = [f"{value!r},{one!r},{'ab'[i // 8 % 2]}" for i, (value, one) in enumerate(values.tolist())]
    (tmp_path / "r.csv").write_text("\n".join(["x,y,eye", *rows]) + "\n")
    whole = read_recording(tmp_path / "r.csv")
    train, test = split_windows(whole, 4, test=0.5, outliers=5.0)
    assert train.cut is not None
    assert test.cut is not None
    assert (train.cut.length, train.cut.label, train.cut.rows, test.cut.rows) == (4, "eye", (0, 20), (20, 40))
    assert train.cut.bounds == test.cut.bounds
    low, high = train.cut.bounds[0]
    assert train.cut.bounds[1] is None  # a channel that hardly changes
    bounds = np.array([[low, -np.inf], [high, np.inf]])
    again = whole.part(*test.cut.rows, "once more").within(bounds).windows(4)
    assert np.array_equal(np.stack(again.cases), np.stack(test.cases), equal_nan=True)
    assert np.isnan(np.stack(test.cases)).sum() == 1
    assert again.source.endswith("r.csv, once more")
    assert train.select([0]).cut == train.cut
    assert json.loads(json.dumps(test.cut.to_dict())) == test.cut.to_dict()
    for start, stop in ((-1, 3), (3, 3), (30, 41)):
        with pytest.raises(DataError, match=rf"expected the rows {start + 1} to {stop}, received a recording of 40"):
            whole.part(start, stop, "none")


def test_channels_by_name_and_no_class(tmp_path: Path) -> None:
    """Channels are taken by name, in the order asked for; unlabelled, the class is not read and need not be there."""
    path = tmp_path / "r.csv"
    path.write_text("eye,B,note,A\nodd,1,x,2\nother,3,y,\n")
    for found in (
        read_recording(path, channels=("A", "B"), classes=("a", "b"), unlabelled=True),
        read_recording(path, channels=("A", "B"), label="note", unlabelled=True),
    ):
        assert found.channels == ("A", "B")
        assert np.array_equal(found.values, [[2.0, 1.0], [np.nan, 3.0]], equal_nan=True)
        assert found.labels.tolist() == found.windows(1).labels.tolist() == [-1, -1]
    assert read_recording(path, channels=("B",), label="eye").classes == ("odd", "other")
    with pytest.raises(DataError, match="column 'C': no such column; the columns are 'eye', 'B', 'note', 'A'"):
        read_recording(path, channels=("A", "C"), unlabelled=True)
    with pytest.raises(DataError, match="column 'A': expected a column of classes and at least one channel"):
        read_recording(path, channels=("A", "B"))
    with pytest.raises(DataError, match="column '': expected a column of classes"):
        read_recording(path, label="")  # such as a variable of the shell that is not set


def test_the_eeg_recording() -> None:
    """EEG Eye State reads whole: 14,980 rows of 14 channels, 8,257 with open eyes (0) and 6,723 with closed ones."""
    found = read_recording(find("EEGEyeState"))
    assert found.values.shape == (14980, 14)
    assert np.bincount(found.labels).tolist() == [8257, 6723]
    assert found.channels[0] == "AF3"
    train, test = split_windows(found, 64, outliers=20.0)
    assert (len(train), len(test)) == (156, 66)
    assert train.sha256 == found.sha256
    assert test.source.endswith("eeg_eye_state.arff.gz, last 4494 rows")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("r.txt", "", r"expected a recording that ends in \.arff, \.csv"),
        ("r.csv", "", "expected a header and rows"),
        ("r.csv", "a,eye\n", "expected rows, received none"),
        ("r.csv", "a,a\n1,x\n", "expected a name of its own for each column"),
        ("r.csv", "eye\nx\n", "expected a column of classes and at least one channel"),
        ("r.csv", "a,eye\n1,x\n2\n", "line 3: expected 2 cells, received 1"),
        ("r.csv", "a,eye\ncold,x\n", "line 2, column 'a': expected a number, received 'cold'"),
        ("r.csv", "a,eye\ninf,x\n", "line 2, column 'a': expected a finite number"),
        ("r.arff", "@relation r\n", "expected a line @data"),
        ("r.arff", "@attribute\n@data\n", "line 1: expected '@attribute NAME TYPE'"),
        ("r.arff", "@attribute bag relational\n", "received a relational one"),
        ("r.arff", ARFF + "1,2,asleep\n", "line 7: expected one of the classes 'open', 'shut', received 'asleep'"),
    ],
)
def test_files_at_fault(name: str, text: str, words: str, tmp_path: Path) -> None:
    """A file that is no recording is refused with its line and column."""
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        read_recording(tmp_path / name)


def test_arguments_at_fault(tmp_path: Path) -> None:
    """Lengths, shares and limits out of range, and stretches that are too short, are refused by number."""
    rows = recording([0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match="length: expected at least 1 row, received 0"):
        rows.windows(0)
    with pytest.raises(DataError, match="expected 4 rows of one class behind each other, received at most 3"):
        rows.windows(4)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="test: expected a share between 0 and 1"):
            rows.split(share)
    with pytest.raises(DataError, match="expected rows for both parts, received 5 rows"):
        rows.split(0.01)
    with pytest.raises(ValueError, match="limit: expected a positive number"):
        rows.without_outliers(0.0, rows)
    (tmp_path / "r.csv").write_text("a,eye\n1,x\n")
    with pytest.raises(DataError, match="column 'who': expected a column of classes"):
        read_recording(tmp_path / "r.csv", label="who")


def test_a_recording_is_told_from_cases(tmp_path: Path) -> None:
    """`read_cases` on a recording names the reader for it."""
    (tmp_path / "r.arff").write_text(ARFF + "1,2,open\n")
    (tmp_path / "r.csv").write_text("A,eye\n1,open\n")
    for name in ("r.arff", "r.csv"):
        with pytest.raises(DataError, match="read one labelled recording as windows"):
            read_cases(tmp_path / name)


@pytest.mark.parametrize("untold", ["", "?", "NaN", '""', " "])
def test_a_row_without_a_class_is_refused(untold: str, tmp_path: Path) -> None:
    """It is told by line and column, and does not become a class; "none" and "na" may be classes."""
    path = tmp_path / "r.csv"
    path.write_text(f"x,y,state\n1,2,on\n1,2,none\n1,2,{untold}\n1,2,na\n")
    with pytest.raises(DataError, match=r"line 4, column 'state': expected a class, received none; leave the row out"):
        read_recording(path)
    assert read_recording(path, unlabelled=True, channels=["x"]).labels.tolist() == [-1] * 4
    path.write_text("x,y,state\n1,2,on\n1,2,none\n1,2,na\n")
    assert read_recording(path).classes == ("na", "none", "on")
