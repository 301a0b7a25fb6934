"""Run recipes: what has a valid record is skipped, what was killed goes on, records are written as runs finish."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from aaren.errors import AarenError, DataError, ModelFileError, RecipeError
from aaren.studies import _classification, _events, _forecasting, _rl
from aaren.studies._recipe import ENCODERS, Plan, Recipe
from aaren.studies._records import Record, is_done, write_record

Run = Callable[[Plan, Path], dict[str, Any]]
RUNS: dict[str, Run] = {
    "forecasting": _forecasting.run,
    "classification": _classification.run,
    "events": _events.run,
    "rl": _rl.run,
}
"""The one function that runs all recipes of a setting, whatever the encoder."""


def plans(
    recipes: Iterable[Recipe],
    *,
    scale: str = "small",
    seeds: int = 5,
    encoders: Iterable[str] = ENCODERS,
    variants: Iterable[int] = (),
) -> list[Plan]:
    """All runs, seed by seed, so that what is there at any time compares all encoders over the same seeds.

    Args:
        recipes: what to run.
        scale: "paper", or a scale that the recipes name.
        seeds: number of seeds, from 0 on.
        encoders: some of `ENCODERS`.
        variants: only these variants (horizons); all of the recipe if none is given.

    Raises:
        RecipeError: a recipe has no such scale or variant, or an encoder is unknown.
    """
    wanted = tuple(dict.fromkeys(encoders))
    for encoder in wanted:
        if encoder not in ENCODERS:
            raise RecipeError(f"expected encoders among {', '.join(ENCODERS)}, received {encoder!r}")
    only = tuple(dict.fromkeys(variants))
    found = []
    for recipe in recipes:
        if scale not in ("paper", *recipe.scales):
            known = ", ".join(("paper", *recipe.scales))
            raise RecipeError(f"{recipe.name}: expected a scale among {known}, received {scale!r}")
        unknown = set(only) - set(recipe.variants)
        if unknown:
            raise RecipeError(
                f"{recipe.name}: expected horizons among {recipe.variants or 'none'}, received {sorted(unknown)}"
            )
        for variant in only or recipe.variants or (None,):
            found += [Plan(recipe, scale, encoder, seed, variant) for seed in range(seeds) for encoder in wanted]
    return found


def reproduce(wanted: Iterable[Plan], results: Path) -> Iterator[tuple[Plan, Record | AarenError | None]]:
    """Run plans one after another; one that fails does not stop the others.

    Args:
        wanted: from `plans`.
        results: folder of records; unfinished runs lie in its folder ".unfinished" and go on from their last epoch.

    Yields:
        Every plan with its new record; None if it had one; or the error that it ended in, such as data that are not
        here or a loss that is not finite.
    """
    absent: dict[str, AarenError] = {}
    for plan in wanted:
        if is_done(plan, results):
            yield plan, None
            continue
        if plan.recipe.name in absent:
            yield plan, absent[plan.recipe.name]
            continue
        key = plan.key()
        name = "-".join(str(part) for part in key.values() if part is not None).replace("/", "-")
        unfinished = results / ".unfinished" / name
        try:
            outcome = _run(plan, unfinished)
        except DataError as error:  # which meets every encoder and seed of the data set
            absent[plan.recipe.name] = error
            yield plan, error
            continue
        except AarenError as error:
            yield plan, error
            continue
        record = write_record(results, plan, outcome)
        shutil.rmtree(unfinished, ignore_errors=True)
        yield plan, record


def _run(plan: Plan, unfinished: Path) -> dict[str, Any]:
    """Run a plan from where it stopped, or anew if what it left is of another version or damaged."""
    run = RUNS[plan.recipe.setting]
    try:
        return run(plan, unfinished)
    except ModelFileError:
        if not unfinished.is_dir():
            raise
        shutil.rmtree(unfinished)
        return run(plan, unfinished)
