"""Runs of recipes: records as runs finish, skipped when done, gone on with after a kill, the same numbers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from study_cases import record, tiny, write

from aaren.errors import DataError, RecipeError
from aaren.studies import (
    ENCODERS,
    Plan,
    Recipe,
    _events,
    is_done,
    plans,
    read_records,
    read_rows,
    recipes,
    records_file,
    reproduce,
)
from aaren.training._fit import _Task


def run(plan: Plan, results: Path) -> dict[str, Any]:
    """Run one plan and return its record."""
    ((_, record),) = reproduce([plan], results)
    assert record is not None
    return record


def test_a_run_writes_its_record_and_is_skipped_afterwards(tmp_path: Path) -> None:
    """A record names recipe, settings, data, code and machine; a run that has one is not run again."""
    (plan,) = plans([tiny()], scale="tiny", seeds=1, encoders=["aaren"], variants=[12])
    assert not is_done(plan, tmp_path)
    record = run(plan, tmp_path)
    (read,) = read_records(records_file(tmp_path, plan.recipe))
    assert read == json.loads(json.dumps(record))
    assert read["data_set"] == {"name": "ETTh1", "row": "ETTh1", "status": "original"}
    assert set(read["metrics"]) == {"mse", "mae"}
    assert set(read["simple"]) == {"last value", "seasonal naive", "linear"}
    assert read["run"]["data"]["sha256"].startswith("3c56c865")
    assert read["run"]["config"]["horizon"] == 12
    assert read["code"].startswith("0.")
    assert is_done(plan, tmp_path)
    assert list(reproduce([plan], tmp_path)) == [(plan, None)]
    assert not (tmp_path / ".unfinished").exists() or not list((tmp_path / ".unfinished").iterdir())


def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was stopped in its second epoch goes on from the first and ends where an undisturbed run does."""
    (plan,) = plans([tiny()], scale="tiny", seeds=1, encoders=["transformer"], variants=[12])
    whole = run(plan, tmp_path / "whole")
    step, taken = _Task.training_step, []

    def stopped(self: _Task, batch: dict[str, object], index: int) -> object:
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, batch, index)

    def counted(self: _Task, batch: dict[str, object], index: int) -> object:
        taken.append(self.current_epoch)
        return step(self, batch, index)

    monkeypatch.setattr(_Task, "training_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path / "killed")
    assert not is_done(plan, tmp_path / "killed")
    monkeypatch.setattr(_Task, "training_step", counted)
    again = run(plan, tmp_path / "killed")
    assert set(taken) == {1}
    assert again["metrics"] == whole["metrics"]


def test_a_checkpoint_of_another_version_is_begun_anew(tmp_path: Path) -> None:
    """What an unfinished run left that cannot be gone on with does not stand in the way."""
    (plan,) = plans([tiny()], scale="tiny", seeds=1, encoders=["mingru"], variants=[12])
    whole = run(plan, tmp_path / "whole")
    name = "-".join(str(part) for part in plan.key().values() if part is not None).replace("/", "-")
    folder = tmp_path / "damaged" / ".unfinished" / name / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "last.safetensors").write_bytes(b"of another version")
    assert run(plan, tmp_path / "damaged")["metrics"] == whole["metrics"]


def test_an_unfinished_line_is_no_record(tmp_path: Path) -> None:
    """What a kill left of a line, or a line of something else, counts as nothing."""
    (plan,) = plans([tiny()], scale="tiny", seeds=1, encoders=["gru"], variants=[12])
    file = records_file(tmp_path, plan.recipe)
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"key": plan.key()}) + '\n{"key": {"rec')
    assert read_records(file) == []
    assert not is_done(plan, tmp_path)


def test_a_record_of_other_data_is_not_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is skipped if its record is of the files that are here, whatever their names; or if there are none."""
    monkeypatch.setenv("AAREN_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (recipe,) = (one for one in recipes() if one.name == "classification/FaceDetection")
    (plan,) = plans([recipe], seeds=1, encoders=["aaren"])
    files = {part: tmp_path / f"FaceDetection_{part}.ts" for part in ("TRAIN", "TEST")}
    for part, file in files.items():
        file.write_text(part)
    digest = {part: hashlib.sha256(part.encode()).hexdigest() for part in files}
    one = record(recipe.name, "aaren", 0, {"accuracy": 0.5}) | {"key": plan.key()}
    one["run"]["data"] = {"sha256": digest["TRAIN"], "test_sha256": digest["TEST"]}
    write(tmp_path / "results", [one])
    assert is_done(plan, tmp_path / "results")
    one["run"]["data"].pop("test_sha256")  # an older record, which the page does not show beside newer ones
    write(tmp_path / "older", [one])
    assert not is_done(plan, tmp_path / "older")
    files["TEST"].write_text("another")
    assert not is_done(plan, tmp_path / "results")
    files["TEST"].unlink()
    assert is_done(plan, tmp_path / "results")


def test_a_changed_recipe_is_another_run(tmp_path: Path) -> None:
    """Settings, seed, encoder, scale and variant all tell runs apart; the same ones do not."""
    recipe = tiny()
    found = plans([recipe], scale="tiny", seeds=2)
    keys = [json.dumps(plan.key(), sort_keys=True) for plan in found]
    assert len(set(keys)) == len(keys) == 2 * 2 * len(ENCODERS)
    assert [plan.key() for plan in plans([tiny()], scale="tiny", seeds=2)] == [plan.key() for plan in found]
    recipe.scales["tiny"]["training"]["epochs"] = 3  # type: ignore[index]
    assert all(plan.key() != json.loads(key) for plan, key in zip(found, keys, strict=True))


def test_seeds_come_before_encoders() -> None:
    """All encoders of a seed run before the next seed, so that what is there compares them at any time."""
    found = plans([tiny()], scale="tiny", seeds=2, variants=[24])
    assert [(plan.seed, plan.encoder) for plan in found] == [(seed, one) for seed in (0, 1) for one in ENCODERS]


def test_wrong_names_are_refused() -> None:
    """An unknown encoder, scale or horizon is refused with those that there are."""
    with pytest.raises(RecipeError, match=r"aaren, aaren-decay, .*received 'lstm'"):
        plans([tiny()], scale="tiny", encoders=["lstm"])
    with pytest.raises(RecipeError, match=r"a scale among paper, tiny, received 'huge'"):
        plans([tiny()], scale="huge")
    with pytest.raises(RecipeError, match=r"horizons among \(12, 24\), received \[7\]"):
        plans([tiny()], scale="tiny", variants=[7])


SMALL_MODEL = {"d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 8}


@pytest.mark.parametrize(
    ("name", "smaller", "metrics", "simple"),
    [
        (
            "classification/BasicMotions",
            {"model": SMALL_MODEL, "training": {"epochs": 2}},
            {"accuracy", "log_loss", "calibration_error"},
            {"most frequent class", "nearest neighbour", "nearest, normalised"},
        ),
        (
            "events/Taxi-unmarked",
            {"model": {**SMALL_MODEL, "nhead": 1}, "training": {"epochs": 1}},
            {"nll", "nll_time", "nll_mark", "rmse", "accuracy", "ks"},
            {"Poisson", "renewal log-normal"},
        ),
        (
            "rl/Hopper-medium-expert-regenerated",
            {
                "data": {"episodes": 1},
                "model": {**SMALL_MODEL, "nhead": 1},
                "training": {"steps": 2, "epochs": 1, "batch_size": 4, "warmup_steps": 0},
            },
            {"return", "score", "return_streamed", "score_streamed"},
            {"the data's own episodes"},
        ),
    ],
)
def test_every_setting_runs(
    name: str, smaller: dict[str, dict[str, object]], metrics: set[str], simple: set[str], tmp_path: Path
) -> None:
    """A run of each setting, on real data, leaves a record of its metrics and of what does without an encoder."""
    recipe = next(recipe for recipe in recipes() if recipe.name == name)
    tiny_recipe = Recipe(name, (), recipe.data, recipe.model, recipe.training, {"tiny": smaller})
    (plan,) = plans([tiny_recipe], scale="tiny", seeds=1, encoders=["aaren-decay"])
    record = run(plan, tmp_path)
    assert set(record["metrics"]) == metrics
    assert set(record["simple"]) == simple
    assert record["run"]["config"]["decay"] == ("time" if name.startswith("events") else "learned")
    assert is_done(plan, tmp_path)
    (row,) = read_rows(tmp_path)
    assert row.cells["aaren-decay"].mean == record["metrics"][row.metric.name]


def test_every_set_that_is_here_is_read_as_its_recipe_says() -> None:
    """For each event recipe whose data are here, the three parts are there and do not share a sequence."""
    read = 0
    for recipe in recipes():
        if recipe.setting != "events":
            continue
        (plan,) = plans([recipe], seeds=1, encoders=["aaren"])
        if recipe.dataset.status == "original" and recipe.dataset.name != "Wiki":
            with pytest.raises(DataError, match="is not there"):
                _events.read(plan)
            continue
        parts = _events.read(plan)
        names = [{one.name for one in part.sequences} for part in parts]
        assert all(names), recipe.name
        if len({part.sha256 for part in parts}) == 1:
            assert not names[0] & names[1], recipe.name
            assert not (names[0] | names[1]) & names[2], recipe.name
        read += 1
    assert read >= 9
