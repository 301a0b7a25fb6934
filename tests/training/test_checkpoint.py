"""Checkpoint files: any nested plain data and tensors, back as they were; anything else refused."""

from __future__ import annotations

import errno
import io
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from aaren.errors import ModelFileError
from aaren.training._checkpoint import _ENTRIES, _KEY, SafetensorsCheckpointIO

BASE: dict[str, Any] = dict.fromkeys(sorted(_ENTRIES))


def round_trip(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Save and load."""
    SafetensorsCheckpointIO().save_checkpoint({**BASE, **checkpoint}, path)
    return SafetensorsCheckpointIO().load_checkpoint(path)


def test_nested_structures_come_back(tmp_path: Path) -> None:
    """Keys of any type, tuples, lists, None, numbers that JSON has no name for, and key names of the format's own."""
    tree = {
        "state": {0: {"step": 3, "moment": (1.5, None, [True, "é\n"])}, 1: {}},
        (1, "a"): [[], (), {"tensor": "t0", "dict": [], "list": {"tuple": 1}}],
        None: -0.0,
        "large": 2**80,
        "infinite": float("inf"),
        "numbers": [np.float32(0.5), np.int64(7), np.bool_(True)],
        "path": Path("a/b"),
        "ordered": OrderedDict(b=1, a=2),
    }
    found = round_trip(tree, tmp_path / "a.safetensors")
    tree.update({"numbers": [0.5, 7, True], "path": "a/b", "ordered": {"b": 1, "a": 2}})
    assert {key: found[key] for key in tree} == tree
    assert list(found["ordered"]) == ["b", "a"]
    assert [type(x) for x in found["numbers"]] == [float, int, bool]
    assert isinstance(found["state"][0]["moment"], tuple)
    assert np.signbit(found[None])


def test_tensors_come_back_bit_for_bit(tmp_path: Path) -> None:
    """Tensors of any dtype and shape, views of one memory and NaN included, come back bit for bit."""
    whole = torch.arange(12.0).view(3, 4)
    tensors = {
        "transposed": whole.T,
        "row": whole[1],
        "same": whole,
        "scalar": torch.tensor(3),
        "half": torch.tensor([1.5, float("nan")], dtype=torch.bfloat16),
        "flag": torch.tensor([True, False]),
        "empty": torch.zeros(0, 2),
        "leaf": torch.ones(2, requires_grad=True),
    }
    found = round_trip({"state_dict": tensors}, tmp_path / "a.safetensors")["state_dict"]
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype, name
        torch.testing.assert_close(found[name], tensor.detach(), rtol=0, atol=0, equal_nan=True)


def test_what_is_not_plain_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """An object that is neither plain data nor a tensor is refused by its type, and no file is left."""
    with pytest.raises(TypeError, match="expected plain data and tensors, received object"):
        round_trip({"a": object()}, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that a full disk cuts off is told with its file, and leaves the checkpoint that was there, alone."""
    path = tmp_path / "deep" / "a.safetensors"
    round_trip({"epoch": 1}, path)

    def cut_off(target: Path, data: bytes) -> None:
        with target.open("wb") as file:
            file.write(data[:4])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", cut_off)
    with pytest.raises(ModelFileError, match=r"a\.safetensors: cannot be written: No space left on device"):
        round_trip({"epoch": 2}, path)
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]
    assert SafetensorsCheckpointIO().load_checkpoint(path)["epoch"] == 1


def test_removing_twice_is_no_error(tmp_path: Path) -> None:
    """A checkpoint is removed; one that is gone already is not missed."""
    path = tmp_path / "a.safetensors"
    round_trip({}, path)
    for _ in range(2):
        SafetensorsCheckpointIO().remove_checkpoint(path)
        assert not path.exists()


def refused(path: Path, message: str = "not a checkpoint, or damaged") -> None:
    """The file is refused with that reason."""
    with pytest.raises(ModelFileError, match=message):
        SafetensorsCheckpointIO().load_checkpoint(path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """A missing file, a folder, a file cut off anywhere, and one with bytes after its end are refused."""
    path = tmp_path / "a.safetensors"
    refused(path)
    refused(tmp_path)
    round_trip({"state_dict": {"w": torch.arange(4.0)}}, path)
    whole = path.read_bytes()
    for length in (0, 7, 8, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path)
    path.write_bytes(whole + b"\0")
    refused(path)


@pytest.mark.parametrize(
    "tree",
    [
        "no json",
        "3",
        "null",
        '"text"',
        '{"list": [], "tuple": false}',
        '{"dict": []}',
        '{"dict": 3}',
        '{"dict": [[1]]}',
        '{"dict": [[{"dict": []}, 1]]}',
        '{"tensor": "t9"}',
        '{"tensor": []}',
        '{"other": 1}',
        "[" * 100_000,
        '{"list": [' * 20_000 + '], "tuple": false}' * 20_000,
        "9" * 5000,
    ],
    ids=lambda text: text[:24],
)
def test_crafted_trees_are_refused(tree: str, tmp_path: Path) -> None:
    """A safetensors file whose tree is nonsense, endless or incomplete is refused."""
    path = tmp_path / "a.safetensors"
    save_file({"t0": torch.zeros(1)}, path, metadata={_KEY: tree})
    refused(path)


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    """Weights without a tree, and trees that lack an entry, are no checkpoints."""
    path = tmp_path / "a.safetensors"
    save_file({"w": torch.zeros(1)}, path)
    refused(path)
    save_file({"w": torch.zeros(1)}, path, metadata={"format": "pt"})
    refused(path)
    for entry in sorted(_ENTRIES):
        pairs = [[name, 1] for name in sorted(_ENTRIES - {entry})]
        save_file({}, path, metadata={_KEY: json.dumps({"dict": pairs})})
        refused(path, rf"entries are missing: \['{entry}'\]")


class Bomb:
    """An object that would tell if it was unpickled."""

    exploded = False

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return (explode, ())


def explode() -> None:
    """Tell."""
    Bomb.exploded = True


def test_a_pickle_is_refused_and_not_unpickled(tmp_path: Path) -> None:
    """A file of `torch.save` is refused, and nothing inside it runs."""
    path = tmp_path / "a.safetensors"
    torch.save({**BASE, "bomb": Bomb()}, path)
    refused(path)
    assert not Bomb.exploded
    torch.load(io.BytesIO(path.read_bytes()), weights_only=False)
    assert Bomb.exploded  # so the bomb was a live one
