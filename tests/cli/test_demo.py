"""`aaren demo`, run once, quick, from beginning to end."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aaren
from aaren.cli import _demo, _demo_stream
from aaren.cli._app import run
from aaren.evaluation import DemoResults, error_rows, render_report


@dataclass(frozen=True)
class _Run:
    code: int
    output: Path
    stdout: str
    stderr: str
    data: dict[str, Any]
    page: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> _Run:
    """One quick run and what it left."""
    output = tmp_path_factory.mktemp("demo") / "out put"
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = run(["demo", "--quick", "--output", str(output)])
    data = json.loads((output / "demo.json").read_text(encoding="utf-8"))
    page = (output / "report.html").read_text(encoding="utf-8")
    return _Run(code, output, stdout.getvalue(), stderr.getvalue(), data, page)


def test_table_has_all_models_and_simple_forecasts(finished: _Run) -> None:
    """The table holds three models and three simple forecasts with the errors that demo.json has."""
    assert finished.code == 0
    rows = error_rows(DemoResults.from_dict(finished.data))
    assert {row[0] for row in rows} == {"Aaren", "Transformer", "GRU", "last value", "seasonal naive", "linear"}
    for row in rows:
        line = next(line for line in finished.stdout.splitlines() if f" {row[0]} " in line)
        assert all(cell in line for cell in row)


def test_quick_run_says_so(finished: _Run) -> None:
    """Screen and page say that the errors of a quick run mean nothing."""
    assert "Quick run" in finished.stdout
    assert "Quick run" in finished.page


def test_streaming_equals_parallel(finished: _Run) -> None:
    """The forecasts of all test rows are the same, streamed and in parallel, to rounding."""
    stream, split = finished.data["stream"], finished.data["source"]["split"]
    assert 0 < stream["largest_difference"] <= 1e-4
    assert max(stream["differences"]) == stream["largest_difference"]
    assert stream["rows"] == sum(split)
    assert stream["compared"] == split[2] + 1
    np.testing.assert_allclose(stream["streamed"], stream["parallel"], atol=1e-3)


def test_memory_of_aaren_is_constant(finished: _Run) -> None:
    """The stream's state and the encoder's state have the same size at the end as at the start; a cache grows."""
    stream, cost = finished.data["stream"], finished.data["cost"]
    assert stream["state_bytes_first"] == stream["state_bytes_last"] > 0
    assert len(set(cost["aaren_bytes"])) == 1
    assert cost["transformer_bytes"][0] == 0
    assert len(set(np.diff(cost["transformer_bytes"]))) == 1
    for name in ("aaren_seconds", "transformer_seconds"):
        assert (np.diff(cost[name]) > 0).all()
        assert len(cost[name]) == len(cost["tokens"]) == 51


def test_attention_is_spread_over_the_past(finished: _Run) -> None:
    """Every head's weights over all rows of the past sum to 1."""
    attention = finished.data["attention"]
    assert attention["rows"] == sum(finished.data["source"]["split"])
    assert len(attention["heads"]) == 2 * 4
    for head in attention["heads"]:
        assert (np.diff(head["share"]) >= 0).all()
        assert head["share"][-1] == pytest.approx(1)
        assert 1 <= head["median_age"] <= attention["rows"]


def test_shown_forecasts_are_those_of_the_saved_model(finished: _Run) -> None:
    """The forecast in the plot is what the saved model says when it is loaded and streamed again."""
    from aaren.data import find, read_series

    week, stop = finished.data["forecasts"][0], sum(finished.data["source"]["split"])
    series = read_series(find("ETTh1"), targets="all").series[0]
    live, last = aaren.load(finished.output / "aaren").stream(), stop - 24
    for row in range(last):
        prediction = live.update([series.times[row], *series.values[row]])
    assert prediction.targets[-1] == week["column"] == "OT"
    np.testing.assert_allclose(week["mean"][-24:], prediction.mean[:, -1], rtol=1e-6)
    np.testing.assert_allclose(week["upper"][-24:], prediction.quantiles[:, -1, -1], rtol=1e-6)
    np.testing.assert_array_equal(week["truth"][-24:], series.values[last:stop, -1])
    assert week["times"][-24:] == [str(time) for time in series.times[last:stop].astype("datetime64[s]")]


def test_page_is_made_from_demo_json(finished: _Run) -> None:
    """Every number on the page is in demo.json: the page made from it again is the same, byte for byte."""
    assert render_report(DemoResults.from_dict(finished.data)) == finished.page


def test_page_is_self_contained(finished: _Run) -> None:
    """The page is one file of at most 2 MB that refers to nothing outside but by links to follow."""
    assert len(finished.page.encode()) <= 2_000_000
    without_links = re.sub(r'<a href="https://[^"]*">', "", finished.page)
    for attribute in re.findall(r'(?:src|href|action|data)="([^"]*)"', without_links):
        assert attribute.startswith("#")
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", finished.page))
    assert "<script" not in finished.page


def test_data_is_attributed(finished: _Run) -> None:
    """Screen and page say whose data it is and under which licence."""
    for text in (finished.stderr, finished.page):
        assert "Haoyi Zhou" in text
        assert "CC BY-ND 4.0" in text


def test_stages_and_next_steps_are_said(finished: _Run) -> None:
    """Standard error has a line with the time of every stage, where the page is, and what to run next."""
    for stage in finished.data["seconds"]:
        assert re.search(rf"^{stage}: \d+\.\d s$", finished.stderr, re.MULTILINE)
    assert f"The report: {(finished.output / 'report.html').resolve()}" in finished.stderr
    for _, command in finished.data["commands"]:
        assert command in finished.stderr


def test_next_command_works(finished: _Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The first command that is offered runs as it stands."""
    program, *arguments = shlex.split(finished.data["commands"][0][1])
    assert program == "aaren"
    assert run(arguments) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 24


def test_json_prints_everything(
    finished: _Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json standard output is one line, the content of demo.json."""
    monkeypatch.setattr(_demo, "run_demo", lambda *arguments: DemoResults.from_dict(finished.data))
    assert run(["demo", "--json", "-o", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0]) == finished.data


def test_stream_that_differs_is_not_passed_over(finished: _Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If streaming differed from parallel by more than rounding, the demo would stop and say so."""
    monkeypatch.setattr(_demo_stream, "LIMIT", finished.data["stream"]["largest_difference"] / 2)
    from aaren.data import find, read_series
    from aaren.evaluation import parallel_forecasts, prepare

    table = read_series(find("ETTh1"), targets="all")
    prepared = prepare(table, (60, 60, 200))
    model = aaren.Forecaster(inputs=7, targets=7, horizon=24, calendar=prepared.calendar.shape[1], quantiles=(0.1, 0.9))
    model.preprocessing = prepared.preprocessing
    streamed = _demo_stream.stream_rows(model, table, 120, 320)
    mean, quantiles = parallel_forecasts(model, prepared, 0, 320)
    with pytest.raises(RuntimeError, match="streaming differs from parallel"):
        _demo_stream.stream_check(
            prepared, streamed, (mean + 1e-3, quantiles), _demo_stream.iso_times(table, 320), "OT"
        )


def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An output folder that cannot be made ends at once, with one line that names it."""
    (tmp_path / "file").write_text("")
    assert run(["demo", "-o", str(tmp_path / "file" / "demo")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert str(tmp_path / "file") in captured.err


def test_missing_matplotlib_is_said_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without matplotlib the demo ends before it does anything, and says how to install it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(["demo", "--quick", "-o", str(tmp_path / "out")]) == 1
    assert "pip install 'aaren[report]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
