"""The forest plot: how much worse than the Transformer, in margins, data set by data set."""

from __future__ import annotations

from collections.abc import Sequence

from aaren.evaluation import MARKS, Panel, standing_alone
from aaren.studies._compare import Row, by_data_set
from aaren.studies._text import TITLES

COLOURS = {"aaren": "aaren", "aaren-decay": "head-2", "gru": "head-3", "mingru": "head-4"}
_WIDEST = 4.0


def forest(rows: Sequence[Row]) -> str:
    """One line a data set, one mark an encoder; what lies between the dashed lines is within one margin.

    Returns:
        An SVG file that stands alone.
    """
    worse = {encoder: by_data_set(rows, encoder) for encoder in COLOURS}
    names = sorted({name for found in worse.values() for name in found}, reverse=True)
    said = "; ".join(f"{name} {worse['aaren'][name]:+.2f}" for name in reversed(names) if name in worse["aaren"])
    height = 0.9 + 0.24 * max(len(names), 4)
    panel = Panel("parity", f"Aaren against the Transformer in margins, above 0 worse. {said}.", (7.2, height))
    with panel as axes:
        for edge in (-1, 1):
            axes.axvline(edge, color=MARKS["quiet"], linestyle="--", linewidth=0.9)
        axes.axvline(0, color=MARKS["transformer"], linewidth=1.2, label=TITLES["transformer"])
        for place, (encoder, found) in enumerate(worse.items()):
            y = [names.index(name) + 0.12 * (1.5 - place) for name in found]
            x = [min(max(value, -_WIDEST), _WIDEST) for value in found.values()]
            axes.plot(x, y, "o", markersize=5, color=MARKS[COLOURS[encoder]], label=TITLES[encoder], zorder=3 + place)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_xlim(-_WIDEST - 0.2, _WIDEST + 0.2)
        axes.set_xlabel(f"margins worse than the Transformer (beyond {_WIDEST:.0f} drawn at the edge)")
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=5,
            frameon=False,
            borderaxespad=0.2,
            fontsize=8,
            handlelength=1,
        )
    return standing_alone(panel.svg)
