"""The service over the pool: `python benchmarks/serve.py [--json FILE]`.

What is measured: the latency that `aaren serve` adds to `StreamPool.update`, for a forecaster of 2 layers of width 32.
First the service's peak rate: 16 connections that send as fast as they are answered. Then requests come by a clock at
70 % of it; the latency of each counts from when it was due. The pool's own is the time of `update` for the rows of one
such request, alone. What is added is the difference at the median and at the 99th percentile.

What it does not say: nothing about a network, since client and service share one machine and its processors, so that
the client's own work is in the latency, little as it is (see `_load`); and nothing about predictions in the answers,
which are switched off, since writing them as JSON costs more than making them: their peak rate is measured beside the
other.
Nothing is measured before every row of a first load was taken: an error ends the run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from _gate import operator_faults
from _harness import Case, Ratio, Result, option_parser, refused, report, result, show, without_bars
from _load import Client, load
from _machine import machine
from pool import NAMES, forecaster

CONNECTIONS, KEYS, ROUNDS, SECONDS, SHARE = 16, 64, 5, 4.0, 0.7
ROWS = (1, 64)
BARS = {"median": 2.0, "99th percentile": 20.0}
QUANTILES = {"median": 0.5, "99th percentile": 0.99}


@contextmanager
def service(model: Path, threads: int) -> Iterator[int]:
    """`aaren serve` in a process of its own; its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aaren.cli", "serve", str(model), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    assert process.stderr is not None
    try:
        yield int(process.stderr.readline().rsplit(":", 1)[1].strip().rstrip("/"))
    finally:
        process.terminate()
        process.communicate()


def pool_alone(model: Path, rows: int, calls: int) -> list[float]:
    """Milliseconds of single calls of the pool with as many rows."""
    import aaren

    pool, client, found = aaren.load(model).pool(CONNECTIONS * KEYS), Client("a", CONNECTIONS * KEYS, NAMES), []
    for _ in range(calls):
        keys, cells = zip(*client.rows(rows), strict=True)
        began = time.perf_counter()
        pool.update(list(keys), list(cells))
        found.append(1e3 * (time.perf_counter() - began))
    return found[calls // 10 :]


def measure(model: Path, rows: int, threads: int, quick: bool) -> tuple[Result, dict[str, float]]:
    """One size of request."""
    seconds = 0.3 if quick else SECONDS
    clients = [Client(f"c{index}", KEYS, NAMES) for index in range(CONNECTIONS)]
    samples: dict[str, list[float]] = {}
    rates: dict[str, float] = {}
    with service(model, threads) as port:

        def send(number: int, rate: float | None = None, predictions: bool = False) -> tuple[float, list[float]]:
            made = [client.requests(number, rows) for client in clients]
            if predictions:
                made = [[one.replace(b"?predictions=false", b"") for one in own] for own in made]
            return load(port, made, rate)

        def peak(predictions: bool) -> float:
            number = 4
            for _ in range(2):  # the first requests take longer than the others
                number = max(4, round(number * seconds / send(number, predictions=predictions)[0]))
            return CONNECTIONS * number / send(number, predictions=predictions)[0]

        rates["peak_rows_per_second_with_predictions"] = rows * peak(True)
        rates["peak_rows_per_second"] = rows * (fastest := peak(False))
        rate = SHARE * fastest
        for _ in range(2 if quick else ROUNDS):
            latencies = send(max(2, round(rate * seconds / CONNECTIONS)), rate)[1]
            alone = pool_alone(model, rows, 20 if quick else 500)
            for name, level in QUANTILES.items():
                whole, own = 1e3 * float(np.quantile(latencies, level)), float(np.quantile(alone, level))
                for label, value in (("service", whole), ("pool alone", own), ("added", max(whole - own, 1e-6))):
                    samples.setdefault(f"{label}, {name}", []).append(value)
    ratios = {}
    for name, bar in BARS.items():
        samples[f"the bar, {name}"] = [bar]
        ratios[f"added / bar, {name}"] = Ratio(f"added, {name}", f"the bar, {name}", at_most=1.0)
    case = Case(
        f"{rows} rows in a request, {CONNECTIONS} connections, {SHARE:.0%} of the peak rate",
        "the pool alone",
        {},
        without_bars(ratios) if quick else ratios,
        {"rows": rows},
    )
    return result(case, samples), rates


def main(argv: Sequence[str] | None = None) -> int:
    """Gate, then rates and latencies, then one JSON line."""
    parser = option_parser(__doc__)
    chosen = parser.parse_args(argv)
    torch.set_num_threads(chosen.threads)
    if refused(operator_faults(chosen.quick)):
        return 1
    description, found, rates = machine(), [], {}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        forecaster(2, 32).save(model)
        for rows in ROWS:
            measured, rates[str(rows)] = measure(model, rows, chosen.threads, chosen.quick)
            show(measured)
            print(f"  {rates[str(rows)]}")
            found.append(measured)
    report("serve", description, found, chosen.json, quick=chosen.quick, rates=rates)
    return 0


if __name__ == "__main__":
    sys.exit(main())
