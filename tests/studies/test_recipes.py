"""Recipes: one for each row of the paper, whose encoders differ in nothing else."""

from __future__ import annotations

import pytest
import torch

from aaren.data import data_sets, find_parts
from aaren.errors import DataError, RecipeError
from aaren.models import Forecaster
from aaren.studies import (
    ENCODERS,
    METRICS,
    SETTINGS,
    Recipe,
    _classification,
    _events,
    _forecasting,
    chosen,
    plans,
    recipes,
)
from aaren.training import TrainingOptions

NAMES = [recipe.name for recipe in recipes()]


def test_every_row_of_the_paper_has_a_recipe() -> None:
    """Each of the 38 rows has a recipe for its original set, and every set that stands for one has its own."""
    named = {recipe.dataset.name for recipe in recipes()}
    wanted = {one.name for one in data_sets() if one.row is not None}
    assert wanted - named == set()
    assert len({recipe.dataset.row for recipe in recipes() if recipe.dataset.row}) == 38


@pytest.mark.parametrize("recipe", [one for one in recipes() if one.setting == "rl"], ids=lambda one: one.name)
def test_no_dropout_is_small_without_dropout(recipe: Recipe) -> None:
    """What tells the scale no-dropout from small is the dropout alone."""
    small, other = (plans([recipe], scale=scale, seeds=1, encoders=["aaren"])[0] for scale in ("small", "no-dropout"))
    assert other.model == {**small.model, "dropout": 0.0} != small.model
    assert (other.part("training"), other.part("data")) == (small.part("training"), small.part("data"))


@pytest.mark.parametrize("recipe", recipes(), ids=NAMES)
def test_plans_differ_in_the_encoder_alone(recipe: Recipe) -> None:
    """At every scale, what tells the encoders of a recipe apart is `encoder` and, for one of them, `decay`."""
    for scale in ("paper", *recipe.scales):
        found = plans([recipe], scale=scale, seeds=1, variants=recipe.variants[:1])
        assert [plan.encoder for plan in found] == list(ENCODERS)
        shared = [
            {name: value for name, value in plan.model.items() if name not in ("encoder", "decay")} for plan in found
        ]
        assert all(one == shared[0] for one in shared)
        assert [plan.model["encoder"] for plan in found] == ["aaren", "aaren", "transformer", "gru", "mingru"]
        assert [bool(plan.model.get("decay")) for plan in found] == [False, True, False, False, False]
        assert all(plan.part("training") == found[0].part("training") for plan in found)
        assert all(plan.part("data") == found[0].part("data") for plan in found)
        assert {plan.key()["settings"] for plan in found} == {found[0].key()["settings"]}


def test_models_differ_in_the_encoder_alone() -> None:
    """Of a recipe's models, every weight outside of the encoder has the same shape, and the same first value."""
    recipe = next(recipe for recipe in recipes() if recipe.name == "forecasting/ETTh1")
    outside = []
    for plan in plans([recipe], seeds=1, variants=[96]):
        torch.manual_seed(0)
        model = Forecaster(inputs=7, targets=7, horizon=96, calendar=6, **plan.model)
        outside.append({name: value for name, value in model.state_dict().items() if not name.startswith("encoder.")})
    assert all(one.keys() == outside[0].keys() for one in outside)
    assert all(one[name].shape == outside[0][name].shape for one in outside for name in one)
    assert all(torch.equal(one["embed.weight"], outside[0]["embed.weight"]) for one in outside)


def test_the_parts_of_ett_are_the_published_ones() -> None:
    """The recipes of ETT train on 12 months of 30 days, and validate and test on 4 each."""
    hours = (12 * 30 * 24, 4 * 30 * 24, 4 * 30 * 24)
    for name, rows_an_hour in (("ETTh1", 1), ("ETTh2", 1), ("ETTm1", 4), ("ETTm2", 4)):
        (recipe,) = chosen((f"forecasting/{name}",))
        for plan in plans([recipe], seeds=1, encoders=["aaren"]):
            assert plan.part("data")["split"] == [rows_an_hour * one for one in hours]


@pytest.mark.parametrize("recipe", recipes(), ids=NAMES)
def test_every_recipe_is_sound(recipe: Recipe) -> None:
    """Its options are those of training, its scales change what there is, its metric has a margin."""
    for scale in ("paper", *recipe.scales):
        for plan in plans([recipe], scale=scale, seeds=1, encoders=["aaren"], variants=recipe.variants[:1]):
            options = plan.part("training")
            options.pop("steps", None)
            TrainingOptions(**options)
    for parts in recipe.scales.values():
        assert set(parts) <= {"data", "model", "training"}
    assert METRICS[recipe.setting].margin > 0
    assert "small" in recipe.scales


def test_targets_choose() -> None:
    """A setting stands for all of its recipes, a name for one, and none is chosen twice."""
    assert {recipe.setting for recipe in chosen(("forecasting",))} == {"forecasting"}
    assert [recipe.name for recipe in chosen(("forecasting/ETTh2", "forecasting/ETTh2"))] == ["forecasting/ETTh2"]
    assert len(chosen(SETTINGS)) == len(recipes())
    with pytest.raises(RecipeError, match=r"received 'forecasting/ETTh11'; did you mean forecasting/ETTh1\?"):
        chosen(("forecasting/ETTh11",))


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("classification/UWave", "classification/UWaveGestureLibrary"),
        ("forecasting/etth1", "forecasting/ETTh1"),
        ("ETTh1", "forecasting/ETTh1"),
        ("uwave", "classification/UWaveGestureLibrary"),
        ("FORECASTING", "forecasting"),
        ("events/", "events"),
        ("hopper-medium", "rl/Hopper-medium"),
    ],
)
def test_a_target_that_names_none_is_told_what_it_may_have_meant(target: str, meant: str) -> None:
    """Case, the setting and the rest of the name may be missing; what is like nothing has no hint."""
    with pytest.raises(RecipeError, match=rf"received '{target}'; did you mean {meant}\?"):
        chosen((target,))
    for nothing in ("", "zzzz"):
        with pytest.raises(RecipeError, match=f"received '{nothing}'; `aaren reproduce --list` names all"):
            chosen((nothing,))


READERS = {"forecasting": _forecasting.read, "classification": _classification.read, "events": _events.read}


def test_recipes_read_the_sets_that_are_here() -> None:
    """Whatever set of forecasting, classification and events is on this machine, its recipe reads and splits it."""
    count = 0
    for recipe in recipes():
        (plan,) = plans([recipe], seeds=1, encoders=["aaren"], variants=recipe.variants[:1])
        try:
            if recipe.setting == "rl" or not (recipe.dataset.files and find_parts(recipe.dataset.name)):
                continue
        except DataError:  # not here
            continue
        assert READERS[recipe.setting](plan)
        count += 1
    assert count >= 1  # ETTh1 comes with the package
