"""Policies on the command line: recorded, trained, evaluated, streamed; and what is refused."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import aaren as library
from aaren.cli._app import run
from aaren.data import observation_names, read_episodes
from aaren.evaluation import run_episodes

Command = Callable[..., Any]
TINY = "--d-model 8 --num-layers 1 --dim-feedforward 16 --epochs 1 --steps 2 --batch-size 4 --accelerator cpu"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some hundred steps of Hopper, recorded by the command line."""
    folder = os.environ.get("AAREN_DATA")
    policies = Path(folder or ".") / "rl" / "policies"
    if not folder or not policies.is_dir():
        pytest.fail("set AAREN_DATA to the folder with the real data sets; rl/policies must be in it")
    path = tmp_path_factory.mktemp("recorded") / "hopper.hdf5"
    line = ["data", "regenerate", "Hopper-v4", "medium-replay", "--policies", str(policies), "--steps", "300"]
    assert run([*line, "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def acting(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that the command line trained on them."""
    folder = tmp_path_factory.mktemp("acting") / "model"
    line = ["train", "policy", str(recorded), "--environment", "Hopper-v4", *TINY.split(), "-o", str(folder)]
    assert run(line) == 0
    return folder


def test_from_recording_to_returns(aaren: Command, recorded: Path, acting: Path) -> None:
    """`evaluate` prints the returns that `run_episodes` gives, in both modes or in one."""
    assert read_episodes(recorded).steps >= 300
    model = library.load(acting)
    (found,) = aaren("evaluate", acting, "--episodes", 2, "--seed", 3, "--json").lines()
    assert list(found) == ["streamed", "windowed"]
    for mode, result in found.items():
        assert result == json.loads(json.dumps(run_episodes(model, episodes=2, seed=3, mode=mode).to_dict()))
    done = aaren("evaluate", acting, "--episodes", 1, "--mode", "streamed", "--target-return", 100)
    assert done.code == 0
    assert done.out.startswith("Hopper-v4, aaren, streamed, asked for 100: mean return ")
    assert "normalised score" in done.out
    assert done.out.count("\n") == 1


def test_several_files_and_the_record(aaren: Command, recorded: Path, tmp_path: Path) -> None:
    """Several files are joined, and --json prints the record of the run."""
    options = [*TINY.split(), "--context", "all", "--encoder", "gru", "--json", "-o", tmp_path / "m"]
    done = aaren("train", "policy", recorded, recorded, "--environment", "Hopper-v4", *options)
    (record,) = done.lines()
    assert record["data"]["source"] == "hopper.hdf5 + hopper.hdf5"
    assert record["config"]["context"] is None
    assert record["config"]["encoder"] == "gru"
    assert "episodes" in done.err


def test_a_pickle_is_learned_from(aaren: Command, recorded: Path, tmp_path: Path) -> None:
    """The same episodes in Decision Transformer's layout give the same policy as in D4RL's."""
    keys = ("observations", "actions", "rewards")
    lines = [
        {
            **{key: getattr(one, key) for key in keys},
            "terminals": (np.arange(one.steps) == one.steps - 1) & one.terminated,
        }
        for one in read_episodes(recorded).complete().episodes
    ]
    path = tmp_path / "hopper.pkl"
    path.write_bytes(pickle.dumps(lines))
    weights = []
    for name, file in (("hdf5", recorded), ("pkl", path)):
        options = ["--environment", "Hopper-v4", *TINY.split(), "-o", tmp_path / name]
        assert aaren("train", "policy", file, *options).code == 0
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_rows_to_actions(aaren: Command, acting: Path, recorded: Path, tmp_path: Path) -> None:
    """A row of observation and reward gives a line with the action, and a restart goes on."""
    episode = read_episodes(recorded).episodes[0]
    names = [*observation_names(11), "reward"]
    rewards = ["", *map(str, episode.rewards[:5].tolist())]
    lines = [",".join([*map(str, episode.observations[i].tolist()), rewards[i]]) for i in range(5)]
    text = "\n".join([",".join(names), *lines]) + "\n"
    done = aaren("stream", acting, stdin=text.encode())
    assert [line["row"] for line in done.lines()] == [1, 2, 3, 4, 5]
    agent = library.load(acting).stream()
    for index, line in enumerate(done.lines()):
        if index:
            agent.observe(float(episode.rewards[index - 1]))
        assert np.allclose(agent.act(episode.observations[index]), line["action"], atol=1e-6)
    first = "\n".join([",".join(names), *lines[:2]]) + "\n"
    rest = "\n".join([",".join(names), *lines[2:]]) + "\n"
    state = ["--state", tmp_path / "state"]
    halves = [aaren("stream", acting, *state, stdin=half.encode()).out for half in (first, rest)]
    assert "".join(halves) == done.out
    windowed = aaren("stream", acting, "--mode", "windowed", "--target-return", 50, stdin=text.encode())
    agent = library.load(acting).stream(mode="windowed", target_return=50.0)
    for index, line in enumerate(windowed.lines()):
        if index:
            agent.observe(float(episode.rewards[index - 1]))
        assert np.allclose(agent.act(episode.observations[index]), line["action"], atol=1e-6)
        assert line["return_to_go"] == pytest.approx(50 - episode.rewards[:index].sum(), rel=1e-5)
    said = aaren("stream", acting, *state, "--target-return", 50, stdin=rest.encode()).refusal()
    assert "for which the snapshot asks, received 50; leave it out" in said


def test_rewards_of_rows_that_are_skipped(aaren: Command, acting: Path, recorded: Path, tmp_path: Path) -> None:
    """The reward of a skipped row counts, and where it cannot be read that is said, a restart between included."""
    episode = read_episodes(recorded).episodes[0]
    names = [*observation_names(11), "reward"]
    lines = [",".join([*map(str, seen.tolist()), "0.5"]) for seen in episode.observations[:6]]
    lines[0] = lines[0].removesuffix("0.5")
    lines[1] = ",".join(["inf", *lines[1].split(",")[1:]])  # the observation is bad, the reward is not
    lines[3] = lines[3].removesuffix("0.5")
    lines[4] = "1,2,3"
    text = [line + "\n" for line in [",".join(names), *lines]]
    options = ["stream", acting, "--on-bad-row", "skip", "--target-return", 50]
    done = aaren(*options, stdin="".join(text).encode())
    assert [(line["row"], line["return_to_go"]) for line in done.lines()] == [(1, 50), (3, 49), (6, 48.5)]
    said = done.err.splitlines()
    assert len(said) == 4
    assert "line 3, column 'observation_0': expected a finite number" in said[0]
    assert "counts as 0" not in said[0]
    assert "line 5, column 'reward': expected the reward of the action before" in said[1]
    assert said[1].endswith("; its reward is not known and counts as 0: the return-to-go stays 49")
    assert "line 6: expected 12 cells" in said[2]
    assert said[2].endswith("; its reward is not known and counts as 0: the return-to-go stays 49")
    assert said[3] == "aaren: 3 of 6 rows were skipped"
    state = ["--state", tmp_path / "state"]
    halves = [aaren(*options, *state, stdin="".join([text[0], *half]).encode()) for half in (text[1:3], text[3:])]
    assert "".join(half.out for half in halves) == done.out


REFUSED = {
    "no file": ("train policy --environment Hopper-v4 -o NEW", "DATA: expected at least one file of episodes"),
    "a file that is not there": (
        "train policy nowhere.hdf5 --environment Hopper-v4 -o NEW",
        "a file of episodes, received no such file",
    ),
    "a table": ("train policy TABLE --environment Hopper-v4 -o NEW", "expected an HDF5 file"),
    "a folder": (
        "train policy FOLDER --environment Hopper-v4 -o NEW",
        "expected data/main_data.hdf5 or main_data.hdf5",
    ),
    "another robot": (
        "train policy EPISODES --environment Ant-v4 -o NEW",
        "expected episodes of Ant-v4, received those of Hopper-v4, as the file says; give the environment that they",
    ),
    "no number of steps": (
        "train policy EPISODES --environment Hopper-v4 -o NEW --context some",
        "--context: expected",
    ),
    "no context": ("train policy EPISODES --environment Hopper-v4 -o NEW --context 0", "--context: expected"),
    "bounds": (
        "train policy EPISODES --environment Hopper-v4 -o NEW --action-bounds 1",
        "--action-bounds: expected two",
    ),
    "a seed beyond bounds": (
        "train policy EPISODES --environment Hopper-v4 -o NEW --seed 99999999999",
        "--seed: expected",
    ),
    "decay of a baseline": (
        "train policy EPISODES --environment Hopper-v4 -o NEW --encoder gru --decay learned",
        "--decay: expected none for --encoder gru, received learned",
    ),
    "a mode of a forecaster": (
        "stream MODEL --mode windowed",
        "--mode: expected only with a policy, received a forecaster",
    ),
    "a return of a forecaster": ("stream MODEL --target-return 1", "--target-return: expected only with a policy"),
    "a part of a policy": ("evaluate ACTING --part test", "--part: expected only with a forecaster or an event model"),
    "a split of a policy": ("evaluate ACTING --split 1,1,1", "--split: expected only with a forecaster or an event"),
    "a label of a policy": ("evaluate ACTING --label a", "--label: expected only with a classifier, received a policy"),
    "a gap of a policy": ("stream ACTING --max-gap 5", "--max-gap: expected only with a forecaster, received a policy"),
    "warming up a policy": ("stream ACTING --warmup 5", "--warmup: expected only with a forecaster, received a policy"),
    "anomalies of a policy": ("stream ACTING --anomalies", "--anomalies: expected only with a forecaster or an event"),
    "serving gaps of a policy": ("serve ACTING --max-gap 5", "--max-gap: expected only with a forecaster, received a"),
    "a table for a policy": ("evaluate ACTING TABLE", "DATA: expected none for a policy"),
    "no table for a forecaster": ("evaluate MODEL", "DATA: expected a file to evaluate a forecaster on, rec"),
    "no episodes": ("evaluate ACTING --episodes 0", "episodes: expected at least 1"),
    "what comes after a policy": ("predict ACTING TABLE", "received a policy; use aaren stream"),
    "a stream without columns": ("stream ACTING", "expected a header and rows"),
    "no folder of policies": (
        "data regenerate Hopper-v4 medium --policies nowhere -o NEW",
        "expected a folder of policies",
    ),
    "an empty folder of policies": ("data regenerate Hopper-v4 medium --policies FOLDER -o NEW", "Hopper-sac.npz"),
    "no such environment": ("data regenerate Chess-v0 medium --policies FOLDER -o NEW", "among Ant-v4, HalfCheetah-v4"),
    "a file in no folder": ("data regenerate Hopper-v4 medium --policies FOLDER -o FOLDER/no/x", "there is no folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(
    case: str,
    aaren: Command,
    trained: Path,
    acting: Path,
    recorded: Path,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot be done is one line with exit code 1, and no file that was not there before."""
    line, words = REFUSED[case]
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    places = {
        "TABLE": table,
        "MODEL": trained,
        "ACTING": acting,
        "EPISODES": recorded,
        "FOLDER": tmp_path / "folder",
        "NEW": tmp_path / "new",
    }
    for name, place in places.items():
        line = line.replace(name, str(place))
    before = sorted(tmp_path.rglob("*"))
    assert words in aaren(*line.split()).refusal()
    assert sorted(tmp_path.rglob("*")) == before


def test_damaged_episodes(aaren: Command, recorded: Path, tmp_path: Path) -> None:
    """A file without a key is told by file and key."""
    path = tmp_path / "bad.hdf5"
    path.write_bytes(recorded.read_bytes())
    with h5py.File(path, "a") as file:
        del file["rewards"]
    said = aaren("train", "policy", path, "--environment", "Hopper-v4", "-o", tmp_path / "m").refusal()
    assert f"{path}: expected 'rewards', received a file with actions, observations, terminals, timeouts" in said
