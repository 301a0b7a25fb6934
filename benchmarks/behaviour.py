"""How much error of its actions a recorded behaviour bears: `python benchmarks/behaviour.py POLICY.npz ENVIRONMENT`.

What is measured: returns of a behaviour policy that acts by its own distribution, by its mean, and by its mean with an
error of some deviation added to every action, as the actions of an imitation have. It tells what a policy that was
trained on the recorded episodes can reach, and how exact its actions must be for that. With `--recorded`, also how far
the recorded actions are from the mean of the policy: the part of an imitation's squared error that is their noise.

    python benchmarks/behaviour.py $AAREN_DATA/rl/policies/HalfCheetah-ppo.npz HalfCheetah-v4 \
        --recorded $(aaren data path HalfCheetah-medium-regenerated)

What it does not say: the errors of an imitation are not independent of each other, as those here are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import gymnasium
import numpy as np
from numpy.typing import NDArray

from aaren.data import Episode, read_episodes, require_robot
from aaren.data._behaviour import Behaviour
from aaren.errors import DataError


def returns(
    behaviour: Behaviour, environment: str, *, noise: float, error: float, episodes: int
) -> NDArray[np.float64]:
    """Returns of whole episodes, shape (episodes,), from the same starts each time.

    Args:
        behaviour: the policy.
        environment: id for Gymnasium.
        noise: factor on the policy's own noise.
        error: deviation of what is added to every number of an action.
        episodes: how many.
    """
    env = gymnasium.make(environment)
    found = []
    for episode in range(episodes):
        observation, _ = env.reset(seed=1000 + episode)
        generator, step, total, over = np.random.default_rng(episode), 0, 0.0, False
        while not over:
            action = behaviour.act(observation, step, generator, noise)
            action = np.clip(action + error * generator.standard_normal(len(action)), -1, 1)
            observation, reward, terminated, truncated, _ = env.step(action)
            step, total, over = step + 1, total + float(reward), terminated or truncated
        found.append(total)
    return np.array(found)


def recorded_noise(behaviour: Behaviour, episodes: Sequence[Episode]) -> float:
    """Mean squared distance of the recorded actions from those that the policy means."""
    generator, squares = np.random.default_rng(0), []
    for episode in episodes:
        meant = [behaviour.act(x, step, generator, 0.0) for step, x in enumerate(episode.observations)]
        squares.append((episode.actions - np.array(meant)) ** 2)
    return float(np.concatenate(squares).mean())


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path, metavar="POLICY.npz")
    parser.add_argument("environment", metavar="ENVIRONMENT")
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--recorded", type=Path, metavar="EPISODES.hdf5", help="episodes that the policy recorded")
    arguments = parser.parse_args()
    behaviour = Behaviour.read(arguments.policy)
    if arguments.recorded:
        recorded = read_episodes([arguments.recorded])
        try:
            require_robot(gymnasium.make(arguments.environment), recorded)
        except DataError as error:
            parser.error(f"--recorded: {error}")
        noise = recorded_noise(behaviour, recorded.episodes)
        print(f"noise of the recorded actions: mean square {noise:.5f}")
    print("acts by                      mean   median   below 0.9 of the mean policy's median")
    usual = None
    for name, noise, error in (
        ("its mean", 0.0, 0.0),
        ("its own distribution", 1.0, 0.0),
        ("its mean, error 0.03", 0.0, 0.03),
        ("its mean, error 0.07", 0.0, 0.07),
        ("its mean, error 0.15", 0.0, 0.15),
    ):
        played = returns(behaviour, arguments.environment, noise=noise, error=error, episodes=arguments.episodes)
        usual = float(np.median(played)) if usual is None else usual
        failed = int((played < 0.9 * usual).sum())
        print(f"{name:24} {played.mean():8.0f} {np.median(played):8.0f}   {failed} of {len(played)}")


if __name__ == "__main__":
    main()
