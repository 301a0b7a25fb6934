"""The page of results, and one page of runs for each data set: made from records, no figure is typed."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

from aaren.errors import DataError
from aaren.evaluation import Equivalence
from aaren.studies._compare import (
    REFERENCE,
    Row,
    by_data_set,
    by_family,
    overall,
    ranks,
    read_rows,
    within_margins,
)
from aaren.studies._demo import demo_section
from aaren.studies._metrics import METRICS
from aaren.studies._plot import forest
from aaren.studies._recipe import ENCODERS
from aaren.studies._records import Record
from aaren.studies._text import SETTING_TITLES, TITLES, interval, number, table, with_spread

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
encoder.

Margins, fixed before the runs: forecasting 5 % of the Transformer's MSE; classification 0.02 of accuracy; events 0.05
nats an event; offline RL 5 points of the normalised score. That "nothing learned" takes a margin, too, and that sets
of few test cases are told apart was decided after most of the runs.
"""
NONE = "-"
LEAST_SEEDS, LEAST_SETS = 3, 5  # below them the page shows what there is and draws no conclusion


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
    pages[into / "results" / "parity.svg"] = forest(_judged(rows))
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
    lines.append(demo_section(results))
    names = sorted({row.recipe for row in rows})
    lines += ["```{toctree}", ":hidden:", "", *(f"results/{_page_name(name)}" for name in names), "```", ""]
    return "\n".join(lines)


def _judged(rows: list[Row]) -> list[Row]:
    """The rows of the scale that most data sets have; a set that was run at another one too counts no more for it."""
    sets: dict[str, set[str]] = {}
    for row in rows:
        sets.setdefault(row.scale, set()).add(row.recipe)
    scale = max(sets, key=lambda name: (len(sets[name]), name))
    return [row for row in rows if row.scale == scale]


def verdict(every: list[Row]) -> str:
    """What the records say of the paper's claim, in sentences whose every number is computed."""
    rows = _judged(every)
    lines = ["## Is Aaren as good as the Transformer?", ""]
    for encoder in ("aaren", "aaren-decay", "gru", "mingru"):
        told = [row for row in rows if _pairs(row, encoder) >= LEAST_SEEDS]
        worse = by_data_set(told, encoder)
        test = overall(told, encoder) if len(worse) >= LEAST_SETS else None
        if test is None:
            lines.append(
                f"- **{TITLES[encoder]}**: too early to say. {len(worse)} data sets have {LEAST_SEEDS} seeds of it and "
                f"of the Transformer; a verdict takes {LEAST_SETS}."
            )
            continue
        word = "**is equivalent** to the Transformer" if test.holds else "**is not shown to be equivalent**"
        if _measurably(test):  # which it can be inside the margins, too
            word += f" within the margins, though{_measurably(test)}," if test.holds else f" and is{_measurably(test)}"
        lines.append(
            f"- **{TITLES[encoder]}** {word} over {test.count} data sets: on the mean {_margins(test.mean)} "
            f"({_interval(test)}; two one-sided tests, p = {test.p:.2g}). {_spread(worse)}"
        )
    lines += [*_by_setting(rows), *_few_cases(rows), *_families(rows), *_decay(rows)]
    complete = [
        row
        for row in rows
        if row.cells.keys() == set(ENCODERS) and all(len(cell.values) >= LEAST_SEEDS for cell in row.cells.values())
    ]
    found = ranks(complete)
    if found:
        ordered = ", ".join(
            f"{TITLES[name]} {rank:.2f}" for name, rank in sorted(found.items(), key=lambda one: one[1])
        )
        lines.append(
            f"- **Mean rank** over the {len(complete)} rows that have {LEAST_SEEDS} seeds of all encoders, 1 the best: "
            f"{ordered}."
        )
    simple = [row for row in rows if row.simple and row.cells]
    if simple:
        beaten = [row for row in simple if _beats_all(row)]
        lines.append(
            f"- **Without an encoder:** the best simple way beats all encoders in {len(beaten)} of {len(simple)} rows"
            + (f" ({', '.join(sorted({row.recipe for row in beaten}))})." if beaten else ".")
        )
    lines += _untaught(rows)
    seeds = sorted(len(cell.values) for row in rows for cell in row.cells.values())
    lines.append(f"- {sum(seeds)} runs in {len(rows)} rows, {_span(seeds)} seeds each.")
    lines += [*_other_scales(every, rows), ""]
    lines += ["![How much worse than the Transformer each encoder is, in margins](results/parity.svg)", ""]
    return "\n".join(lines)


def _other_scales(every: list[Row], judged: list[Row]) -> list[str]:
    """How Aaren fares at each scale that the verdict leaves out since most sets were not run at it."""
    usual, lines = {(row.recipe, row.variant): row for row in judged}, []
    for scale in sorted({row.scale for row in every} - {judged[0].scale}):
        rows = [row for row in every if row.scale == scale]
        found = []
        for row in rows:
            worse, before = row.worse_by("aaren"), usual.get((row.recipe, row.variant))
            change = None if before is None else before.worse_at(row, "aaren")
            if worse is not None:
                name = row.recipe + ("" if row.variant is None else f", {row.variant}")
                also = "" if change is None else f" ({change:+.1f})"
                found.append(f"{name} {worse:+.1f}{also}, {_pairs(row, 'aaren')} seeds")
        if found:
            pooled = f"Aaren is {short}. " if (short := _short(rows, "aaren")) else ""
            lines.append(
                f"- **Scale {scale}**, which does not count above: {pooled}Aaren's margins worse than the Transformer "
                f"(than Aaren at scale {judged[0].scale}): {'; '.join(found)}."
            )
    return lines


def _by_setting(rows: list[Row]) -> list[str]:
    """The verdict setting by setting, which the one over all of them hides."""
    lines = []
    for encoder in ("aaren", "aaren-decay"):
        verdicts = {setting: _short([row for row in rows if row.setting == setting], encoder) for setting in METRICS}
        parts = [f"{SETTING_TITLES[setting].lower()} {said}" for setting, said in verdicts.items() if said]
        if len(parts) > 1:
            lines.append(f"- **{TITLES[encoder]} by setting:** {'; '.join(parts)}.")
    return lines


def _few_cases(rows: list[Row]) -> list[str]:
    """Sets in which one case of the test part is more than a margin, and the verdict of their setting without them."""
    few = {row.recipe: row.test_cases for row in rows if row.test_cases and row.test_cases * row.metric.margin < 1}
    lines = []
    for setting in sorted({recipe.split("/")[0] for recipe in few}):
        names = ", ".join(f"{recipe} ({count})" for recipe, count in few.items() if recipe.startswith(f"{setting}/"))
        kept = [row for row in rows if row.setting == setting and row.recipe not in few]
        verdicts = {encoder: _short(kept, encoder) for encoder in ("aaren", "aaren-decay")}
        parts = [f"{TITLES[encoder]} is {said}" for encoder, said in verdicts.items() if said]
        lines.append(
            f"- **Few test cases:** a single one is more than a margin in {names}."
            + (f" In {SETTING_TITLES[setting].lower()} without them {'; '.join(parts)}." if parts else "")
        )
    return lines


def _short(rows: list[Row], encoder: str) -> str:
    """The verdict over some rows in half a line, empty where they are too few for one."""
    told = [row for row in rows if _pairs(row, encoder) >= LEAST_SEEDS]
    test = overall(told, encoder) if len(by_data_set(told, encoder)) >= LEAST_SETS else None
    if test is None:
        return ""
    word = "equivalent" if test.holds else "not shown to be equivalent"
    also = f",{_measurably(test)}" if _measurably(test) else ""
    return f"{_margins(test.mean)} over {test.count} data sets ({test.low:+.2f} to {test.high:+.2f}), {word}{also}"


def _families(rows: list[Row]) -> list[str]:
    """The verdict with sets that share their data counted once, since a test takes sets to be independent."""
    told = [row for row in rows if _pairs(row, "aaren") >= LEAST_SEEDS]
    sets = by_data_set(told, "aaren")
    families = by_family(sets)
    test = within_margins(families.values()) if LEAST_SETS <= len(families) < len(sets) else None
    if test is None:
        return []
    return [
        f"- **Sets that share their data counted once** (ETT, Taxi, StackOverflow, those of one robot): Aaren is "
        f"{'equivalent' if test.holds else 'not shown to be equivalent'} over {test.count} families, on the mean "
        f"{_margins(test.mean)} ({_interval(test)}; p = {test.p:.2g})"
        + (f", that is,{_measurably(test)}." if _measurably(test) else ".")
    ]


def _decay(rows: list[Row]) -> list[str]:
    """What decay changes: Aaren with it against Aaren without it, over the data sets that have both."""
    faded, plain = "aaren-decay", "aaren"
    told = [row for row in rows if _pairs(row, faded, plain) >= LEAST_SEEDS]
    changed = by_data_set(told, faded, plain)
    test = overall(told, faded, plain) if len(changed) >= LEAST_SETS else None
    if test is None:
        return []
    return [
        f"- **What decay changes:** over the {test.count} data sets that have both, Aaren with decay is on the mean "
        f"{_margins(test.mean)} than without ({_interval(test)}). {_spread(changed)}"
    ]


def _untaught(rows: list[Row]) -> list[str]:
    """Sets in which nothing was learned, which make any two encoders look alike, and the verdict without them."""
    taught = {row.recipe for row in rows if row.learned}
    idle = sorted({row.recipe for row in rows} - taught)
    told = [row for row in rows if row.recipe in taught and _pairs(row, "aaren") >= LEAST_SEEDS]
    if not idle:
        return []
    line = (
        "- **Nothing learned:** no encoder is better by a margin than the last value, the most frequent class, a "
        f"Poisson process or half the score of the recorded episodes, in {len(idle)} data sets ({', '.join(idle)})."
    )
    test = overall(told, "aaren") if len(by_data_set(told, "aaren")) >= LEAST_SETS else None
    if test is not None:
        line += f" Without them Aaren is {_margins(test.mean)} over {test.count} ({_interval(test)}; p = {test.p:.2g})."
    return [line]


def _margins(mean: float) -> str:
    return f"{abs(mean):.2f} margins {'better' if mean < 0 else 'worse'}"


def _interval(test: Equivalence) -> str:
    return f"90 % interval of how much worse {test.low:+.2f} to {test.high:+.2f}"


def _measurably(test: Equivalence) -> str:
    """What an interval without 0 says."""
    return " measurably worse" if test.low > 0 else " measurably better" if test.high < 0 else ""


def _spread(worse: dict[str, float]) -> str:
    """How differences are spread over data sets, and where they exceed a margin."""
    up, down = (sum(sign * value > 0 for value in worse.values()) for sign in (1, -1))
    outside = sorted((name for name, value in worse.items() if value > 1), key=lambda name: -worse[name])
    better = sorted((name for name, value in worse.items() if value < -1), key=lambda name: worse[name])
    return (
        f"Median {_margins(statistics.median(worse.values()))}; worse on {up}, better on {down}. "
        f"Worse by more than a margin: {_names(outside, worse)}. Better by more than one: {_names(better, worse)}."
    )


def _pairs(row: Row, encoder: str, than: str = REFERENCE) -> int:
    difference = row.difference(encoder, than)
    return 0 if difference is None else difference.pairs


def _names(names: list[str], worse: dict[str, float]) -> str:
    return ", ".join(f"{name} ({worse[name]:+.1f})" for name in names) or "none"


def _beats_all(row: Row) -> bool:
    sign = -1 if row.metric.higher_is_better else 1
    means = [sign * cell.mean for cell in row.cells.values()]
    return sign * _best_simple(row)[1] < min(mean if math.isfinite(mean) else math.inf for mean in means)


def _best_simple(row: Row) -> tuple[str, float]:
    choose = max if row.metric.higher_is_better else min
    return choose(row.simple.items(), key=lambda one: one[1])


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
            who, value = _best_simple(row)
            simple = f"{number(value, metric.digits)} ({who})"
        difference = row.difference("aaren")
        shown = (
            NONE if difference is None else interval(difference.mean, difference.low, difference.high, metric.digits)
        )
        seeds = sorted({len(cell.values) for cell in row.cells.values()})
        body.append([row.title, status, *cells, simple, shown, _span(seeds)])
    lines += [*table(header, body), *_mean_scores(rows)]
    lines += ["Budget of each row (Aaren's runs; the other encoders have the same settings):", ""]
    budget = [_budget(row) for row in rows]
    return [*lines, *table(["data set", "scale", "steps", "hours, all runs"], budget)]


def _mean_scores(rows: list[Row]) -> list[str]:
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
            data = statistics.fmean(_best_simple(row)[1] for row in own)
            shown = [number(value, own[0].metric.digits) for value in (*means, data)]
            body.append([scale, TITLES[encoder], *shown, str(len(own))])
    if not body:
        return []
    header = ["scale", "encoder", "windowed", "streamed", "the data's own episodes", "data sets"]
    return ["Means over the data sets, each a mean over its seeds:", "", *table(header, body)]


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
    return [row.title, row.scale, _span(steps), f"{hours:.2f}"]


def _span(ordered: list[int]) -> str:
    return f"{ordered[0]:,}" if ordered[0] == ordered[-1] else f"{ordered[0]:,} to {ordered[-1]:,}"


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
