"""The runner on numpy: the numbers of PyTorch, the words of the stream, a state in its caller's hands."""

from __future__ import annotations

import ast
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import export_cases as cases
import numpy as np
import pytest

import aaren.export
from aaren import Forecaster
from aaren.data import find, read_series
from aaren.errors import DataError, ModelFileError
from aaren.evaluation import prepare
from aaren.export import export, in_deviations, open_export
from aaren.export._answers import answer, largest_difference
from aaren.export.runner import _mixture
from aaren.export.runner._safetensors import read_safetensors
from aaren.models import EventDistribution

BAR = 1e-5
Exported = Callable[[cases.Case], Path]


def agree(model: Any, runner: Any, rows: list[Any], resets: Any = ()) -> dict[str, float]:
    """The largest differences of what a runner and the model's stream say to the same rows, in deviations."""
    stream, worst = model.stream(), {}
    known = model.preprocessing.to_dict()
    for number, row in enumerate(rows):
        if number in resets:
            runner.reset()
            stream = model.stream()
        ours, theirs = (
            in_deviations(model.kind, known, {name: value[None] for name, value in one.items()})
            for one in (runner.update(row), answer(stream, row))
        )
        assert set(ours) == set(theirs) == {spec.name for spec in runner.manifest.outputs}
        for name, value in theirs.items():
            assert ours[name].shape == value.shape, name
            worst[name] = max(worst.get(name, 0.0), largest_difference(ours[name], value))
    return worst


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_every_model_says_the_same(case: cases.Case, exported: Exported) -> None:
    """Every kind, encoder and decay gives PyTorch's numbers on real rows with holes, gaps and several series."""
    model = case.model()
    found = case.rows(250)
    rows, resets = list(found.rows), set(found.resets)
    if model.kind in ("forecaster", "classifier"):
        rows = cases.with_holes(rows, 2)
        resets = {number for number in resets if number < len(rows)}
    with open_export(exported(case)) as runner:
        assert max(agree(model, runner, rows, resets).values()) <= BAR


def test_irregular_times_and_names_of_series(tmp_path: Path) -> None:
    """Times in parts, irregular ones with decay by time, and a column of series go through the front as in a stream."""
    lines = ["year,month,day,hour,load,wind,station"]
    hour = 0
    for row in range(80):
        hour += 1 + (row * 7) % 5
        lines.append(f"2019,3,{1 + hour // 24},{hour % 24},{row % 9},{'' if row % 11 == 4 else row % 4},north")
    path = tmp_path / "table.csv"
    path.write_text("\n".join([*lines, ""]))
    time = ["year", "month", "day", "hour"]
    table = read_series(path, targets=["load"], covariates=["wind"], time=tuple(time), series_id="station")
    data = prepare(table, (0.6, 0.2, 0.2))
    assert data.preprocessing.irregular
    model = cases.drawn(
        Forecaster,
        preprocessing=data.preprocessing,
        inputs=2,
        targets=1,
        calendar=data.calendar.shape[1],
        horizon=3,
        decay="time",
        **cases.SIZES,
    )
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    with open_export(export(model, tmp_path / "out").directory) as runner:
        assert max(agree(model, runner, rows).values()) <= BAR
        with pytest.raises(DataError, match="expected rows of series 'north', received 'south'"):
            runner.update({**rows[-1], "station": "south"})


def test_dated_events_in_a_table(tmp_path: Path) -> None:
    """Dates, marks by name and a column of sequences: the numbers and the lines of the stream."""
    lines = ["when,what,who"] + [
        f"2021-05-{1 + i // 5:02d}T{(i * 5) % 24:02d}:{i:02d}:00Z,m{i % 3},a" for i in range(60)
    ]
    path = tmp_path / "events.csv"
    path.write_text("\n".join(sorted(lines[:1]) + sorted(lines[1:]) + [""]))
    from aaren import EventModel
    from aaren.data import read_events
    from aaren.models import EventPreprocessing

    events = read_events(path, time="when", mark="what", sequence="who")
    known = EventPreprocessing.fit(events)
    model = cases.drawn(EventModel, marks=3, preprocessing=known, **cases.SIZES)
    rows = [dict(zip(("when", "what", "who"), line.split(","), strict=True)) for line in sorted(lines[1:])]
    runner = open_export(export(model, tmp_path / "out").directory)
    assert max(agree(model, runner, rows).values()) <= BAR
    stream = model.stream()
    runner.reset()
    for row in rows[:5]:
        same_line(runner.front.line(1, runner.update(row)), {**stream.update(row).to_dict(), "row": 1})


def same_line(ours: Any, theirs: Any, place: str = "") -> None:
    """Two plain answers are the same, numbers to float32."""
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs), place
        for name, value in theirs.items():
            same_line(ours[name], value, f"{place}.{name}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), place
        for index, value in enumerate(theirs):
            same_line(ours[index], value, f"{place}[{index}]")
    elif isinstance(theirs, float) and not isinstance(ours, str):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5), place
    elif isinstance(theirs, str) and place.startswith(".next"):
        assert ours[:16] == theirs[:16], place  # a time, which float32 moves by fractions of a second
    else:
        assert ours == theirs, place


def csv_of(columns: tuple[str, ...], rows: list[Any]) -> str:
    """Rows as comma-separated text with a header."""
    lines = [",".join("" if cell is None else str(cell) for cell in row) for row in rows]
    return "\n".join([",".join(columns), *lines, ""])


@pytest.mark.parametrize("case", cases.KINDS, ids=lambda case: case.name)
def test_runs_with_numpy_alone(case: cases.Case, exported: Exported, numpy_alone: Any, tmp_path: Path) -> None:
    """`python out/run.py` needs neither PyTorch nor this library; it writes what `aaren stream` writes, resumed too."""
    model, out = case.model(), exported(case)
    found = case.rows(12)
    rows = list(found.rows[: (found.resets or [12])[0]])
    columns = open_export(out).front.columns
    alone = numpy_alone(
        "-c",
        "import numpy\nfor name in ('torch', 'aaren', 'safetensors'):\n try: __import__(name)\n"
        " except ImportError: continue\n raise SystemExit(name)",
    )
    assert alone.returncode == 0, alone
    state, lines = tmp_path / "live.state", []
    for part in (rows[:5], rows[5:]):
        done = numpy_alone(out / "run.py", "--state", state, stdin=csv_of(columns, part))
        assert (done.returncode, done.stderr) == (0, "")
        lines += [json.loads(line) for line in done.stdout.splitlines()]
    stream = model.stream()
    for line, row in zip(lines, rows, strict=True):
        same_line(line, stream.update(row).to_dict())
    text = csv_of(columns, rows)
    assert [json.loads(line) for line in numpy_alone(out / "run.py", stdin=text).stdout.splitlines()] == lines


def test_run_says_what_is_wrong(exported: Exported, numpy_alone: Any, tmp_path: Path) -> None:
    """A bad row ends the run with its line and column, or is skipped and named; a foreign state is refused."""
    out = exported(cases.BY_NAME["forecaster"])
    text = "date,OT,HUFL,MUFL\n2016-07-01 00:00:00,1,2,3\n2016-07-01 01:00:00,1,x,3\n2016-07-01 02:00:00,1,2,3\n"
    done = numpy_alone(out / "run.py", stdin=text)
    assert done.returncode == 1
    assert done.stderr.startswith("run.py: standard input, line 3, column 'HUFL': expected a number, received 'x'")
    assert len(done.stdout.splitlines()) == 1
    skipped = numpy_alone(out / "run.py", "--on-bad-row", "skip", stdin=text)
    assert (skipped.returncode, len(skipped.stdout.splitlines())) == (0, 2)
    assert "run.py: skipped: standard input, line 3" in skipped.stderr
    assert json.loads(skipped.stdout.splitlines()[1])["row"] == 3
    quoted = text.replace("1,x,3", '"1,2,3')
    skipped = numpy_alone(out / "run.py", "--on-bad-row", "skip", stdin=quoted)
    assert (skipped.returncode, len(skipped.stdout.splitlines())) == (0, 2), "a quote too many costs its own row"
    packed = numpy_alone(out / "run.py", stdin="PAR1\x15")
    assert "expected text in UTF-8 or latin-1, received Parquet" in packed.stderr
    state = tmp_path / "foreign.state"
    open_export(exported(cases.BY_NAME["forecaster-gru"])).save(state)
    assert "the state is of another model" in numpy_alone(out / "run.py", "--state", state, stdin=text).stderr
    header = numpy_alone(out / "run.py", stdin="date,OT\n2016-07-01,1\n")
    assert "column 'HUFL': no such column" in header.stderr
    assert numpy_alone(out / "run.py", "--nonsense").returncode == 2


@pytest.mark.parametrize("case", [*cases.KINDS, cases.BY_NAME["events-mingru"]], ids=lambda case: case.name)
def test_a_saved_state_goes_on_bit_for_bit(case: cases.Case, exported: Exported, tmp_path: Path) -> None:
    """State out, into a file, into another runner: the same bits as without a break; rows refused in between too."""
    out, found = exported(case), case.rows(40)
    rows = found.rows[: (found.resets or [40])[0]]
    middle = len(rows) // 2
    whole, first, second = (open_export(out) for _ in range(3))
    assert {spec.name for spec in whole.manifest.state} == {n for n in whole.state() if not n.startswith("front.")}
    assert whole.state_bytes == sum(v.nbytes for n, v in whole.state().items() if not n.startswith("front."))
    for row in rows[:middle]:
        whole.update(row)
        first.update(row)
    with pytest.raises(DataError):
        first.update(["nonsense"] * len(rows[0]))
    first.save(tmp_path / "state")
    second.read(tmp_path / "state")
    for row in rows[middle:]:
        expected, received = whole.update(row), second.update(row)
        assert {name: value.tobytes() for name, value in expected.items()} == {
            name: value.tobytes() for name, value in received.items()
        }
    ours, theirs = second.state(), whole.state()
    assert {name: value.tobytes() for name, value in ours.items()} == {n: v.tobytes() for n, v in theirs.items()}
    before = second.state()
    second.update(rows[0]) if case.name == "classifier" else second.reset()
    assert any(before[name].tobytes() != value.tobytes() for name, value in second.state().items())


GARBAGE: list[Any] = [
    None,
    7,
    "text",
    b"bytes",
    [],
    {},
    [1],
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
    {"date": 1},
]
CELLS: list[Any] = [
    "x",
    "1_000",
    "inf",
    "-inf",
    "nan",
    float("nan"),
    float("inf"),
    1e300,
    "1e400",
    True,
    [],
    "",
    None,
    "0x1",
]
TIMES: list[Any] = [
    "yesterday",
    "2016-13-01",
    5,
    "",
    None,
    "2016-07-01 00:30:00",
    "2016-06-30",
    "2016-07-01 00:00:00",
    "2036-07-01 00:00:00",
    "2016-07-01T05:00+05:00",
    -5.0,
    float("nan"),
    "nan",
    1e30,
]


def garbage(case: cases.Case, good: list[Any], columns: tuple[str, ...]) -> list[Any]:
    """Rows that are wrong in every way: no rows, foreign cells, times out of order; the good one among them."""
    rows = list(GARBAGE)
    for place in (0, 1, len(good) - 1):
        timed = place == 0 and case.data in ("ETTh1", cases.EVENTS)
        rows += [[*good[:place], cell, *good[place + 1 :]] for cell in (TIMES if timed else CELLS)]
    rows += [dict(zip(columns[:-1], good, strict=False)), dict(zip(columns, good, strict=True))]
    return rows


def refusal(take: Callable[[Any], Any], row: Any) -> tuple[str, int | None, str | None] | None:
    """What an error says, or None if the row was taken."""
    try:
        take(row)
    except DataError as error:
        return error.message, error.line, error.column
    return None


@pytest.mark.parametrize("policy", ["error", "impute", "skip"])
@pytest.mark.parametrize("case", cases.KINDS, ids=lambda case: case.name)
def test_bad_rows_get_the_words_of_the_stream(case: cases.Case, policy: Any, exported: Exported) -> None:
    """Garbage is refused, imputed or skipped exactly as the stream does it, and leaves the state what it was."""
    model = case.model()
    if case.name == "events" and policy == "impute":
        with pytest.raises(ValueError, match="an event cannot be guessed"):
            open_export(exported(case), on_bad_row=policy)
        return
    runner, stream = open_export(exported(case), on_bad_row=policy), model.stream(on_bad_row=policy)
    first, second = case.rows(2).rows
    columns = runner.front.columns
    for row in [*garbage(case, first, columns), first, *garbage(case, second, columns), second]:
        before = runner.state()
        ours, theirs = refusal(runner.update, row), refusal(stream.update, row)
        assert ours == theirs, row
        if ours is not None:
            assert {n: v.tobytes() for n, v in before.items()} == {n: v.tobytes() for n, v in runner.state().items()}
    assert runner.rows == stream.rows


def test_options_are_those_of_the_stream(exported: Exported) -> None:
    """Gaps, starts and returns can be asked for; an option that the kind does not have is refused by name."""
    with pytest.raises(TypeError, match="max_gap: expected an option from on_bad_row, start"):
        open_export(exported(cases.BY_NAME["events"]), max_gap=3)
    with pytest.raises(ValueError, match="on_bad_row: expected 'error', 'skip' or 'impute', received 'wait'"):
        open_export(exported(cases.BY_NAME["events"]), on_bad_row="wait")
    with pytest.raises(ValueError, match="max_gap: expected a whole number of rows, at least 0"):
        open_export(exported(cases.BY_NAME["forecaster"]), max_gap=-1)
    with pytest.raises(ValueError, match="start: expected a finite number"):
        open_export(exported(cases.BY_NAME["events"]), start=float("inf"))
    with pytest.raises(ValueError, match="target_return: expected a finite number"):
        open_export(exported(cases.BY_NAME["policy"]), target_return=float("nan"))
    for name, options in (
        ("policy", {"target_return": 900.0}),
        ("events", {"start": -3.0}),
        ("forecaster", {"max_gap": 1}),
    ):
        case = cases.BY_NAME[name]
        model = case.model()
        runner, stream = open_export(exported(case), **options), model.stream(**options)
        rows = list(case.rows(6).rows)
        del rows[1:4]
        for row in rows:
            assert refusal(runner.update, row) == refusal(stream.update, row)
        if name == "policy":
            assert float(runner.update(rows[-1])["return_to_go"]) == pytest.approx(stream.update(rows[-1]).return_to_go)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("position"), "tensor 'position': expected () int64, received none"),
        (lambda s: s.update(extra=np.zeros(3)), r"unexpected tensors ['extra']"),
        (lambda s: s.update(position=np.zeros(2, np.int64)), "tensor 'position': expected () int64, received (2,)"),
        (lambda s: s.update({"norm.normalizer": np.full(3, np.nan)}), "'norm.normalizer': expected finite numbers"),
        (lambda s: s.update({"encoder.0.max_score": np.full(2, np.inf)}), "expected finite numbers"),
        (lambda s: s.pop("front.rows"), "expected ['front.rows'"),
        (lambda s: s.update({"front.rows": np.array(-1)}), "expected a number of rows, received -1"),
        (lambda s: s.update({"front.rows": np.array(2**63 - 1)}), "expected a number of rows, received 92233"),
        (lambda s: s.update({"front.taken": np.array(-1)}), "expected a number of rows, received -1"),
        (lambda s: s.update({"front.taken": np.array(4)}), "expected at most 3 rows, received 4"),
        (lambda s: s.update({"position": np.array(-1)}), "'position': expected a number of rows, received -1"),
        (lambda s: s.update({"position": np.array(2**63 - 1)}), "'position': expected a number of rows"),
        (lambda s: s.update({"norm.normalizer": np.array([8.0, 0.0, 8.0])}), "expected sums of weights above 0"),
        (lambda s: s.update({"encoder.1.normalizer": np.array([1.0, -1.0])}), "expected sums of weights above 0"),
        (lambda s: s.update({"encoder.1.max_score": np.array([1.0, -np.inf])}), "expected sums of weights above 0"),
        (lambda s: s.update({"front.series": np.array([255], np.uint8)}), "state: damaged"),
        (lambda s: s.update({"front.taken": np.array(1.5)}), "state: damaged: expected one number of int64"),
    ],
)
def test_states_that_cannot_be(change: Any, words: str, exported: Exported) -> None:
    """A state with a wrong name, shape, dtype or number is refused by that name, and the runner stays as it was."""
    case = cases.BY_NAME["forecaster"]
    runner = open_export(exported(case))
    for row in case.rows(3).rows:
        runner.update(row)
    state, before = runner.state(), runner.state()
    change(state)
    with pytest.raises(ModelFileError) as caught:
        runner.set_state(state)
    assert words in str(caught.value)
    assert {n: v.tobytes() for n, v in before.items()} == {n: v.tobytes() for n, v in runner.state().items()}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("events", {"front.begun": np.array(1), "front.time": np.array(np.nan)}),
        ("events", {"front.mark": np.array(999)}),
        ("policy", {"front.steps": np.array(-1)}),
        ("policy", {"front.left_out": np.array(2)}),
        ("policy", {"memory.timestep": np.array(5000)}),
        ("policy", {"front.steps": np.array(7)}),
        ("policy", {"return_to_go": np.array(1e300)}),
        ("classifier", {"front.length": np.array(5)}),
    ],
)
def test_fronts_refuse_what_cannot_be(kind: str, change: Any, exported: Exported) -> None:
    """A front's own numbers are checked too."""
    runner = open_export(exported(cases.BY_NAME[kind]))
    with pytest.raises(ModelFileError, match="state: damaged"):
        runner.set_state({**runner.state(), **change})


def test_damaged_state_files(exported: Exported, tmp_path: Path) -> None:
    """Every cut and every flipped byte of a state file is noticed; what is no state, or nowhere, is named."""
    case = cases.BY_NAME["forecaster"]
    runner = open_export(exported(case))
    for row in case.rows(3).rows:
        runner.update(row)
    path, bad = tmp_path / "state", tmp_path / "bad"
    runner.save(path)
    data, before = path.read_bytes(), runner.state()
    for place in range(0, len(data), 17):
        for damaged in (data[:place], data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]):
            bad.write_bytes(damaged)
            with pytest.raises(ModelFileError, match="bad"):
                runner.read(bad)
    for content in (data + b"\0", b"", b"\xff" * 8, (2**62).to_bytes(8, "little") + b"{}", b"\2" + b"\0" * 7 + b"[]"):
        bad.write_bytes(content)
        with pytest.raises(ModelFileError, match="bad: "):
            runner.read(bad)
    with pytest.raises(ModelFileError, match="nowhere: cannot be read"):
        runner.read(tmp_path / "nowhere")
    with pytest.raises(ModelFileError, match="cannot be written"):
        runner.save(tmp_path / "no" / "folder")
    assert {n: v.tobytes() for n, v in before.items()} == {n: v.tobytes() for n, v in runner.state().items()}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "state"]


def test_numbers_too_large_for_the_model(exported: Exported) -> None:
    """A finite row after which nothing is a number is refused, in the stream's words, and changes nothing."""
    case = cases.BY_NAME["classifier"]
    model = case.model()
    runner, stream = open_export(exported(case)), model.stream()
    row = [1e38] * 12
    assert refusal(runner.update, row) == refusal(stream.update, row)


def test_the_runner_knows_numpy_and_the_standard_library_only() -> None:
    """No file that is copied into an export imports anything else than numpy, the standard library and its like."""
    from sys import stdlib_module_names

    from aaren.export._numpy import _SHARED

    source = Path(aaren.__file__).parent
    files = [*(source / name for name in _SHARED), *(source / "export" / "runner").glob("*.py")]
    names = {path.stem for path in files}
    for path in files:
        # the fast readers of files import polars inside functions, which a runner does not call
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            for module in modules:
                if module.startswith("aaren."):
                    assert module.rpartition(".")[2] in names, (path, module)
                else:
                    assert module.split(".")[0] in {*stdlib_module_names, "numpy"}, (path, module)


def test_the_mixture_is_the_model_s() -> None:
    """Density, mean and quantiles of the mixture agree with PyTorch's, far into its tails too."""
    import torch

    generator = np.random.default_rng(0)
    for scale in (0.01, 1.0, 8.0):
        logits = generator.normal(size=4) * 3
        weights = np.log(np.exp(logits) / np.exp(logits).sum())
        parts = weights, generator.normal(size=4) * scale * 4, scale * np.exp(generator.normal(size=4) / 2)
        ours = _mixture.Mixture(*parts)
        theirs = EventDistribution(*(torch.from_numpy(part)[None] for part in parts), torch.zeros(1, 0))
        for interval in (1e-9, 0.3, 1.0, 20.0, 1e6):
            expected = float(theirs.log_density(torch.tensor([interval])))
            assert ours.log_density(float(np.float32(interval))) == pytest.approx(expected, rel=1e-6)
        for longest in (1e-6, 0.5, 3.0, 1e5):
            assert ours.mean(longest) == pytest.approx(float(theirs.mean(longest)), rel=1e-9, abs=1e-300)
        levels = (0.01, 0.5, 0.9)
        assert ours.quantiles(levels) == pytest.approx([float(theirs.quantile(p)) for p in levels], rel=1e-9)


def test_bundled_series_from_a_file(exported: Exported) -> None:
    """Rows as mappings of text, as a CSV reader gives them, are taken as rows in order are."""
    import csv
    import gzip

    out = exported(cases.BY_NAME["forecaster"])
    first, second = open_export(out), open_export(out)
    with gzip.open(find("ETTh1"), "rt") as file:
        for _, row in zip(range(20), csv.DictReader(file), strict=False):
            said, same = first.update(row), second.update([row["date"], row["OT"], row["HUFL"], row["MUFL"]])
            assert said["mean"].tobytes() == same["mean"].tobytes()


def test_run_that_cannot_answer(exported: Exported, numpy_alone: Any, tmp_path: Path) -> None:
    """A full disk under the answers is one line and 1; the state is that of the last answer that is there whole."""
    out, state = exported(cases.BY_NAME["forecaster"]), tmp_path / "live.state"
    rows = [f"2016-07-01 {hour:02}:00:00,1,2,3\n" for hour in range(24)]
    header = "date,OT,HUFL,MUFL\n"
    command = [out / "run.py", "--state", state]
    first = numpy_alone(*command, stdin=header + rows[0])
    assert first.returncode == 0
    limit = state.stat().st_size + 100
    output = tmp_path / "said.jsonl"
    with output.open("a") as sink:
        sink.write(first.stdout[:-20])
        sink.flush()
        failed = numpy_alone(
            *command,
            stdin=header + "".join(rows[1:]),
            stdout=sink,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)),
        )
    assert failed.returncode == 1
    assert failed.stderr.splitlines() == [
        "run.py: standard output ended inside a line; this run begins on a new one",
        "run.py: standard output: File too large",
    ]
    _, *said = output.read_text().split("\n")
    assert len(said) > 2, "some answers fit"
    assert [json.loads(line)["row"] for line in said[:-1]] == list(range(2, len(said) + 1))
    kept = state.read_bytes()
    closed = numpy_alone(*command, stdin=header + rows[1], preexec_fn=lambda: os.close(1))
    assert closed.returncode == 1
    assert closed.stderr == "run.py: standard output is closed; send it to a file, or to /dev/null\n"
    assert state.read_bytes() == kept
    rest = numpy_alone(*command, stdin=header + "".join(rows[len(said) :]))
    assert [json.loads(line)["row"] for line in rest.stdout.splitlines()] == list(range(len(said) + 1, 25))


def test_run_that_is_left_or_stopped(exported: Exported, tmp_path: Path) -> None:
    """If who reads the answers leaves, or Ctrl-C comes, the state is that of the last answer that was delivered."""
    out, header = exported(cases.BY_NAME["forecaster"]), "date,OT,HUFL,MUFL\n"
    rows = [f"2016-07-{1 + at // 24:02} {at % 24:02}:00:00,1,2,3\n" for at in range(720)]
    for stop in (False, True):
        state = tmp_path / f"state-{stop}"
        command = [sys.executable, str(out / "run.py"), "--state", str(state)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, text=True, **pipes) as process:
            process.stdin.write(header + "".join(rows if not stop else rows[:3]))
            process.stdin.flush()
            said = [process.stdout.readline() for _ in range(3)]
            if stop:
                process.send_signal(signal.SIGINT)
                process.send_signal(signal.SIGTERM)  # which must not break the save
                said += process.stdout.readlines()
            process.stdout.close()
            errors = process.stderr.read()
        assert (process.returncode, errors) == ((143, "run.py: stopped after row 3\n") if stop else (0, ""))
        after = int(read_safetensors(state)[0]["front.rows"])
        assert after == 3 if stop else 3 <= after < 720
        assert [json.loads(line)["row"] for line in said] == [1, 2, 3]
