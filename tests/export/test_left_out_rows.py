"""Rows that an exported policy leaves out: what they earned counts, as it does in the policy's own stream."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import export_cases as cases
import numpy as np
import pytest

from aaren.errors import DataError, ModelFileError
from aaren.export import export, open_export

NEEDS = {"numpy": (), "c": (), "onnx": ("onnxscript", "onnxruntime"), "openvino": ("openvino",)}
RUNTIMES = [
    pytest.param(to, marks=pytest.mark.skipif(not all(map(find_spec, needs)), reason=f"needs {', '.join(needs)}"))
    for to, needs in NEEDS.items()
]
COMPILER = shutil.which("cc")
CASE = cases.BY_NAME["policy"]
LEFT_OUT = [[0], [0, 1, 2, 5], [4, 9, 10]]
Out = Callable[[str], Path]


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Out:
    """The export of the policy to a runtime, written at its first use; not to be changed."""
    folder, done = tmp_path_factory.mktemp("left_out"), {}

    def directory(to: str) -> Path:
        if to == "c" and COMPILER is None:
            pytest.skip("no C compiler on this machine")
        if to not in done:
            done[to] = export(CASE.model(), folder / to, to=to).directory
        return done[to]

    return directory


def rows(left_out: list[int]) -> list[dict[str, Any]]:
    """Twelve real rows, some with a number of the observation missing."""
    columns = CASE.model().stream().schema.inputs
    found = [dict(zip(columns, row, strict=True)) for row in CASE.rows(12).rows]
    for index in left_out:
        found[index]["observation_1"] = None
    return found


@pytest.mark.parametrize("left_out", LEFT_OUT, ids=str)
@pytest.mark.parametrize("to", RUNTIMES)
def test_their_rewards_count(to: str, left_out: list[int], out: Out, tmp_path: Path) -> None:
    """Action and return to go are those of the stream, over a snapshot after every row too, and in the next episode."""
    stream = CASE.model().stream(on_bad_row="skip")
    going, restarted, other = (open_export(out(to), on_bad_row="skip") for _ in range(3))
    for episode in range(2):
        for number, row in enumerate(rows(left_out), 1):
            theirs, ours, again = (one.update(row) for one in (stream, going, restarted))
            assert (theirs is None) == (ours is None) == (number - 1 in left_out)
            if theirs is not None:
                np.testing.assert_allclose(ours["action"], theirs.action, rtol=0, atol=1e-5)
                np.testing.assert_allclose(float(ours["return_to_go"]), theirs.return_to_go, rtol=1e-12)
                assert all(np.array_equal(ours[name], again[name]) for name in ours)
            restarted.save(tmp_path / "state")
            restarted, other = other, restarted
            restarted.read(tmp_path / "state")
        for one in (stream, going, restarted):
            one.reset()
        assert int(going.state()["front.rows"]) == stream.rows == 12 * (episode + 1)


@pytest.mark.parametrize("to", RUNTIMES)
def test_an_episode_that_begins_after_a_row_that_was_left_out(to: str, out: Out) -> None:
    """The first row of the new episode has no reward to tell, whatever became of the last row of the old one."""
    stream, runner = CASE.model().stream(on_bad_row="skip"), open_export(out(to), on_bad_row="skip")
    last, first = rows([0])[0], {**rows([])[0], "reward": 3.0}
    for one in (stream, runner):
        assert one.update(last) is None
        one.reset()
        assert one.update(first) is None  # a reward before the first action
        assert one.update(first) is not None  # of the row before, which was left out
    assert stream.return_to_go == float(runner.update({**first, "reward": 0.0})["return_to_go"]) == 3600.0 - 3.0


def csv(many: list[dict[str, Any]]) -> str:
    """Rows as text with a header."""
    lines = [",".join(many[0])]
    lines += [",".join("" if cell is None else str(cell) for cell in row.values()) for row in many]
    return "\n".join(lines) + "\n"


@pytest.fixture(params=["numpy", "c"])
def program(request: pytest.FixtureRequest, out: Out, tmp_path: Path) -> list[str]:
    """The command that streams and skips, of an export to numpy and to C."""
    directory = out(request.param)
    if request.param == "numpy":
        return [sys.executable, str(directory / "run.py"), "--on-bad-row", "skip"]
    assert COMPILER is not None, "the fixture has skipped"
    sources = [str(directory / name) for name in ("main.c", "model.c")]
    subprocess.run([COMPILER, "-std=c99", "-O1", "-o", str(tmp_path / "model"), *sources, "-lm"], check=True)
    return [str(tmp_path / "model"), "--skip"]


def test_the_program_counts_them_too(program: list[str], tmp_path: Path) -> None:
    """The program with its option to skip says what the stream says, also when it is started anew for every row."""
    many = rows([0, 1, 4, 9, 10])
    stream = CASE.model().stream(on_bad_row="skip")
    theirs = [said.return_to_go for said in map(stream.update, many) if said is not None]
    state = ["--state", str(tmp_path / "state")]
    for texts, options in (([csv(many)], []), ([csv([row]) for row in many], state)):
        told: list[float] = []
        for text in texts:
            done = subprocess.run([*program, *options], input=text, capture_output=True, text=True, check=True)
            told += [json.loads(line)["return_to_go"] for line in done.stdout.splitlines()]
            assert "its reward is not known" not in done.stderr
        np.testing.assert_allclose(told, theirs, rtol=1e-6)


def test_a_reward_that_is_lost_is_told(program: list[str]) -> None:
    """Where a reward is due and cannot be read, the program says that it counts as 0."""
    header, first, *others = csv(rows([])).splitlines(keepends=True)
    bad = ["x\n", others[0].rsplit(",", 1)[0] + ",\n", others[0].rsplit(",", 1)[0] + ",1e400\n"]
    text = header + "x\n" + first + "".join(bad) + "".join(others[1:3])
    done = subprocess.run(program, input=text, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 3
    words = "its reward is not known and counts as 0: the return-to-go stays 3600\n"
    assert done.stderr.count(words) == len(bad)  # none is due before an action


@pytest.mark.parametrize("to", RUNTIMES)
@pytest.mark.parametrize("rewards", [(9e14, -9e14), (-1e300, 3.0), (-7e14, -2.8e14, -1e14), (np.nan, 3.0)], ids=str)
def test_they_count_one_after_the_other(to: str, rewards: tuple[float, ...], out: Out) -> None:
    """Rewards that cancel, or lead too far, are counted in the stream's order and to the stream's result."""
    good = rows([])
    start = {**good[0], "reward": None}
    stream, runner = CASE.model().stream(on_bad_row="skip"), open_export(out(to), on_bad_row="skip")
    for row in (start, *({**good[1], "observation_1": None, "reward": reward} for reward in rewards)):
        assert (stream.update(row) is None) == (runner.update(row) is None)
    said, ours = stream.update({**good[2], "reward": 0.0}), runner.update({**good[2], "reward": 0.0})
    np.testing.assert_allclose(float(ours["return_to_go"]), said.return_to_go, rtol=1e-12)
    runner.set_state(runner.state())


@pytest.mark.parametrize("to", RUNTIMES)
def test_a_row_is_skipped_by_hand(to: str, out: Out) -> None:
    """`skip` of a runner counts a row as that of the stream does, with the same word of what is lost."""
    stream, runner = CASE.model().stream(), open_export(out(to))
    good = rows([])
    for one in (stream, runner):
        one.update({**good[0], "reward": None})
    for row in (None, {"reward": "2.5"}, {"reward": "x"}, [1.0]):
        assert runner.skip(row) == stream.skip(row)
    last = {**good[1], "reward": 1.0}
    assert float(runner.update(last)["return_to_go"]) == stream.update(last).return_to_go == 3600.0 - 3.5
    assert int(runner.state()["front.rows"]) == stream.rows == 6


@pytest.mark.parametrize("to", ["numpy", "c", "onnx"])
def test_a_state_that_a_runner_made_is_one(to: str, out: Out) -> None:
    """The largest return can be asked for, and its state goes back in; a larger one is refused at once."""
    runner = open_export(out(to), target_return=1e15)
    good = rows([])
    runner.update({**good[0], "reward": None})
    runner.set_state(runner.state())
    with pytest.raises(DataError, match="which leaves a return-to-go within"):
        runner.prefill([{**good[1], "reward": -2e15}])
    assert int(runner.state()["front.rows"]) == 1
    with pytest.raises(ValueError, match=r"target_return: expected a finite number within 1e\+15"):
        open_export(out(to), target_return=1.1e15)


def test_a_state_whose_halves_disagree(out: Out) -> None:
    """What the C library awaits and what the row before was must be the same."""
    runner = open_export(out("c"))
    for awaits, steps in ((1, 0), (2, 0), (0, 3), (2, 3)):
        if steps and not int(runner.state()["front.steps"]):
            for row in rows([])[:steps]:
                runner.update(row)
        before = runner.state()
        with pytest.raises(ModelFileError, match="expected awaits_reward = "):
            runner.set_state({**before, "c.awaits_reward": np.array(awaits)})
        assert all(np.array_equal(value, before[name]) for name, value in runner.state().items())
