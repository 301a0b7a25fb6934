"""Checkpoints for the trainer as safetensors with a JSON tree: nothing is pickled, so nothing is unpickled."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from aaren.errors import ModelFileError

_KEY = "aaren_checkpoint"
_ENTRIES = {"pytorch-lightning_version", "epoch", "loops", "callbacks", "state_dict", "optimizer_states"}
_ENTRIES |= {"lr_schedulers", "aaren_run", "aaren_history"}


class SafetensorsCheckpointIO(CheckpointIO):
    """Writes and reads the trainer's nested dictionaries, tensors apart from the rest."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write to a temporary file that then takes the name.

        Raises:
            ModelFileError: it cannot be written, for example on a full disk; what was there stays.
        """
        tensors: dict[str, Tensor] = {}
        tree = json.dumps(_encode(checkpoint, tensors))
        target = Path(path)
        temporary = target.with_name(f".{target.name}.writing")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(save(tensors, metadata={_KEY: tree}))
            temporary.replace(target)
        except OSError as error:
            raise ModelFileError(f"{target}: cannot be written: {error.strerror or error}") from None
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read what `save_checkpoint` wrote.

        Raises:
            ModelFileError: the file is missing, damaged, or something else.
        """
        try:
            with safe_open(path, framework="pt") as file:
                tree = json.loads((file.metadata() or {})[_KEY])
                checkpoint = _decode(tree, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
            missing = sorted(_ENTRIES - set(checkpoint))
            if missing:
                raise ValueError(f"entries are missing: {missing}")
            return checkpoint
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelFileError(f"{path}: not a checkpoint, or damaged: {error}; train without resuming") from None

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint that is no longer among the kept ones."""
        Path(path).unlink(missing_ok=True)


def checkpoints_folder(directory: Path) -> Path:
    """Where a run keeps the checkpoints of its best and its last epoch while it is not finished."""
    return directory / "checkpoints"


def remove_checkpoints(directory: Path) -> None:
    """Take away what only an unfinished run needs; a file that is not of the run keeps the folder."""
    folder = checkpoints_folder(directory)
    for name in ("best", "last"):
        (folder / f"{name}.safetensors").unlink(missing_ok=True)
        (folder / f".{name}.safetensors.writing").unlink(missing_ok=True)
    with suppress(OSError):  # not there, or not empty
        folder.rmdir()


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON; tensors go to `tensors` and leave their name."""
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_encode(key, tensors), _encode(entry, tensors)] for key, entry in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_encode(entry, tensors) for entry in value], "tuple": isinstance(value, tuple)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"checkpoint: expected plain data and tensors, received {type(value).__name__}")


def _decode(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """The value that `_encode` wrote."""
    if not isinstance(tree, dict):
        return tree
    if "tensor" in tree:
        return tensors[tree["tensor"]]
    if "dict" in tree:
        return {_decode(key, tensors): _decode(entry, tensors) for key, entry in tree["dict"]}
    entries = [_decode(entry, tensors) for entry in tree["list"]]
    return tuple(entries) if tree["tuple"] else entries
