"""Recipes: one small file for each row of the paper's tables and for each set that stands for one."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aaren.data import DataSet, named_set
from aaren.errors import RecipeError

FOLDER = Path(__file__).parent / "recipes"
SETTINGS = ("forecasting", "classification", "events", "rl")
ENCODERS = ("aaren", "aaren-decay", "transformer", "gru", "mingru")
"""What every data set is run with; "aaren-decay" is Aaren whose older tokens fade."""


@dataclass(frozen=True)
class Recipe:
    """How one data set is run.

    Args:
        name: setting and data set, such as "forecasting/ETTh1".
        variants: what the paper's table has a row each for, such as the horizons; () where there is but one.
        data: how the set is read and split.
        model: the paper's hyperparameters, without the encoder.
        training: the paper's training options.
        scales: for each named scale, what of model, training and data differs.
    """

    name: str
    variants: tuple[int, ...]
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    training: Mapping[str, Any]
    scales: Mapping[str, Mapping[str, Mapping[str, Any]]]

    @property
    def setting(self) -> str:
        """One of "forecasting", "classification", "events", "rl"."""
        return self.name.split("/")[0]

    @property
    def dataset(self) -> DataSet:
        """The data set, from the registry."""
        return named_set(self.name.split("/")[1])


@dataclass(frozen=True)
class Plan:
    """One run: all that decides its numbers, but for code, machine and the bytes of the data.

    Args:
        recipe: the recipe.
        scale: "paper", or a scale that the recipe names.
        encoder: one of `ENCODERS`.
        seed: of weights, order and dropout.
        variant: one of the recipe's variants, or None where it has none.
    """

    recipe: Recipe
    scale: str
    encoder: str
    seed: int
    variant: int | None = None

    def part(self, name: str) -> dict[str, Any]:
        """The settings of a part, "data", "model" or "training", at this scale."""
        smaller = {} if self.scale == "paper" else self.recipe.scales[self.scale].get(name, {})
        return {**getattr(self.recipe, name), **smaller}

    @property
    def model(self) -> dict[str, Any]:
        """Fields of the model's configuration; plans that differ in the encoder differ in its fields alone."""
        fields = self.part("model")
        if self.encoder == "aaren-decay":
            # time between events is part of the data, rows of a table are equally spaced
            return {**fields, "encoder": "aaren", "decay": "time" if self.recipe.setting == "events" else "learned"}
        return {**fields, "encoder": self.encoder}

    def key(self) -> dict[str, Any]:
        """What tells this run's record from all others; a changed recipe makes another run of it."""
        settings = {name: self.part(name) for name in ("data", "model", "training")}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return {
            "recipe": self.recipe.name,
            "variant": self.variant,
            "scale": self.scale,
            "encoder": self.encoder,
            "seed": self.seed,
            "settings": digest[:16],
        }


@functools.cache
def recipes() -> tuple[Recipe, ...]:
    """All recipes, by setting and in the order of the paper's tables, then what stands for its rows.

    Example:
        >>> [recipe.name for recipe in recipes()][:2]
        ['forecasting/ETTh1', 'forecasting/ETTh2']
    """
    found = []
    for setting in SETTINGS:
        paths = {path.stem: path for path in (FOLDER / setting).glob("*.toml")}
        found += [_read(f"{setting}/{name}", paths[name]) for name in _registered(setting) if name in paths]
    return tuple(found)


def _registered(setting: str) -> list[str]:
    from aaren.data import data_sets

    order = ("original", "generated", "partial", "regenerated", "substitute", "extra")
    named = [one for one in data_sets() if one.setting == setting]
    return [one.name for one in sorted(named, key=lambda one: order.index(one.status))]


def _read(name: str, path: Path) -> Recipe:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    return Recipe(
        name,
        tuple(content.get("horizons", ())),
        content.get("data", {}),
        content["model"],
        content["training"],
        content.get("scale", {}),
    )


def chosen(targets: tuple[str, ...]) -> list[Recipe]:
    """The recipes that targets name: a setting stands for all of its own, SETTING/DATASET for one.

    Raises:
        RecipeError: a target names none.
    """
    found: list[Recipe] = []
    for target in targets:
        named = [recipe for recipe in recipes() if target in (recipe.setting, recipe.name)]
        if not named:
            hint = f"; did you mean {near}?" if (near := _nearest(target)) else ""
            raise RecipeError(
                f"expected a setting ({', '.join(SETTINGS)}) or SETTING/DATASET, received {target!r}{hint}; "
                "`aaren reproduce --list` names all"
            )
        found += [recipe for recipe in named if recipe not in found]
    return found


def _nearest(target: str) -> str | None:
    """The setting or recipe that a target that names none may have meant, in whatever case, with or without setting."""
    names = [*SETTINGS, *(recipe.name for recipe in recipes())]
    short = {part.casefold(): name for name in reversed(names) for part in (name, name.split("/")[-1])}
    said = target.strip("/").casefold()
    begun = [part for part in reversed(short) if said and part.startswith(said)]
    near = ([said] if said in short else begun) or difflib.get_close_matches(said, short, n=1)
    return short[near[0]] if near else None
