"""What every runtime's runner can do: take rows, and hand its state out and in.

This file is copied into exports.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.errors import ModelFileError
from aaren.export._manifest import Manifest
from aaren.export.runner._safetensors import read_safetensors, to_safetensors

Arrays = dict[str, NDArray[Any]]
_KEY = "aaren_export_state"


class Runner(ABC):
    """One live stream of an exported model, wherever it runs.

    Args:
        manifest: of the export.

    Example:
        runner = aaren.export.open_export("out/")
        said = runner.update({"date": "2018-06-26 20:00:00", "OT": 11.7})
        said["mean"]            # (horizon, targets), in the units of the training data
        runner.save("live.state")
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    @abstractmethod
    def update(self, row: Any) -> Arrays | None:
        """Take one row; the outputs of the manifest by name, or None if the row was left out.

        Args:
            row: as `aaren.streaming.ModelStream.update` takes it: cells by column, or in order.

        Raises:
            DataError: the row was refused, in the words of the stream; the state is as before.
        """

    @abstractmethod
    def skip(self, row: Any = None) -> str:
        """Count a row that was left out; the state stays as it is, but for the reward of a policy's row, which counts.

        Args:
            row: as `update` was given it; None if there was nothing to be read.

        Returns:
            What is lost with the row besides it, in words for the user; empty if nothing is.
        """

    def prefill(self, rows: Sequence[Any]) -> Arrays | None:
        """Take many rows; the same as `update` of each, at once where the runtime can.

        Args:
            rows: as `update` takes them.

        Returns:
            The outputs after the last row that was taken, or None if none was.

        Raises:
            DataError: a row was refused, as by `update`; the state is as before all of them.
        """
        before, said = self.state(), None
        try:
            for row in rows:
                said = self.update(row) or said
        except BaseException:
            self.set_state(before)
            raise
        return said

    @abstractmethod
    def state(self) -> Arrays:
        """A copy of all that is kept of the past, by name; those of the manifest, and more that begin with "front."."""

    @abstractmethod
    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave.

        Raises:
            ModelFileError: a name, a shape, a dtype or a number cannot be; the state is as before.
        """

    @abstractmethod
    def reset(self) -> None:
        """Begin a new series, sequence or episode; the numbering of rows goes on."""

    @property
    def state_bytes(self) -> int:
        """Bytes of the state of one stream, as the manifest has it."""
        return self.manifest.state_bytes

    def close(self) -> None:  # noqa: B027 (most runtimes have nothing to give back)
        """Give back what the runtime holds; no call may follow."""

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def save(self, path: str | Path) -> None:
        """Write the state to a file, as a whole or not at all.

        Raises:
            ModelFileError: the file cannot be written.
        """
        path, state = Path(path), self.state()
        header = json.dumps({"fingerprint": self.manifest.fingerprint, "sha256": _digest(state)})
        temporary = path.with_name(f".{path.name}.writing")
        try:
            try:
                temporary.unlink(missing_ok=True)
                with temporary.open("xb") as file:
                    file.write(to_safetensors(state, {_KEY: header}))
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be written: {error.strerror or error}") from None

    def read(self, path: str | Path) -> None:
        """Go on from a file that `save` wrote.

        Raises:
            ModelFileError: it is not there, is damaged, or is of another model.
        """
        path = Path(path)
        state, metadata = read_safetensors(path)
        try:
            header = json.loads(metadata[_KEY])
            fingerprint, digest = header["fingerprint"], header["sha256"]
        except (KeyError, TypeError, ValueError, RecursionError):
            raise ModelFileError(f"{path}: not a state of an export") from None
        if fingerprint != self.manifest.fingerprint:
            raise ModelFileError(
                f"{path}: the state is of another model (fingerprint {str(fingerprint)[:12]}, this export has "
                f"{self.manifest.fingerprint[:12]}); use the export it was made with, or another state file"
            )
        if digest != _digest(state):
            raise ModelFileError(f"{path}: damaged: the content does not match its checksum; take an older copy")
        try:
            self.set_state(state)
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from None


def _digest(state: Mapping[str, NDArray[Any]]) -> str:
    """A sha256 over names, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = np.ascontiguousarray(state[name])
        digest.update(f"{name} {array.dtype} {state[name].shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
