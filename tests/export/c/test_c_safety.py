"""Sanitizers over fuzzed rows and damaged states, saved states, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_cases import CASES, SMALL, Case, answer, forecaster, shaken

import aaren.export
from aaren import Forecaster
from aaren.data import Scaler, Schema
from aaren.errors import BackendError, DataError, ModelFileError
from aaren.export._c import write_c
from aaren.models import Preprocessing
from conftest import compilers

HERE = Path(__file__).parent
SANITIZERS = ["-g", "-O1", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]
needs_compiler = pytest.mark.skipif(not compilers(), reason="no C compiler on this machine")


@needs_compiler
@pytest.mark.parametrize("double", [0, 1])
def test_fuzzed(kind: Case, tmp_path: Path, compile_c: Callable[..., Path], double: int) -> None:
    """Nothing is undefined for any row and any state, and who is refused leaves state and answer what they were."""
    precision = "float32" if double else "int8"
    write_c(kind.model, tmp_path, precision)
    timed = ["-DTIMED"] if kind.model.kind == "forecaster" else []
    program = compile_c(
        tmp_path, *SANITIZERS, *timed, f"-DMODEL_DOUBLE={double}", "-I.", str(HERE / "fuzz.c"), "model.c"
    )
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert int(words[0]) > 50
    assert int(words[2]) > 50


@needs_compiler
@pytest.mark.parametrize("compiler", compilers())
def test_no_warnings(case: Case, tmp_path: Path, compile_c: Callable[..., Path], compiler: str) -> None:
    """Both compilers take all sources without a warning, and a header that C++ includes."""
    write_c(case.model, tmp_path, "int8", "other_name")
    compile_c(tmp_path, "main.c", "other_name.c", compiler=compiler)
    (tmp_path / "use.cpp").write_text(
        '#include "other_name.h"\nint main() { other_name_state s; return other_name_init(&s); }\n'
    )
    command = [compiler, "-x", "c++", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "use.cpp"]
    subprocess.run(command, cwd=tmp_path, check=True)


@needs_compiler
@pytest.mark.parametrize("forms", [(0, 0), (1, 1), (1, 0), (0, 1)])
def test_resumed(kind: Case, tmp_path: Path, compile_c: Callable[..., Path], forms: tuple[int, int]) -> None:
    """A program that goes on from a saved state says what one says that never stopped; other builds read it too."""
    write_c(kind.model, tmp_path)
    first, second = (
        compile_c(tmp_path, "-O1", f"-DMODEL_DOUBLE={form}", "main.c", "model.c", to=f"program{place}")
        for place, form in enumerate(forms)
    )
    header, *lines = kind.csv.splitlines(keepends=True)[:201]
    state = tmp_path / "live.state"

    def run(program: Path, rows: list[str], *options: str) -> list[str]:
        text = header + "".join(rows)
        done = subprocess.run([program, *options], input=text, capture_output=True, text=True, check=True)
        return [line.partition(", ")[2] for line in done.stdout.splitlines()]  # without the number of the row

    whole = run(second, lines)
    assert run(second, lines) == whole
    resumed = run(first, lines[:77], "--state", str(state)) + run(second, lines[77:], "--state", str(state))
    if forms[0] == forms[1]:
        assert resumed == whole
    else:
        assert len(resumed) == len(whole)
        assert sum(a == b for a, b in zip(resumed, whole, strict=True)) > 0
    state.write_bytes(state.read_bytes()[:-1])
    done = subprocess.run([second, "--state", str(state)], input=header, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "expected" in done.stderr


@needs_compiler
def test_refused_rows_of_the_program(tmp_path: Path, compile_c: Callable[..., Path]) -> None:
    """A bad row ends the program with its line, or is left out; the state is as if it had not come."""
    one = CASES["forecaster"]()
    write_c(one.model, tmp_path)
    program = compile_c(tmp_path, "-O1", "main.c", "model.c")
    header, *lines = one.csv.splitlines(keepends=True)[:20]
    bad = ["2016-07-01,1,2\n", "yesterday,1,2,3\n", lines[3], lines[9].replace(":00:00", ":30:00"), "x\n"]
    bad += [lines[11].rsplit(",", 1)[0] + ",much\n", lines[11].rsplit(",", 1)[0] + ",1e400\n"]

    def run(rows: list[str], *options: str) -> Any:
        text = header + "".join(rows)
        return subprocess.run([program, *options], input=text, capture_output=True, text=True, check=False)

    clean = run(lines[:16])
    mixed = run([*lines[:6], *bad, *lines[6:16]], "--skip")
    assert clean.returncode == mixed.returncode == 0
    assert [line.partition(", ")[2] for line in mixed.stdout.splitlines()] == [
        line.partition(", ")[2] for line in clean.stdout.splitlines()
    ]
    assert len(mixed.stderr.splitlines()) == len(bad)
    ended = run([*lines[:6], *bad])
    assert ended.returncode == 1
    assert ended.stderr.startswith("line 8: ")
    assert len(ended.stdout.splitlines()) == 6
    quoted = run(['"' + line.strip().replace(",", '","') + '"\r\n' for line in lines[:16]])
    assert quoted.stdout == clean.stdout


@needs_compiler
def test_bytes_that_are_no_rows(tmp_path: Path, compile_c: Callable[..., Path]) -> None:
    """A NUL, a line without end, a column twice and a full disk are named; every other row is said, none in silence."""
    one = CASES["forecaster"]()
    write_c(one.model, tmp_path)
    program = compile_c(tmp_path, *SANITIZERS, "main.c", "model.c")
    header, *lines = one.csv.encode().splitlines(keepends=True)[:8]
    bad = [b"\0" + lines[2], lines[2][:9] + b"\0" + lines[2][9:], lines[2][:-1] + b"\0\n", b"a" * 70_000 + b"\n"]

    def run(text: bytes, *options: str, **more: Any) -> Any:
        return subprocess.run([program, *options], input=text, check=False, **{"capture_output": True, **more})

    clean = run(header + b"".join(lines))
    assert clean.returncode == 0
    mixed = run(header + b"".join([*lines[:2], *bad, *lines[2:]]), "--skip")
    assert [row.partition(b", ")[2] for row in mixed.stdout.splitlines()] == [
        row.partition(b", ")[2] for row in clean.stdout.splitlines()
    ]
    said = [f"line {4 + place}: expected a shorter line, of text" for place in range(4)]
    assert mixed.stderr.decode().splitlines() == said
    for row in bad:
        assert run(header + row).returncode == 1
    whole = run(header + b"".join(lines).rstrip(b"\n"))
    assert whole.stdout == clean.stdout
    twice = run(header.replace(b"MUFL", b"OT") + lines[0])
    assert twice.returncode == 1
    assert twice.stderr.startswith(b"expected one column 'OT' in the header, received 2")
    if Path("/dev/full").exists():
        with Path("/dev/full").open("wb") as full:
            lost = run(header + lines[0], "--state", str(tmp_path / "s"), capture_output=False, stdout=full, stderr=-1)
        assert lost.returncode == 1
        assert b"cannot be written" in lost.stderr
        assert not (tmp_path / "s").exists()


@needs_compiler
@pytest.mark.parametrize("double", [0, 1])
@pytest.mark.parametrize("name", ["begin", "product", "attention", "exchange", "e"])
def test_names_inside_and_outside(name: str, double: int, tmp_path: Path, compile_c: Callable[..., Path]) -> None:
    """A name is never that of something inside."""
    write_c(CASES["forecaster-elapsed"]().model, tmp_path, name=name)
    compile_c(tmp_path, "-fsyntax-only", f"-D{name.upper()}_DOUBLE={double}", f"{name}.c", "main.c")


@needs_compiler
def test_hostile_names(tmp_path: Path, compile_c: Callable[..., Path]) -> None:
    """Names of columns are text and nothing else: no code, no format, no end of a comment or a string, no template."""
    names = ('"); abort(); ("', "%s%n */ abort(); /*", "??/", "@name@ \\", "//? time", "caf\u00e9\u2028" + "x" * 300)
    between = Preprocessing(Schema(names[:2], names[2:]), Scaler(names, np.zeros(6), np.ones(6)), ())
    model = shaken(lambda: Forecaster(inputs=6, targets=2, horizon=2, preprocessing=between, **SMALL))
    write_c(model, tmp_path)
    program = compile_c(tmp_path, *SANITIZERS, "-Wno-overlength-strings", "main.c", "model.c")
    text = io.StringIO()
    csv.writer(text).writerows([names, [1, 2, 3, 4, 5, 6]])
    done = subprocess.run([program], input=text.getvalue(), capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)["forecast"]
    assert list(said) == list(names[:2])
    expected = model.stream().update([1, 2, 3, 4, 5, 6])
    np.testing.assert_allclose([said[name]["mean"] for name in names[:2]], expected.mean.T, rtol=1e-5, atol=1e-5)


@needs_compiler
def test_state_of_the_runner(kind: Case, tmp_path: Path) -> None:
    """A runner's state goes out and in by name, through a file too; numbers that cannot be are refused."""
    aaren.export.export(kind.model, tmp_path / "out", to="c")
    runner, again = (aaren.export.open_export(tmp_path / "out") for _ in range(2))
    for row in kind.rows[:30]:
        runner.update(row)
    runner.save(tmp_path / "state")
    again.read(tmp_path / "state")
    for row in kind.rows[30:40]:
        ours, theirs = runner.update(row), again.update(row)
        assert all(np.array_equal(ours[name], theirs[name], equal_nan=True) for name in theirs)
    state = again.state()
    name = next(name for name in state if name.endswith("normalizer"))
    for value in (np.nan, -1.0):
        with pytest.raises(ModelFileError, match="impossible numbers"):
            again.set_state({**state, name: np.full_like(state[name], value)})
    with pytest.raises(ModelFileError, match="expected the tensors"):
        again.set_state({**state, "more": np.zeros(1)})
    with pytest.raises(ModelFileError, match="state: tensor"):
        again.set_state({**state, name: state[name].astype(np.float32)})
    assert all(np.array_equal(state[name], value, equal_nan=True) for name, value in again.state().items())
    runner.reset()
    first = aaren.export.open_export(tmp_path / "out").update(kind.rows[0])
    assert all(
        np.array_equal(first[name], value, equal_nan=True) for name, value in runner.update(kind.rows[0]).items()
    )


@needs_compiler
def test_options_of_the_runner(tmp_path: Path) -> None:
    """A return and a gap that are asked for are the library's, after a reset too; a start is refused."""
    for name, options in (("policy", {"target_return": 900.0}), ("forecaster", {"max_gap": 1})):
        case = CASES[name]()
        aaren.export.export(case.model, tmp_path / name, to="c")
        runner, stream = aaren.export.open_export(tmp_path / name, **options), case.model.stream(**options)
        for row in case.rows[:6]:
            ours, theirs = runner.update(row), answer(stream, row)
            for output, value in theirs.items():
                np.testing.assert_allclose(ours[output], value, rtol=1e-4, atol=1e-4)
        if name == "policy":
            runner.reset()
            assert runner.update(case.rows[0])["return_to_go"] == 900
        else:
            with pytest.raises(DataError, match="at most max_gap = 1 missing rows"):
                runner.update(case.rows[9])
    aaren.export.export(CASES["events"]().model, tmp_path / "events", to="c")
    with pytest.raises(ValueError, match="start: expected None for an export to C"):
        aaren.export.open_export(tmp_path / "events", start=0.0)


def test_a_compiler_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable CC that is no command, or one that is not there, is named."""
    aaren.export.export(CASES["classifier"]().model, tmp_path / "out", to="c")
    for command, words in (('"', "CC: expected the command of a compiler"), ("/nowhere/cc", "does not run")):
        monkeypatch.setenv("CC", command)
        with pytest.raises(BackendError, match=words):
            aaren.export.open_export(tmp_path / "out")


def test_refused_models(tmp_path: Path) -> None:
    """Other encoders, windows, names that C has, and models without preprocessing are refused in plain words."""
    with pytest.raises(ValueError, match="expected encoder='aaren' for C, received 'gru'"):
        write_c(forecaster(1, encoder="gru").model, tmp_path)
    with pytest.raises(ValueError, match="expected normalization='running' to stream"):
        write_c(forecaster(1, normalization="window").model, tmp_path)
    with pytest.raises(ValueError, match="expected preprocessing"):
        write_c(shaken(lambda: Forecaster(inputs=1, targets=1, horizon=1)), tmp_path)
    good = CASES["classifier"]().model
    for name in ("while", "main", "stdint", "A", "1a", "a b", "x" * 40):
        with pytest.raises(ValueError, match="name: expected small letters"):
            write_c(good, tmp_path, name=name)
    with pytest.raises(ValueError, match="precision: expected 'float32' or 'int8'"):
        write_c(good, tmp_path, "float16")
    assert not list(tmp_path.iterdir())
