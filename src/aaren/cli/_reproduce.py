"""`aaren reproduce`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from aaren.cli._common import require_writable_folder

Flag = Parameter(negative=())
Many = Parameter(negative=())


def reproduce(
    *targets: str,
    scale: str = "small",
    seeds: int = 5,
    encoder: Annotated[list[str] | None, Many] = None,
    horizon: Annotated[list[str] | None, Many] = None,
    results: Path = Path("results"),
    tables: Path | None = None,
    list: Annotated[bool, Flag] = False,  # noqa: A002
) -> int:
    """Run the paper's comparison, or a part of it, and write a record of each run.

    A run that has a valid record is skipped, one that was killed goes on from its last epoch, and records are
    written as runs finish: start it again as often as you like. A data set that is not here is passed over with a word.

    Parameters
    ----------
    targets
        Settings (forecasting, classification, events, rl) or SETTING/DATASET, such as forecasting/ETTh1.
    scale
        "paper" for the paper's sizes, or another scale that the recipes name: small, mostly a smaller budget, and for
        rl no-dropout.
    seeds
        Number of seeds, at most 1000.
    encoder
        Only these of aaren, aaren-decay, transformer, gru, mingru; repeat it, or give several with commas.
    horizon
        Only these horizons (forecasting); repeat it, or give several with commas.
    results
        Folder of records.
    tables
        Write results.md, a page of runs for each data set and the plot into this folder, after the runs; with no
        target, nothing is run.
    list
        Name all recipes with their data set's status and the number of runs that have a record, and run nothing.
    """
    from aaren.cli._common import names
    from aaren.errors import AarenError
    from aaren.studies import ENCODERS, chosen, is_done, plans, recipes, write_tables
    from aaren.studies import reproduce as run_plans

    if not 1 <= seeds <= 1000:
        raise ValueError(f"--seeds: expected 1 to 1000, received {seeds}")
    found = chosen(targets) if targets else [*recipes()]
    if tables is not None:
        require_writable_folder(tables)
    if not targets and not list and tables is None:
        raise ValueError("expected a setting or SETTING/DATASET to run; `aaren reproduce --list` names all")
    horizons = _whole_numbers(names(horizon))
    if (horizon and not horizons) or (encoder and not names(encoder)):
        raise ValueError("--horizon, --encoder: expected at least one, received none")
    if horizons and not targets:
        found = [recipe for recipe in found if set(horizons) <= set(recipe.variants)]
        if not found:
            raise ValueError(f"--horizon: no recipe has {', '.join(map(str, horizons))}")
    encoders = names(encoder) or [*ENCODERS]
    wanted = plans(found, scale=scale, seeds=seeds, encoders=encoders, variants=horizons)
    if list:
        for recipe in found:
            own = [plan for plan in wanted if plan.recipe is recipe]
            done = sum(is_done(plan, results) for plan in own)
            print(f"{recipe.name:<44} {recipe.dataset.status:<12} {done} of {len(own)} runs recorded")
        return 0
    require_writable_folder(results)
    wanted = wanted if targets else []
    failed, said = 0, ""
    for number, (plan, record) in enumerate(run_plans(wanted, results), 1):
        place = f"[{number}/{len(wanted)}] {plan.recipe.name}"
        what = f"{place}{'' if plan.variant is None else f' {plan.variant}'} {plan.encoder} seed {plan.seed}"
        if record is None:
            print(f"{what}: has its record", file=sys.stderr)
            continue
        if isinstance(record, AarenError):
            failed += 1
            if str(record) != said:  # once for a data set that is not here, not once for each of its runs
                said = str(record)
                print(f"aaren: {what}: {said}", file=sys.stderr)
            continue
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items() if value is not None)
        print(f"{what}: {metrics} ({record['run']['seconds']:.0f} s)", flush=True)
    if tables is not None:
        for file in write_tables(results, tables):
            print(file)
    if failed:
        print(f"aaren: {failed} of {len(wanted)} runs have no record", file=sys.stderr)
    return int(failed > 0)


def _whole_numbers(given: Sequence[str]) -> tuple[int, ...]:
    if not all(text.isascii() and text.isdigit() for text in given):
        raise ValueError(f"--horizon: expected whole numbers, received {', '.join(given)}")
    return tuple(int(text) for text in given)
