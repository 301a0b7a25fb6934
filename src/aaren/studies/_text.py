"""How names and numbers are written in tables."""

from __future__ import annotations

import math

TITLES = {
    "aaren": "Aaren",
    "aaren-decay": "Aaren with decay",
    "transformer": "Transformer",
    "gru": "GRU",
    "mingru": "minGRU",
}
SETTING_TITLES = {
    "forecasting": "Forecasting",
    "classification": "Classification",
    "events": "Event forecasting",
    "rl": "Offline reinforcement learning",
}


def number(value: float | None, digits: int) -> str:
    """A number of so many decimals; a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def with_spread(mean: float, spread: float | None, digits: int) -> str:
    """Mean and deviation over seeds."""
    return number(mean, digits) + ("" if spread is None or math.isnan(spread) else f" ± {spread:.{digits}f}")


def interval(mean: float, low: float, high: float, digits: int) -> str:
    """A signed mean with its interval."""
    ends = "" if math.isnan(low) else f" [{low:+.{digits}f}, {high:+.{digits}f}]"
    return "-" if math.isnan(mean) else f"{mean:+.{digits}f}{ends}"


def span(ordered: list[int]) -> str:
    """The range of ordered numbers."""
    return f"{ordered[0]:,}" if ordered[0] == ordered[-1] else f"{ordered[0]:,} to {ordered[-1]:,}"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
