"""Which robot episodes are of: by the simulator, and without one by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
from episode_cases import flat, write

from aaren.data import EpisodeSet, environment_sizes, make_environment, read_episodes, require_robot
from aaren.errors import DataError


def of_sizes(path: Path, observations: int, actions: int) -> EpisodeSet:
    """Seven steps of a robot of these sizes."""
    arrays: dict[str, Any] = {**flat(), "observations": np.zeros((7, observations)), "actions": np.zeros((7, actions))}
    return read_episodes(write(path, arrays))


@pytest.mark.parametrize(
    "environment", ["Ant-v4", "Ant-v5", "HalfCheetah-v4", "Hopper-v4", "Hopper-v5", "Walker2d-v4", "Walker2d-v5"]
)
def test_the_known_sizes_are_the_simulators(environment: str) -> None:
    """What is known of a robot without Gymnasium is what Gymnasium says of it."""
    simulator = make_environment(environment)
    simulator.close()
    assert set(environment_sizes(simulator)) <= set(environment_sizes(environment))


def test_episodes_of_another_robot(tmp_path: Path) -> None:
    """They are refused with both sizes and the robots that fit, by name or by simulator; Ant may have 27 or 111."""
    hopper = of_sizes(tmp_path / "hopper.hdf5", 11, 3)
    simulator = make_environment("HalfCheetah-v4")
    simulator.close()
    for environment in ("HalfCheetah-v4", simulator):
        with pytest.raises(
            DataError,
            match=r"hopper\.hdf5: expected episodes of HalfCheetah-v4, with 17 observations and 6 actions, received 11 "
            r"and 3; give the environment that they are from \(Hopper has these sizes\)$",
        ):
            require_robot(environment, hopper)
    with pytest.raises(DataError, match=r"with 11 observations .* received 4 and 3; give the environment .* are from$"):
        require_robot("mujoco/Hopper-v5", of_sizes(tmp_path / "other.hdf5", 4, 3))
    require_robot("Hopper-v2", hopper)
    require_robot("MyHopper-v0", hopper)
    ant = make_environment("Ant-v4")
    ant.close()
    for observations in (27, 111):
        require_robot(ant, of_sizes(tmp_path / "ant.hdf5", observations, 8))


def test_robots_of_equal_sizes_are_told_by_their_file(tmp_path: Path) -> None:
    """HalfCheetah and Walker2d have the same sizes; a file that says which it is of is no other's."""
    files = []
    for robot in ("HalfCheetah-v4", "Walker2d-v4"):
        path = tmp_path / f"{robot}.hdf5"
        of_sizes(path, 17, 6)
        with h5py.File(path, "a") as file:
            file.attrs["env_id"] = robot
        files.append(path)
    cheetah, walker = map(read_episodes, files)
    assert (cheetah.environment, walker.environment) == ("HalfCheetah-v4", "Walker2d-v4")
    require_robot("HalfCheetah-v5", cheetah)
    require_robot("MyWalker-v0", cheetah)
    require_robot("Walker2d-v4", of_sizes(tmp_path / "unnamed.hdf5", 17, 6))
    with pytest.raises(
        DataError,
        match=r"v4\.hdf5: expected episodes of Walker2d-v4, received those of HalfCheetah-v4, as the file says",
    ):
        require_robot("Walker2d-v4", cheetah)
    with pytest.raises(DataError, match=r"of HalfCheetah-v4 as before, received Walker2d-v4; join files of one"):
        read_episodes(files)


def test_environments_without_an_id_or_flat_spaces(tmp_path: Path) -> None:
    """One that is not registered is named by its class; of one whose observations are not flat nothing is known."""

    class Own(gymnasium.Env[Any, Any]):
        observation_space = gymnasium.spaces.Box(-1, 1, (4,))
        action_space = gymnasium.spaces.Box(-1, 1, (3,))

    class Nested(Own):
        observation_space = gymnasium.spaces.Dict({"a": Own.observation_space})  # type: ignore[assignment]

    hopper = of_sizes(tmp_path / "hopper.hdf5", 11, 3)
    with pytest.raises(DataError, match=r"of Own, with 4 observations and 3 actions, received 11 and 3"):
        require_robot(Own(), hopper)
    assert environment_sizes(Nested()) == ()
    require_robot(Nested(), hopper)


def test_the_robot_that_was_given_is_not_proposed(tmp_path: Path) -> None:
    """Ant-v5 has 105 numbers: D4RL's 111 are not of it, and the words do not say that Ant fits."""
    simulator = make_environment("Ant-v5")
    simulator.close()
    with pytest.raises(DataError, match=r"with 105 observations .* received 111 and 8; .* that they are from$"):
        require_robot(simulator, of_sizes(tmp_path / "ant.hdf5", 111, 8))
