"""A pool of many streams: `python benchmarks/pool.py [--streams 1000000] [--json FILE]`.

What is measured: the time of `StreamPool.update` for a row, in calls of 1,024 random keys of that many resident
streams, with columns as arrays, for forecasters of 2 layers of width 32 and of 4 layers of width 128; the same calls'
matrix products alone, which is the floor; and the memory of the process when all streams are there. In processor time
too (of all threads together), since on a machine that does other work meanwhile wall time says little.

What it does not say: nothing about parsing text, or about rows after gaps and bad rows, which go one by one.
Nothing is measured before a pool has been found equal to single streams: exit code 1 if it is not.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _gate import operator_faults
from _harness import Case, Ratio, Result, option_parser, refused, report, result, show, without_bars
from _machine import machine
from aaren import Forecaster, StreamPool
from aaren.data import Scaler, Schema
from aaren.models import Preprocessing

BATCH, CALLS, ROUNDS = 1024, 20, 5
SIZES = {"2 layers, width 32": (2, 32, 50_000), "4 layers, width 128": (4, 128, 8_000)}
POOL, FLOOR = "pool", "its matrix products alone"
NAMES, HOUR, START = ("x", "y", "z"), np.timedelta64(3600, "s"), np.datetime64("2026-01-01", "us")


def forecaster(layers: int, width: int) -> Forecaster:
    """Three inputs, one target, 24 steps ahead, hourly; feed-forward networks twice as wide as the model."""
    schema, scaler = Schema(NAMES[:1], NAMES[1:], ("date",)), Scaler(NAMES, np.zeros(3), np.ones(3))
    calendar = ("hour_of_day", "day_of_week")
    between = Preprocessing(schema, scaler, calendar, HOUR.astype("timedelta64[us]"))
    sizes = {"d_model": width, "nhead": 4, "num_layers": layers, "dim_feedforward": 2 * width}
    torch.manual_seed(0)
    return Forecaster(preprocessing=between, inputs=3, targets=1, calendar=4, look_back=96, horizon=24, **sizes).eval()


class Load:
    """Calls of random keys, the next row of each."""

    def __init__(self, streams: int) -> None:
        self._rows, self._random = np.zeros(streams, dtype=np.int64), np.random.default_rng(0)

    def call(self, streams: np.ndarray) -> tuple[list[str], dict[str, Any]]:
        """One row of each of these streams."""
        columns = {name: self._random.standard_normal(len(streams)) for name in NAMES}
        times = START + self._rows[streams] * HOUR
        self._rows[streams] += 1
        return [f"stream-{stream}" for stream in streams.tolist()], {"date": times, **columns}

    def begin(self) -> Iterator[tuple[list[str], dict[str, Any]]]:
        """The first row of all streams."""
        for first in range(0, len(self._rows), BATCH):
            yield self.call(np.arange(first, min(first + BATCH, len(self._rows))))

    def draw(self) -> tuple[list[str], dict[str, Any]]:
        """A row of each of 1,024 random streams."""
        return self.call(self._random.choice(len(self._rows), min(BATCH, len(self._rows)), replace=False))


def faults(quick: bool) -> list[str]:
    """The operator against its definition, and the pool against single streams."""
    model, load = forecaster(2, 32), Load(20)
    pool, streams, wrong = model.pool(20), {}, []
    for _ in range(3):
        keys, columns = load.draw()
        said = pool.update(keys, columns)
        for place, key in enumerate(keys):
            stream = streams.setdefault(key, model.stream())
            expected = stream.update({name: cells[place] for name, cells in columns.items()})
            if said[place] is None or not np.allclose(said[place].mean, expected.mean, atol=1e-4):
                wrong.append(f"pool: {key} differs from its stream")
    return operator_faults(quick) + wrong


def resident() -> int:
    """Bytes of the process that are in memory now."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def products(model: Forecaster) -> Callable[[], None]:
    """The matrix products of one call: of all linear layers, and of attention's scores and values."""
    shapes = []
    for name, weight in model.named_parameters():
        if weight.dim() == 2 and name != "highway.weight":
            rows, columns = weight.shape
            shapes.append((rows // 3 + 4, columns) if name.endswith("in_proj_weight") else (rows, columns))
    pairs = [(torch.randn(BATCH, columns), torch.randn(rows, columns)) for rows, columns in shapes]

    def work() -> None:
        for x, weight in pairs:
            torch.nn.functional.linear(x, weight)

    return work


def timed(work: Callable[[Any], object], given: Sequence[Any]) -> tuple[float, float]:
    """Wall and processor milliseconds for a row."""
    wall, processor = time.perf_counter(), time.process_time()
    for one in given:
        work(one)
    rows = len(given) * BATCH
    return 1e3 * (time.perf_counter() - wall) / rows, 1e3 * (time.process_time() - processor) / rows


def measure(name: str, streams: int, quick: bool) -> tuple[Result, dict[str, float]]:
    """One size of model."""
    layers, width, bar = SIZES[name]
    model, load, before = forecaster(layers, width), Load(streams), resident()
    pool: StreamPool = model.pool(streams)
    for call in load.begin():
        assert not pool.update(*call).errors
    memory = {
        "streams": len(pool),
        "record_bytes": pool.record_bytes,
        "stream_bytes": pool.stream_bytes,
        "resident_bytes_for_each": (resident() - before) / streams,
        "resident_bytes_of_process": resident(),
    }
    work = products(model)
    samples: dict[str, list[float]] = {
        label: [] for label in (POOL, f"{POOL}, processor", FLOOR, f"{FLOOR}, processor")
    }
    with torch.no_grad():
        for _ in range(2 if quick else ROUNDS):
            calls = [load.draw() for _ in range(2 if quick else CALLS)]
            for label, (wall, processor) in (
                (POOL, timed(lambda call: pool.update(*call), calls)),
                (FLOOR, timed(lambda call: work(), calls)),
            ):
                samples[label].append(wall)
                samples[f"{label}, processor"].append(max(processor, 1e-9))
    samples["the bar"] = [1e3 / bar]
    ratios = {
        "bar / pool": Ratio("the bar", POOL, at_least=1.0),
        "bar / pool, processor": Ratio("the bar", f"{POOL}, processor"),
        "pool / products": Ratio(POOL, FLOOR),
    }
    case = Case(
        f"{name}, {streams:,} streams", FLOOR, {}, without_bars(ratios) if quick else ratios, {"streams": streams}
    )
    return result(case, samples, unit="ms/row"), memory


def main(argv: Sequence[str] | None = None) -> int:
    """Gate, then rates and memory, then one JSON line."""
    parser = option_parser(__doc__)
    parser.add_argument("--streams", type=int, default=1_000_000, help="resident streams (default 1,000,000)")
    parser.add_argument("--case", default="", metavar="TEXT", help="only sizes with this text in their name")
    chosen = parser.parse_args(argv)
    torch.set_num_threads(chosen.threads)
    if refused(faults(chosen.quick)):
        return 1
    description, found, memory = machine(), [], {}
    for name in SIZES:
        if chosen.case in name:
            measured, memory[name] = measure(name, 2 * BATCH if chosen.quick else chosen.streams, chosen.quick)
            show(measured)
            print(f"  memory: {memory[name]}")
            found.append(measured)
    if not found:
        print(f"--case: expected text of a size's name, received {chosen.case!r}", file=sys.stderr)
        return 2
    report("pool", description, found, chosen.json, quick=chosen.quick, memory=memory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
