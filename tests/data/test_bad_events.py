"""What a file of events can do wrong, in every layout, and the error it gets."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import event_cases as cases
import numpy as np
import pytest

from aaren.data import read_events, uber_sequences
from aaren.errors import AarenError, DataError

EVENTS = {
    "a negative interval": (
        [[0.0, 2.0, 1.0]],
        [[0, 0, 0]],
        r"'0', event 2 .*at least 2.0, received 1.0; sort",
    ),
    "a later sequence": ([[0.0, 1.0], [3.0, 2.0]], [[0, 0], [0, 0]], "sequence '1', event 1"),
    "NaN": ([[0.0, float("nan")]], [[0, 0]], "event 1 .*finite time, received nan"),
    "infinity": ([[0.0, float("inf")]], [[0, 0]], "event 1 .*finite time, received inf"),
    "an unknown mark": ([[0.0, 1.0]], [[0, 7]], "event 1 .*from 0 to 2, received 7"),
    "the padding id": ([[0.0, 1.0]], [[0, 3]], "event 1 .*number 3, which is padding"),
    "a negative mark": ([[0.0, 1.0]], [[-1, 0]], "event 0 .*from 0 to 2, received -1"),
    "a broken mark": ([[0.0, 1.0]], [[0.5, 0]], "event 0 .*whole number as a mark, received 0.5"),
    "an empty sequence": ([[0.0, 1.0], []], [[0, 0], []], "sequence '1': expected at least two events, received 0"),
    "one event": ([[0.0]], [[0]], "at least two events, received 1"),
    "too few marks": ([[0.0, 1.0]], [[0]], "as many marks as times, received 1 and 2"),
}


@pytest.mark.parametrize(
    ("case", "layout"),
    [
        (case, layout)
        for case in EVENTS
        for layout in ("json", "pickle", "npz")
        if (case, layout) != ("too few marks", "npz")  # arrays of another shape have words of their own, below
    ],
)
def test_bad_events(case: str, layout: str, write: Callable[..., Path]) -> None:
    """An event that cannot be is named with its sequence and its place, whatever the file."""
    times, marks, words = EVENTS[case]
    if layout == "json":
        path = write(cases.easytpp(times, marks), "e.json")
    elif layout == "pickle":
        path = write(pickle.dumps(cases.ifl_tpp(times, marks)), "e.pkl")
    else:
        offsets = np.cumsum([0, *map(len, times)])
        path = write(cases.npz(times=np.concatenate(times), marks=np.concatenate(marks), offsets=offsets), "e.npz")
        others = {
            "the padding id": "event 1 .*from 0 to 2, received 3",
            "a negative mark": "number -1, which is padding",
            "a broken mark": "whole numbers in 'marks', received 0.5",
        }
        words = others.get(case, words)
    with pytest.raises(DataError, match=words) as refusal:
        read_events(path, marks=3)
    assert str(refusal.value).startswith(str(path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "expected JSON"),
        (b"{}", "array of objects"),
        (b"[1]", "array of objects"),
        (b"[" * 100_000, "expected JSON"),
        (b"[]", "expected sequences of one kind, received none"),
        (b"[{}]", "sequence '0': expected the entry 'time_since_start'"),
        (cases.easytpp(dim="many"), "one positive number 'dim_process'"),
        (cases.easytpp([[0.0, "x"]], [[0, 0]]), "event 1 .*number in times, received str"),
        (cases.easytpp([{"a": 1}], [[0, 0]]), "expected a list of times, received dict"),
        (json.dumps([{"time_since_start": [0, 10**400]}]).encode(), "fit float64"),
        (
            json.dumps([{"time_since_start": [0, 1]}, {"time_since_start": [0, 1], "type_event": [0, 0]}]).encode(),
            "some",
        ),
    ],
)
def test_bad_json(content: bytes, words: str, write: Callable[..., Path]) -> None:
    """JSON of another form is refused with what was expected."""
    with pytest.raises(DataError, match=words):
        read_events(write(content, "e.json"))


def test_bad_arrays(write: Callable[..., Path]) -> None:
    """Arrays that are missing, of another shape or type, or padded without a mask are refused."""
    flat, padded = cases.flat(), cases.padded()
    for arrays, words in (
        ({"marks": [1]}, "an array 'times'"),
        ({**flat, "offsets": [0, 5, 4, 7]}, "'offsets' that rise from 0 to 7"),
        ({**flat, "offsets": [0, 6]}, "'offsets' that rise"),
        ({**flat, "offsets": [0.0, 7.0]}, "'offsets' that rise"),
        ({"times": flat["times"]}, "flat times with 'offsets'"),
        ({**flat, "marks": [0]}, "shape of times"),
        ({**flat, "marks": ["a"] * 7}, "numbers in 'marks'"),
        ({**flat, "times": ["a"] * 7}, "numbers in 'times'"),
        ({**padded, "masks": np.full((2, 5), 2)}, "'masks' of 0 and 1"),
        ({**padded, "masks": np.ones((2, 4))}, "'masks' of 0 and 1"),
        ({**padded, "masks": np.ones((2, 5))}, "event 4 .*at least 7.0, received 0.0"),
        (
            {"times": padded["times"], "marks": padded["marks"]},
            "'0', event 4 .*: expected 'masks', .* received no masks and 0.0 after 7.0; if that is padding, add masks",
        ),
        ({"times": np.where(padded["masks"], padded["times"], np.nan)}, "received no masks and nan after 7.0"),
        ({**padded, "marks": 0 * padded["marks"]}, "number -1, which is padding"),
        ({**flat, "t_max": 5.0}, "observation that holds all events"),
        ({"minute": [1], "base": [0]}, "read them with uber_sequences"),
    ):
        with pytest.raises(DataError, match=words):
            read_events(write(cases.npz(**arrays), "e.npz"))


def test_arrays_of_objects(write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickles inside an `.npz` are executed as little as others, and are refused if they are not of plain sequences."""
    monkeypatch.chdir(tmp_path)
    times, marks = cases.objects([0.0, 1.0], [1.0, 2.0, 5.0]), cases.objects([0, 1], [1, 1, 0])
    big = np.arange(1000.0)
    for arrays, words in (
        ({"arrival_times": cases.objects(_Attack(), [0.0])}, "arrival_times: .*calls for 'posix.system'"),
        (
            {"arrival_times": times, "marks": cases.objects([0, 1])},
            r"received \['arrival_times', 'marks'\] of other shapes",
        ),
        ({"times": times}, "expected arrays of objects 'arrival_times' .* received \\['times'\\]"),
        ({"arrival_times": np.zeros(2), "marks": marks}, "expected arrays of objects"),
        ({"arrival_times": np.stack([times, times])}, "a row of objects, received another"),
        ({"arrival_times": np.array([[0.0, 2.0, 1.0]])}, "'0', event 2 .*sort"),
        ({"arrival_times": cases.objects([0.0, 2.0, 1.0])}, "'0', event 2 .*sort"),
        ({"arrival_times": cases.objects(["x", "y"], [0.0])}, "number in times, received str"),
        ({"arrival_times": cases.objects(*[big] * 1000)}, "fewer events than the file has bytes"),
    ):
        with pytest.raises(DataError, match=words):
            read_events(write(cases.npz(**arrays), "e.npz"))
    assert [one.name for one in tmp_path.iterdir()] == ["e.npz"]
    whole = cases.npz(arrival_times=times, marks=marks)
    assert [len(one.times) for one in read_events(write(whole, "e.npz")).sequences] == [2, 3]
    square = cases.npz(arrival_times=np.arange(6.0).reshape(2, 3), marks=np.array([[0, 1, 0], [1, 0, 0]]))  # one length
    found = read_events(write(square, "e.npz")).sequences
    assert [one.times.tolist() for one in found] == [[0, 1, 2], [3, 4, 5]]
    assert [one.marks.tolist() for one in found if one.marks is not None] == [[0, 1, 0], [1, 0, 0]]
    member = zipfile.ZipFile(io.BytesIO(whole)).read("arrival_times.npy")
    for content in (member[:-9], member[:128], member + b"N.", member[:128] + b"N."):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("arrival_times.npy", content)
        with pytest.raises(DataError, match=r"arrival_times: expected"):
            read_events(write(file.getvalue(), "e.npz"))


def _npy(header: str) -> bytes:
    """An `.npz` file with an array of this header and one byte."""
    text = header.encode().ljust(118) + b"\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("times.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\0")
    return file.getvalue()


def test_hostile_arrays(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that claims more than its bytes, a zip bomb, and every truncation are refused."""
    for shape in ("(1000000000000,)", "(-1,)", "(2,)", "'x'", "(" * 90):
        with pytest.raises(DataError, match=r"array of numbers|zip file"):
            read_events(write(_npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}"), "e.npz"))
    whole = cases.npz(**cases.flat())
    for length in range(4, len(whole), 31):
        with pytest.raises(DataError):
            read_events(write(whole[:length], "e.npz"))
    monkeypatch.setattr("aaren.data._stored.LARGEST", 10_000)
    bomb = cases.npz(times=np.zeros(100_000))
    assert len(bomb) < 2000
    with pytest.raises(DataError, match="at most 10000 bytes unpacked"):
        read_events(write(bomb, "e.npz"))


def test_damaged_zip_files(write: Callable[..., Path]) -> None:
    """Whatever bytes of a zip file's own records are changed, it is read or refused, and nothing else is raised."""
    random = np.random.default_rng(0)
    plain = io.BytesIO()
    np.savez(plain, **cases.flat())
    for name, whole in (
        ("e.npz", plain.getvalue()),
        ("e.npz", cases.npz(**cases.flat())),
        ("e.pkl", cases.torch_zip(cases.ifl_tpp())),
    ):
        records = [place.start() for place in re.finditer(b"PK", whole)]
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(random.integers(1, 5)):
                place = min(random.choice(records) + random.integers(46), len(whole) - 1)
                damaged[place] = random.choice([0, 1, 12, 14, 255, random.integers(256)])
            with contextlib.suppress(DataError):
                read_events(write(bytes(damaged), name))


def test_zip_members_that_end_early(write: Callable[..., Path]) -> None:
    """A member with fewer bytes than its record says, one far behind the end, and one packed with LZMA are refused."""
    whole = cases.torch_zip(cases.ifl_tpp())
    first = whole.index(b"PK\x01\x02")  # of the central directory: method at 10, packed and unpacked size at 20 and 24
    size = (1 << 20).to_bytes(4, "little")
    for place, content in ((20, size + size), (42, b"\xf0\xff\xff\x7f"), (10, b"\x0e\x00")):
        damaged = whole[: first + place] + content + whole[first + place + len(content) :]
        with pytest.raises(DataError, match=r"expected a zip file, received a damaged one \(.+\); fetch it again"):
            read_events(write(damaged, "e.pkl"))


def test_bad_pick_ups(write: Callable[..., Path]) -> None:
    """Pick-ups that are text, a scalar, fractions or of another length are refused with the array's name."""
    row = np.zeros(5, dtype=np.int32)
    good = {"minute": row, "lat_e4": row, "lon_e4": row, "base": row, "base_names": ["B02512"]}
    for name, array, words in (
        ("minute", ["x"] * 5, "minute: expected whole numbers of one dimension, received <U1"),
        ("lat_e4", np.float64(1), r"lat_e4: expected whole numbers of one dimension, received float64 \(\)"),
        ("lon_e4", np.full(5, np.nan), "lon_e4: expected whole numbers"),
        ("base", row[None], r"base: expected whole numbers .*\(1, 5\)"),
        ("base_names", "B02512", "base_names: expected text of one dimension"),
        ("base_names", row, "base_names: expected text"),
        ("minute", row[1:], "arrays of one length"),
    ):
        with pytest.raises(DataError, match=words):
            uber_sequences(write(cases.npz(**{**good, name: array}), "pick_ups.npz"))


def test_gzip_files(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged gzip files, bombs and files beyond the limit are refused; several members are read as one file."""
    packed = gzip.compress(cases.easytpp())
    for damaged in (packed[:-9], packed[:20], packed + b"tail", b"\x1f\x8bnonsense"):
        with pytest.raises(DataError, match="damaged"):
            read_events(write(damaged, "e.json.gz"))
    halves = gzip.compress(cases.easytpp()[:50]) + gzip.compress(cases.easytpp()[50:])
    assert len(read_events(write(halves, "e.json.gz")).sequences) == 2
    monkeypatch.setattr("aaren.data._stored.LARGEST", 10_000)
    for content in (gzip.compress(b"[" + b" " * 10**5), b" " * 10_001):
        with pytest.raises(DataError, match="at most 10000 bytes"):
            read_events(write(content, "e.json.gz"))


class _Attack:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


def test_hostile_pickles(write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickles that call, hold tensors or records, or name one list many times over are refused; nothing is run."""
    monkeypatch.chdir(tmp_path)
    big = list(map(float, range(1000)))
    tensor = b"\x80\x02}X\x09\x00\x00\x00sequencesctorch._utils\n_rebuild_tensor_v2\n."
    for content, words in (
        (pickle.dumps(_Attack()), "calls for 'posix.system'"),
        (pickle.dumps({"sequences": [_Attack()]}), "calls for 'posix.system'"),
        (cases.torch_zip({"sequences": _Attack()}), "calls for 'posix.system'"),
        (tensor, "calls for 'torch._utils._rebuild_tensor_v2'"),
        (pickle.dumps(cases.ifl_tpp([big] * 300, [[0] * 1000] * 300)), "fewer events than the file has bytes"),
        (pickle.dumps([1, 2]), "expected a dictionary"),
        (pickle.dumps({"train": []}), "a part with sequences"),
        (pickle.dumps({"train": [[1]]}), "sequence '0', event 0 .*an event with"),
        (pickle.dumps({"train": [[], 7]}), "expected a list of events, received int"),
        (pickle.dumps({"sequences": 1, "num_marks": 1}), "a list of sequences"),
        (pickle.dumps({"sequences": [3]}), "the entry 'arrival_times'"),
        (pickle.dumps(cases.ifl_tpp([["a", "b"]], [[0, 0]])), "number in times, received str"),
        (pickle.dumps(cases.ifl_tpp([np.array([["a"]])], [[0]])), "one of 'U1'"),
        (pickle.dumps(cases.ifl_tpp())[:-5], "damaged"),
        (cases.torch_legacy(cases.ifl_tpp())[:-6], "damaged|a part of one"),
        (cases.torch_zip({})[:60], "zip file"),
    ):
        with pytest.raises(DataError, match=words):
            read_events(write(content, "e.pkl"))
    assert not (tmp_path / "pwned").exists()


def test_bad_tables(write: Callable[..., Path]) -> None:
    """Tables name the column and the line."""
    for text, words in (
        ("a,b\n1,2\n", "one column called time, date"),
        ("time,date\n1,2\n", "received several"),
        ("time\n", "at least two events, received none"),
        ("time\n1\nx\n", "line 3, column 'time': expected a number, received 'x'"),
        ("time\n1\n\nNA\n", "line 4, column 'time': expected a time, received a missing cell"),
        ("time\n1\ninf\n", "line 3, column 'time': expected a finite number"),
        ("time\n2020-01-01\n7\n", "line 3, column 'time'"),
        ("time,mark\n1,a\n2,\n", "line 3, column 'mark': expected a mark, received a missing cell"),
        ("time,sequence\n1,a\n2,\n", "line 3, column 'sequence'.*missing"),
        (
            "time,sequence\n2,a\n1,a\n",
            "line 3, column 'time': sequence 'a': expected a time of at least 2.0",
        ),
        ("time\n2\n2\n", "line 3, column 'time': expected a time after 2.0, received the same time"),
        (
            "time,sequence\n2020-01-01,a\n2020-01-02,b\n2019-12-31 12:00,a\n",
            "line 4, column 'time': .* a time of at least 2020-01-01 00:00:00, received 2019-12-31 12:00:00",
        ),
    ):
        with pytest.raises(DataError, match=words):
            read_events(write(text))
    with pytest.raises(DataError, match="line 3, column 'mark': expected one of the marks 'a', received 'b'"):
        read_events(write("time,mark\n1,a\n2,b\n"), marks=["a"])
    with pytest.raises(DataError, match="did you mean 'time'"):
        read_events(write("time\n1\n2\n"), time="tme")


def test_text_that_is_called_npz(tmp_path: Path) -> None:
    """A damaged archive is told as one, and not to have another ending than it has."""
    path = tmp_path / "events.npz"
    path.write_text("no archive")
    with pytest.raises(DataError, match=r"events\.npz: expected a zip archive of arrays, received other bytes"):
        read_events(path)


def test_bad_text(tmp_path: Path) -> None:
    """Text folds name the line; 0 is padding there."""
    path = cases.text(tmp_path)
    for content, words in (
        (b"1 3 2 3\n", "as many lines of times as of marks, 1, received 2"),
        (b"1 3 2 3\n3 x 1\n", "line 2: expected numbers"),
        (b"1 3 2 3\n3 1\n", "sequence '1': expected as many marks as times"),
        (b"0 3 2 3\n3 1 1\n", "event 0 .*number -1, which is padding"),
        (b"\xff\n\n", "other bytes"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=words):
            read_events(path)


def test_files_of_no_kind(write: Callable[..., Path], tmp_path: Path) -> None:
    """A missing file, a folder, a path that cannot be, and an unknown ending are refused."""
    for path in (tmp_path / "nowhere.json", tmp_path, tmp_path / "nul\0.npz", write(b"abc", "e.dat")):
        with pytest.raises(AarenError):
            read_events(path)


def test_short_sequences_are_left_out_if_asked(tmp_path: Path) -> None:
    """Sequences without an interval go with short="drop", the parts of a file follow, and an empty rest is refused."""
    path = tmp_path / "events.npz"
    np.savez(path, times=np.array([0.0, 1.0, 5.0, 2.0, 4.0, 9.0]), offsets=np.array([0, 2, 3, 3, 6]))
    with pytest.raises(
        DataError, match=r"sequence '1': .*received 1; leave the sequence out, or read with short='drop'"
    ):
        read_events(path)
    found = read_events(path, short="drop")
    assert [one.name for one in found.sequences] == ["0", "3"]
    np.savez(path, times=np.array([0.0, 1.0]), offsets=np.array([0, 1, 2]))
    with pytest.raises(DataError, match="a sequence of at least two events, received none"):
        read_events(path, short="drop")


@pytest.mark.parametrize("marks", [2, ["a", "b"]])
def test_marks_for_events_without(marks: Any, write: Callable[..., Path]) -> None:
    """Marks that are asked for of a file without any are refused, whatever its layout."""
    flat, padded = cases.flat(), cases.padded()
    del flat["marks"], padded["marks"]
    for content, name in (
        (cases.npz(**flat), "flat.npz"),
        (cases.npz(**padded), "padded.npz"),
        (json.dumps([{"time_since_start": [0, 1]}]).encode(), "e.json"),
        (b"time\n1\n2\n", "e.csv"),
    ):
        path = write(content, name)
        assert read_events(path).marks == ()
        with pytest.raises(DataError, match=r"expected events with marks, of which there are 2, received .* without"):
            read_events(path, marks=marks)


@pytest.mark.parametrize("marks", [True, False, -4, 0, 2**40, ["a", "a"], [], "ab"])
def test_marks_that_cannot_be(marks: Any, write: Callable[..., Path]) -> None:
    """A number of marks below 1, beyond all bounds or of truth, and names that are given twice are refused."""
    with pytest.raises(DataError, match=r"^marks: expected"):
        read_events(write(cases.easytpp(), "e.json"), marks=marks)


def test_arrays_beside_the_events(write: Callable[..., Path]) -> None:
    """An end that is text, folds of another length, and more marks than there can be are refused."""
    flat = cases.flat()
    for arrays, words in (
        ({**flat, "t_max": "late"}, "numbers in 't_max'"),
        ({**flat, "fold1_is_test": [True]}, "one 'fold1_is_test' for each of 2 sequences"),
        ({**flat, "fold1_is_test": ["a", "b"]}, "one 'fold1_is_test'"),
        ({**flat, "marks": [2**50] * 7}, "at most 1048576 marks"),
    ):
        with pytest.raises(DataError, match=words):
            read_events(write(cases.npz(**arrays), "e.npz"))


def test_sequences_without_bytes(write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty sequences, which take memory and hardly a byte, are refused in number; short files may have some."""
    monkeypatch.setattr("aaren.data._event_arrays._SPARE", 1000)
    for arrays in (
        {"times": [0.0, 1.0], "offsets": np.array([0, *[2] * 2000])},
        {"times": np.zeros((2000, 0))},
    ):
        with pytest.raises(DataError, match="expected sequences with events, received 2000 with"):
            read_events(write(cases.npz(**arrays), "e.npz"))
    monkeypatch.setattr("aaren.data._event_lists._SPARE", 1000)
    empty = json.dumps([{"time_since_start": [], "type_event": []}] * 20_000).encode()
    with pytest.raises(DataError, match="more than 1000 that are nearly all empty"):
        read_events(write(empty, "e.json"), short="drop")
    path = cases.text(tmp_path)
    for file in (path, tmp_path / "time-1-train.txt"):
        file.write_bytes(b"\n" * 20_000)
    with pytest.raises(DataError, match="more than 1000 that are nearly all empty"):
        read_events(path, short="drop")
    for file in (path, tmp_path / "time-1-train.txt"):
        file.write_bytes(b"1 2\n" * 20_000 + b"\n" * 1000)
    assert len(read_events(path, short="drop").sequences) == 20_000


def _deep() -> bytes:
    """A pickle whose number of marks is a tuple in a tuple, a million times."""
    return b"\x80\x02}(X\x09\x00\x00\x00sequences]X\x09\x00\x00\x00num_marksN" + b"\x85" * 1_000_000 + b"u."


def test_numbers_of_marks_in_pickles(write: Callable[..., Path]) -> None:
    """A number of marks that is a list, text, a truth or nested beyond all bounds is refused, and nothing is hashed."""
    for marks in ([1], {"a": 1}, "many", True, (1, 2), 2.5, np.array([1.0])):
        for value in ({**cases.ifl_tpp(), "num_marks": marks}, {**cases.nhp(), "dim_process": marks}):
            with pytest.raises(DataError, match=r"one positive number '(num_marks|dim_process)', received"):
                read_events(write(pickle.dumps(value), "e.pkl"))
    with pytest.raises(DataError, match="at most 100 containers inside one another"):
        read_events(write(_deep(), "e.pkl"))
    text = json.dumps([{"time_since_start": [0, 1], "type_event": [0, 0], "dim_process": dim} for dim in (2, 3)])
    with pytest.raises(DataError, match="'dim_process', received 3 after 2"):
        read_events(write(text, "e.json"))


def test_arrays_that_are_never_filled(write: Callable[..., Path]) -> None:
    """An array that a pickle makes and does not fill is refused with the file's name."""
    array = b"cnumpy.core.multiarray\n_reconstruct\n)R"
    head = b"\x80\x02}(X\x09\x00\x00\x00sequences](}(X\x0d\x00\x00\x00arrival_times"
    path = write(head + array + b"ueu.", "e.pkl")
    with pytest.raises(DataError, match=r"e\.pkl: .*an array without content"):
        read_events(path)
    path = write(b"\x80\x02}(X\x09\x00\x00\x00sequences]X\x09\x00\x00\x00num_marks" + array + b"u.", "e.pkl")
    with pytest.raises(DataError, match=r"e\.pkl: .*an array without content"):
        read_events(path)
