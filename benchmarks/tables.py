"""Write the tables and plots into docs/benchmarks.md from results/benchmarks/: no figure there is typed.

python benchmarks/tables.py [--check]

The page has a pair of comments for each record, such as `<!-- training -->` and `<!-- end training -->`; what stands
between them is replaced. A folder in results/benchmarks/machines/ holds the same records of another machine, or with
other settings; all share the table of what was promised.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from _text import figure, verdict

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"
RECORDS = ROOT / "results" / "benchmarks"
NAMES = ("operator", "layer", "training", "step", "memory")


def machine(found: dict[str, Any]) -> str:
    """The machine and versions of a record in a line."""
    at = f", commit {found['commit'][:12]}{'+' * found['commit'].endswith('+')}" if found["commit"] else ""
    chosen = ", freed memory kept" if found.get("keeps_memory") else ""  # older records lack these two
    if found.get("matmul_precision", "highest") != "highest":
        chosen += f", products in precision *{found['matmul_precision']}*"
    return (
        f"{found['cpu']}, {found['cores']} cores, {found['threads']} threads, {found['instructions']}, load "
        f"{found['load_at_start']} at the start{chosen}; Python {found['python']}, PyTorch {found['torch']}, aaren "
        f"{found['aaren']}{at}; *auto* is `{found['auto']}`."
    )


def table(result: dict[str, Any]) -> str:
    """One case: medians with the range over rounds, then ratios with their bars."""
    lines = [
        f"**{result['case']}**",
        "",
        f"Limit: {result['limit']}.",
        "",
        f"| | median, {result['unit']} | range |",
        "|---|---|---|",
    ]
    for label, median in result["median"].items():
        samples = result["samples"][label]
        lines.append(f"| {label} | {figure(median)} | {figure(min(samples))} to {figure(max(samples))} |")
    lines += [f"| {label} | left out | {why} |" for label, why in result["left_out"].items()]
    for label, ratio in result["ratios"].items():
        lines.append(f"| *{label}* | *{ratio:.2f} x* | {verdict(ratio, result['bars'].get(label, {}))} |")
    return "\n".join([*lines, ""])


def record(name: str) -> str:
    """All tables of one record, or how to get it."""
    path = RECORDS / f"{name}.json"
    if not path.exists():
        return "No record yet: `make bench RECORD=results/benchmarks` writes it.\n"
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["quick"]:
        raise ValueError(f"{path.name}: expected the record of a full run, received one of --quick")
    parts = [table(result) for result in found["results"]]
    if "output_error_after_1e9_tokens" in found:
        errors = found["output_error_after_1e9_tokens"]
        said = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
        parts.append(f"Error of the output after 1e9 tokens, state in float64: {said} (bar 1e-6).\n")
    return "\n".join([*parts, f"Machine: {machine(found['machine'])}\n"])


def promises() -> str:
    """Every ratio that has a bar, in the records of this page and in those of other machines."""
    folders = [RECORDS, *sorted(path for path in (RECORDS / "machines").glob("*") if path.is_dir())]
    bars: dict[tuple[str, str], dict[str, float]] = {}
    ratios: dict[tuple[str, str], dict[Path, float]] = {}
    for folder in folders:
        for path in (folder / f"{name}.json" for name in NAMES):
            for result in json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []:
                for label, bar in result["bars"].items():
                    bars[result["case"], label] = bar
                    ratios.setdefault((result["case"], label), {})[folder] = result["ratios"][label]
    names = ["above", *(f"`{folder.name}`" for folder in folders[1:])]
    lines = [f"| case | ratio | promise | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for (case, label), found in ratios.items():
        said = {folder: verdict(ratio, bars[case, label]) for folder, ratio in found.items()}
        cells = [
            "-" if folder not in found else f"{found[folder]:.2f}{'' if 'holds' in said[folder] else ' missed'}"
            for folder in folders
        ]
        promise = next(iter(said.values())).split(":")[0]
        lines.append(f"| {case} | {label} | {promise} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def plots() -> str:
    """The images that are there, with the words that each has inside for those who do not see it."""
    lines = []
    for path in sorted(IMAGES.glob("*.svg")):
        described = re.search(r'aria-label="([^"]+)"', path.read_text(encoding="utf-8"))
        if described is None:
            raise ValueError(f"{path.name}: expected an SVG that plots.py made")
        lines += [f"![{described[1]}](images/{path.name})", ""]
    return "\n".join(lines) if lines else "No sweep recorded yet.\n"


def filled(page: str) -> str:
    """The page with the parts between its comments made anew."""
    parts = {name: partial(record, name) for name in NAMES} | {"promises": promises, "plots": plots}
    for name, make in parts.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
        if begin not in page or end not in page:
            raise ValueError(f"{PAGE.name}: expected the comments {begin.strip()!r} and {end!r}")
        before, rest = page.split(begin, 1)
        _, after = rest.split(end, 1)
        page = f"{before}{begin}\n{make()}\n{end}{after}"
    return page


def main(argv: Sequence[str] | None = None) -> int:
    """Fill the page, or with --check say whether it is what the records give."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args(argv)
    page = PAGE.read_text(encoding="utf-8")
    wanted = filled(page)
    if chosen.check:
        same = page == wanted
        print(f"{PAGE.name} is {'what the records give' if same else 'stale: python benchmarks/tables.py'}")
        return 0 if same else 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
