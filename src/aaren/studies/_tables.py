"""Tables beside the comparison: what is public of the same data, and what one metric does not say."""

from __future__ import annotations

import statistics

from aaren.studies._compare import MARK_RULES, Row, mark_accuracy
from aaren.studies._recipe import ENCODERS
from aaren.studies._text import TITLES, number, table
from aaren.studies._verdict import LEAST_SETS

_PUBLIC = (
    ("classification/JapaneseVowels", None, "accuracy", "accuracy, at least", 0.95),
    ("classification/UWaveGestureLibrary", None, "accuracy", "accuracy, at least", 0.80),
    ("events/StackOverflow-EasyTPP", None, "accuracy", "accuracy of the mark, at least", 0.43),
    ("forecasting/ETTh1", 336, "mse", "MSE of the paper's Aaren, at most", 0.65),
    ("forecasting/ETTh1", 336, "mae", "MAE of the paper's Aaren, at most", 0.55),
    ("rl/HalfCheetah-medium-regenerated", None, "return", "return of the recorded episodes, at least", None),
)
"""Recipe, variant, metric of the records, what it is to be, and the figure; None for that of the data themselves."""


def public_figures(rows: list[Row]) -> list[str]:
    """What others reach on the same data, or the data themselves, beside Aaren's mean at every scale it was run at."""
    body = []
    for recipe, variant, metric, title, figure in _PUBLIC:
        for row in rows:
            if (row.recipe, row.variant) != (recipe, variant) or "aaren" not in row.cells:
                continue
            records = list(row.cells["aaren"].records.values())
            bar = records[0]["simple"].get("the data's own episodes", {}).get(metric) if figure is None else figure
            if bar is None or not all(metric in record["metrics"] for record in records):
                continue
            mean = statistics.fmean(record["metrics"][metric] for record in records)
            holds = mean <= bar if title.endswith("most") else mean >= bar
            digits = 0 if metric == "return" else 4
            shown = [f"{bar:.0f}" if metric == "return" else f"{bar:.2f}", number(mean, digits)]
            body.append([row.title, title, *shown, "yes" if holds else "no"])
    if not body:
        return []
    lines = ["## Beside public figures", "", "Bars that were set before the runs; Aaren's mean over its seeds.", ""]
    return [*lines, *table(["data set", "bar", "", "Aaren", "reached"], body)]


def marks(rows: list[Row]) -> list[str]:
    """How often the most probable mark comes, which the likelihood hides where times weigh more."""
    body = []
    for row in rows:
        encoders, rules = mark_accuracy(row)
        if rules:
            config = next(iter(next(iter(row.cells.values())).records.values()))["run"]["config"]
            values = [encoders.get(name) for name in ENCODERS] + [rules.get(name) for name in MARK_RULES]
            body.append([row.title, f"{config.get('marks', 0):,}", *(number(value, 4) for value in values)])
    if not body:
        return []
    header = ["data set", "marks", *(TITLES[name] for name in ENCODERS), *MARK_RULES]
    return ["Accuracy of the next mark, higher is better:", "", *table(header, body)]


def early(row: Row) -> list[str]:
    """Mean accuracies after every tenth of a series, which one pass of a model that streams gives."""
    body = []
    for encoder in (name for name in ENCODERS if name in row.cells):
        curves = [record["early"] for record in row.cells[encoder].records.values() if "early" in record]
        if curves:
            means = [statistics.fmean(curve[part] for curve in curves) for part in curves[0]]
            body.append([TITLES[encoder], *(number(mean, row.metric.digits) for mean in means)])
            parts = [f"{float(part):.0%}".replace("%", " %") for part in curves[0]]
    return ["Accuracy after a part of each series:", "", *table(["encoder", *parts], body)] if body else []


def mean_scores(rows: list[Row]) -> list[str]:
    """Means of the normalised score over data sets, as they are common for D4RL, where a scale has many sets."""
    body = []
    for scale in sorted({row.scale for row in rows}, reverse=True):
        own = [row for row in rows if row.scale == scale]
        if own[0].metric.name != "score" or len(own) < LEAST_SETS:
            continue
        for encoder in (name for name in ENCODERS if all(name in row.cells for row in own)):
            records = [[*row.cells[encoder].records.values()] for row in own]
            means = [
                statistics.fmean(statistics.fmean(one["metrics"][name] for one in runs) for runs in records)
                for name in ("score", "score_streamed")
            ]
            data = statistics.fmean(row.best_simple[1] for row in own)
            shown = [number(value, own[0].metric.digits) for value in (*means, data)]
            body.append([scale, TITLES[encoder], *shown, str(len(own))])
    if not body:
        return []
    header = ["scale", "encoder", "windowed", "streamed", "the data's own episodes", "data sets"]
    return ["Means over the data sets, each a mean over its seeds:", "", *table(header, body)]
