"""The streams of a bucket of keys as one value of bytes, which is what an engine keeps for the bucket.

The bytes are a safetensors file: the records of the streams, their keys, and a stamp that says of which model, layout
and number of buckets they are. They can be read only where the stamp is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import load, save

from aaren.errors import ModelFileError
from aaren.streaming import RecordLayout

SCHEMA = 1
_HEADER = "aaren"


def stamp_of(fingerprint: str, layout: RecordLayout, buckets: int) -> str:
    """What must be the same for a state to go on: JSON that a person can compare."""
    digest = hashlib.blake2b(json.dumps(layout.to_dict(), sort_keys=True).encode(), digest_size=8).hexdigest()
    return json.dumps({"schema": SCHEMA, "model": fingerprint, "layout": digest, "buckets": buckets})


@dataclass
class Bucket:
    """Streams of a bucket.

    Args:
        records: uint8 of shape (streams, record_bytes).
        places: the place of the record of each key.
    """

    records: NDArray[np.uint8]
    places: dict[str, int] = field(default_factory=dict)

    def known(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys that have a stream."""
        return [key for key in keys if key in self.places]

    def of(self, keys: Sequence[str]) -> NDArray[np.uint8]:
        """The records of keys that have streams, shape (keys, record_bytes)."""
        return self.records[[self.places[key] for key in keys]]

    def put(self, keys: Sequence[str], records: NDArray[np.uint8]) -> None:
        """Keep records, shape (keys, record_bytes), in place of those that the keys had, if they had one."""
        before = len(self.places)
        places = [self.places.setdefault(key, len(self.places)) for key in keys]
        if len(self.places) > before:
            self.records = np.concatenate([self.records, np.zeros_like(records[: len(self.places) - before])])
        self.records[places] = records

    def to_bytes(self, stamp: str) -> bytes:
        """All of it, with a stamp."""
        names = [key.encode() for key in self.places]
        tensors: dict[str, NDArray[Any]] = {
            "ends": np.cumsum([len(name) for name in names], dtype=np.int64),
            "keys": np.frombuffer(b"".join(names), dtype=np.uint8),
            "records": self.records,
        }
        return save(tensors, {_HEADER: stamp})


def read_bucket(data: bytes | None, stamp: str, record_bytes: int) -> Bucket:
    """The streams of a bucket from the bytes that were kept, or none if nothing was.

    Raises:
        ModelFileError: they are damaged, or their stamp is another one.
    """
    if data is None:
        return Bucket(np.empty((0, record_bytes), dtype=np.uint8))
    try:
        found = _stamp(data)
        tensors = load(data)
    except (ValueError, KeyError, safetensors.SafetensorError) as error:
        raise ModelFileError(f"state of a bucket: not written by this library, or damaged: {error}") from None
    if found != stamp:
        raise _other(found, stamp)
    records, ends = tensors["records"], tensors["ends"].tolist()
    text = tensors["keys"].tobytes()
    names = [text[start:end].decode() for start, end in zip([0, *ends][:-1], ends, strict=True)]
    bucket = Bucket(np.array(records), {name: place for place, name in enumerate(names)})
    if records.shape != (len(bucket.places), record_bytes):
        received = f"shape {records.shape} with {len(bucket.places)} keys"
        raise ModelFileError(f"state of a bucket: expected records of {record_bytes} bytes, received {received}")
    return bucket


def _stamp(data: bytes) -> str:
    """The stamp in the header of a safetensors file."""
    size = int.from_bytes(data[:8], "little")
    return str(json.loads(data[8 : 8 + size])["__metadata__"][_HEADER])


def _other(found: str, stamp: str) -> ModelFileError:
    """Which part of the stamp differs, in words."""
    here, there = json.loads(stamp), json.loads(found)
    parts = [name for name in here if there.get(name) != here[name]]
    remedies = {
        "schema": "go on with the version of aaren that began the query",
        "model": "go on with that model, or begin another query with its own checkpoint",
        "layout": "go on with the same versions and options, or begin another query with its own checkpoint",
        "buckets": "a key must stay in its bucket: go on with the same number",
    }
    expected = ", ".join(f"{name} {here[name]!r}" for name in parts)
    received = ", ".join(f"{name} {there.get(name)!r}" for name in parts)
    return ModelFileError(
        f"state of the query's checkpoint: expected {expected}, received {received}; {remedies[parts[0]]}"
    )
