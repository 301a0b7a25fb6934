"""The runner of an export to C: its own library does all of a row but to word what is wrong with it."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.errors import DataError, ModelFileError
from aaren.export._c_build import load_library
from aaren.export._c_tensors import HEADER, answer_fields, sizes
from aaren.export._manifest import Manifest
from aaren.export._runner import Arrays, Runner
from aaren.export.runner._front import count_of
from aaren.export.runner._open import make_front

_FRONT = "front."
_LEVELS = (0.1, 0.9)
_NOT_FINITE = "after which nothing is a number"
_DOUBLES, _BYTES = ctypes.POINTER(ctypes.c_double), ctypes.POINTER(ctypes.c_ubyte)


class CRunner(Runner):
    """An export to C in this process.

    The front of Python reads cells and says in the words of a stream what is wrong with a row; then the row goes to the
    `update` of the library, with its time, and not to its `step`: gaps, calendar and order of times are the library's.

    Args:
        manifest: of the export.
        directory: of the sources.
        options: of the front.

    Raises:
        BackendError: there is no C compiler, or it refuses the sources.
        ModelFileError: there is not exactly one header.
        ValueError: an option cannot be, such as a `start` of events, which the sources do not know.
    """

    def __init__(self, manifest: Manifest, directory: Path, **options: Any) -> None:
        super().__init__(manifest)
        if options.get("start") is not None:
            raise ValueError(
                f"start: expected None for an export to C, where a sequence starts with its first event, received "
                f"{options['start']}; export to another runtime"
            )
        self.front = make_front(manifest, **options)
        self._rows = 0
        name = source_name(manifest, directory)
        gap = getattr(self.front, "max_gap", 0)
        library = load_library(directory / f"{name}.c", f"{name.upper()}_DOUBLE=1", f"{name.upper()}_MAX_GAP={gap}")
        self._call = {
            part: getattr(library, f"{name}_{part}") for part in ("init", "update", "save", "load", "error_text")
        }
        if manifest.kind == "policy":
            self._call |= {part: getattr(library, f"{name}_{part}") for part in ("reset", "skip")}
        self._call["error_text"].restype = ctypes.c_char_p
        self._quantile = getattr(library, f"{name}_quantile", None)
        self._fields = answer_fields(manifest.kind, manifest.config)
        self._places = sizes(self._fields)
        # the struct in C is at most as large as a saved state and the padding of some members
        self._state = ctypes.create_string_buffer(2 * self._record_bytes + 1024)
        self.reset()

    @property
    def _record_bytes(self) -> int:
        return HEADER + self.manifest.state_bytes + 4

    def update(self, row: Any) -> Arrays | None:
        """Take one row; see `Runner.update`."""
        number = self._rows + 1
        try:
            checked = self.front.check(row, number)
            said = self._update(checked, number)
        except DataError:
            if self.front.on_bad_row != "skip":
                raise
            self.skip(row)
            return None
        self.front.take(checked)
        self._rows = number
        return said

    def skip(self, row: Any = None) -> str:
        """Count a row that was left out; see `Runner.skip`."""
        self._rows += 1
        reward, lost = self.front.skip(row)
        if "skip" in self._call:
            self._raise(self._call["skip"](self._state, ctypes.c_double(reward)))
        return lost

    def state(self) -> Arrays:
        """The fields of a saved state by name, and what the front keeps."""
        record = (ctypes.c_ubyte * self._record_bytes)()
        assert self._call["save"](self._state, record, ctypes.c_size_t(len(record))) == 0, "a record has room"
        found, place = {}, HEADER
        for spec in self.manifest.state:
            array = np.frombuffer(bytes(record), np.dtype(spec.dtype).newbyteorder("<"), _count(spec), place)
            found[spec.name] = array.astype(spec.dtype).reshape(spec.shape)
            place += spec.nbytes
        front = {**self.front.state(), "rows": np.array(self._rows, dtype=np.int64)}
        return {**found, **{f"{_FRONT}{name}": value for name, value in front.items()}}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave; the library checks its part."""
        payload = b""
        front = {
            name.removeprefix(_FRONT): np.asarray(value) for name, value in state.items() if name.startswith(_FRONT)
        }
        expected = {spec.name for spec in self.manifest.state} | {f"{_FRONT}{n}" for n in (*self.front.state(), "rows")}
        if set(state) != expected:
            raise ModelFileError(f"state: expected the tensors {sorted(expected)}, received {sorted(state)}")
        for spec in self.manifest.state:
            array = np.asarray(state[spec.name])
            if array.shape != tuple(spec.shape) or str(array.dtype) != spec.dtype:
                raise ModelFileError(
                    f"state: tensor {spec.name!r}: expected {tuple(spec.shape)} {spec.dtype}, received "
                    f"{array.shape} {array.dtype}"
                )
            payload += array.astype(np.dtype(spec.dtype).newbyteorder("<")).tobytes()
        head = b"AARENST1" + (1).to_bytes(4, "little") * 2 + bytes.fromhex(self.manifest.fingerprint)
        record = head + payload
        record += zlib.crc32(record).to_bytes(4, "little")
        kept = ctypes.create_string_buffer(self._state.raw, len(self._state))
        self._raise(self._call["load"](kept, record, ctypes.c_size_t(len(record))))
        try:
            rows = count_of(front.pop("rows"))
            _require_turn(front, state)
            self.front.set_state(front, state)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelFileError(f"state: damaged: {error}") from None
        self._state, self._rows = kept, rows

    def reset(self) -> None:
        """Begin a new series, sequence or episode."""
        self.front.reset()
        if "reset" in self._call:
            target = float(self.front.first({})["return_to_go"])
            self._raise(self._call["reset"](self._state, ctypes.c_double(target)))
        else:
            self._call["init"](self._state)

    def _update(self, checked: Any, number: int) -> Arrays:
        """A checked row through the library."""
        answer = np.full(int(self._places[-1]), np.nan)
        into = answer.ctypes.data_as(_DOUBLES)
        kind, token = self.manifest.kind, self.front.tokens(checked)[-1]
        arguments: list[Any] = []
        if kind == "events":
            arguments.append(ctypes.c_double(checked.time))
            arguments += [ctypes.c_int(int(token["mark"]))] if "mark" in token else []
        else:
            if kind == "forecaster" and checked[0].time is not None:
                arguments.append(ctypes.c_int64(int(checked[0].time.astype(np.int64))))
            values = np.ascontiguousarray(token["observation" if kind == "policy" else "values"], dtype=np.float64)
            arguments.append(values.ctypes.data_as(_DOUBLES))
        if kind == "policy":
            observed, earned = float(token["reward"]), self.front.earned(checked)
            arguments.append(ctypes.c_double(observed if np.isnan(earned) else earned))
        error = self._call["update"](self._state, *arguments, into)
        if error:
            text = self._text(error)
            if _NOT_FINITE in text and self.front.finite is not None:
                self.front.require_finite({self.front.finite: np.array(np.nan)}, number)
            raise DataError(text, source="stream", line=number)
        said = {
            name: answer[start:end].reshape(shape)
            for (name, shape), start, end in zip(self._fields.items(), self._places, self._places[1:], strict=False)
        }
        if kind == "events":
            said["quantiles"] = np.array([self._level(into, level) for level in _LEVELS])
        if kind == "policy":
            said["action"] = said["action"].astype(np.float32)
        return {spec.name: said[spec.name] for spec in self.manifest.outputs}

    def _level(self, expected: Any, level: float) -> float:
        interval = ctypes.c_double()
        assert self._quantile is not None, "the library of an event model has it"
        self._raise(self._quantile(expected, ctypes.c_double(level), ctypes.byref(interval)))
        return interval.value

    def _text(self, error: int) -> str:
        return bytes(self._call["error_text"](error)).decode()

    def _raise(self, error: int) -> None:
        if error:
            raise ModelFileError(f"state: {self._text(error)}")


def _require_turn(front: Mapping[str, NDArray[Any]], state: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a state of a policy in which the library awaits another reward than the front; ValueError or KeyError."""
    if "c.awaits_reward" in state:
        awaits, expected = (
            int(state["c.awaits_reward"]),
            1 if front["steps"].any() else 2 * int(front["left_out"].any()),
        )
        if awaits != expected:
            raise ValueError(f"expected awaits_reward = {expected} after {front['steps']} steps, received {awaits}")


def _count(spec: Any) -> int:
    return spec.nbytes // np.dtype(spec.dtype).itemsize


def source_name(manifest: Manifest, directory: Path) -> str:
    """What the names of the sources begin with.

    Raises:
        ModelFileError: there is not exactly one header.
    """
    headers = [name.removesuffix(".h") for name in manifest.files if name.endswith(".h")]
    if len(headers) != 1 or f"{headers[0]}.c" not in manifest.files or not headers[0].isidentifier():
        raise ModelFileError(f"{directory}: expected one header and its source, received {headers}")
    return headers[0]
