"""Snapshots: whole after a kill at any instant; refused when damaged, foreign or crafted."""

from __future__ import annotations

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from aaren import Forecaster
from aaren.data import SeriesSet
from aaren.errors import ModelFileError
from aaren.evaluation import PreparedData
from aaren.streaming import write_atomically
from aaren.streaming._snapshot import read_snapshot, write_snapshot

# one interpreter that forks the writers: thirty starts of Python and torch would take minutes
_FORKS = """
import os, sys
import torch
from pathlib import Path
from aaren.streaming._snapshot import write_snapshot
path = Path(sys.argv[1])
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        step = 0
        while True:
            step += 1
            write_snapshot(path, {"x": torch.full((20_000,), float(step))}, {"fingerprint": "f", "step": step})
    while not path.exists():
        pass
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


@pytest.fixture(scope="module")
def snapshot(model: Forecaster, etth1: SeriesSet, rows_of: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good snapshot after ten rows."""
    stream = model.stream()
    for row in rows_of(etth1, 0, 10):
        stream.update(row)
    path = tmp_path_factory.mktemp("snapshot") / "state"
    stream.save(path)
    return path.read_bytes()


@pytest.fixture
def refused(model: Forecaster, tmp_path: Path) -> Callable[..., str]:
    """Try to go on from bytes; they must be refused in one line that names the file. Gives the words."""

    def check(data: bytes) -> str:
        path = tmp_path / "tried.state"
        path.write_bytes(data)
        with pytest.raises(ModelFileError) as refusal:
            model.stream(path)
        assert str(refusal.value).startswith(str(path))
        assert path.read_bytes() == data
        return str(refusal.value)

    return check


def _parts(data: bytes, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    path.write_bytes(data)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a mapping)
        header = json.loads(file.metadata()["aaren_stream"])
    return tensors, header


def _signed(tensors: dict[str, torch.Tensor], header: dict[str, Any], path: Path) -> bytes:
    """A snapshot with a right checksum, as someone who knows the format can make it."""
    write_snapshot(path, tensors, {key: value for key, value in header.items() if key not in ("schema", "sha256")})
    return path.read_bytes()


def test_a_kill_at_any_instant_leaves_a_whole_snapshot(tmp_path: Path) -> None:
    """Killed thirty times at random instants while it saves without pause, a writer always leaves a whole snapshot."""
    path, generator = tmp_path / "state", np.random.default_rng(4)
    seen = set()
    with subprocess.Popen(
        [sys.executable, "-c", _FORKS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as nursery:
        for _ in range(30):
            nursery.stdin.write("\n")
            nursery.stdin.flush()
            writer = int(nursery.stdout.readline())
            time.sleep(0.02 + 0.08 * generator.random())
            os.kill(writer, signal.SIGKILL)
            nursery.stdout.readline()
            tensors, header = read_snapshot(path, "f")
            assert torch.equal(tensors["x"], torch.full((20_000,), float(header["step"])))
            seen.add(header["step"])
            left = {file.name for file in tmp_path.iterdir()}
            assert left <= {"state", ".state.writing"}, "a kill may leave one temporary file, and never a second"
        nursery.stdin.close()
    assert len(seen) > 5, "the kills are to fall on different saves"
    write_snapshot(path, {"x": torch.zeros(1)}, {"fingerprint": "f"})
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_truncated_and_overlong_files(snapshot: bytes, refused: Callable[..., str]) -> None:
    """Cut at any of many lengths, or with bytes behind its end, a snapshot is refused."""
    for length in [*range(40), *np.linspace(40, len(snapshot) - 1, 60).astype(int).tolist()]:
        refused(snapshot[:length])
    refused(snapshot + b"\0")
    refused(snapshot * 2)


def test_a_flipped_bit_anywhere(snapshot: bytes, refused: Callable[..., str]) -> None:
    """One flipped bit is noticed: in the length, in every byte of the header, and in every tensor."""
    header = 8 + struct.unpack("<Q", snapshot[:8])[0]
    generator = np.random.default_rng(6)
    places = [*range(header), *generator.integers(header, len(snapshot), 150).tolist()]
    for place in places:
        damaged = bytearray(snapshot)
        damaged[place] ^= 1 << int(generator.integers(8))
        refused(bytes(damaged))


def test_tensors_that_do_not_belong(snapshot: bytes, refused: Callable[..., str], tmp_path: Path) -> None:
    """Missing, additional, misshapen or retyped tensors are refused even with a right checksum."""
    tensors, header = _parts(snapshot, tmp_path / "parts")
    name = next(name for name, tensor in tensors.items() if tensor.dim() > 1)
    lost = {key: tensor for key, tensor in tensors.items() if key != name}
    cases = {
        "missing tensors": lost,
        "unexpected tensors ['more']": {**tensors, "more": torch.zeros(1)},
        "expected (": {**tensors, name: tensors[name][:, :1].repeat(1, 7)},
        "received": {**tensors, name: tensors[name].half()},
    }
    for words, crafted in cases.items():
        assert words in refused(_signed(crafted, header, tmp_path / "signed"))


def test_headers_that_do_not_belong(snapshot: bytes, refused: Callable[..., str], tmp_path: Path) -> None:
    """Entries that are missing, of another type or beyond all bounds are refused even with a right checksum."""
    tensors, header = _parts(snapshot, tmp_path / "parts")
    for name in ("rows", "skipped", "last_taken", "time_microseconds", "series"):
        lost = {key: value for key, value in header.items() if key != name}
        assert "damaged" in refused(_signed(tensors, lost, tmp_path / "signed"))
    for name, value in {
        "rows": [1],
        "skipped": "many",
        "last_taken": float("inf"),
        "time_microseconds": 10**40,
    }.items():
        assert "damaged" in refused(_signed(tensors, {**header, name: value}, tmp_path / "signed"))


@pytest.mark.parametrize(
    "change", [{"rows": -1}, {"rows": 2**63 - 1}, {"rows": 2**70}, {"skipped": 10**6}, {"last_taken": -1}]
)
def test_counts_that_cannot_be(
    change: dict[str, int], snapshot: bytes, refused: Callable[..., str], model: Forecaster, tmp_path: Path
) -> None:
    """Counts below 0, above the rows, or so large that they would run over, are refused by a stream and by a pool."""
    tensors, header = _parts(snapshot, tmp_path / "parts")
    crafted = _signed(tensors, header | change, tmp_path / "crafted")
    assert "expected 0 <= skipped <= rows" in refused(crafted)
    pool = model.pool(2)
    with pytest.raises(ModelFileError, match="expected 0 <= skipped <= rows"):
        pool.load_state("a", tmp_path / "crafted")
    assert "a" not in pool


def test_crafted_files(snapshot: bytes, refused: Callable[..., str], tmp_path: Path) -> None:
    """A huge header length, deep JSON, a header that is no object, no header, a pickle and text are all refused."""
    tensors, _ = _parts(snapshot, tmp_path / "parts")
    deep = "[" * 100_000 + "]" * 100_000
    refused(struct.pack("<Q", 2**63) + snapshot[8:])
    refused(struct.pack("<Q", 10**8) + snapshot[8:])
    refused(struct.pack("<Q", len(deep)) + deep.encode())
    for text in (deep, "[1, 2]", "null", "7", "{", '{"schema": 1}', "9" * 5000):
        refused(save(tensors, metadata={"aaren_stream": text}))
    refused(save(tensors))
    refused(pickle.dumps({"state": 1}))
    refused(b"date,OT\n2016-07-01,1\n")


def test_another_schema_or_model(
    snapshot: bytes,
    refused: Callable[..., str],
    build: Callable[..., Forecaster],
    prepared: PreparedData,
    tmp_path: Path,
) -> None:
    """A snapshot of another version or of another model is refused with both named, before its numbers are used."""
    tensors, header = _parts(snapshot, tmp_path / "parts")
    newer = save(tensors, metadata={"aaren_stream": json.dumps({**header, "schema": 2})})
    assert "expected state schema 1, received 2" in refused(newer)
    other = build(prepared, decay="learned")
    with torch.no_grad():
        other.head.bias[0] += 1e-3
    (tmp_path / "state").write_bytes(snapshot)
    with pytest.raises(ModelFileError, match="of another model") as refusal:
        other.stream(tmp_path / "state")
    assert header["fingerprint"][:12] in str(refusal.value)
    assert other.fingerprint()[:12] in str(refusal.value)


def test_places_that_cannot_be_written_or_read(model: Forecaster, tmp_path: Path) -> None:
    """A missing folder, a file as folder and a folder as file are refused in words, and nothing is left behind."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    stream = model.stream()
    for place in ("nowhere/state", "file/state", "folder"):
        with pytest.raises(ModelFileError, match=f"{place}: cannot be written"):
            stream.save(tmp_path / place)
    with pytest.raises(ModelFileError, match="folder: not a state snapshot"):
        model.stream(tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full or the user interrupts, the old bytes stay and the temporary file goes."""
    path = tmp_path / "state"
    write_atomically(path, b"old")
    for failure in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def fail(_: int, failure: BaseException = failure) -> None:
            raise failure

        monkeypatch.setattr("os.fsync", fail)
        with pytest.raises((ModelFileError, KeyboardInterrupt)):
            write_atomically(path, b"new")
        assert path.read_bytes() == b"old"
        assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """A link that someone put at the temporary name is removed, and its target is not written."""
    (tmp_path / "secret").write_bytes(b"mine")
    (tmp_path / ".state.writing").symlink_to(tmp_path / "secret")
    write_atomically(tmp_path / "state", b"new")
    assert (tmp_path / "secret").read_bytes() == b"mine"
    assert (tmp_path / "state").read_bytes() == b"new"
    assert not (tmp_path / "state").is_symlink()
