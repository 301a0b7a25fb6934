"""Model directories: config.json, model.safetensors, preprocessing.json, MODEL_CARD.md. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from aaren._version import __version__
from aaren.errors import ModelFileError

FORMAT = 1
FILES = ("config.json", "model.safetensors", "preprocessing.json", "MODEL_CARD.md")


def fingerprint(
    kind: str, config: Mapping[str, Any], preprocessing: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> str:
    """A sha256 over all that decides a model's numbers: kind, configuration, preprocessing, weights."""
    digest = hashlib.sha256(json.dumps([kind, config, preprocessing], sort_keys=True).encode())
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_directory(
    directory: Path,
    kind: str,
    config: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    card: str,
) -> None:
    """Write a model directory: all files into a temporary folder inside it first, then each takes its name.

    Other files of an existing directory (checkpoints, records) are kept. After a kill between two files, `load`
    refuses the directory, since the fingerprint in config.json, which comes last, does not match.

    Raises:
        ModelFileError: `directory` is a file, or its parent cannot be written.
    """
    if directory.exists() and not directory.is_dir():
        raise ModelFileError(f"{directory}: expected a directory to save into, received a file; choose another name")
    header = {
        "format": FORMAT,
        "kind": kind,
        "aaren_version": __version__,
        "fingerprint": fingerprint(kind, config, preprocessing, weights),
        "config": dict(config),
        "metadata": dict(metadata),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".saving-", dir=directory))
        try:
            tensors = {k: v.detach().cpu().contiguous() for k, v in weights.items()}
            # as bytes, since safetensors' own writer has an error of its own for a full disk, without a reason
            (staging / "model.safetensors").write_bytes(save(tensors))
            (staging / "preprocessing.json").write_text(json.dumps(preprocessing, indent=2) + "\n", encoding="utf-8")
            (staging / "MODEL_CARD.md").write_text(card, encoding="utf-8")
            (staging / "config.json").write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")
            # config.json last: its fingerprint tells a directory that was cut off in between
            for name in ("model.safetensors", "preprocessing.json", "MODEL_CARD.md", "config.json"):
                (staging / name).replace(directory / name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise ModelFileError(f"{directory}: cannot be written: {error.strerror or error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model directory.

    Raises:
        ModelFileError: the file is missing, or is not a JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFileError(
            f"{path}: no such file; expected a model directory with {', '.join(FILES[:3])}, as `aaren train` writes it"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(data, dict):
        raise ModelFileError(f"{path}: expected a JSON object, received {type(data).__name__}")
    return data


def read_header(directory: Path) -> dict[str, Any]:
    """The header in config.json, with a known format and all entries.

    Raises:
        ModelFileError: it is missing, damaged or of another format.
    """
    header = read_json(directory / "config.json")
    missing = {"format", "kind", "fingerprint", "config", "metadata"} - set(header)
    if missing:
        raise ModelFileError(f"{directory / 'config.json'}: entries are missing: {', '.join(sorted(missing))}")
    if header["format"] != FORMAT:
        raise ModelFileError(
            f"{directory / 'config.json'}: expected format {FORMAT}, received {header['format']!r}; "
            f"it was written by aaren {header.get('aaren_version')}, this is {__version__}"
        )
    if not isinstance(header["config"], dict) or not isinstance(header["metadata"], dict):
        raise ModelFileError(f"{directory / 'config.json'}: expected objects for config and metadata")
    return header


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read weights, which take no more memory than the file; `check_tensors` says whether they are the right ones.

    Raises:
        ModelFileError: the file is missing, truncated or crafted.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such file; a model directory needs it") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ModelFileError(f"{path}: damaged or not a safetensors file: {error}") from None


def check_tensors(
    path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[tuple[int, ...], Any]]
) -> None:
    """Refuse missing or extra tensors, and any of another shape or dtype.

    Raises:
        ModelFileError: with the names concerned.
    """
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or extra:
        raise ModelFileError(f"{path}: missing tensors {missing}, unexpected tensors {extra}; is it of another model?")
    for name, (shape, dtype) in expected.items():
        received = (tuple(tensors[name].shape), tensors[name].dtype)
        if received != (shape, dtype):
            raise ModelFileError(
                f"{path}: tensor {name!r}: expected {shape} {dtype}, received {received[0]} {received[1]}"
            )
