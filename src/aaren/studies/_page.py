"""The page of results, and one page of runs for each data set: made from records, no figure is typed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from aaren.errors import DataError
from aaren.studies._compare import Row, judged, read_rows
from aaren.studies._demo import demo_section
from aaren.studies._metrics import METRICS
from aaren.studies._plot import forest
from aaren.studies._recipe import ENCODERS
from aaren.studies._records import Record
from aaren.studies._tables import early, marks, mean_scores, public_figures
from aaren.studies._text import SETTING_TITLES, TITLES, interval, number, span, table, with_spread
from aaren.studies._verdict import verdict

HEAD = """# Results

Made by `aaren reproduce --tables docs` from the records in `results/`; no figure is typed. Every value links to the
runs that it is the mean of, with their settings, seeds, versions and hardware. `aaren reproduce SETTING/DATASET` makes
a row anew.
"""
HOW = """## How to read it

All encoders of a row are trained by one function from one recipe; what differs is the field `encoder` of the
configuration (and `decay`, for *Aaren with decay*), and a test holds it to that. Weights are chosen on a validation
part; the test part is read once. ± is the deviation over seeds. A difference is Aaren minus Transformer, paired by
seed, with its 95 % confidence interval. *Scale* names in which settings a run differs from the paper's
(`aaren/studies/recipes`); *small* is mostly a smaller model and budget. The verdict is over the scale that most sets
have, and a set with several horizons counts once, by their mean. It takes the sets as independent of each other; a
line gives it with those that share their data counted once. *Status* says what the data are: **original** the
published data, **partial** a part of them, **substitute** other real data of the same kind, **regenerated** simulated
anew, **generated** synthetic, **extra** a set outside of the paper. *Simple* is the best way to do the same without an
encoder. *Code*, on the pages of runs, is the commit that a run was made with, + one with changes in the package that
were not committed; the encoders of a row were run over days, and not all by the same commit. Log loss and calibration
error of classification are with the calibration of that commit, which until 28 November 2026 was one temperature of at
least 1.

Margins, fixed before the runs: forecasting 5 % of the Transformer's MSE; classification 0.02 of accuracy; events 0.05
nats an event; offline RL 5 points of the normalised score. That "nothing learned" takes a margin, too, and that sets
of few test cases are told apart was decided after most of the runs.
"""
NONE = "-"


def write_tables(results: Path, into: Path) -> list[Path]:
    """Write results.md, a page of runs for each data set, and the plots, from the records.

    Args:
        results: folder of records.
        into: folder of the documentation.

    Returns:
        The files written.

    Raises:
        DataError: there is no record; a page that is there is left as it is.
    """
    rows = read_rows(results)
    if not rows:
        raise DataError(f"{results}: expected records, such as forecasting/ETTh1.jsonl, received none")
    pages = {into / "results.md": results_page(rows, results)}
    for recipe in sorted({row.recipe for row in rows}):
        own = [row for row in rows if row.recipe == recipe]
        pages[into / "results" / f"{_page_name(recipe)}.md"] = runs_page(recipe, own)
    pages[into / "results" / "parity.svg"] = forest(judged(rows))
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(pages)


def results_page(rows: list[Row], results: Path) -> str:
    """The page that says who is as good as whom."""
    lines = [HEAD, verdict(rows), HOW]
    for setting in METRICS:
        own = [row for row in rows if row.setting == setting]
        if own:
            lines += [f"## {SETTING_TITLES[setting]}", "", *_setting_table(own)]
    lines += [*public_figures(rows), demo_section(results)]
    names = sorted({row.recipe for row in rows})
    lines += ["```{toctree}", ":hidden:", "", *(f"results/{_page_name(name)}" for name in names), "```", ""]
    return "\n".join(lines)


def _setting_table(rows: list[Row]) -> list[str]:
    metric = rows[0].metric
    encoders = [name for name in ENCODERS if any(name in row.cells for row in rows)]
    arrow = "higher is better" if metric.higher_is_better else "lower is better"
    header = ["data set", "status", *(TITLES[name] for name in encoders), "simple", "Aaren - Transformer", "seeds"]
    lines = [f"{metric.title}, {arrow}.", ""]
    body = []
    for row in rows:
        status = row.data_set["status"] + (
            "" if row.data_set["status"] != "substitute" else f" for {row.data_set['row']}"
        )
        cells = [_cell(row, encoder) for encoder in encoders]
        simple = NONE
        if row.simple:
            who, value = row.best_simple
            simple = f"{number(value, metric.digits)} ({who})"
        difference = row.difference("aaren")
        shown = (
            NONE if difference is None else interval(difference.mean, difference.low, difference.high, metric.digits)
        )
        seeds = sorted({len(cell.values) for cell in row.cells.values()})
        body.append([row.title, status, *cells, simple, shown, span(seeds)])
    lines += [*table(header, body), *mean_scores(rows), *marks(rows)]
    lines += ["Budget of each row (Aaren's runs; the other encoders have the same settings):", ""]
    budget = [_budget(row) for row in rows]
    return [*lines, *table(["data set", "scale", "steps", "hours, all runs"], budget)]


def _cell(row: Row, encoder: str) -> str:
    if encoder not in row.cells:
        return NONE
    cell = row.cells[encoder]
    text = with_spread(cell.mean, cell.spread, row.metric.digits)
    return f"[{text}](results/{_page_name(row.recipe)}.md)"


def _budget(row: Row) -> list[str]:
    some = row.cells.get("aaren") or next(iter(row.cells.values()))
    steps = sorted(_steps(record) for record in some.records.values())
    hours = sum(record["run"]["seconds"] for cell in row.cells.values() for record in cell.records.values()) / 3600
    return [row.title, row.scale, span(steps), f"{hours:.2f}"]


def _steps(record: Record) -> int:
    run = record["run"]
    if "steps" in run["training"]:  # of policies, whose epochs are drawn
        return int(run["training"]["steps"])
    return int(run["training"]["epochs"] * math.ceil(run["training"]["samples"] / run["options"]["batch_size"]))


def _page_name(recipe: str) -> str:
    return recipe.replace("/", "-")


def runs_page(recipe: str, rows: list[Row]) -> str:
    """Every run of a data set, with all metrics, and what made it."""
    setting, name = recipe.split("/")
    metric = METRICS[setting]
    lines = [f"# {SETTING_TITLES[setting]}: {name}", ""]
    some = next(iter(next(iter(rows[0].cells.values())).records.values()))
    lines += [_about(some), ""]
    for row in rows:
        lines += [f"## {'All runs' if row.variant is None else f'Horizon {row.variant}'}, scale {row.scale}", ""]
        titles = [metric.title, *(title for _, title in metric.others)]
        header = ["encoder", "seed", *titles, "epochs", "steps", "seconds", "parameters", "code"]
        body = []
        for encoder in ENCODERS:
            for seed, record in sorted(row.cells[encoder].records.items()) if encoder in row.cells else ():
                values = [record["metrics"].get(one) for one in (metric.name, *(other for other, _ in metric.others))]
                run = record["run"]
                body.append(
                    [
                        TITLES[encoder],
                        str(seed),
                        *(number(value, metric.digits) for value in values),
                        str(run["training"]["epochs"]),
                        f"{_steps(record):,}",
                        f"{run['seconds']:.0f}",
                        f"{run['parameters']:,}",
                        f"`{record['code']}`",
                    ]
                )
        lines += table(header, body)
        if row.simple:
            simple = ", ".join(f"{who} {number(value, metric.digits)}" for who, value in row.simple.items())
            lines += [f"Without an encoder, {metric.title}: {simple}.", ""]
        lines += early(row)
        first = next(iter(next(iter(row.cells.values())).records.values()))
        options = {name: value for name, value in first["run"]["options"].items() if name != "seed"}
        config = {name: value for name, value in first["run"]["config"].items() if name not in ("encoder", "decay")}
        lines += ["Configuration of all runs:", "", "```json", _json(config), "```", ""]
        lines += ["Training options of all runs:", "", "```json", _json(options), "```", ""]
    return "\n".join(lines)


def _about(record: Record) -> str:
    data, hardware = record["data_set"], record["run"]["hardware"]
    stands = "" if data["status"] in ("original", "extra") or data["row"] is None else f" for {data['row']}"
    digests = record["run"]["data"].get("sha256")
    shown = digests if isinstance(digests, str) else json.dumps(digests)
    machine = f"{hardware['processor']}, {hardware['cores']} cores, {hardware['threads']} threads"
    file = f"results/{record['key']['recipe']}.jsonl"
    return (
        f"Data: {data['name']}, {data['status']}{stands}, sha256 `{shown}`. Records: `{file}`. Machine of the first "
        f"run: {machine}; torch {record['run']['versions']['torch']}."
    )


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=None, sort_keys=True)
