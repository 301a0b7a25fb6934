"""Sets that are recorded anew: near the published returns, the same bytes for a seed, nothing half-written."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from aaren.data import make_environment, read_episodes, regenerate, sha256_of
from aaren.data._behaviour import Behaviour
from aaren.errors import DataError


@pytest.fixture(scope="session")
def policies(real_data: Path) -> Path:
    """The trained policies as plain arrays."""
    return real_data / "rl" / "policies"


def test_an_expert_is_near_its_published_return(policies: Path, tmp_path: Path) -> None:
    """An episode of HalfCheetah's expert brings what the table says (11503, deviation 140), in D4RL's layout."""
    path = tmp_path / "expert.hdf5"
    returns = regenerate("HalfCheetah-v4", "expert", policies, path, steps=1000)
    assert abs(returns.mean() - 11503) < 5 * 140
    found = read_episodes(path)
    assert np.allclose(found.returns(), returns)
    assert (found.steps, found.episodes[0].truncated) == (1000, True)
    with h5py.File(path) as file:
        assert file["observations"].dtype == np.float32
        assert file.attrs["env_id"] == "HalfCheetah-v4"
        assert file.attrs["behaviour"] == "HalfCheetah-tqc"
        assert file.attrs["mean_return"] == returns.mean()


def test_a_seed_decides_every_byte(policies: Path, tmp_path: Path) -> None:
    """The same seed writes the same file, another seed another one; a replay set has all its parts."""
    digests = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        regenerate("Hopper-v4", "medium-replay", policies, tmp_path / name, steps=300, seed=seed)
        digests.append(sha256_of(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]
    assert read_episodes(tmp_path / "a").steps >= 300


def test_what_is_recorded_is_what_happened(policies: Path, tmp_path: Path) -> None:
    """Played again from the same start, the recorded actions give the recorded rewards."""
    regenerate("Walker2d-v4", "medium", policies, tmp_path / "a.hdf5", steps=1, seed=7)
    episode = read_episodes(tmp_path / "a.hdf5").episodes[0]
    environment = make_environment("Walker2d-v4")
    environment.reset(seed=7)
    observation, _ = environment.reset()
    for step in range(episode.steps):
        assert np.array_equal(observation.astype(np.float32), episode.observations[step])
        observation, reward, terminated, truncated, _ = environment.step(episode.actions[step])
        assert np.float32(reward) == episode.rewards[step]
    assert (terminated, truncated) == (episode.terminated, episode.truncated)
    environment.close()


def test_every_policy_acts(policies: Path) -> None:
    """All 22 policies are read and act within -1 ... 1, without noise always alike."""
    sizes = {"Ant": 27, "HalfCheetah": 17, "Hopper": 11, "Walker2d": 17}
    paths = sorted(policies.glob("*.npz"))
    assert len(paths) == 22
    for path in paths:
        behaviour = Behaviour.read(path)
        observation = np.random.default_rng(0).normal(size=sizes[path.stem.split("-")[0]])
        first, second = (behaviour.act(observation, 3, np.random.default_rng(seed), 0.0) for seed in (0, 1))
        assert np.array_equal(first, second)
        assert np.abs(first).max() <= 1


def test_what_cannot_be_recorded(policies: Path, tmp_path: Path) -> None:
    """Unknown environments and levels, missing and damaged policies are refused, and no file is left."""
    bad = tmp_path / "bad"
    bad.mkdir()
    whole = (policies / "Hopper-sac.npz").read_bytes()
    for name, data in (("Hopper-sac", whole[:-30]), ("Walker2d-ppo", b"no zip")):
        (bad / f"{name}.npz").write_bytes(data)
    np.savez(bad / "Ant-ars.npz", W=np.zeros((8, 111)))
    np.savez(bad / "HalfCheetah-ppo.npz", object=np.array([{}], dtype=object), hidden_activation="relu")
    out = tmp_path / "out.hdf5"
    for environment, level, folder, words in (
        ("CartPole-v1", "medium", policies, "expected an environment among Ant-v4, HalfCheetah-v4"),
        ("Hopper-v99", "medium", policies, "expected an environment among .*received 'Hopper-v99'"),
        ("Ant-v5", "medium", policies, "expected an environment among .*received 'Ant-v5'"),
        ("Hopper-v4", "expert", bad, "cannot be read"),
        ("Hopper-v4", "medium", bad, "Hopper-sac.npz"),
        ("Walker2d-v4", "medium", bad, "Walker2d-ppo.npz"),
        ("Ant-v4", "medium", bad, "expected a policy of plain arrays"),
        ("HalfCheetah-v4", "medium", bad, "HalfCheetah-ppo.npz: object: expected numbers or text, received objects"),
    ):
        with pytest.raises(DataError, match=words):
            regenerate(environment, level, folder, out, steps=10)
    with pytest.raises(DataError, match="at least 1 step"):
        regenerate("Hopper-v4", "medium", policies, out, steps=0)
    assert not out.exists()


def test_a_failure_leaves_the_old_file(policies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the new file cannot take its place, the old one is whole and no temporary one is left."""
    path = tmp_path / "a.hdf5"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left"):
        regenerate("Hopper-v4", "medium", policies, path, steps=1)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_environments_leave_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making an environment writes nothing where the user stands; one of other spaces is refused."""
    monkeypatch.chdir(tmp_path)
    make_environment("HalfCheetah-v4").close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="expected flat boxes of observations and actions"):
        make_environment("CartPole-v1")
