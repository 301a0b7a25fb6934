"""The plots of the demo's report: plain results in, one inline SVG out for each panel.

Every panel is drawn alone and small, so that a page can put panels side by side or, on a phone, below one another.
Colours are marks that stand for CSS variables; the page gives the variables their values, light or dark. Nothing
here measures anything, touches a file or keeps state between two calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aaren.evaluation._panel import HEAD_COLOURS, MARKS, Panel
from aaren.evaluation._results import AttentionAges, CostCurves, ForecastWeek, StreamCheck

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _time_axis(axes: Axes) -> None:
    from matplotlib import dates

    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=4, maxticks=8))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(_day)
    axes.grid(axis="x", visible=False)


def _day(x: float, position: float | int | None = None) -> str:
    from matplotlib import dates

    date = dates.num2date(x)  # type: ignore[no-untyped-call]
    return f"{date.day} {date:%b}"


def _dates(times: Sequence[str]) -> Any:
    return np.array(times, dtype="datetime64[s]")


def forecast_panel(week: ForecastWeek, name: str) -> str:
    """Truth, forecasts and their bands over a few days."""
    times = _dates(week.times)
    panel = Panel(
        name,
        f"{week.column} from {week.times[0]} to {week.times[-1]}: what came, as a line; the forecasts made every "
        f"{week.horizon} rows, each with a band from the {week.levels[0]:g} to the {week.levels[-1]:g} quantile.",
    )
    with panel as axes:
        for first in range(0, len(times), week.horizon):
            part = slice(first, first + week.horizon)
            axes.fill_between(
                times[part], week.lower[part], week.upper[part], color=MARKS["aaren"], alpha=0.2, linewidth=0
            )
            axes.plot(
                times[part], week.mean[part], color=MARKS["aaren"], linewidth=1.5, label="" if first else "forecast"
            )
            axes.axvline(times[first], color=MARKS["grid"], linewidth=0.8, zorder=0)
        axes.plot(times, week.truth, color=MARKS["ink"], linewidth=1.1, label="what came")
        axes.set_xlim(times[0], times[-1])
        _time_axis(axes)
        _legend(axes)
    return panel.svg


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, borderaxespad=0.2, handlelength=1.4)


def stream_panels(check: StreamCheck) -> tuple[str, str]:
    """Streamed and parallel forecasts on top of each other, and their difference on a logarithmic axis."""
    both = Panel(
        "stream-both",
        f"Forecasts of {check.column}, {check.ahead} rows ahead: the streamed ones, as a line, pass through the "
        "parallel ones, as dots.",
    )
    with both as axes:
        times = _dates(check.times)
        axes.plot(times, check.streamed, color=MARKS["aaren"], linewidth=1.5, label="streamed")
        axes.plot(times[::4], check.parallel[::4], ".", color=MARKS["transformer"], markersize=4.5, label="in parallel")
        axes.set_xlim(times[0], times[-1])
        _time_axis(axes)
        _legend(axes)
    difference = Panel(
        "stream-difference",
        f"Largest difference over blocks of {check.block} test rows, logarithmic: never above "
        f"{check.largest_difference:.1e} training deviations; the limit is {check.limit:.0e}.",
    )
    with difference as axes:
        rows = [check.block * index for index in range(len(check.differences))]
        # an exact 0 has no place on a logarithmic axis; 1e-9 is below what float32 resolves
        axes.plot(rows, [max(value, 1e-9) for value in check.differences], color=MARKS["aaren"], linewidth=1)
        axes.axhline(check.limit, color=MARKS["transformer"], linewidth=1.2, linestyle="--")
        axes.annotate("limit", (rows[-1], check.limit), (0, 3), textcoords="offset points", ha="right")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda y, position: f"{y:.0e}")
        axes.set_ylim(min(1e-8, max(min(check.differences), 1e-9)), 1e-3)
        axes.set_xlim(0, max(rows[-1], 1))
        axes.set_xlabel("row of the test part")
    return both.svg, difference.svg


def cost_panels(cost: CostCurves) -> tuple[str, str]:
    """State in use, and cumulative time, against tokens."""
    memory = Panel(
        "cost-memory",
        f"State in use over {cost.tokens[-1]} tokens. Aaren: {cost.aaren_bytes[0]} bytes from the first to the last. "
        f"The key-value cache of the Transformer grows in a straight line to {cost.transformer_bytes[-1]} bytes.",
    )
    with memory as axes:
        _pair(axes, cost.tokens, [x / 1e6 for x in cost.aaren_bytes], [x / 1e6 for x in cost.transformer_bytes])
        axes.set_ylabel("state in use, MB")
    time = Panel(
        "cost-time",
        f"Cumulative time over {cost.tokens[-1]} tokens. Aaren: {cost.aaren_seconds[-1]:.1f} "
        f"seconds. Transformer with key-value cache: {cost.transformer_seconds[-1]:.1f} seconds.",
    )
    with time as axes:
        _pair(axes, cost.tokens, cost.aaren_seconds, cost.transformer_seconds)
        axes.set_ylabel("cumulative time, s")
    return memory.svg, time.svg


def _pair(axes: Axes, tokens: Sequence[int], aaren: Sequence[float], transformer: Sequence[float]) -> None:
    axes.plot(tokens, transformer, color=MARKS["transformer"], linewidth=1.8, label="Transformer, key-value cache")
    # not clipped: a line along the axis is to be seen
    axes.plot(tokens, aaren, color=MARKS["aaren"], linewidth=1.8, label="Aaren", clip_on=False, zorder=3)
    axes.set_xlim(0, tokens[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tokens")
    axes.xaxis.set_major_formatter(lambda x, position: f"{x:,.0f}")
    _legend(axes)


def attention_panels(attention: AttentionAges) -> tuple[str, ...]:
    """For each layer, the share of every head's weight that lies on the last rows, against how many they are."""
    return tuple(_attention_panel(attention, layer) for layer in sorted({head.layer for head in attention.heads}))


def _attention_panel(attention: AttentionAges, layer: int) -> str:
    heads = [head for head in attention.heads if head.layer == layer]
    halves = ", ".join(f"head {head.head} on the last {head.median_age}" for head in heads)
    panel = Panel(
        f"attention-{layer}",
        f"Layer {layer}, logarithmic axis: share of the attention on the last rows. Half of the weight lies: {halves}.",
    )
    with panel as axes:
        for head in heads:
            colour = MARKS[f"head-{(head.head - 1) % HEAD_COLOURS + 1}"]
            axes.plot(attention.ages, head.share, color=colour, linewidth=1.6, label=f"head {head.head}")
            half = np.interp(head.median_age, attention.ages, head.share)
            axes.plot(head.median_age, half, "o", color=colour, markersize=4.5)
        axes.set_xscale("log")
        axes.set_xlim(1, attention.ages[-1])
        axes.set_ylim(0, 1.02)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        axes.xaxis.set_major_formatter(lambda x, position: f"{x:,.0f}")
        axes.set_xlabel("last rows")
        axes.set_ylabel("share of the weight")
        _legend(axes)
    return panel.svg
