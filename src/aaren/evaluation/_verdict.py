"""The demo's models and the simple forecasts side by side: a table of errors, and in words who wins."""

from __future__ import annotations

from collections.abc import Sequence

from aaren.evaluation._results import DemoResults


def error_rows(results: DemoResults) -> list[list[str]]:
    """The table of errors, best first: name, MSE and MAE from windows, MSE and MAE streamed."""
    rows: list[tuple[float, list[str]]] = []
    for model in results.models:
        errors = [model.windows["mse"], model.windows["mae"], model.streamed["mse"], model.streamed["mae"]]
        rows.append((min(errors[0], errors[2]), [model.name, *(f"{error:.4f}" for error in errors)]))
    for name, simple in results.baselines.items():
        rows.append((simple["mse"], [name, f"{simple['mse']:.4f}", f"{simple['mae']:.4f}", "", ""]))
    return [row for _, row in sorted(rows)]


def verdict(results: DemoResults) -> str:
    """Whether a simple forecast wins, in plain words computed from the errors."""
    simple = min(results.baselines, key=lambda name: results.baselines[name]["mse"])
    bar = results.baselines[simple]["mse"]
    entries = [
        (errors["mse"], f"{model.name}, {how}")
        for model in results.models
        for how, errors in (("from windows", model.windows), ("streamed", model.streamed))
    ]
    lowest, winner = min(entries)
    if bar <= lowest:
        first = f"A simple forecast wins: {simple} has the lowest squared error, {bar:.4f}."
    else:
        first = (
            f"No simple forecast wins: the lowest squared error is {lowest:.4f} ({winner}); the best simple forecast "
            f"is {simple}, {bar:.4f}."
        )
    better = [model.name for model in results.models if model.streamed["mse"] < bar]
    rest = [model.name for model in results.models if model.name not in better]
    streamed = [f"better than {simple}: {_listed(better)}"] if better else []
    streamed += [f"not better: {_listed(rest)}"] if rest else []
    return f"{first} Streamed, {'; '.join(streamed)}."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
