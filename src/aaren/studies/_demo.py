"""The demo's part of the page of results."""

from __future__ import annotations

import json
from pathlib import Path


def demo_section(results: Path) -> str:
    """The demo's table, the models that stream, from `demo.json`; nothing where there is no such record."""
    record = results / "demo.json"
    if not record.exists():
        return ""
    found = json.loads(record.read_text(encoding="utf-8"))
    stream = found["stream"]
    rows = [
        (model["streamed"]["mse"], model["name"], f"{model['windows']['mse']:.4f}", f"{model['streamed']['mse']:.4f}")
        for model in found["models"]
    ]
    rows += [(error["mse"], name, f"{error['mse']:.4f}", "") for name, error in found["baselines"].items()]
    return "\n".join(
        [
            "## The demo: models that stream, ETTh1, 24 rows ahead",
            "",
            "`make demo`, one seed; normalisation, decay and highway as `aaren train` has them. *From windows* starts "
            "anew for each window, *streamed* has read the whole table before.",
            "",
            "| forecast | MSE from windows | MSE streamed |",
            "|---|---|---|",
            *[f"| {name} | {windows} | {streamed} |" for _, name, windows, streamed in sorted(rows)],
            "",
            f"Streamed row by row, {stream['rows']:,} rows: the largest difference from the parallel pass is "
            f"{stream['largest_difference']:.1e} training deviations; the state had {stream['state_bytes_first']:,} "
            f"bytes after the first row and {stream['state_bytes_last']:,} after the last.",
            "",
        ]
    )
