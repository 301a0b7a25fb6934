"""What every benchmark here shares: options, a gate, interleaved rounds, a table with bars, one JSON line.

Contenders of a case are timed in turn, round by round, so that a machine that slows down for a while slows all of
them; the number reported is the median over rounds, and the JSON keeps every sample. Nothing here knows what is timed.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import torch

from _machine import keep_memory, machine
from _text import figure, verdict

Work = Callable[[], object]
Setup = Callable[[], Work]

SWEEP_TOKENS = (64, 256, 1024, 4096, 16384, 65536)
SHORTEST_SAMPLE = 0.005
LONGEST_CALL_IN_SWEEP = 10.0
SECONDS_FOR_EACH = 20.0
FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class Ratio:
    """The median of contender `above` divided by that of `below`, and the bar that it must reach, if there is one."""

    above: str
    below: str
    at_least: float | None = None
    at_most: float | None = None

    def bar(self) -> dict[str, float]:
        """The bar as the JSON has it; empty if there is none."""
        bars = {"at_least": self.at_least, "at_most": self.at_most}
        return {kind: value for kind, value in bars.items() if value is not None}


@dataclass(frozen=True)
class Case:
    """One size with its contenders.

    Args:
        name: what the table and the JSON call it.
        limit: what no implementation can go below, in words; a contender or a ratio measures it.
        contenders: label to a function that prepares, untimed, and returns the function that does the work once.
        ratios: label to the two contenders that are compared, and the bar.
        size: numbers for plots, such as the tokens.
        series: the curve family of a sweep that this case is a point of; empty outside sweeps.
        calls: units of work, such as tokens, in one call; times are given for one unit.
        rounds: how often each contender is timed, unless it takes long.
        clock: tells seconds; `time.process_time` leaves out the time in which other programs ran.
    """

    name: str
    limit: str
    contenders: Mapping[str, Setup]
    ratios: Mapping[str, Ratio] = field(default_factory=dict)
    size: Mapping[str, int] = field(default_factory=dict)
    series: str = ""
    calls: int = 1
    rounds: int = 9
    clock: Callable[[], float] = time.perf_counter


class Result(TypedDict):
    """A measured case, as it stands in the JSON. `left_out` says why a contender has no numbers."""

    case: str
    limit: str
    series: str
    size: dict[str, int]
    unit: str
    median: dict[str, float]
    samples: dict[str, list[float]]
    ratios: dict[str, float]
    bars: dict[str, dict[str, float]]
    left_out: dict[str, str]


def option_parser(doc: str | None) -> argparse.ArgumentParser:
    """The options that all files have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON line to this file too")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch (default 2)")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes and two rounds: does it run? times mean nothing"
    )
    return parser


def timing_parser(doc: str | None) -> argparse.ArgumentParser:
    """The options of the files that time something."""
    parser = option_parser(doc)
    parser.add_argument("--case", default="", metavar="TEXT", help="only cases with this text in their name")
    parser.add_argument(
        "--keep-memory",
        action="store_true",
        help="freed memory stays with the process: no waiting for new pages (glibc)",
    )
    parser.add_argument(
        "--matmul-precision",
        choices=("highest", "high", "medium"),
        default="highest",
        help="of float32 products, as torch.set_float32_matmul_precision names it (default highest)",
    )
    return parser


def result(
    case: Case, samples: Mapping[str, list[float]], left_out: Mapping[str, str] | None = None, unit: str = "ms"
) -> Result:
    """Medians and ratios of the samples, which are in `unit`."""
    median = {label: statistics.median(found) for label, found in samples.items()}
    known = {label: r for label, r in case.ratios.items() if r.above in median and r.below in median}
    return {
        "case": case.name,
        "limit": case.limit,
        "series": case.series,
        "size": dict(case.size),
        "unit": unit,
        "median": median,
        "samples": {label: [float(f"{x:.6g}") for x in found] for label, found in samples.items()},
        "ratios": {label: median[r.above] / median[r.below] for label, r in known.items()},
        "bars": {label: r.bar() for label, r in known.items() if r.bar()},
        "left_out": dict(left_out or {}),
    }


def _seconds(work: Work, clock: Callable[[], float], number: int = 1) -> float:
    """Time of `number` calls, one after another."""
    start = clock()
    for _ in range(number):
        work()
    return clock() - start


def _calls_in_a_sample(work: Work, clock: Callable[[], float], quick: bool) -> int:
    """Warm up, and find how many calls last long enough to be timed."""
    spent = _seconds(work, clock)
    if quick or spent > 1:
        return 1
    return max(1, math.ceil(SHORTEST_SAMPLE / _seconds(work, clock)))


def measure(case: Case, quick: bool = False, left_out: Mapping[str, str] | None = None) -> Result:
    """Time the contenders in turn, without garbage collection; one that takes long is timed less often."""
    works = {label: setup() for label, setup in case.contenders.items() if label not in (left_out or {})}
    numbers = {label: _calls_in_a_sample(work, case.clock, quick) for label, work in works.items()}
    samples: dict[str, list[float]] = {label: [] for label in works}
    spent = dict.fromkeys(works, 0.0)
    gc.collect()
    gc.disable()
    try:
        for index in range(2 if quick else case.rounds):
            for label, work in works.items():
                if index >= FEWEST_ROUNDS and spent[label] > SECONDS_FOR_EACH:
                    continue
                seconds = _seconds(work, case.clock, numbers[label])
                spent[label] += seconds
                samples[label].append(1e3 * seconds / (numbers[label] * case.calls))
    finally:
        gc.enable()
    # at tiny sizes a bar says nothing
    return result(replace(case, ratios=without_bars(case.ratios)) if quick else case, samples, left_out)


def without_bars(ratios: Mapping[str, Ratio]) -> dict[str, Ratio]:
    """The same ratios with no bar to reach."""
    return {label: Ratio(ratio.above, ratio.below) for label, ratio in ratios.items()}


class _TooSlow:
    """Which contenders of a sweep would take too long at the next size, by how they grew so far."""

    def __init__(self) -> None:
        self._points: dict[tuple[str, str], list[tuple[int, float]]] = {}
        self._left_out: dict[tuple[str, str], str] = {}

    def of(self, case: Case) -> dict[str, str]:
        """The contenders to leave out of this case, and why; they stay out at larger sizes."""
        for label in case.contenders:
            key = case.series, label
            points = self._points.get(key, [])
            if points and key not in self._left_out:
                tokens, seconds = points[-1]
                growth = case.size["tokens"] / tokens
                if len(points) > 1:
                    growth = max(growth, seconds / points[-2][1])
                if growth * seconds > LONGEST_CALL_IN_SWEEP:
                    self._left_out[key] = f"{growth * seconds:.0f} s expected at {case.size['tokens']:,} tokens"
        return {
            label: self._left_out[key] for label in case.contenders if (key := (case.series, label)) in self._left_out
        }

    def add(self, case: Case, measured: Result) -> None:
        """Remember a point of the sweep."""
        for label, median in measured["median"].items():
            self._points.setdefault((case.series, label), []).append((case.size["tokens"], median / 1e3))


def measure_all(cases: Iterable[Case], quick: bool = False) -> list[Result]:
    """Measure the cases and show each; in a sweep, contenders that have become too slow are left out."""
    too_slow, results = _TooSlow(), []
    for case in cases:
        measured = measure(case, quick, too_slow.of(case) if case.series else None)
        if case.series:
            too_slow.add(case, measured)
        show(measured)
        results.append(measured)
    return results


def show(measured: Result) -> None:
    """Print one case as a table."""
    print(f"\n{measured['case']}\n  limit: {measured['limit']}")
    for label, median in measured["median"].items():
        found = measured["samples"][label]
        print(f"  {label:<50}{figure(median):>12} {measured['unit']:<6}({figure(min(found))} to {figure(max(found))})")
    for label, why in measured["left_out"].items():
        print(f"  {label:<50}{'left out':>12}        ({why})")
    for label, ratio in measured["ratios"].items():
        print(
            f"  {label:<50}{ratio:>12.2f} x     {verdict(ratio, measured['bars'].get(label, {}))}".rstrip(), flush=True
        )


def refused(faults: list[str]) -> bool:
    """Say what is wrong with what was to be timed; whether anything is."""
    if faults:
        print("not timed, since the numbers are wrong:", *faults, sep="\n  ", file=sys.stderr)
    return bool(faults)


def report(
    name: str, description: Mapping[str, object], results: list[Result], path: Path | None, **extra: object
) -> None:
    """Print, as the last line, one JSON object; write it to `path` too if there is one."""
    line = json.dumps({"benchmark": name, "machine": description, "results": results, **extra})
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line + "\n", encoding="utf-8")
    print("\n" + line)


def run(
    name: str,
    chosen: argparse.Namespace,
    faults: Callable[[bool], list[str]],
    cases: Iterable[Case],
    extra: Callable[[], dict[str, Any]] = dict,
) -> int:
    """Gate, then times, then one JSON line.

    Args:
        name: of the benchmark, in the JSON.
        chosen: the options of `timing_parser`.
        faults: finds what is wrong with the numbers of what is to be timed; told whether the run is a quick one.
        cases: what to time; a generator is asked for the next case when the one before is done.
        extra: measures what goes into the JSON beside the cases.

    Returns:
        The exit code: 1 if something was wrong, so that nothing was timed; 2 if no case has the text asked for.
    """
    torch.set_num_threads(chosen.threads)
    torch.set_float32_matmul_precision(chosen.matmul_precision)
    if chosen.keep_memory:
        keep_memory()
    if refused(faults(chosen.quick)):
        return 1
    description = machine() | {"keeps_memory": chosen.keep_memory, "matmul_precision": chosen.matmul_precision}
    print(*(f"{key}: {value}" for key, value in description.items()), sep=", ")
    results = measure_all((case for case in cases if chosen.case in case.name), chosen.quick)
    if not results:
        print(f"--case: expected text of a case's name, received {chosen.case!r}, which no case has", file=sys.stderr)
        return 2
    report(name, description, results, chosen.json, quick=chosen.quick, **extra())
    return 0
