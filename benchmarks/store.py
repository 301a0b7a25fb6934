"""Durable writes and loads of stream records: `python benchmarks/store.py [--json FILE] [--folder FOLDER]`.

What is measured: wall time of calls whose writes are synced to the disk when they return, one thread, for the store of
keyed streams and for three engines as they come: SQLite, LMDB and RocksDB (the last two if `lmdb` and `rocksdict` are
installed). 200,000 records of 4.7 KB; a journal entry of 1,024 rows of 8 numbers; checkpoints of 1,024 and of 100,000
random records, these in pieces of 1,024; loads of 1,024 random records; closing and opening; bytes on the disk.

Limit: a file that is written with the same bytes in one stretch and synced once for each commit; for loads, a copy of
the bytes in memory.

What it does not say: what happens when the records do not fit the page cache of the system (1 GB do, on most machines),
nor how long a disk that writes in the background goes on. The gate: every engine gives back what was written, after
it was closed and opened again.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from _harness import Case, Ratio, Setup, Work, run, timing_parser
from _stores import ENGINES, OURS, RECORD, Engine

PIECE = 1_024
FILE, COPY = "one stretch of a file", "a copy in memory"


class Bench:
    """The engines, filled; and what the cases do with them."""

    def __init__(self, folder: Path, streams: int) -> None:
        self.folder, self.streams = folder, streams
        self.random = np.random.default_rng(0)
        self.keys = [f"stream {n:07d}" for n in range(streams)]
        self.entry = self.random.random((1024, 8)).tobytes()
        self.pool = self.random.bytes(RECORD + 65_536)  # records are stretches of it: quick to make, all different
        self.engines: dict[str, Engine] = {}
        for name, kind in ENGINES.items():
            if kind.needs is None or importlib.util.find_spec(kind.needs):
                self.engines[name] = kind(folder / str(len(self.engines)))

    def records(self, keys: Sequence[str]) -> dict[str, bytes]:
        """A new record for each key."""
        starts = self.random.integers(0, 65_536, len(keys)).tolist()
        return {key: self.pool[start : start + RECORD] for key, start in zip(keys, starts, strict=True)}

    def some(self, count: int) -> list[str]:
        """Random keys, each once."""
        return [self.keys[n] for n in self.random.choice(self.streams, count, replace=False).tolist()]

    def faults(self, quick: bool) -> list[str]:
        """Fill the engines; what they do not give back."""
        found = []
        for name, engine in self.engines.items():
            for start in range(0, self.streams, PIECE):
                last = self.records(self.keys[start : start + PIECE])
                engine.write(last)
            engine.close()
            engine.open()
            if engine.load(list(last)) != last:
                found.append(f"{name}: the records that were written last are not those that were read")
        return found

    def sizes(self) -> dict[str, Any]:
        """Bytes on the disk for each byte of the records, when all was written and closed."""
        found = {}
        for name, engine in self.engines.items():
            engine.close()
            found[name] = round(engine.nbytes() / (RECORD * self.streams), 3)
        print("\nbytes on the disk for each byte of the records, journal included:", found)
        return {"size_on_disk": found}

    def cases(self, many: int) -> Iterator[Case]:
        """All cases."""
        yield self._case(
            "append of 1,024 x 8 float64", FILE, lambda e: lambda: e.append(self.entry), len(self.entry), 15
        )
        few = min(PIECE, self.streams)
        yield self._case(
            f"checkpoint of {few:,} records", FILE, lambda e: lambda: self._checkpoint(e, few), few * RECORD
        )
        yield self._case(f"load of {few:,} records", COPY, lambda e: lambda: e.load(self.some(few)), few * RECORD)
        yield self._case("close and open", "", _reopen, 0, 5)
        yield self._case(
            f"checkpoint of {many:,} records", FILE, lambda e: lambda: self._checkpoint(e, many), many * RECORD, 3
        )

    def _checkpoint(self, engine: Engine, count: int) -> None:
        keys = self.some(count)
        for start in range(0, count, PIECE):
            engine.write(self.records(keys[start : start + PIECE]))

    def _case(self, name: str, limit: str, work: Callable[[Engine], Work], size: int, rounds: int = 9) -> Case:
        contenders: dict[str, Setup] = {label: lambda e=e: work(e) for label, e in self.engines.items()}
        ratios = {f"{label} / {OURS}": Ratio(label, OURS) for label in self.engines if label != OURS}
        if limit == FILE:
            contenders[limit] = lambda: lambda: self._write_file(size)
        elif limit == COPY:
            source = np.ones(size, np.uint8)
            contenders[limit] = lambda: source.copy
        if limit:
            ratios[f"{OURS} / {limit}"] = Ratio(OURS, limit)
        return Case(name, limit or "none", contenders, ratios, {"records": self.streams}, rounds=rounds)

    def _write_file(self, size: int) -> None:
        piece = self.pool[: min(size, RECORD)]
        with (self.folder / "file").open("wb") as file:
            for start in range(0, size, PIECE * RECORD):
                count = min(size - start, PIECE * RECORD)
                file.write((piece * (count // len(piece) + 1))[:count])
                file.flush()
                os.fsync(file.fileno())


def _reopen(engine: Engine) -> Work:
    def work() -> None:
        engine.close()
        engine.open()

    return work


def options() -> argparse.ArgumentParser:
    parser = timing_parser(__doc__)
    parser.add_argument("--folder", type=Path, help="where to write, on the disk that is to be measured")
    parser.add_argument("--streams", type=int, default=200_000, help="records in the store (default 200,000)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options().parse_args(arguments)
    streams = 3_000 if chosen.quick else chosen.streams
    folder = Path(tempfile.mkdtemp(dir=chosen.folder))
    try:
        bench = Bench(folder, streams)
        return run("store", chosen, bench.faults, bench.cases(streams // 2), bench.sizes)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
