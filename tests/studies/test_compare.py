"""From records to comparisons: paired by seed, the right way round, nothing that was not run."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_cases import record, write

from aaren.studies import METRICS, by_data_set, overall, ranks, read_rows


def test_rows_are_what_shares_settings(tmp_path: Path) -> None:
    """Runs of one recipe, variant, scale and settings are a row; a repeated run replaces the one before."""
    write(
        tmp_path,
        [
            record("forecasting/ETTh1", "aaren", 0, {"mse": 9.0}, variant=96),
            record("forecasting/ETTh1", "aaren", 0, {"mse": 0.4}, variant=96),
            record("forecasting/ETTh1", "aaren", 1, {"mse": 0.6}, variant=96),
            record("forecasting/ETTh1", "aaren", 0, {"mse": 0.5}, variant=192),
        ],
    )
    rows = read_rows(tmp_path)
    assert [(row.variant, row.settings) for row in rows] == [(96, "abc"), (192, "abc")]
    assert rows[0].cells["aaren"].mean == pytest.approx(0.5)
    assert rows[0].cells["aaren"].spread == pytest.approx(0.2 / 2**0.5)
    assert rows[1].cells["aaren"].spread is None


def test_runs_before_a_change_of_the_recipe_do_not_count(tmp_path: Path) -> None:
    """Of a recipe that changed, only the runs with the settings of the last record are compared."""
    old = [record("rl/A", name, 0, {"score": 10.0}, settings="old") for name in ("aaren", "transformer")]
    new = [record("rl/A", "aaren", seed, {"score": 50.0}, settings="new") for seed in range(2)]
    write(tmp_path, [*new[:1], *old, *new[1:]])
    (row,) = read_rows(tmp_path)
    assert row.settings == "new"
    assert row.cells.keys() == {"aaren"}
    assert row.cells["aaren"].values == {0: 50.0, 1: 50.0}


def test_runs_of_other_data_are_not_paired(tmp_path: Path) -> None:
    """Where the files of a set changed between runs, only those of the last record's files are compared."""
    old = [record("rl/A", name, seed, {"score": 10.0}) for seed in (0, 1) for name in ("aaren", "transformer")]
    new = [record("rl/A", name, 0, {"score": 50.0}) for name in ("aaren", "gru")]
    for one in new:
        one["run"]["data"] = {"train": {"sha256": "1" * 64}, "test": {"sha256": "2" * 64}}
    write(tmp_path, [new[0], *old, new[1]])
    (row,) = read_rows(tmp_path)
    assert {name: cell.values for name, cell in row.cells.items()} == {"aaren": {0: 50.0}, "gru": {0: 50.0}}


def test_a_result_that_is_no_number_is_worse_than_any(tmp_path: Path) -> None:
    """A data set on which an encoder failed is not left out: nothing is equivalent, and it ranks last there."""
    records = []
    for name, value in (("A", 1.0), ("B", 1.0), ("C", float("nan"))):
        records.append(record(f"events/{name}", "aaren", 0, {"nll": value}))
        records.append(record(f"events/{name}", "transformer", 0, {"nll": 1.0}))
    write(tmp_path, records)
    rows = read_rows(tmp_path)
    found = overall(rows, "aaren")
    assert found is not None
    assert not found.holds
    assert found.count == 3
    assert by_data_set(rows, "aaren")["events/C"] == float("inf")
    assert ranks(rows) == {"aaren": pytest.approx(5 / 3), "transformer": pytest.approx(4 / 3)}


def test_ranks_are_over_shared_seeds(tmp_path: Path) -> None:
    """Seeds that one encoder alone has do not move its rank."""
    records = [record("rl/A", "aaren", seed, {"score": score}) for seed, score in enumerate([10.0, 90.0, 90.0])]
    write(tmp_path, [*records, record("rl/A", "transformer", 0, {"score": 50.0})])
    assert ranks(read_rows(tmp_path)) == {"aaren": 2.0, "transformer": 1.0}


def test_differences_are_over_shared_seeds(tmp_path: Path) -> None:
    """A seed that only one of two encoders has does not count; without a shared one there is no difference."""
    write(
        tmp_path,
        [
            record("forecasting/ETTh1", "aaren", 0, {"mse": 0.5}),
            record("forecasting/ETTh1", "aaren", 1, {"mse": 50.0}),
            record("forecasting/ETTh1", "transformer", 0, {"mse": 0.4}),
            record("forecasting/ETTh1", "gru", 2, {"mse": 0.4}),
        ],
    )
    (row,) = read_rows(tmp_path)
    difference = row.difference("aaren")
    assert difference is not None
    assert difference.mean == pytest.approx(0.1)
    assert difference.pairs == 1
    assert row.difference("gru") is None
    assert row.difference("mingru") is None


@pytest.mark.parametrize(
    ("setting", "metric", "value", "reference", "margins"),
    [
        ("forecasting", "mse", 0.42, 0.4, 1.0),
        ("classification", "accuracy", 0.90, 0.94, 2.0),
        ("classification", "accuracy", 0.96, 0.94, -1.0),
        ("events", "nll", 1.0, 1.1, -2.0),
        ("rl", "score", 40.0, 50.0, 2.0),
    ],
)
def test_margins_are_the_right_way_round(
    tmp_path: Path, setting: str, metric: str, value: float, reference: float, margins: float
) -> None:
    """Worse is above 0 in every setting, whether its metric is an error or a score, and 1 is the margin."""
    name = f"{setting}/Set"
    write(tmp_path, [record(name, "aaren", 0, {metric: value}), record(name, "transformer", 0, {metric: reference})])
    assert by_data_set(read_rows(tmp_path), "aaren")[name] == pytest.approx(margins)


def test_variants_of_a_set_count_once(tmp_path: Path) -> None:
    """A set with several horizons or scales is one data set of the overall test, by its mean, and named apart."""
    records = []
    for name in ("ETTh1", "ETTh2"):
        for row in ({"variant": 96}, {"variant": 192}, {"variant": 192, "scale": "paper"}):
            records += [
                record(f"forecasting/{name}", "aaren", 0, {"mse": 0.403 if "scale" in row else 0.4}, **row),
                record(f"forecasting/{name}", "transformer", 0, {"mse": 0.4}, **row),
            ]
    write(tmp_path, records)
    rows = read_rows(tmp_path)
    assert [row.title for row in rows[:3]] == ["ETTh1, 96", "ETTh1, 192", "ETTh1, 192, paper's size"]
    found = overall(rows, "aaren")
    assert found is not None
    assert found.count == 2
    assert found.holds
    assert found.mean == pytest.approx((0 + 0 + 0.15) / 3)
    assert overall(rows[:3], "aaren") is None


def test_ranks_are_over_complete_rows(tmp_path: Path) -> None:
    """Rows that lack an encoder do not enter the mean rank, and higher is better where it is."""
    records = [
        record("classification/A", "aaren", 0, {"accuracy": 0.9}),
        record("classification/A", "gru", 0, {"accuracy": 0.8}),
        record("forecasting/B", "aaren", 0, {"mse": 0.9}),
        record("forecasting/B", "gru", 0, {"mse": 0.8}),
        record("forecasting/C", "aaren", 0, {"mse": 0.1}),
    ]
    write(tmp_path, records)
    assert ranks(read_rows(tmp_path)) == {"aaren": 1.5, "gru": 1.5}
    assert set(METRICS) == {"forecasting", "classification", "events", "rl"}
