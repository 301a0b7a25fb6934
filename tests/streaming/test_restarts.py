"""A stream that was saved and restored goes on bit for bit like one that never stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aaren import Forecaster, Stream
from aaren.data import SeriesSet

Rows = Callable[..., list[dict[str, Any]]]
Bits = Callable[[Stream], list[bytes]]
Answers = Callable[..., list[dict[str, Any] | None]]

_CONTINUE = """
import json, sys
import torch
import aaren
torch.set_num_threads(1)
model, state, rows = sys.argv[1:]
stream = aaren.Stream(aaren.load(model), state, on_bad_row="skip")
said = [stream.update(row) for row in json.loads(open(rows).read())]
print(json.dumps([None if one is None else one.to_dict() for one in said]))
stream.save(state)
"""


@pytest.fixture(scope="session")
def troubled(etth1: SeriesSet, rows_of: Rows) -> list[dict[str, Any]]:
    """Eighty rows with missing cells, bad cells, absent rows and rows out of order."""
    generator = np.random.default_rng(2)
    rows = rows_of(etth1, 0, 80)
    for index in range(1, 80):
        column = ("OT", "HUFL", "MUFL")[generator.integers(3)]
        chance = generator.random()
        if chance < 0.15:
            rows[index][column] = None
        elif chance < 0.25:
            rows[index][column] = "broken"
        elif chance < 0.35:
            rows[index] = rows[index - 1]
    del rows[20:25], rows[40]
    return rows


def test_saved_at_any_row_and_restored(
    any_model: Forecaster, troubled: list[dict[str, Any]], answers: Answers, bits: Bits, tmp_path: Path
) -> None:
    """Cut at random rows, among them the first and the last, a stream says and holds the same bits as without cuts."""
    whole = any_model.stream(on_bad_row="skip")
    expected = answers(whole, troubled)
    assert whole.skipped > 5
    assert expected.count(None) == whole.skipped
    cuts = sorted({0, 1, len(troubled), *np.random.default_rng(3).integers(2, len(troubled), 5).tolist()})
    said: list[Any] = []
    state = tmp_path / "state"
    for start, stop in zip([0, *cuts], [*cuts, len(troubled)], strict=True):
        stream = any_model.stream(state, on_bad_row="skip")
        said += answers(stream, troubled[start:stop])
        stream.save(state)
    assert said == expected
    last = any_model.stream(state, on_bad_row="skip")
    assert bits(last) == bits(whole)
    assert (last.rows, last.skipped, last.last_taken, last.time) == (
        whole.rows,
        whole.skipped,
        whole.last_taken,
        whole.time,
    )


def test_restored_in_another_process(
    model: Forecaster, troubled: list[dict[str, Any]], answers: Answers, bits: Bits, tmp_path: Path
) -> None:
    """Model and state on disk are all that another process needs to go on bit for bit."""
    whole = model.stream(on_bad_row="skip")
    expected = answers(whole, troubled)
    first = model.stream(on_bad_row="skip")
    answers(first, troubled[:33])
    first.save(tmp_path / "state")
    model.save(tmp_path / "model")
    (tmp_path / "rows.json").write_text(json.dumps(troubled[33:]))
    command = [sys.executable, "-c", _CONTINUE, "model", "state", "rows.json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == expected[33:]
    assert bits(model.stream(tmp_path / "state")) == bits(whole)


def test_saving_changes_nothing(model: Forecaster, etth1: SeriesSet, rows_of: Rows, bits: Bits, tmp_path: Path) -> None:
    """A save leaves the stream as it is, writes one file with the usual permissions, and replaces the one before."""
    stream, state = model.stream(), tmp_path / "state"
    for row in rows_of(etth1, 0, 5):
        stream.update(row)
        before = bits(stream)
        stream.save(state)
        assert bits(stream) == before
    (tmp_path / "other").touch()
    assert state.stat().st_mode == (tmp_path / "other").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "state"]
    assert model.stream(str(state)).rows == 5


def test_no_file_is_a_new_stream(model: Forecaster, tmp_path: Path) -> None:
    """A state file that is not there yet starts a new stream and is not made."""
    assert model.stream(tmp_path / "state").rows == 0
    assert not list(tmp_path.iterdir())
