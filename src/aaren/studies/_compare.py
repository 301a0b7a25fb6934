"""From records to comparisons: two encoders are compared over the rows and seeds that both have."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aaren.evaluation import Difference, Equivalence, best_pair, equivalence, mean_ranks, paired_difference
from aaren.studies._metrics import METRICS, Metric
from aaren.studies._records import Record, digests, read_records

REFERENCE = "transformer"
MARK_RULES = ("last mark", "Markov marks", "most frequent mark")


@dataclass(frozen=True)
class Cell:
    """What one encoder did in one row.

    Args:
        values: of the metric, by seed.
        records: by seed.
    """

    values: dict[int, float]
    records: dict[int, Record]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values.values())

    @property
    def spread(self) -> float | None:
        """Deviation over seeds; None with a single one, NaN where a value is not a number."""
        if len(self.values) < 2:
            return None
        finite = all(math.isfinite(value) for value in self.values.values())
        return statistics.stdev(self.values.values()) if finite else math.nan


@dataclass(frozen=True)
class Row:
    """One row of a table: a data set at a variant and a scale, with a cell for each encoder that has records.

    Args:
        recipe: setting and data set.
        variant: such as the horizon; None where there is but one.
        scale: of all its runs.
        settings: digest of the settings that all its runs share.
        data_set: name, row of the paper and status.
        cells: by encoder.
        simple: the metric of simple ways to do the same, by name.
    """

    recipe: str
    variant: int | None
    scale: str
    settings: str
    data_set: dict[str, Any]
    cells: dict[str, Cell]
    simple: dict[str, float]

    @property
    def setting(self) -> str:
        """Of the recipe."""
        return self.recipe.split("/")[0]

    @property
    def title(self) -> str:
        """The data set, with the variant and the scale where they are not the only or the usual ones."""
        size = {"small": "", "paper": ", paper's size"}.get(self.scale, f", {self.scale}")
        return self.recipe.split("/")[1] + ("" if self.variant is None else f", {self.variant}") + size

    @property
    def metric(self) -> Metric:
        """That its setting is judged by."""
        return METRICS[self.setting]

    @property
    def test_cases(self) -> int | None:
        """How many cases the test part has; None of data that are no cases."""
        cases = next(iter(next(iter(self.cells.values())).records.values()))["run"]["data"].get("test_cases")
        return None if cases is None else int(cases)

    @property
    def learned(self) -> bool:
        """Whether an encoder is better by a margin than without having learned anything, as far as a record tells."""
        name, share = self.metric.untaught
        if name not in self.simple:
            return True
        floor = share * self.simple[name]
        return any(self.metric.worse_by(cell.mean, floor) < -1 for cell in self.cells.values())

    @property
    def best_simple(self) -> tuple[str, float]:
        """The best of the simple ways, with its metric; there must be one."""
        choose = max if self.metric.higher_is_better else min
        return choose(self.simple.items(), key=lambda one: one[1])

    @property
    def beaten(self) -> bool:
        """Whether a simple way is better than every encoder."""
        sign = -1 if self.metric.higher_is_better else 1
        means = [sign * cell.mean for cell in self.cells.values()]
        best = min(mean if math.isfinite(mean) else math.inf for mean in means)
        return bool(self.simple) and sign * self.best_simple[1] < best

    def difference(self, encoder: str, reference: str = REFERENCE) -> Difference | None:
        """Encoder - reference over the seeds that both have, in units of the metric; None if they share none."""
        if encoder not in self.cells or reference not in self.cells:
            return None
        return _paired(self.cells[encoder], self.cells[reference])

    def worse_by(self, encoder: str, than: str = REFERENCE) -> float | None:
        """How much worse an encoder is than another over shared seeds, in margins, which are the Transformer's."""
        return self._in_margins(self.difference(encoder, than))

    def worse_at(self, other: Row, encoder: str) -> float | None:
        """How much worse an encoder is in another row of the same data than in this one, in this one's margins."""
        if encoder not in self.cells or encoder not in other.cells:
            return None
        return self._in_margins(_paired(other.cells[encoder], self.cells[encoder]))

    def _in_margins(self, difference: Difference | None) -> float | None:
        """A difference in margins, which are the Transformer's."""
        if difference is None or REFERENCE not in self.cells:
            return None
        reference = self.cells[REFERENCE].mean
        return self.metric.worse_by(reference + difference.mean, reference)


def _paired(own: Cell, other: Cell) -> Difference | None:
    """Own - other over the seeds that both have; None if they share none."""
    seeds = sorted(own.values.keys() & other.values.keys())
    if not seeds:
        return None
    return paired_difference([own.values[seed] for seed in seeds], [other.values[seed] for seed in seeds])


def read_rows(results: Path) -> list[Row]:
    """All rows that have records, in the order of settings and files. Of repeated runs the last one counts."""
    rows = []
    for setting in METRICS:
        for path in sorted((results / setting).glob("*.jsonl")):
            rows += _rows(read_records(path))
    return rows


def _rows(records: Iterable[Record]) -> list[Row]:
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        key = record["key"]
        name = (key["recipe"], key["variant"], key["scale"], key["settings"], digests(record))
        groups[name] = [*groups.pop(name, []), record]  # what the last record belongs to comes last
    rows = []
    # of a recipe or of data that changed, the runs before the change stay in the file and out of the tables
    latest = {name[:3]: name for name in groups}
    for name in latest.values():
        (recipe, variant, scale, settings, _), found = name, groups[name]
        metric = METRICS[recipe.split("/")[0]]
        by_encoder: dict[str, dict[int, Record]] = {}
        for record in found:
            by_encoder.setdefault(record["key"]["encoder"], {})[record["key"]["seed"]] = record
        cells = {
            encoder: Cell({seed: one["metrics"][metric.name] for seed, one in runs.items()}, runs)
            for encoder, runs in by_encoder.items()
        }
        ways = found[-1]["simple"]
        ways = ways | best_pair(ways) if recipe.startswith("events/") else ways
        simple = {name: one[metric.name] for name, one in ways.items() if metric.name in one}
        rows.append(Row(recipe, variant, scale, settings, found[-1]["data_set"], cells, simple))
    return sorted(rows, key=lambda row: (row.recipe, row.variant or 0, row.scale != "small", row.scale))


def judged(rows: list[Row]) -> list[Row]:
    """The rows of the scale that most data sets have; a set that was run at another one too counts no more for it."""
    sets: dict[str, set[str]] = {}
    for row in rows:
        sets.setdefault(row.scale, set()).add(row.recipe)
    scale = max(sets, key=lambda name: (len(sets[name]), name))
    return [row for row in rows if row.scale == scale]


def mark_accuracy(row: Row) -> tuple[dict[str, float], dict[str, float]]:
    """Accuracies of the next mark by encoder, a mean over seeds, and by simple rule; of those that have finite ones."""
    simple = next(iter(next(iter(row.cells.values())).records.values()))["simple"]
    rules = {name: one["accuracy"] for name, one in simple.items() if name in MARK_RULES and _has_accuracy(one)}
    means = {
        encoder: statistics.fmean(record["metrics"]["accuracy"] for record in cell.records.values())
        for encoder, cell in row.cells.items()
        if all(_has_accuracy(record["metrics"]) for record in cell.records.values())
    }
    return (means, rules) if means and rules else ({}, {})


def _has_accuracy(found: Mapping[str, Any]) -> bool:
    accuracy = found.get("accuracy")
    return accuracy is not None and math.isfinite(accuracy)


def by_data_set(rows: Iterable[Row], encoder: str, than: str = REFERENCE) -> dict[str, float]:
    """How much worse an encoder is than another on each data set, in margins.

    The mean over variants and scales: a data set counts once, however often it was run. A run whose metric is not a
    number makes its data set infinitely worse.
    """
    found: dict[str, list[float]] = {}
    for row in rows:
        worse = row.worse_by(encoder, than)
        if worse is not None:
            found.setdefault(row.recipe, []).append(worse if math.isfinite(worse) else math.inf)
    return {name: statistics.fmean(values) for name, values in found.items()}


def overall(rows: Iterable[Row], encoder: str, than: str = REFERENCE) -> Equivalence | None:
    """Two one-sided tests over data sets: whether the encoder is, on the mean, within one margin of another."""
    return within_margins(by_data_set(rows, encoder, than).values())


def by_family(worse: Mapping[str, float]) -> dict[str, float]:
    """Means over data sets that share their data: those of ETT, and those with the same name up to a hyphen."""
    found: dict[str, list[float]] = {}
    for name, value in worse.items():
        setting, data_set = name.split("/")
        family = "ETT" if data_set.startswith("ETT") else data_set.split("-")[0]
        found.setdefault(f"{setting}/{family}", []).append(value)
    return {family: statistics.fmean(values) for family, values in found.items()}


def within_margins(worse: Iterable[float]) -> Equivalence | None:
    """Two one-sided tests whether differences in margins are, on the mean, within one; None of fewer than two."""
    differences = list(worse)
    if len(differences) < 2:
        return None
    if not all(math.isfinite(one) for one in differences):
        return Equivalence(math.inf, math.nan, math.nan, 1.0, 1.0, 0.05, len(differences))
    return equivalence(differences, 1.0)


def ranks(rows: Iterable[Row]) -> dict[str, float]:
    """Mean rank of every encoder over the rows that have all of them, each over the seeds that all of them have."""
    complete = list(rows)
    everyone = {name for row in complete for name in row.cells}
    table = {}
    for row in complete:
        seeds = set.intersection(*(set(cell.values) for cell in row.cells.values()))
        if row.cells.keys() != everyone or not seeds:
            continue
        sign = -1 if row.metric.higher_is_better else 1
        means = {
            encoder: sign * statistics.fmean(cell.values[seed] for seed in seeds) for encoder, cell in row.cells.items()
        }
        table[f"{row.recipe} {row.variant} {row.scale}"] = {
            encoder: mean if math.isfinite(mean) else math.inf for encoder, mean in means.items()
        }
    return mean_ranks(table)
