"""How figures and bars are written; without torch, since tables are made where nothing is measured."""

from __future__ import annotations

from collections.abc import Mapping


def figure(value: float) -> str:
    """Four digits, or a whole number with commas from 1,000 on."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def verdict(value: float, bar: Mapping[str, float]) -> str:
    """Whether a ratio reaches its bar, and if not, by which factor it misses it; empty if there is none."""
    if "at_least" in bar:
        return f">= {bar['at_least']:g}: {_holds(bar['at_least'] / value)}"
    if "at_most" in bar:
        return f"<= {bar['at_most']:g}: {_holds(value / bar['at_most'])}"
    return ""


def _holds(missed_by: float) -> str:
    return "holds" if missed_by <= 1 else f"missed by {missed_by:.2f} x"
