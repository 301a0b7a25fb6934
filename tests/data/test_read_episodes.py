"""Episodes from files: where they begin and end, and what is refused."""

from __future__ import annotations

import gzip
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from episode_cases import flat, grouped, minari, transformer, write

from aaren.data import (
    REFERENCE_RETURNS,
    find,
    find_parts,
    normalized_score,
    observation_scaler,
    read_episodes,
    returns_to_go,
    sha256_of,
)
from aaren.errors import DataError, MissingDependencyError


def test_the_flat_layout_is_cut_at_its_ends(tmp_path: Path) -> None:
    """Episodes end at terminals and timeouts, and together they are the arrays of the file."""
    arrays = flat((4, 1, 3))
    path = write(tmp_path / "a.hdf5", arrays)
    found = read_episodes(path)
    assert [episode.steps for episode in found.episodes] == [4, 1, 3]
    assert [(one.terminated, one.truncated) for one in found.episodes] == [(True, False), (True, False), (False, True)]
    for name in ("observations", "actions", "rewards"):
        assert np.array_equal(np.concatenate([getattr(one, name) for one in found.episodes]), arrays[name])
    assert found.sha256 == sha256_of(path)
    assert (found.observations, found.actions, found.steps) == (3, 2, 8)


def test_an_episode_that_was_cut_is_told(tmp_path: Path) -> None:
    """An end of the file is no end of an episode; `complete` leaves it out, and refuses to leave nothing."""
    found = read_episodes(write(tmp_path / "a.hdf5", flat((4, 3), cut=True)))
    assert [one.complete for one in found.episodes] == [True, False]
    assert len(found.complete().episodes) == len(found.returns()) == 1
    alone = read_episodes(write(tmp_path / "b.hdf5", flat((4,), cut=True)))
    assert "no complete episode" in alone.describe()
    with pytest.raises(DataError, match="expected at least one episode with its end, received 1 without"):
        alone.complete()


def test_minari_has_one_observation_more(tmp_path: Path) -> None:
    """Groups are read in the order of their numbers, and the last observation, after the last action, is left out."""
    episodes = [minari(2 + index, seed=index) for index in range(11)]
    found = read_episodes(grouped(tmp_path / "main_data.hdf5", episodes))
    assert [one.steps for one in found.episodes] == [2 + index for index in range(11)]
    for one, expected in zip(found.episodes, episodes, strict=True):
        assert np.array_equal(one.observations, expected["observations"][:-1].astype(np.float32))
        assert np.array_equal(one.rewards, expected["rewards"].astype(np.float32))
        assert (one.terminated, one.truncated) == (False, True)


def test_a_folder_of_minari_stands_for_its_file(tmp_path: Path) -> None:
    """A set's folder, and the folder of its data, are read as the file in them; any other folder is refused."""
    data = tmp_path / "medium-v0" / "data"
    data.mkdir(parents=True)
    with pytest.raises(DataError, match=r"expected data/main_data\.hdf5 or main_data\.hdf5 in the folder, .* neither;"):
        read_episodes(data.parent)
    (data / "0").mkdir()
    (data / "0" / "part-0.arrow").touch()
    for folder in (data.parent, data):
        with pytest.raises(
            DataError, match="received Minari's files of Arrow or Parquet; make the set with data_format="
        ):
            read_episodes(folder)
    file = grouped(data / "main_data.hdf5", [minari(4)])
    for folder in (data.parent, data):
        found = read_episodes(folder)
        assert (found.source, found.sha256, found.steps) == (str(file), sha256_of(file), 4)


def test_both_layouts_of_the_same_episodes_agree(tmp_path: Path) -> None:
    """The same episode is the same from either layout."""
    one = minari(5)
    flags = {"terminals": one["terminations"], "timeouts": one["truncations"]}
    arrays = {name: one[name] for name in ("actions", "rewards")}
    d4rl = write(tmp_path / "d4rl.hdf5", {"observations": one["observations"][:-1], **arrays, **flags})
    left, right = (read_episodes(path).episodes[0] for path in (d4rl, grouped(tmp_path / "m.hdf5", [one])))
    assert np.array_equal(left.observations, right.observations)
    assert left.total_return == right.total_return


def test_files_are_joined_in_order(tmp_path: Path) -> None:
    """Several files are one set; files of other sizes are refused."""
    paths = [write(tmp_path / f"{seed}.hdf5", flat(seed=seed)) for seed in (1, 2)]
    found = read_episodes(paths)
    assert len(found.episodes) == 4
    assert found.sha256 == " + ".join(map(sha256_of, paths))
    assert np.array_equal(found.episodes[2].rewards, read_episodes(paths[1]).episodes[0].rewards)
    other = flat()
    other["observations"] = np.zeros((7, 4), dtype=np.float32)
    with pytest.raises(DataError, match=r"expected 3 observations and 2 actions .*received 4 and 2"):
        read_episodes([paths[0], write(tmp_path / "other.hdf5", other)])
    with pytest.raises(DataError, match="at least one file of episodes"):
        read_episodes([])


def test_the_real_sets_have_the_published_returns() -> None:
    """The regenerated sets have the sizes and mean returns that their table gives."""
    for name, episodes, steps, mean in (
        ("HalfCheetah-medium-regenerated", 30, 30_000, 5467),
        ("Hopper-medium-replay-regenerated", 128, 30_231, 769),
        ("Ant-medium-regenerated", 31, 30_626, 2173),
    ):
        found = read_episodes(find(name))
        assert (len(found.episodes), found.steps) == (episodes, steps)
        assert found.returns().mean() == pytest.approx(mean, abs=0.51)
    joined = read_episodes(list(find_parts("Walker2d-medium-expert-regenerated").values()))
    assert joined.steps == 30_471 + 30_036


def changed(**arrays: Any) -> dict[str, Any]:
    """A good file with some keys replaced, or gone where they are None."""
    return {name: array for name, array in {**flat(), **arrays}.items() if array is not None}


BAD = {
    "a missing key": (changed(timeouts=None), "expected 'timeouts', received a file with actions, observations"),
    "unequal lengths": (changed(actions=np.zeros((6, 2))), "expected 7 rows of 'actions' .* received 6"),
    "one dimension of observations": (changed(observations=np.zeros(7)), r"'observations' of shape \(steps, obs"),
    "two dimensions of rewards": (changed(rewards=np.zeros((7, 1))), r"'rewards' of shape \(steps,\)"),
    "no numbers in an action": (changed(actions=np.zeros((7, 0))), r"'actions' of shape"),
    "a scalar": (changed(rewards=1.0), r"'rewards' of shape"),
    "text": (changed(rewards=np.array([b"x"] * 7)), "expected numbers in 'rewards'"),
    "NaN": (changed(observations=np.where(np.eye(7, 3) > 0, np.nan, 0)), r"finite.*'observations'.*nan at \(0, 0\)"),
    "infinity": (changed(rewards=np.array([0, 0, np.inf, 0, 0, 0, 0])), r"'rewards', received inf at \(2,\)"),
    "NaN as a terminal": (
        changed(terminals=np.array([0, 0, 0, 1, np.nan, 0, 0])),
        r"'terminals', received nan at \(4,\)",
    ),
    "NaN as a timeout": (changed(timeouts=np.full(7, np.nan)), r"'timeouts', received nan at \(0,\)"),
    "beyond float32": (changed(actions=np.full((7, 2), 1e39)), r"'actions', received 1e\+39 at \(0, 0\)"),
    "no step": ({name: array[:0] for name, array in flat().items()}, "at least one episode, received none"),
    "a group in place of an array": (
        {**changed(rewards=None), "rewards/x": np.zeros(7)},
        "expected an array as 'rewards'",
    ),
    "nothing": ({}, "expected 'observations', received a file with nothing"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_flat_files(case: str, tmp_path: Path) -> None:
    """What a flat file can do wrong is named with the file and the key."""
    arrays, words = BAD[case]
    path = write(tmp_path / "bad.hdf5", arrays)
    with pytest.raises(DataError, match=words) as refusal:
        read_episodes(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)


BAD_GROUPS = {
    "as many observations as actions": (
        "observations",
        lambda x: x[:-1],
        "6 rows of 'episode_1/observations'",
    ),
    "actions are missing": ("actions", lambda x: x[:-1], "expected 5 rows of 'episode_1/actions'"),
    "an end inside": ("terminations", lambda x: ~x, "expected the end of episode_1 at its last step"),
    "NaN": ("rewards", lambda x: x * np.nan, "'episode_1/rewards', received nan"),
    "NaN as an end": (
        "truncations",
        lambda x: np.where(x, np.nan, 0),
        r"'episode_1/truncations', received nan at \(4,\)",
    ),
    "no step": ("rewards", lambda x: x[:0], "at least one step in episode_1"),
    "no truncations": ("truncations", None, "expected 'episode_1/truncations'"),
}


@pytest.mark.parametrize("case", BAD_GROUPS)
def test_bad_groups(case: str, tmp_path: Path) -> None:
    """What a group can do wrong is named with its number."""
    key, change, words = BAD_GROUPS[case]
    bad = minari(5)
    array = bad.pop(key)
    if change is not None:
        bad[key] = change(array)
    with pytest.raises(DataError, match=words):
        read_episodes(grouped(tmp_path / "main_data.hdf5", [minari(3), bad]))


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_decision_transformer(protocol: int, tmp_path: Path) -> None:
    """A list of dictionaries is read as it was written, packed too; an episode ends by its terminal or by a limit."""
    episodes = [transformer(3 + index, seed=index, terminal=index == 1) for index in range(3)]
    path = tmp_path / "hopper-medium-v2.pkl"
    path.write_bytes(pickle.dumps(episodes, protocol))
    packed = tmp_path / "packed.pkl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, packed):
        found = read_episodes(file)
        assert (found.source, found.sha256) == (str(file), sha256_of(file))
        assert [(one.terminated, one.truncated) for one in found.episodes] == [
            (False, True),
            (True, False),
            (False, True),
        ]
        for one, expected in zip(found.episodes, episodes, strict=True):
            for name in ("observations", "actions", "rewards"):
                assert np.array_equal(getattr(one, name), expected[name])


class _Attack:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


ONE = transformer(4)
BAD_PICKLES: dict[str, tuple[Any, str]] = {
    "a call": ([_Attack()], "calls for 'posix.system'"),
    "a call for an array": ([{**ONE, "rewards": _Attack()}], "calls for 'posix.system'"),
    "no list": (ONE, "expected a pickled list of episodes"),
    "no episode": ([], "expected at least one episode, received none"),
    "no dictionary": ([ONE, 3], "expected 'episode_1/observations', received int"),
    "no rewards": (
        [{name: array for name, array in ONE.items() if name != "rewards"}],
        "'episode_0/rewards', received",
    ),
    "a list for an array": ([{**ONE, "rewards": [1.0] * 4}], "expected an array as 'episode_0/rewards', received list"),
    "no step": ([{name: array[:0] for name, array in ONE.items()}], "at least one step in episode_0"),
    "another length": ([{**ONE, "actions": ONE["actions"][1:]}], "expected 4 rows of 'episode_0/actions'"),
    "an end inside": ([{**ONE, "terminals": np.ones(4, dtype=np.bool_)}], "end of episode_0 at its last step"),
    "one dimension": ([{**ONE, "actions": np.zeros(4)}], r"'episode_0/actions' of shape \(steps, actions\)"),
    "NaN": ([{**ONE, "rewards": np.full(4, np.nan)}], r"'episode_0/rewards', received nan at \(0,\)"),
    "NaN as an end": ([{**ONE, "terminals": np.full(4, np.nan)}], r"'episode_0/terminals', received nan"),
    "objects": ([{**ONE, "rewards": np.array([None] * 4)}], "expected an array as 'episode_0/rewards', received list"),
    "the same array again": ([ONE] * 100, "at most [0-9]+ bytes in all, .* under several names"),
    "another size": ([ONE, {**ONE, "actions": np.zeros((4, 5))}], "received 3 and 5 in episode 1; remove it"),
}


@pytest.mark.parametrize("case", BAD_PICKLES)
def test_bad_pickles(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pickle of episodes can do wrong is named with the file, and nothing in it is executed."""
    monkeypatch.chdir(tmp_path)
    value, words = BAD_PICKLES[case]
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps(value, 2))
    with pytest.raises(DataError, match=words) as refusal:
        read_episodes(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert [*tmp_path.iterdir()] == [path]


def test_damaged_pickles(tmp_path: Path) -> None:
    """A pickle that is cut off anywhere, bytes that are none, and an array that is never filled are refused."""
    path = tmp_path / "bad.pkl"
    whole = pickle.dumps([transformer(2)], 4)
    empty = b"\x80\x02]}X\x0c\x00\x00\x00observationscnumpy.core.multiarray\n_reconstruct\n)Rsa."
    for data in (b"", b"garbage" * 100, *(whole[:length] for length in range(1, len(whole), 7)), empty):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"bad\.pkl: expected"):
            read_episodes(path)


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    """A file that is no HDF5, is cut off anywhere, or is not there is refused in one line."""
    good = write(tmp_path / "good.hdf5", flat()).read_bytes()
    path = tmp_path / "bad.hdf5"
    for data in (b"", b"no hdf5", good[:9], *(good[: len(good) * part // 16] for part in range(1, 16)), good[:-1]):
        path.write_bytes(data)
        with pytest.raises(DataError) as refusal:
            read_episodes(path)
        assert "\n" not in str(refusal.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_episodes(tmp_path / "nowhere.hdf5")


def test_nothing_outside_of_the_file_is_read(tmp_path: Path) -> None:
    """Links, external storage, virtual arrays and arrays that are larger than the file are refused."""
    good = write(tmp_path / "good.hdf5", flat())
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(28))
    layout = h5py.VirtualLayout((7,), "f4")
    layout[:] = h5py.VirtualSource(good, "rewards", (7,))
    crafted: dict[str, Any] = {
        "link": lambda file: file.__setitem__("rewards", h5py.ExternalLink(good, "rewards")),
        "soft": lambda file: file.__setitem__("rewards", h5py.SoftLink("/actions")),
        "storage": lambda file: file.create_dataset("rewards", (7,), "f4", external=[(str(secret), 0, 28)]),
        "virtual": lambda file: file.create_virtual_dataset("rewards", layout),
        "huge": lambda file: file.create_dataset("rewards", (2**40,), "f4", chunks=(1024,)),
    }
    for name, make in crafted.items():
        path = write(tmp_path / f"{name}.hdf5", changed(rewards=None))
        with h5py.File(path, "a") as file:
            make(file)
        with pytest.raises(DataError, match="rewards"):
            read_episodes(path)
    path = tmp_path / "groups.hdf5"
    with h5py.File(path, "w") as file:
        file["episode_0"] = h5py.ExternalLink(good, "/")
    with pytest.raises(DataError, match="expected 'episode_0' inside the file, received a link"):
        read_episodes(path)


def test_numbers_under_many_names_are_not_read_again_and_again(tmp_path: Path) -> None:
    """What is read of a file is bounded by its size: links to one array, or to one episode, do not multiply it."""
    words = r"expected arrays of at most \d+ bytes in all, .* under several names; write each array once"
    episodes = grouped(tmp_path / "episodes.hdf5", [minari(500)])
    with h5py.File(episodes, "a") as file:
        for number in range(1, 100):
            file[f"episode_{number}"] = file["episode_0"]
    arrays = grouped(tmp_path / "arrays.hdf5", [minari(500), *[minari(1) for _ in range(99)]])
    with h5py.File(arrays, "a") as file:
        for number in range(1, 100):
            for name in file["episode_0"]:
                del file[f"episode_{number}/{name}"]
                file[f"episode_{number}/{name}"] = file[f"episode_0/{name}"]
    for path in (episodes, arrays):
        with pytest.raises(DataError, match=words):
            read_episodes(path)


def test_arrays_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """An array with a header of its own, whose numbers are the bytes of another one, is no way around that."""
    arrays = flat((20_000, 20_000))
    arrays["actions"] = arrays.pop("actions")  # at the end
    path = write(tmp_path / "shared.hdf5", arrays)
    with h5py.File(path) as file:
        own, others = (file[name].id.get_offset() for name in ("actions", "observations"))
    data = path.read_bytes()
    for before, after in ((own, others), (len(data), own)):  # where the actions are, and where the file ends
        old, new = before.to_bytes(8, "little"), after.to_bytes(8, "little")
        assert data.count(old) == 1
        data = data.replace(old, new)
    path.write_bytes(data[:own])
    with h5py.File(path) as file:
        assert np.array_equal(file["actions"][0], file["observations"][0, :2])
    with pytest.raises(DataError, match=f"at most {own} bytes in all"):
        read_episodes(path)


@pytest.mark.parametrize("options", [{"compression": "gzip", "compression_opts": 9}, {"chunks": True}, {}])
def test_honest_files_are_read_however_they_are_packed(options: dict[str, Any], tmp_path: Path) -> None:
    """Numbers that pack well, such as rewards that are nearly all 0, are no reason to refuse a file."""
    arrays = flat((100_000,), cut=False)
    arrays["rewards"][:-1] = 0
    arrays["observations"][:] = 1.5
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **options)
    (episode,) = read_episodes(tmp_path / "a.hdf5").episodes
    assert np.array_equal(episode.actions, arrays["actions"])
    assert episode.total_return == arrays["rewards"][-1]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without h5py the error names the extra."""
    path = write(tmp_path / "a.hdf5", flat())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'aaren\[rl\]'"):
        read_episodes(path)


def test_returns_to_go_by_a_loop() -> None:
    """What is to come at each step is the sum of the rewards from it on."""
    rewards = np.random.default_rng(0).normal(size=50).astype(np.float32)
    expected = [sum(float(reward) for reward in rewards[step:]) for step in range(50)]
    assert np.allclose(returns_to_go(rewards), expected, atol=1e-12)
    assert returns_to_go([]).shape == (0,)


def test_observations_are_scaled_by_all_steps(tmp_path: Path) -> None:
    """Mean and deviation are those of all steps of all episodes; a constant number has deviation 1."""
    arrays = flat()
    arrays["observations"][:, 1] = 5
    scaler = observation_scaler(read_episodes(write(tmp_path / "a.hdf5", arrays)).episodes)
    assert scaler.names == ("observation_0", "observation_1", "observation_2")
    assert np.allclose(scaler.mean, arrays["observations"].mean(0, dtype=np.float64))
    assert np.allclose(scaler.deviation[[0, 2]], arrays["observations"].std(0, dtype=np.float64)[[0, 2]])
    assert scaler.deviation[1] == 1


@pytest.mark.parametrize(
    ("name", "mean", "score"),
    [
        ("HalfCheetah-v4", 5467.0, 46.3),
        ("HalfCheetah", 11503.0, 94.9),
        ("Hopper-v5", 1639.0, 51.0),
        ("Walker2d-v4", 4509.0, 98.2),
        ("Ant-v4", 4161.0, 106.7),
        ("mujoco/Ant-v4", 764.0, 25.9),
    ],
)
def test_published_scores(name: str, mean: float, score: float) -> None:
    """Scores are the published ones; a random policy has 0 and an expert 100."""
    assert normalized_score(name, mean) == pytest.approx(score, abs=0.051)
    for environment, (random, expert) in REFERENCE_RETURNS.items():
        assert (normalized_score(environment, random), normalized_score(environment, expert)) == (0, 100)


def test_an_environment_without_references() -> None:
    """An environment without published references has no score."""
    with pytest.raises(DataError, match=r"with published references \(Ant, .*received 'CartPole"):
        normalized_score("CartPole-v1", 1.0)
