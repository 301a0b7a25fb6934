"""How the accuracy of classifiers is shown."""

from __future__ import annotations

from typing import Any


def accuracy_table(title: str, found: dict[str, dict[str, Any]]) -> None:
    """Print accuracies by name, best first, as a table.

    Where they are given also those after 20 % and 50 % of the rows, log loss, and expected calibration error (ECE).
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    table.add_column("classifier", no_wrap=True)
    for name in ("accuracy", "at 20 %", "at 50 %", "log loss", "ECE"):
        table.add_column(name, justify="right")
    best = max(row["accuracy"] for row in found.values())
    for name, row in sorted(found.items(), key=lambda item: -item[1]["accuracy"]):
        early = row.get("early", {})
        cells = [row["accuracy"], early.get("0.2"), early.get("0.5"), row.get("log_loss"), row.get("calibration_error")]
        style = "bold green" if row["accuracy"] == best else ""
        table.add_row(name, *("" if cell is None else f"{cell:.4f}" for cell in cells), style=style)
    console = Console()
    console.print(escape(title), style="bold", highlight=False)
    console.print(table)
