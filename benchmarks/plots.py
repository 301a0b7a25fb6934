"""Time and memory against tokens: `python benchmarks/plots.py SWEEP.json... [--into docs/images]`.

One SVG, log-log, for each curve family in records that `--sweep` made (`prefix_attention.py`, `training.py`,
`memory.py`), in the colours of the demo's report, light or dark as the reader has it. Limits are dashed. A curve ends
where its contender would have taken too long or too much memory.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _text import figure
from aaren.evaluation import MARKS, Panel, standing_alone

IMAGES = Path(__file__).parents[1] / "docs" / "images"
# a colour of the report for every contender; those that are limits are "quiet"
COLOURS = {
    "Aaren": "aaren",
    "auto": "aaren",
    "Transformer": "transformer",
    "causal SDPA": "transformer",
    "GRU": "head-2",
    "blocks": "head-2",
    "LSTM": "head-3",
    "Algorithm 1": "head-3",
    "minGRU": "head-4",
    "associative_scan": "head-4",
}
LIMIT = "quiet"
AXES = {"ms": "time, ms", "MB": "memory, MB", "bytes": "state, bytes"}
Curve = tuple[list[int], list[float]]


def families(records: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The results of each curve family, by tokens."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        for result in record["results"]:
            if result["series"]:
                found.setdefault(result["series"], []).append(result)
    return {name: sorted(results, key=lambda each: each["size"]["tokens"]) for name, results in found.items()}


def curves(results: Sequence[dict[str, Any]]) -> dict[str, Curve]:
    """Tokens and medians of every contender."""
    found: dict[str, Curve] = {}
    for result in results:
        for label, median in result["median"].items():
            tokens, medians = found.setdefault(label, ([], []))
            tokens.append(result["size"]["tokens"])
            medians.append(median)
    return found


def plot(name: str, results: Sequence[dict[str, Any]]) -> str:
    """One family as an SVG file that stands alone."""
    found = curves(results)
    tokens = [result["size"]["tokens"] for result in results]
    ends = "; ".join(f"{label}: {y[-1]:.3g} {results[0]['unit']} at {x[-1]:,}" for label, (x, y) in found.items())
    panel = Panel(file_name(name), f"{name} against tokens, log-log. {ends}.")
    with panel as axes:
        for label, (x, y) in found.items():
            colour = COLOURS.get(label, LIMIT)
            line = "--" if colour == LIMIT else "-"
            front = 3 if colour == "aaren" else 2
            short = label.replace(" into memory that is there", "")  # else the legend takes the width of the axes
            axes.plot(
                x, y, line, marker="o", markersize=3, color=MARKS[colour], linewidth=1.6, label=short, zorder=front
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(tokens, [f"{n:,}" for n in tokens], fontsize=8)
        axes.yaxis.set_major_formatter(lambda y, position: figure(y))
        axes.minorticks_off()
        axes.set_xlabel("tokens")
        axes.set_ylabel(AXES[results[0]["unit"]])
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=3,
            frameon=False,
            borderaxespad=0.2,
            fontsize=8,
            handlelength=1.4,
        )
    return standing_alone(panel.svg)


def file_name(family: str) -> str:
    """The name of a family as that of a file."""
    return re.sub(r"[^a-z0-9]+", "-", family.lower()).strip("-")


def main(argv: Sequence[str] | None = None) -> int:
    """Read the records, write the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="SWEEP.json")
    parser.add_argument("--into", type=Path, default=IMAGES, metavar="FOLDER", help="default: docs/images")
    chosen = parser.parse_args(argv)
    found = families([json.loads(file.read_text(encoding="utf-8")) for file in chosen.files])
    if not found:
        print("expected a record that --sweep made; none of these has a curve", file=sys.stderr)
        return 1
    chosen.into.mkdir(parents=True, exist_ok=True)
    for name, results in found.items():
        path = chosen.into / f"{file_name(name)}.svg"
        path.write_text(plot(name, results), encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
