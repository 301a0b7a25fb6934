"""Plain data from pickles, without unpickling: an interpreter of our own that knows containers, numbers and arrays.

A pickle is a program; Python's own reader calls whatever it names. This one walks over the opcodes with
`pickletools`, which executes nothing, and builds lists, tuples, dictionaries, numbers, text and numpy arrays. A name
that is not on the list below, or an opcode that is not handled here, ends it.

Costs are bounded by the size of the file: a reference copies nothing, what calls make is counted and may be no more
than a small multiple of the file, and the number of opcodes, each of which makes some hundred bytes at most, is
limited. So is the depth of nesting. Keys are text, whose hashes Python salts, so that no file can make them collide.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from aaren.errors import DataError

_ARRAYS = {"numpy.core.multiarray", "numpy._core.multiarray"}
_NUMERIC = {"numpy.core.numeric", "numpy._core.numeric"}
KNOWN = frozenset(
    {f"{module} {name}" for module in _ARRAYS for name in ("_reconstruct", "scalar")}
    | {f"{module} _frombuffer" for module in _NUMERIC}
    | {"numpy ndarray", "numpy dtype", "_codecs encode", "__builtin__ bytes", "builtins bytes"}
)
"""The names that a pickle may use; none of them is looked up or called."""

LARGEST = 30_000_000
"""Opcodes in one pickle; a file of half a million events, each with four numbers, has some six million."""

DEEPEST = 100
"""Containers inside one another; data sets have some six."""

_CALL = 64  # bytes that any call counts as, beside those of its result
_MULTIPLE = 8  # bytes that calls may make, for each byte of the file
_SPARE = 1 << 16

_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|O8?)")
_MARK = object()


@dataclass(frozen=True)
class _Name:
    """A name of `KNOWN`, as a word."""

    text: str


@dataclass
class _Array:
    """An array that its state may still be about to fill."""

    value: Any = None


@dataclass
class _Dtype:
    """A kind of number, whose byte order its state tells."""

    code: str
    order: str = "="

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.code if self.code[0] in "<>|=" else self.order + self.code)


_HOLDERS = (list, tuple, dict, _Array)


class _RefusedError(ValueError):
    """What was refused, without the file's name."""


class _Budget:
    """What the pickles of one file may still cost: opcodes, and bytes that calls make."""

    def __init__(self, size: int) -> None:
        self.opcodes, self.bytes = LARGEST, _MULTIPLE * size + _SPARE

    def opcode(self) -> None:
        self.opcodes -= 1
        if self.opcodes < 0:
            raise _RefusedError(f"expected at most {LARGEST} pickle opcodes, received more")

    def call(self, *made: Any) -> None:
        """Charge a call that copies some arguments, before it does so."""
        self.bytes -= _CALL + sum(len(one) for one in made if isinstance(one, str | bytes))
        if self.bytes < 0:
            raise _RefusedError(
                f"expected calls that make at most {_MULTIPLE} times the bytes of the file, received more"
            )


def read_plain_pickle(data: bytes, source: str) -> list[Any]:
    """Read all pickles that follow one another in some bytes.

    Args:
        data: the bytes.
        source: file name; for messages.

    Returns:
        Their values: lists, tuples, dicts, text, bytes, numbers, None, and numpy arrays; lists for arrays of objects.

    Raises:
        DataError: an opcode or a name is not plain data, or the bytes end too early.
    """
    stream, values, budget = io.BytesIO(data), [], _Budget(len(data))
    try:
        while stream.tell() < len(data):
            values.append(_Reader(budget).run(stream))
    except _RefusedError as refusal:
        raise DataError(f"{refusal}; only plain containers, numbers and arrays are read", source=source) from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, UnicodeError) as error:
        raise DataError(f"expected a pickle of plain data, received a damaged one ({error})", source=source) from None
    return values


def plain(value: Any) -> Any:
    """A value that was read, as numpy knows it where it is an array; what is none of plain data is refused."""
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without content")
        return value.value
    if isinstance(value, _Name | _Dtype):
        raise ValueError("a name in place of a value")
    return value


def plain_value(value: Any, source: str) -> Any:
    """What `plain` gives, or a refusal that names the file.

    Raises:
        DataError: the value is none of plain data.
    """
    try:
        return plain(value)
    except ValueError as error:
        raise DataError(f"expected plain data, received {error}", source=source) from None


class _Reader:
    """A stack and a memo, as the pickle machine has them."""

    def __init__(self, budget: _Budget) -> None:
        self.budget = budget
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        # depth of the containers that hold others; kept alive, so that no other object takes over their id
        self.depths: dict[int, tuple[Any, int]] = {}

    def run(self, stream: io.BytesIO) -> Any:
        """Read one pickle, up to its STOP."""
        for opcode, argument, _ in pickletools.genops(stream):
            self.budget.opcode()
            name = opcode.name
            if name == "STOP":
                return plain(self.stack.pop())
            if name in _PUSHES:
                self.stack.append(_PUSHES[name](argument))
            elif name in _ACTIONS:
                _ACTIONS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise _RefusedError(f"expected plain data, received the pickle opcode {name}")
        raise ValueError("no end")

    def to_mark(self) -> list[Any]:
        """Take what was pushed since the last mark."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("no mark")
        taken = self.stack[place + 1 :]
        del self.stack[place:]
        return taken

    def put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def tuple_of(self, count: int) -> None:
        taken = self.stack[len(self.stack) - count :]
        if len(taken) != count:
            raise ValueError("too few values")
        del self.stack[len(self.stack) - count :]
        self.push_tuple(taken)

    def push_tuple(self, items: list[Any]) -> None:
        self.stack.append(tuple(items))
        self.nest(self.stack[-1], items)

    def push_list(self, items: list[Any]) -> None:
        self.stack.append(items)
        self.nest(items, items)

    def nest(self, container: Any, items: list[Any]) -> None:
        """Note how deep a container is that has taken items; exact for tuples, which never change."""
        held = [self.depths.get(id(one), (one, 1))[1] for one in items if isinstance(one, _HOLDERS)]
        if not held:
            return
        depth = max(1 + max(held), self.depths.get(id(container), (container, 1))[1])
        if depth > DEEPEST:
            raise _RefusedError(f"expected at most {DEEPEST} containers inside one another, received more")
        self.depths[id(container)] = (container, depth)

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise _RefusedError(f"expected items for a list, received them for {type(target).__name__}")
        target.extend(items)
        self.nest(target, items)

    def append(self, _: Any) -> None:
        item = self.stack.pop()
        self.extend([item])

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise _RefusedError("expected entries for a dictionary, received something else")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                raise _RefusedError(f"expected text as a key, received {type(key).__name__}")
            target[key] = value
        self.nest(target, items[1::2])

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    def push_dict(self, items: list[Any]) -> None:
        self.stack.append({})
        self.update(items)

    def name(self, text: Any) -> None:
        if text not in KNOWN:
            raise _RefusedError(
                f"expected plain data, received a pickle that calls for {str(text).replace(' ', '.')!r}"
            )
        self.stack.append(_Name(str(text)))

    def stack_name(self, _: Any) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        self.name(f"{module} {attribute}")

    def reduce(self, _: Any) -> None:
        arguments, what = self.stack.pop(), self.stack.pop()
        if not isinstance(what, _Name) or not isinstance(arguments, tuple):
            raise _RefusedError("expected plain data, received a pickle that calls something else")
        self.budget.call(*arguments)
        self.stack.append(_reduced(what.text.split(" ")[1], arguments))

    def build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Dtype):
            order, names = state[1], state[2:5]
            if order not in ("<", ">", "=", "|") or any(name is not None for name in names):
                raise _RefusedError("expected an array of numbers, received one of records")
            target.order = order
        elif isinstance(target, _Array) and isinstance(state, tuple) and len(state) == 5:
            _, shape, dtype, fortran, raw = state
            self.budget.call(raw)
            target.value = _array(raw, dtype, shape, "F" if fortran else "C")
            self.nest(target, [raw])
        else:
            raise _RefusedError("expected plain data, received a pickle that sets the state of an object")


def _reduced(name: str, arguments: tuple[Any, ...]) -> Any:
    """What a call of a name of `KNOWN` gives."""
    if name == "_reconstruct":
        return _Array()
    if name == "dtype":
        code = arguments[0].decode("ascii") if isinstance(arguments[0], bytes) else arguments[0]
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise _RefusedError(f"expected an array of numbers, received one of {str(code)[:20]!r}")
        return _Dtype(code)
    if name == "scalar":
        dtype, raw = arguments
        return _array(raw, dtype, (1,), "C")[0].item()
    if name == "bytes":  # protocol 2 writes empty bytes as a call without arguments
        if arguments:
            raise _RefusedError("expected plain data, received a call of 'bytes' with arguments")
        return b""
    if name == "encode":
        text, encoding = arguments
        if encoding not in ("latin1", "latin-1"):
            raise _RefusedError(f"expected bytes as latin-1, received {reprlib.repr(encoding)}")
        return text.encode("latin-1")
    if name == "_frombuffer":
        raw, dtype, shape, order = arguments
        return _Array(_array(raw, dtype, shape, order))
    raise _RefusedError(f"expected plain data, received a call of {name!r}")


def _array(raw: Any, dtype: Any, shape: Any, order: str) -> Any:
    """An array from exactly its bytes; of objects, the list of them."""
    if isinstance(dtype, _Dtype) and dtype.code in ("O", "O8"):
        if not isinstance(raw, list) or shape != (len(raw),):
            raise _RefusedError("expected an array of numbers or a row of objects, received another")
        return raw
    if isinstance(raw, str):
        raw = raw.encode("latin-1")  # bytes of Python 2
    if not isinstance(raw, bytes) or not isinstance(dtype, _Dtype) or order not in ("C", "F"):
        raise _RefusedError("expected an array of numbers, received one of objects")
    found = dtype.numpy()
    if not isinstance(shape, tuple) or len(shape) > 8:
        raise ValueError("an array of no such shape")
    sizes = tuple(int(size) for size in shape)
    if min(sizes, default=0) < 0 or math.prod(sizes) * found.itemsize != len(raw):
        raise ValueError(f"an array of shape {sizes} in {len(raw)} bytes")
    array = np.frombuffer(raw, dtype=found).reshape(sizes, order=order)  # type: ignore[call-overload]
    return array.astype(found.newbyteorder("="))


def _same(argument: Any) -> Any:
    return argument


_PUSHES: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"), _same),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _same),
    **dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _same),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _same),
    "BYTEARRAY8": bytes,
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "EMPTY_TUPLE": lambda _: (),
    "MARK": lambda _: _MARK,
}
_ACTIONS: dict[str, Callable[[_Reader, Any], Any]] = {
    "POP": lambda reader, _: reader.stack.pop(),
    "POP_MARK": lambda reader, _: reader.to_mark(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Reader.put),
    "MEMOIZE": lambda reader, _: reader.put(None),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Reader.get),
    "TUPLE1": lambda reader, _: reader.tuple_of(1),
    "TUPLE2": lambda reader, _: reader.tuple_of(2),
    "TUPLE3": lambda reader, _: reader.tuple_of(3),
    "TUPLE": lambda reader, _: reader.push_tuple(reader.to_mark()),
    "LIST": lambda reader, _: reader.push_list(reader.to_mark()),
    "DICT": lambda reader, _: reader.push_dict(reader.to_mark()),
    "APPEND": _Reader.append,
    "APPENDS": lambda reader, _: reader.extend(reader.to_mark()),
    "SETITEM": _Reader.set_item,
    "SETITEMS": lambda reader, _: reader.update(reader.to_mark()),
    "GLOBAL": _Reader.name,
    "STACK_GLOBAL": _Reader.stack_name,
    "REDUCE": _Reader.reduce,
    "BUILD": _Reader.build,
}
