"""What the records say of the paper's claim, in a table and in sentences whose every number is computed."""

from __future__ import annotations

import math
import statistics

from aaren.evaluation import Equivalence
from aaren.studies._compare import (
    REFERENCE,
    Row,
    by_data_set,
    by_family,
    judged,
    mark_accuracy,
    overall,
    ranks,
    within_margins,
)
from aaren.studies._recipe import ENCODERS
from aaren.studies._text import SETTING_TITLES, TITLES, span, table

COMPARED = tuple(name for name in ENCODERS if name != REFERENCE)
LEAST_SEEDS, LEAST_SETS = 3, 5  # below them the page shows what there is and draws no conclusion


def verdict(every: list[Row]) -> str:
    """Whether Aaren is as good as the Transformer, over the scale that most data sets have."""
    rows = judged(every)
    lines = ["## Is Aaren as good as the Transformer?", "", *_overview(rows)]
    lines += [_overall(rows, encoder) for encoder in COMPARED]
    lines += [*_few_cases(rows), *_families(rows), *_decay(rows), *_ranks(rows), *_without_encoder(rows)]
    lines += [*_untaught(rows), *_worse_marks(rows)]
    seeds = sorted(len(cell.values) for row in rows for cell in row.cells.values())
    lines.append(f"- {sum(seeds)} runs in {len(rows)} rows, {span(seeds)} seeds each.")
    lines += [*_other_scales(every, rows), ""]
    lines += ["![How much worse than the Transformer each encoder is, in margins](results/parity.svg)", ""]
    return "\n".join(lines)


def _overview(rows: list[Row]) -> list[str]:
    """A column an encoder, a line for all settings and each: the mean in margins, its interval, what it shows."""
    parts = {"All settings": rows}
    parts |= {title: [row for row in rows if row.setting == name] for name, title in SETTING_TITLES.items()}
    body = []
    for title, own in parts.items():
        tests = [_tested(own, encoder) for encoder in COMPARED]
        if any(tests):
            body.append([title, *("-" if test is None else _in_short(test) for test in tests)])
    if not body:
        return []
    return [
        "How many margins worse than the Transformer: the mean over data sets, with its 90 % interval. *Equivalent*: "
        "the interval is within one margin. *Worse*, *better*: it is without 0.",
        "",
        *table(["", *(TITLES[encoder] for encoder in COMPARED)], body),
    ]


def _in_short(test: Equivalence) -> str:
    """A verdict for a cell of a table."""
    words = ["equivalent" if test.holds else "not shown equivalent", *_measurably(test).split()[1:]]
    ends = f"<br>{test.low:+.2f}&nbsp;to&nbsp;{test.high:+.2f}" if math.isfinite(test.mean) else ""
    return f"{test.mean:+.2f}{ends}<br>{test.count} sets: {', '.join(words)}"


def _overall(rows: list[Row], encoder: str) -> str:
    """The verdict of an encoder over all settings, and the sets that it does not hold for."""
    test = _tested(rows, encoder)
    worse = by_data_set(_told(rows, encoder), encoder)
    if test is None:
        return (
            f"- **{TITLES[encoder]}**: too early to say. {len(worse)} data sets have {LEAST_SEEDS} seeds of it and "
            f"of the Transformer; a verdict takes {LEAST_SETS}."
        )
    word = "**is equivalent** to the Transformer" if test.holds else "**is not shown to be equivalent**"
    if _measurably(test):  # which it can be inside the margins, too
        word += f" within the margins, though{_measurably(test)}," if test.holds else f" and is{_measurably(test)}"
    return (
        f"- **{TITLES[encoder]}** {word} over {test.count} data sets (two one-sided tests, p = {test.p:.2g}). "
        f"{_spread(worse)}"
    )


def _tested(rows: list[Row], encoder: str, than: str = REFERENCE) -> Equivalence | None:
    """The test over rows whose seeds are enough; None where data sets are too few for a verdict."""
    told = _told(rows, encoder, than)
    return overall(told, encoder, than) if len(by_data_set(told, encoder, than)) >= LEAST_SETS else None


def _told(rows: list[Row], encoder: str, than: str = REFERENCE) -> list[Row]:
    """The rows in which two encoders share enough seeds."""
    return [row for row in rows if _pairs(row, encoder, than) >= LEAST_SEEDS]


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
    test = _tested(rows, encoder)
    if test is None:
        return ""
    word = "equivalent" if test.holds else "not shown to be equivalent"
    also = f",{_measurably(test)}" if _measurably(test) else ""
    return f"{_margins(test.mean)} over {test.count} data sets ({test.low:+.2f} to {test.high:+.2f}), {word}{also}"


def _families(rows: list[Row]) -> list[str]:
    """The verdict with sets that share their data counted once, since a test takes sets to be independent."""
    sets = by_data_set(_told(rows, "aaren"), "aaren")
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
    test = _tested(rows, faded, plain)
    if test is None:
        return []
    changed = by_data_set(_told(rows, faded, plain), faded, plain)
    return [
        f"- **What decay changes:** over the {test.count} data sets that have both, Aaren with decay is on the mean "
        f"{_margins(test.mean)} than without ({_interval(test)}). {_spread(changed)}"
    ]


def _ranks(rows: list[Row]) -> list[str]:
    """Mean ranks over the rows that have all encoders."""
    complete = [
        row
        for row in rows
        if row.cells.keys() == set(ENCODERS) and all(len(cell.values) >= LEAST_SEEDS for cell in row.cells.values())
    ]
    found = sorted(ranks(complete).items(), key=lambda one: one[1])
    if not found:
        return []
    return [
        f"- **Mean rank** over the {len(complete)} rows that have {LEAST_SEEDS} seeds of all encoders, 1 the best: "
        f"{', '.join(f'{TITLES[name]} {rank:.2f}' for name, rank in found)}."
    ]


def _without_encoder(rows: list[Row]) -> list[str]:
    """In how many rows a simple way does better than all encoders."""
    simple = [row for row in rows if row.simple]
    beaten = [row for row in simple if row.beaten]
    if not simple:
        return []
    line = f"- **Without an encoder:** the best simple way beats all encoders in {len(beaten)} of {len(simple)} rows"
    return [line + (f" ({', '.join(sorted({row.recipe for row in beaten}))})." if beaten else ".")]


def _untaught(rows: list[Row]) -> list[str]:
    """Sets in which nothing was learned, which make any two encoders look alike, and the verdict without them."""
    taught = {row.recipe for row in rows if row.learned}
    idle = sorted({row.recipe for row in rows} - taught)
    if not idle:
        return []
    line = (
        "- **Nothing learned:** no encoder is better by a margin than the last value, the most frequent class, a "
        f"Poisson process or half the score of the recorded episodes, in {len(idle)} data sets ({', '.join(idle)})."
    )
    test = _tested([row for row in rows if row.recipe in taught], "aaren")
    if test is not None:
        line += f" Without them Aaren is {_margins(test.mean)} over {test.count} ({_interval(test)}; p = {test.p:.2g})."
    return [line]


def _worse_marks(rows: list[Row]) -> list[str]:
    """Sets in which a rule guesses the next mark better than all encoders, which the likelihood of both can hide."""
    found = []
    for row in rows:
        encoders, rules = mark_accuracy(row)
        if not rules:
            continue
        rule, best = max(rules, key=rules.__getitem__), max(encoders.values())
        if best < rules[rule]:
            found.append(f"{row.recipe} (by the {rule} {rules[rule]:.2f}, by the best encoder {best:.2f})")
    return [f"- **Marks:** a rule tells the next one better than all encoders in {', '.join(found)}."] if found else []


def _other_scales(every: list[Row], usual: list[Row]) -> list[str]:
    """How Aaren fares at each scale that the verdict leaves out: over its sets, or one by one where they are few."""
    before, lines = {(row.recipe, row.variant): row for row in usual}, []
    for scale in sorted({row.scale for row in every} - {usual[0].scale}):
        rows = [row for row in every if row.scale == scale]
        changes = {
            (row.recipe, row.variant): change
            for row in rows
            if (small := before.get((row.recipe, row.variant))) and (change := small.worse_at(row, "aaren")) is not None
        }
        said = _pooled(rows, list(changes.values()), usual[0].scale)
        said = said or _set_by_set(rows, changes, usual[0].scale)
        if said:
            lines.append(f"- **Scale {scale}**, which does not count above: {said}.")
    return lines


def _pooled(rows: list[Row], changes: list[float], usual: str) -> str:
    """The verdicts over the sets of a scale, empty where they are too few for one."""
    parts = [f"{TITLES[name]} is {said}" for name in ("aaren", "aaren-decay") if (said := _short(rows, name))]
    if parts and changes:
        parts.append(f"Aaren is on the mean {_margins(statistics.fmean(changes))} than at scale {usual}")
    return "; ".join(parts)


def _set_by_set(rows: list[Row], changes: dict[tuple[str, int | None], float], usual: str) -> str:
    """How much worse Aaren is than the Transformer, and than itself at the usual scale, in each row of a scale."""
    found = []
    for row in rows:
        worse, change = row.worse_by("aaren"), changes.get((row.recipe, row.variant))
        if worse is not None:
            name = row.recipe + ("" if row.variant is None else f", {row.variant}")
            also = "" if change is None else f" ({change:+.1f})"
            found.append(f"{name} {worse:+.1f}{also}, {_pairs(row, 'aaren')} seeds")
    return (
        f"Aaren's margins worse than the Transformer (than Aaren at scale {usual}): {'; '.join(found)}" if found else ""
    )


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
