"""The interpreter of pickles: what it reads equals what was written, and nothing that it reads is executed."""

from __future__ import annotations

import collections
import datetime
import os
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaren.data._plain_pickle import plain, read_plain_pickle
from aaren.errors import DataError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


class Attack:
    """Something whose pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def read(data: bytes) -> Any:
    """The one value of some bytes."""
    (value,) = read_plain_pickle(data, "file")
    return value


@given(value=PLAIN, protocol=st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_plain_data_comes_back(value: Any, protocol: int) -> None:
    """Containers, numbers, text and bytes of every protocol come back as they were."""
    if protocol < 3 and "b'" in repr(value):  # bytes are text there, or calls of _codecs.encode and of bytes()
        return
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("code", ["<f8", ">f8", "f4", "i8", ">i4", "u1", "?"])
def test_arrays_come_back(protocol: int, code: str) -> None:
    """Arrays and scalars of numpy come back with their values, whatever their order of bytes and of axes."""
    for array in (np.arange(6).astype(code), np.asfortranarray(np.arange(6).reshape(2, 3).astype(code))):
        for given_array in (array, array[::-1]):
            found = plain(read(pickle.dumps([given_array], protocol))[0])
            assert found.dtype.isnative
            np.testing.assert_array_equal(found, given_array)
        scalar = array.ravel()[3]
        assert read(pickle.dumps([scalar], protocol)) == [scalar.item()]


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_objects_come_back_as_lists(protocol: int) -> None:
    """A row of objects is the list of them, whatever they are; of other shapes they are refused."""
    array = np.empty(3, dtype=object)
    array[:] = [1.5, [1, "x"], np.arange(2.0)]
    number, listed, inner = read(pickle.dumps(array, protocol))
    assert (number, listed, plain(inner).tolist()) == (1.5, [1, "x"], [0.0, 1.0])
    with pytest.raises(DataError, match="a row of objects"):
        read(pickle.dumps(array.reshape(3, 1), protocol))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (Attack(os.system, "touch pwned"), "posix.system"),
        (Attack(eval, "open('pwned', 'w')"), "eval"),
        (Attack(os.mkdir, "pwned"), "mkdir"),
        ({"dim_process": 3, "train": [[Attack(exec, "open('pwned', 'w')")]]}, "exec"),
        (Attack(Attack, Attack(os.mkdir, "pwned")), "Attack"),
        (datetime.datetime(2020, 1, 1), "datetime.datetime"),
        (collections.OrderedDict(a=1), "collections.OrderedDict"),
        (Attack(zlib.decompress, b"x"), "zlib.decompress"),
        ({1, 2}, "set"),
    ],
)
def test_calls_are_refused_by_name(
    protocol: int, attack: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle that names anything but arrays is refused with that name, at any depth, and nothing happens."""
    monkeypatch.chdir(tmp_path)
    words = rf"calls for '.*{name}'|opcode (EMPTY_SET|ADDITEMS|NEWOBJ)"
    with pytest.raises(DataError, match=words):
        read(pickle.dumps(attack, protocol))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"cos\nsystem\n(S'touch pwned'\ntR.", "calls for 'os.system'"),
        (b"(S'touch pwned'\nios\nsystem\n.", "opcode INST"),
        (b"(cos\nsystem\nS'x'\no.", "os.system"),
        (b"\x80\x02Pabc\n.", "opcode PERSID"),
        (b"\x80\x02K\x01Q.", "opcode BINPERSID"),
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (b"\x80\x05\x97.", "opcode NEXT_BUFFER"),
        (b"\x80\x02cnumpy\ndtype\n}b.", "sets the state of an object"),
        (b"\x80\x02K\x01K\x01\x85R.", "calls something else"),
        (b"\x80\x02cnumpy\nndarray\nK\x01\x85R.", "call of 'ndarray'"),
        (b"\x80\x02cnumpy.core.multiarray\nfromfile\n.", "calls for 'numpy.core.multiarray.fromfile'"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "calls for 'os.system'"),
        (b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00U8\x85R.", "received one of 'U8'"),
        (b"\x80\x02}]K\x01s.", "received list"),
        (b"\x80\x02}K\x01K\x01s.", "expected text as a key, received int"),
        (b"\x80\x02}G\x00\x00\x00\x00\x00\x00\x00\x00K\x01s.", "expected text as a key, received float"),
        (b"\x80\x02c__builtin__\nbytes\nK\x05\x85R.", "call of 'bytes' with arguments"),
        (b"\x80\x02K\x01K\x02a.", "received them for int"),
        (b".", "damaged"),
        (b"", "not enough values"),
        (b"\x80\x02h\x07.", "damaged"),
        (b"\x80\x02u.", "damaged"),
        (b"\x80\x02\x86.", "damaged"),
        (b"I" + b"9" * 5000 + b"\n.", "damaged"),
        (b"hello", "damaged"),
    ],
)
def test_crafted_opcodes(data: bytes, words: str) -> None:
    """Old ways to call, persistent names, extensions, foreign state and broken stacks are refused in words."""
    with pytest.raises((DataError, ValueError), match=words):
        read(data)


def test_every_truncation_is_refused() -> None:
    """Cut off anywhere, a pickle is refused and never half read."""
    whole = pickle.dumps({"a": [1, 2.5, "x"], "b": np.arange(4.0)}, 4)
    for length in range(1, len(whole)):
        with pytest.raises(DataError):
            read_plain_pickle(whole[:length], "file")
    with pytest.raises(DataError):
        read_plain_pickle(whole + b"rest", "file")


def test_arrays_must_have_their_bytes() -> None:
    """An array that claims more than its bytes is refused before memory is taken for it."""
    good = pickle.dumps(np.arange(3.0), 2)
    assert good.count(b"K\x03\x85") == 1  # the shape (3,)
    for shape in (b"K\x04\x85", b"J" + struct.pack("<i", -3) + b"\x85", b"\x8a\x08" + b"\xff" * 7 + b"\x7f\x85"):
        with pytest.raises(DataError, match="array of shape"):
            read(good.replace(b"K\x03\x85", shape))
    head = b"\x80\x02cnumpy._core.numeric\n_frombuffer\n("
    with pytest.raises(DataError, match="one of objects"):
        read(
            head
            + b"\x8a\x08"
            + b"\xff" * 7
            + b"\x7fcnumpy\ndtype\nX\x02\x00\x00\x00f8\x85RK\x01\x85X\x01\x00\x00\x00CtR."
        )


def test_a_bomb_of_references_costs_nothing() -> None:
    """Lists of lists of the same list, 10 ** 30 entries if they were written out, are read in no time."""
    value: list[Any] = [1.0]
    for _ in range(30):
        value = [value] * 10
    assert len(read(pickle.dumps(value, 4))) == 10


def test_too_many_opcodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle of more values than any data set has is refused before memory runs out."""
    monkeypatch.setattr("aaren.data._plain_pickle.LARGEST", 1000)
    with pytest.raises(DataError, match="at most 1000 pickle opcodes"):
        read(b"(" + b"]" * 2000 + b"l.")


@pytest.mark.parametrize("protocol", range(6))
def test_empty_arrays_come_back(protocol: int) -> None:
    """An array of no numbers is as valid as others, though its bytes are written as a call in older protocols."""
    found = plain(read(pickle.dumps([np.zeros(0)], protocol))[0])
    assert (found.shape, found.dtype) == ((0,), np.float64)


DTYPE = b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R"
RAW = b"X" + struct.pack("<I", 8 * 1000) + bytes(8000)
ARGUMENTS = {
    "an encoding": b"c_codecs\nencode\nq\x01(" + RAW + b"X\x06\x00\x00\x00latin1tq\x02",
    "a buffer": b"cnumpy._core.numeric\n_frombuffer\nq\x01(" + RAW + DTYPE + b"M\xe8\x03\x85X\x01\x00\x00\x00Ctq\x02",
    "a small call": b"c__builtin__\nbytes\nq\x01)q\x02",
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_a_bomb_of_calls_is_refused(case: str) -> None:
    """A call that is repeated with remembered arguments may not make many times the bytes of the file."""
    calls = 20_000 if case == "a small call" else 200
    with pytest.raises(DataError, match="calls that make at most 8 times the bytes of the file"):
        read(b"\x80\x02]" + ARGUMENTS[case] + b"00(" + b"h\x01h\x02R" * calls + b"e.")
    assert len(read(b"\x80\x02]" + ARGUMENTS[case] + b"00(" + b"h\x01h\x02R" * 3 + b"e.")) == 3


def test_a_bomb_of_states_is_refused() -> None:
    """An array that is filled again and again from remembered bytes is refused."""
    state = b"(K\x01M\xe8\x03\x85" + DTYPE + b"\x89" + RAW + b"tq\x02"
    head = b"\x80\x02" + state + b"0cnumpy.core.multiarray\n_reconstruct\n)R"
    assert plain(read(head + b"h\x02b.")).shape == (1000,)
    with pytest.raises(DataError, match="calls that make at most 8 times"):
        read(head + b"h\x02b" * 200 + b".")


def _nested(depth: int) -> Any:
    """Arrays of one object inside one another."""
    array = np.empty(1, dtype=object)
    if depth:
        array[0] = _nested(depth - 1)
    return array


def test_nesting_is_bounded() -> None:
    """Containers inside one another are read to a depth that data has, and refused beyond it, of every kind."""
    for deep in (b"\x85" * 98, b"]" * 98 + b"a" * 97):
        read(b"\x80\x02" + (b"N" + deep if deep[:1] == b"\x85" else deep) + b".")
    for deep in (
        b"N" + b"\x85" * 101,
        b"]" * 102 + b"a" * 101,
        b"(" * 101 + b"N" + b"l" * 101,
        b"(" * 101 + b"t" * 101,
        pickle.dumps(_nested(60), 2)[2:-1],  # each a list in an array
    ):
        with pytest.raises(DataError, match="at most 100 containers inside one another"):
            read(b"\x80\x02" + deep + b".")


def test_opcodes_are_counted_over_all_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small pickles in one file have the bound of one."""
    monkeypatch.setattr("aaren.data._plain_pickle.LARGEST", 1000)
    with pytest.raises(DataError, match="at most 1000 pickle opcodes"):
        read_plain_pickle(b"]." * 600, "file")
