"""One stream for a long time: `python benchmarks/endurance.py [--rows 10000000] [--json FILE] [--log FILE]`.

What is measured: resident memory of the process, and median and 99th percentile of the time of `stream.update`, in
windows of a hundredth of the rows, for a forecaster of 2 layers of width 32: seven columns and a time, the rows of a
real series again and again, their times going on. What is told is the largest memory after the first tenth over that of
the second tenth of the windows, and the medians of the last tenth over those of the second.

What it does not say: anything about a machine that does other work meanwhile, but for the processor time, which is told
too. `--log` appends a line for each window as it ends. Nothing is measured before the operator has been found right.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _gate import operator_faults
from _harness import Case, Ratio, option_parser, refused, report, result, show, without_bars
from _machine import machine
from aaren import Forecaster
from aaren.data import Scaler, Schema, find
from aaren.models import Preprocessing
from pool import HOUR, START, resident

WINDOWS, TENTH = 100, 10
MEMORY, LATENCY = "memory, largest / first windows", "median latency, last / first windows"


def series() -> tuple[tuple[str, ...], list[list[float]]]:
    """Columns and rows of ETTh1."""
    with gzip.open(find("ETTh1"), "rt", encoding="utf-8") as file:
        names, *rows = list(csv.reader(file))
    return tuple(names[1:]), [[float(cell) for cell in row[1:]] for row in rows]


def forecaster(names: tuple[str, ...], rows: Sequence[Sequence[float]]) -> Forecaster:
    """All columns in, the last one out, 24 steps ahead."""
    values = np.array(rows)
    schema = Schema(names[-1:], names[:-1], ("date",))
    order = [names.index(name) for name in schema.inputs]
    scaler = Scaler(schema.inputs, values.mean(0)[order], values.std(0)[order])
    between = Preprocessing(schema, scaler, ("hour_of_day", "day_of_week"), HOUR.astype("timedelta64[us]"))
    sizes = {"d_model": 32, "nhead": 4, "num_layers": 2, "dim_feedforward": 64}
    torch.manual_seed(0)
    return Forecaster(
        preprocessing=between, inputs=len(names), targets=1, calendar=4, look_back=96, horizon=24, **sizes
    ).eval()


def stream_rows(names: tuple[str, ...], rows: Sequence[Sequence[float]]) -> Iterator[dict[str, Any]]:
    """Rows without end."""
    when = START
    while True:
        for row in rows:
            yield {"date": when, **dict(zip(names, row, strict=True))}
            when = when + HOUR


def window(stream: Any, rows: Iterator[dict[str, Any]], count: int) -> dict[str, float]:
    """So many rows; microseconds of a row, and bytes of the process after them."""
    taken, processor = np.empty(count), time.process_time()
    for place in range(count):
        row = next(rows)
        began = time.perf_counter()
        stream.update(row)
        taken[place] = time.perf_counter() - began
    middle, slow = np.quantile(taken, [0.5, 0.99]) * 1e6
    each = (time.process_time() - processor) / count * 1e6
    return {"rows": stream.rows, "median": middle, "p99": slow, "processor": each, "resident": resident()}


def main(argv: Sequence[str] | None = None) -> int:
    """Gate, then the rows, then one JSON line."""
    parser = option_parser(__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the stream (default 10,000,000)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append a line of JSON here for each window")
    chosen = parser.parse_args(argv)
    torch.set_num_threads(chosen.threads)
    if refused(operator_faults(chosen.quick)):
        return 1
    description, (names, given) = machine(), series()
    stream, rows, found = forecaster(names, given).stream(), stream_rows(names, given), []
    for _ in range(WINDOWS):
        found.append(window(stream, rows, 2 if chosen.quick else max(1, chosen.rows // WINDOWS)))
        if chosen.log is not None:
            with chosen.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found[-1]) + "\n")
    samples: dict[str, list[float]] = {}
    for label, some in (("first windows", found[TENTH : 2 * TENTH]), ("last windows", found[-TENTH:])):
        for name in ("median", "p99", "processor"):
            samples[f"{name}, {label}"] = [one[name] for one in some]
    samples["resident, first windows"] = [one["resident"] for one in found[TENTH : 2 * TENTH]]
    samples["resident, largest"] = [max(one["resident"] for one in found[TENTH:])]
    ratios = {
        MEMORY: Ratio("resident, largest", "resident, first windows", at_most=1.02),
        LATENCY: Ratio("median, last windows", "median, first windows", at_most=1.1),
        "processor time, last / first windows": Ratio("processor, last windows", "processor, first windows"),
    }
    case = Case(
        f"{stream.rows:,} rows through one stream",
        "the first windows",
        {},
        without_bars(ratios) if chosen.quick else ratios,
        {"rows": stream.rows},
    )
    measured = result(case, samples, unit="µs, bytes")
    show(measured)
    report("endurance", description, [measured], chosen.json, quick=chosen.quick, windows=found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
