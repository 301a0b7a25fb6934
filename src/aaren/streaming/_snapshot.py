"""Snapshots of a stream's state: one safetensors file with a JSON header, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from aaren.errors import ModelFileError

SCHEMA = 1
_KEY = "aaren_stream"


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file as a whole: after a kill at any instant, the old bytes or the new ones are there.

    The temporary file beside it has always the same name, so that kills leave at most one, which the next call takes
    away; it is made anew, so that the result has the usual permissions and no planted link is followed.

    Raises:
        ModelFileError: the folder is missing or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.writing")
    try:
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror or error}") from None


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """A sha256 over the tensors and the rest of the header, whose numbers decide which rows count as seen."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_snapshot(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and header; see `read_snapshot`."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    whole = {**header, "schema": SCHEMA}
    whole["sha256"] = _digest(plain, whole)
    write_atomically(path, save(plain, metadata={_KEY: json.dumps(whole, sort_keys=True)}))


def read_snapshot(path: Path, fingerprint: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a snapshot, refusing before any number is used.

    Args:
        path: the file.
        fingerprint: of the model that is to go on with it.

    Returns:
        The tensors by name, and the header.

    Raises:
        ModelFileError: the file is damaged, of another schema version, or of another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            header = json.loads(metadata[_KEY])
            schema = header["schema"]
            if schema != SCHEMA:
                raise ModelFileError(f"{path}: expected state schema {SCHEMA}, received {schema!r}; start a new state")
            if header["fingerprint"] != fingerprint:
                raise ModelFileError(
                    f"{path}: the state is of another model (fingerprint {str(header['fingerprint'])[:12]}, this "
                    f"model has {fingerprint[:12]}); use the model it was made with, or another state file"
                )
            # clones: what comes from the file is mapped to it, and would change with it
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a mapping)
            intact = header.pop("sha256") == _digest(tensors, header)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path}: not a state snapshot, or damaged: {error}") from None
    if not intact:
        raise ModelFileError(f"{path}: damaged: the content does not match its checksum; take an older copy")
    return tensors, header
