"""The first forecasts of a stream are marked: they rest on fewer rows than the model was trained with."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aaren import Forecaster
from aaren.data import SeriesSet
from aaren.streaming import forecast_after

Rows = Callable[..., list[dict[str, Any]]]


def flags(model: Forecaster, rows: list[dict[str, Any]], **options: Any) -> list[bool]:
    """What a new stream says of each forecast."""
    live = model.stream(**options)
    return [live.update(row).to_dict()["warming_up"] for row in rows]


def test_the_look_back_warms_up(model: Forecaster, etth1: SeriesSet, rows_of: Rows) -> None:
    """By default forecasts after fewer rows than the look-back are marked; the option says how many, 0 none."""
    rows, look_back = rows_of(etth1, 0, 60), model.config.look_back
    assert flags(model, rows) == [True] * (look_back - 1) + [False] * (60 - look_back + 1)
    assert flags(model, rows, warmup=10) == [True] * 9 + [False] * 51
    assert not any(flags(model, rows, warmup=0))
    with pytest.raises(ValueError, match="warmup: expected a whole number of rows, at least 0, received -1"):
        model.stream(warmup=-1)


def test_rows_that_were_left_out_do_not_count(model: Forecaster, etth1: SeriesSet, rows_of: Rows) -> None:
    """Only rows that the model took warm it up."""
    rows = rows_of(etth1, 0, 8)
    live = model.stream(warmup=5, on_bad_row="skip")
    said = []
    for row in rows:
        live.update({**row, "OT": math.nan})
        said.append(live.update(row).warming_up)
    assert said == [True] * 4 + [False] * 4


def test_a_restart_does_not_begin_anew(model: Forecaster, etth1: SeriesSet, rows_of: Rows, tmp_path: Path) -> None:
    """A stream that goes on from a snapshot is as warm as the one that was saved."""
    rows = rows_of(etth1, 0, 12)
    for cut in (0, 3, 6, 9):
        live = model.stream(warmup=6)
        said = [live.update(row).warming_up for row in rows[:cut]]
        live.save(tmp_path / "state")
        again = model.stream(tmp_path / "state", warmup=6)
        said += [again.update(row).warming_up for row in rows[cut:]]
        assert said == [True] * 5 + [False] * 7


def test_one_pass_says_the_same(model: Forecaster, etth1: SeriesSet) -> None:
    """A forecast from the end of a short table is marked as that of a stream is."""
    from dataclasses import replace

    for rows, expected in ((47, True), (48, False)):
        one = etth1.series[0]
        assert one.times is not None
        short = replace(etth1, series=(replace(one, times=one.times[:rows], values=one.values[:rows]),))
        assert [said.warming_up for said in forecast_after(model, short).values()] == [expected]
