"""What every benchmark here shares: interleaved timing, a table, and one JSON line with the machine's description.

Contenders of a case are timed in turn, round by round, so that a machine that slows down for a while slows all of
them; the number reported is the median over rounds. Nothing here knows what is timed.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

import aaren._version


@dataclass(frozen=True)
class Benchmark:
    """One size with its contenders.

    Args:
        name: what the table and the JSON call it.
        contenders: label to a function without arguments that does the work once.
        ratios: label of a ratio to the pair (contender, contender) whose medians it divides.
        rounds: how often each contender is timed.
    """

    name: str
    contenders: dict[str, Callable[[], object]]
    ratios: dict[str, tuple[str, str]] = field(default_factory=dict)
    rounds: int = 7


def machine() -> dict[str, object]:
    """CPU, threads and versions: without them a time says nothing."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_at_start": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "aaren": aaren._version.__version__,
    }


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def measure(benchmark: Benchmark) -> dict[str, object]:
    """Medians in milliseconds of the contenders, timed in turn after one untimed call each, and their ratios."""
    times: dict[str, list[float]] = {label: [] for label in benchmark.contenders}
    for work in benchmark.contenders.values():
        work()
    for _ in range(benchmark.rounds):
        for label, work in benchmark.contenders.items():
            start = time.perf_counter()
            work()
            times[label].append(1e3 * (time.perf_counter() - start))
    medians = {label: statistics.median(found) for label, found in times.items()}
    fastest = {label: min(found) for label, found in times.items()}
    ratios = {label: medians[above] / medians[below] for label, (above, below) in benchmark.ratios.items()}
    return {"case": benchmark.name, "median_ms": medians, "fastest_ms": fastest, "ratios": ratios}


def report(results: list[dict[str, object]], extra: dict[str, object], path: Path | None) -> None:
    """Print a table of all results and, as the last line, one JSON object; write it to `path` too if there is one."""
    for result in results:
        print(f"\n{result['case']}")
        for label, median in result["median_ms"].items():
            print(f"  {label:<58}{median:>10.2f} ms   (fastest {result['fastest_ms'][label]:.2f})")
        for label, ratio in result["ratios"].items():
            print(f"  {label:<58}{ratio:>10.2f} x")
    line = json.dumps({"machine": extra.pop("machine"), "results": results, **extra})
    if path is not None:
        path.write_text(line + "\n", encoding="utf-8")
    print("\n" + line)
