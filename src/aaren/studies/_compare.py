"""From records to comparisons: the same rows and seeds for all encoders, or none."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aaren.evaluation import Difference, Equivalence, equivalence, mean_ranks, paired_difference
from aaren.studies._metrics import METRICS, Metric
from aaren.studies._records import Record, read_records

REFERENCE = "transformer"


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
        """Deviation over seeds; None with a single one."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None


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
    def metric(self) -> Metric:
        """That its setting is judged by."""
        return METRICS[self.setting]

    def difference(self, encoder: str, reference: str = REFERENCE) -> Difference | None:
        """Encoder - reference over the seeds that both have, in units of the metric; None if they share none."""
        if encoder not in self.cells or reference not in self.cells:
            return None
        own, other = self.cells[encoder].values, self.cells[reference].values
        seeds = sorted(own.keys() & other.keys())
        if not seeds:
            return None
        return paired_difference([own[seed] for seed in seeds], [other[seed] for seed in seeds])

    def worse_by(self, encoder: str) -> float | None:
        """How much worse an encoder is than the Transformer over shared seeds, in margins."""
        difference = self.difference(encoder)
        if difference is None:
            return None
        reference = self.cells[REFERENCE].mean
        return self.metric.worse_by(reference + difference.mean, reference)


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
        groups.setdefault((key["recipe"], key["variant"], key["scale"], key["settings"]), []).append(record)
    rows = []
    for (recipe, variant, scale, settings), found in groups.items():
        metric = METRICS[recipe.split("/")[0]]
        by_encoder: dict[str, dict[int, Record]] = {}
        for record in found:
            by_encoder.setdefault(record["key"]["encoder"], {})[record["key"]["seed"]] = record
        cells = {
            encoder: Cell({seed: one["metrics"][metric.name] for seed, one in runs.items()}, runs)
            for encoder, runs in by_encoder.items()
        }
        simple = {name: one[metric.name] for name, one in found[-1]["simple"].items() if metric.name in one}
        rows.append(Row(recipe, variant, scale, settings, found[-1]["data_set"], cells, simple))
    return sorted(rows, key=lambda row: (row.recipe, row.variant or 0, row.scale))


def by_data_set(rows: Iterable[Row], encoder: str) -> dict[str, float]:
    """How much worse an encoder is than the Transformer on each data set, in margins; the mean over variants."""
    found: dict[str, list[float]] = {}
    for row in rows:
        worse = row.worse_by(encoder)
        if worse is not None and math.isfinite(worse):
            found.setdefault(row.recipe, []).append(worse)
    return {recipe: statistics.fmean(values) for recipe, values in found.items()}


def overall(rows: Iterable[Row], encoder: str) -> Equivalence | None:
    """Two one-sided tests over data sets: whether the encoder is, on the mean, within one margin of the Transformer."""
    differences = list(by_data_set(rows, encoder).values())
    return equivalence(differences, 1.0) if len(differences) > 1 else None


def ranks(rows: Iterable[Row]) -> dict[str, float]:
    """Mean rank of every encoder over the rows that have all of them."""
    table = {}
    for row in rows:
        sign = -1 if row.metric.higher_is_better else 1
        table[f"{row.recipe} {row.variant} {row.scale}"] = {
            encoder: sign * cell.mean for encoder, cell in row.cells.items()
        }
    everyone = {name for scores in table.values() for name in scores}
    return mean_ranks({name: scores for name, scores in table.items() if scores.keys() == everyone})
