"""What an export says of itself: one JSON file with names, shapes, dtypes, units, and a digest of every other file.

This file is copied into exports, where neither this library nor PyTorch is there: it knows the standard library and
numpy alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.errors import ModelFileError

FORMAT, VERSION = "aaren-export", 1
FILE = "manifest.json"
KINDS = ("classifier", "events", "forecaster", "policy")
PRECISIONS = ("float32", "float16", "int8")
_DTYPES = ("float64", "float32", "int64", "int32", "bool", "uint8")
_LARGEST_STATE = 1 << 31
_UNSPEAKABLE = {"-inf": -math.inf, "nan": math.nan}


@dataclass(frozen=True)
class TensorSpec:
    """One named tensor of a step.

    Args:
        name: "values", "mean", "encoder.0.max_score", ...
        dtype: such as "float64".
        shape: without a batch dimension.
        units: what its numbers count, in words.
        initial: of a state tensor: what it holds before the first token, one number for all places or nested lists;
            JSON has no infinity and no NaN, for which the words "-inf" and "nan" stand. None for inputs and outputs.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    units: str
    initial: Any = None

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def first(self) -> NDArray[Any]:
        """The tensor before the first token."""
        return np.array(self.spread())

    def spread(self) -> NDArray[Any]:
        """The same to look at, in the memory of `initial` alone, however large the shape; ValueError if it has another.

        TypeError or OverflowError if `initial` is no number of the dtype.
        """
        plain = _UNSPEAKABLE.get(self.initial, self.initial) if isinstance(self.initial, str) else self.initial
        return np.broadcast_to(np.asarray(plain, dtype=self.dtype), self.shape)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = {**dataclasses.asdict(self), "shape": list(self.shape)}
        if self.initial is None:
            del data["initial"]
        return data


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` holds.

    Args:
        aaren: version of the library that wrote it.
        runtime: "numpy", "c", "onnx", ...
        precision: of the weights: "float32", "float16" or "int8".
        kind: of the model.
        fingerprint: of the model; a state carries it.
        config: the model's configuration.
        preprocessing: names, units and scales of the user's data.
        inputs: of one step.
        outputs: of one step.
        state: what goes from one step to the next.
        files: SHA-256 of every other file of the directory by its name.
    """

    aaren: str
    runtime: str
    precision: str
    kind: str
    fingerprint: str
    config: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: tuple[TensorSpec, ...]
    files: Mapping[str, str]

    @property
    def state_bytes(self) -> int:
        """Bytes of the state of one stream."""
        return sum(spec.nbytes for spec in self.state)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        fields: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("inputs", "outputs", "state"):
            fields[name] = [spec.to_dict() for spec in fields[name]]
        return {"format": FORMAT, "version": VERSION, "state_bytes": self.state_bytes, **fields}

    def write(self, directory: Path) -> None:
        """Write the file."""
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"
        (directory / FILE).write_text(text, encoding="utf-8")


def read_manifest(directory: str | Path) -> Manifest:
    """Read the manifest of an export, and check every file that it names.

    Raises:
        ModelFileError: there is no export, it is of another format or version, or a file is missing, was changed, or
            lies outside the directory.
    """
    directory = Path(directory)
    path = directory / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelFileError(f"{path}: no such file; expected a directory that `aaren export` wrote") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ModelFileError(f"{path}: expected a manifest of the format {FORMAT!r}, received something else")
    if data.get("version") != VERSION:
        raise ModelFileError(
            f"{path}: expected version {VERSION}, received {data.get('version')!r}; it was written by aaren "
            f"{data.get('aaren')}; export the model again"
        )
    manifest = _manifest_of(data, path)
    for name, digest in manifest.files.items():
        _check_file(directory, name, digest, path)
    return manifest


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest_of(data: Mapping[str, Any], path: Path) -> Manifest:
    """The manifest in plain data, every entry of its type."""
    names = {field.name for field in dataclasses.fields(Manifest)} | {"format", "version", "state_bytes"}
    if set(data) != names:
        raise ModelFileError(f"{path}: missing or unknown entries: {', '.join(sorted(set(data) ^ names))}")
    for name in ("aaren", "runtime", "precision", "kind", "fingerprint"):
        if not isinstance(data[name], str):
            raise ModelFileError(f"{path}: {name}: expected text, received {type(data[name]).__name__}")
    for name in ("config", "preprocessing", "files"):
        if not isinstance(data[name], dict):
            raise ModelFileError(f"{path}: {name}: expected an object, received {type(data[name]).__name__}")
    for name, choices in (("kind", KINDS), ("precision", PRECISIONS)):
        if data[name] not in choices:
            raise ModelFileError(f"{path}: {name}: expected one of {', '.join(choices)}, received {data[name]!r}")
    fields = {name: data[name] for name in names - {"format", "version", "state_bytes"}}
    for name in ("inputs", "outputs", "state"):
        fields[name] = _specs(data[name], path, name)
    manifest = Manifest(**fields)
    if data["state_bytes"] != manifest.state_bytes or manifest.state_bytes > _LARGEST_STATE:
        raise ModelFileError(
            f"{path}: state_bytes: expected {manifest.state_bytes}, the size of the state tensors, received "
            f"{data['state_bytes']!r}"
        )
    return manifest


def _specs(data: Any, path: Path, part: str) -> tuple[TensorSpec, ...]:
    """Tensors in plain data, each with a sound name, dtype, shape and start."""
    if not isinstance(data, list):
        raise ModelFileError(f"{path}: {part}: expected a list of tensors, received {type(data).__name__}")
    required = {"name", "dtype", "shape", "units"} | ({"initial"} if part == "state" else set())
    specs = []
    for entry in data:
        sound = isinstance(entry, dict) and set(entry) == required
        if not sound or not isinstance(entry["name"], str) or entry["dtype"] not in _DTYPES:
            raise ModelFileError(
                f"{path}: {part}: expected tensors with {', '.join(sorted(required))}, received others"
            )
        shape = entry["shape"]
        whole = isinstance(shape, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in shape)
        if not whole or not all(0 <= n < _LARGEST_STATE for n in shape) or math.prod(shape) > _LARGEST_STATE:
            raise ModelFileError(f"{path}: {part}: {entry['name']}: expected a shape, received {shape!r}")
        specs.append(TensorSpec(**{**entry, "shape": tuple(shape)}))
        if part == "state":
            try:
                specs[-1].spread()
            except (TypeError, ValueError, OverflowError):
                raise ModelFileError(
                    f"{path}: state: {entry['name']}: initial: expected numbers of its shape"
                ) from None
    if len({spec.name for spec in specs}) != len(specs):
        raise ModelFileError(f"{path}: {part}: expected tensors of different names, received one twice")
    return tuple(specs)


def _check_file(directory: Path, name: str, digest: Any, path: Path) -> None:
    """Refuse a name that leads elsewhere, and a file that is not the one that was written."""
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name or "\0" in name:
        raise ModelFileError(f"{path}: files: expected names inside the directory, received {name!r}")
    file = directory.joinpath(*parts)
    if not file.is_file() or not file.resolve().is_relative_to(directory.resolve()):
        raise ModelFileError(f"{file}: no such file; the export is not whole: export the model again")
    try:
        received = digest_of(file)
    except OSError as error:
        raise ModelFileError(f"{file}: cannot be read: {error.strerror or error}") from None
    if received != digest:
        raise ModelFileError(f"{file}: the file was changed after the export, or is damaged; export the model again")
