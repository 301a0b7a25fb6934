"""`aaren stream`: encodings, bad rows, series, and rows that are fed again after a restart."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

import aaren as library
from aaren.data import read_series

pytestmark = pytest.mark.usefixtures("without_shape_checks")  # many rows
Command = Callable[..., Any]


def _rows(done: Any) -> list[int]:
    return [line["row"] for line in done.lines()]


@pytest.fixture(scope="module")
def troubled(etth1_lines: list[bytes]) -> list[bytes]:
    """Header and 60 rows, among them unreadable, infinite, ragged, late and absent ones, several in a row."""
    lines = etth1_lines[:61]
    for index, bad in {
        5: lines[5].replace(b",", b",x", 1),
        6: b"garbled\n",
        12: b"2016-07-01 11:00:00,inf,1,1,1,1,1,1\n",
        13: b"noon,1,1,1,1,1,1,1\n",
        20: lines[19],
        33: lines[33].rstrip() + b",1\n",
        34: b"2016-07-02 09:00:00,1e300,1,1,1,1,1,1\n",
        60: b"2016-07-03 11:00:00,1\n",
    }.items():
        lines[index] = bad
    return lines[:40] + lines[43:]


def test_forms_of_text(aaren: Command, trained: Path, etth1_lines: list[bytes]) -> None:
    """A byte-order mark, latin-1, other line ends, empty lines and no last line end give the same forecasts."""
    plain = b"".join(etth1_lines[:6])
    expected = aaren("stream", trained, stdin=plain)
    assert (expected.code, expected.err, _rows(expected)) == (0, "", [1, 2, 3, 4, 5])
    accented = b"".join(line.rstrip() + b",caf\xe9\n" for line in etth1_lines[:6])
    for text in (
        b"\xef\xbb\xbf" + plain,
        accented,
        plain.replace(b"\n", b"\r\n"),
        plain.replace(b"\n", b"\n\n"),
        plain.removesuffix(b"\n"),
        plain.replace(b"date", b'"date"'),
    ):
        done = aaren("stream", trained, stdin=text)
        assert (done.code, done.err, done.out) == (0, "", expected.out)


def test_nothing_to_read(aaren: Command, trained: Path, tmp_path: Path) -> None:
    """Empty input is refused; a header alone is an input without rows, and makes no state."""
    assert "standard input: expected a header and rows, received an empty table" in aaren("stream", trained).refusal()
    done = aaren("stream", trained, "--state", tmp_path / "state", stdin=b"date,OT,HUFL,MUFL\n")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert not list(tmp_path.iterdir())
    assert "column 'OT': no such column" in aaren("stream", trained, stdin=b"date,OTT,HUFL,MUFL\n").refusal()


@pytest.mark.parametrize("policy", ["error", "skip", "impute"])
def test_bad_rows_are_told_by_their_line(
    policy: str, aaren: Command, trained: Path, etth1_lines: list[bytes], tmp_path: Path
) -> None:
    """Each policy does what it says; line of the input and column are in the message, and the state is saved."""
    lines = etth1_lines[:8]
    lines[3] = b"2016-07-01 02:00:00,1,1,inf,1,1,1,1\n"  # MUFL
    lines[5] = b"2016-07-01 04:00:00,1,1,1,1,1,1,cold\n"  # OT
    done = aaren("stream", trained, "--on-bad-row", policy, "--state", tmp_path / "s", stdin=b"".join(lines))
    infinite = "standard input, line 4, column 'MUFL': expected a finite number, received inf"
    text = "standard input, line 6, column 'OT': expected a number, received 'cold'"
    if policy == "skip":
        assert done.code == 0
        first, second, last = done.err.splitlines()
        assert first.startswith(f"aaren: skipped: {infinite}")
        assert second.startswith(f"aaren: skipped: {text}")
        assert last == "aaren: 2 of 7 rows were skipped"
        assert _rows(done) == [1, 2, 4, 6, 7]
    else:
        assert done.code == 1
        assert done.err.count("\n") == 1
        assert done.err.startswith(f"aaren: {infinite if policy == 'error' else text}")
        assert _rows(done) == ([1, 2] if policy == "error" else [1, 2, 3, 4])
    again = aaren("stream", trained, "--state", tmp_path / "s", stdin=b"".join(lines[:1] + etth1_lines[8:9]))
    assert _rows(again) == [{"error": 3, "skip": 8, "impute": 5}[policy]]


def test_a_quote_too_many_costs_its_own_row(aaren: Command, trained: Path, etth1_lines: list[bytes]) -> None:
    """A quote without its pair, at the begin of a cell, takes no other row with it, whether skipped or told."""
    lines = etth1_lines[:21]
    lines[7] = lines[7].replace(b",", b',"', 1)
    lines[12] = b'"oops\n'
    done = aaren("stream", trained, "--on-bad-row", "skip", stdin=b"".join(lines))
    assert _rows(done) == [row for row in range(1, 21) if row not in (7, 12)]
    first, second, last = done.err.splitlines()
    assert first.startswith("aaren: skipped: standard input, line 8: ")
    assert "a quoted cell does not end on its line" in first
    assert second.startswith("aaren: skipped: standard input, line 13: ")
    assert last == "aaren: 2 of 20 rows were skipped"
    stopped = aaren("stream", trained, stdin=b"".join(lines))
    assert stopped.code == 1
    assert "line 8: " in stopped.err
    assert _rows(stopped) == list(range(1, 7))


@pytest.mark.parametrize("form", ["utf-16", "gzip"])
def test_bytes_that_are_no_text(form: str, aaren: Command, trained: Path, etth1_lines: list[bytes]) -> None:
    """UTF-16 and packed text on standard input are named for what they are, not for a column that they lack."""
    text = b"".join(etth1_lines[:5])
    sent, name = (gzip.compress(text), "gzip") if form == "gzip" else (text.decode().encode("utf-16"), "UTF-16")
    assert (
        f"standard input: expected text in UTF-8 or latin-1, received {name}"
        in aaren("stream", trained, stdin=sent).refusal()
    )


def test_fed_again_after_a_restart(aaren: Command, trained: Path, troubled: list[bytes], tmp_path: Path) -> None:
    """Stopped after any number of lines and given the whole input again, the stream ends as if it had not stopped."""
    options = ["--on-bad-row", "skip"]
    whole = aaren("stream", trained, *options, stdin=b"".join(troubled))
    assert whole.code == 0
    skipped = [line for line in whole.err.splitlines() if "skipped: " in line]
    assert len(skipped) == 8
    for cut in (2, 6, 7, 12, 13, 14, 21, 35, len(troubled)):
        state = tmp_path / f"state-{cut}"
        first = aaren("stream", trained, *options, "--state", state, stdin=b"".join(troubled[:cut]))
        second = aaren("stream", trained, *options, "--state", state, stdin=b"".join(troubled))
        assert first.out + second.out == whole.out
        told = [line for line in (first.err + second.err).splitlines() if "skipped: " in line]
        assert sorted(told) == sorted(skipped)
        assert second.err.splitlines()[-1] == whole.err.splitlines()[-1]


def test_fed_on_after_a_restart(aaren: Command, trained: Path, troubled: list[bytes], tmp_path: Path) -> None:
    """Given only the rows that follow, a restarted stream goes on with them, bad rows first among them too."""
    options = ["--on-bad-row", "skip"]
    whole = aaren("stream", trained, *options, stdin=b"".join(troubled))
    for cut in (6, 13, 30):
        state = tmp_path / f"state-{cut}"
        first = aaren("stream", trained, *options, "--state", state, stdin=b"".join(troubled[:cut]))
        rest = b"".join(troubled[:1] + troubled[cut:])
        second = aaren("stream", trained, *options, "--state", state, stdin=rest)
        assert first.out + second.out == whole.out
    state = tmp_path / "only"
    aaren("stream", trained, *options, "--state", state, stdin=b"".join(troubled[:5]))
    only = aaren("stream", trained, *options, "--state", state, stdin=troubled[0] + b"garbled\n")
    assert only.err.startswith("aaren: skipped: standard input, line 2: expected 8 cells")


def test_one_series_of_several(aaren: Command, save_model: Callable[..., Path], tmp_path: Path) -> None:
    """With --series the rows of other series are left out; without it they are refused; a name nobody has is told."""
    times = np.datetime64("2020-01-01", "us") + np.arange(20) * np.timedelta64(1, "h")
    values = np.random.default_rng(0).normal(size=40).round(3)
    columns = {"time": np.repeat(np.datetime_as_string(times, unit="s"), 2), "site": ["a", "b"] * 20, "load": values}
    frame = polars.DataFrame(columns)
    model = save_model(read_series(frame, targets=["load"], series_id="site"))
    both, alone = frame.write_csv().encode(), frame.filter(polars.col("site") == "b").write_csv().encode()
    done = aaren("stream", model, "--series", "b", stdin=both)
    assert _rows(done) == list(range(1, 21))
    assert done.out == aaren("stream", model, stdin=alone).out
    mixed = aaren("stream", model, stdin=both)
    assert mixed.code == 1
    assert "line 3, column 'site': expected rows of series 'a', received 'b'" in mixed.err
    nobody = aaren("stream", model, "--series", "c", stdin=both).refusal()
    assert "column 'site': expected rows of series 'c', received 40 rows of others; check --series" in nobody


def test_warming_up(aaren: Command, trained: Path, etth1_lines: list[bytes], tmp_path: Path) -> None:
    """Early forecasts are marked, by default up to the look-back (24 here), and a restart goes on counting."""
    text = b"".join(etth1_lines[:31])
    said = [line["warming_up"] for line in aaren("stream", trained, stdin=text).lines()]
    assert said == [True] * 23 + [False] * 7
    options = ["--warmup", 5, "--state", tmp_path / "state"]
    halves = [aaren("stream", trained, *options, stdin=b"".join(etth1_lines[:cut])).lines() for cut in (4, 9)]
    assert [[line["warming_up"] for line in half] for half in halves] == [[True] * 3, [True, *[False] * 4]]


def test_drift_is_told(aaren: Command, trained: Path, etth1_lines: list[bytes], tmp_path: Path) -> None:
    """--drift writes the report of the stream, over a restart too; --drift-every shows it, and leaves output alone."""
    text, file, state = b"".join(etth1_lines[:26]), tmp_path / "drift.json", tmp_path / "state"
    plain = aaren("stream", trained, stdin=text)
    done = aaren("stream", trained, "--drift-every", 10, "--drift", file, stdin=text)
    assert (done.code, done.out, plain.err) == (0, plain.out, "")
    heads = [line for line in done.err.splitlines() if line.startswith("drift after ")]
    assert heads == [f"drift after {rows} rows, half-life 1000 rows" for rows in (10, 20, 25)]
    live = library.load(trained).stream()
    names = etth1_lines[0].decode().strip().split(",")
    for line in etth1_lines[1:26]:
        live.update(dict(zip(names, line.decode().strip().split(","), strict=True)))
    assert json.loads(file.read_text()) == json.loads(json.dumps(live.drift().to_dict()))
    for cut in (12, 26):
        aaren("stream", trained, "--state", state, "--drift", file, stdin=b"".join(etth1_lines[:cut]))
    assert json.loads(file.read_text()) == json.loads(json.dumps(live.drift().to_dict()))
    for option, words in (
        ("--drift", "there is no folder"),
        ("--warmup", "warmup: expected a whole number of rows"),
    ):
        value = tmp_path / "no" / "x" if option == "--drift" else "-1"
        assert words in aaren("stream", trained, f"{option}={value}", stdin=text).refusal()
    assert "--drift-every: expected at least 1" in aaren("stream", trained, "--drift-every", 0, stdin=text).refusal()
