"""Policies in environments: returns against a plain loop, side by side as one by one, real simulators."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from policy_environments import LENGTH, Follow, follower

from aaren.data import Scaler, make_environment, observation_names
from aaren.errors import DataError
from aaren.evaluation import EpisodeReturns, run_episodes
from aaren.models import Policy, PolicyPreprocessing, begin_episodes, choose_actions, observe_rewards

MODES = pytest.mark.parametrize("mode", ["streamed", "windowed"])


@pytest.fixture
def registered() -> Iterator[str]:
    """The id of an environment whose episodes have different lengths."""
    gymnasium.register("FollowRagged-v0", lambda: Follow(None))
    yield "FollowRagged-v0"
    del gymnasium.registry["FollowRagged-v0"]


def by_loop(model: Policy, environment: Any, seed: int, mode: Any) -> tuple[float, int]:
    """One episode, as anyone would write it."""
    observation, _ = environment.reset(seed=seed)
    state, total, steps, ended = begin_episodes(model, 1, mode), 0.0, 0, False
    while not ended:
        actions, state = choose_actions(model, observation[None], state)
        observation, reward, terminated, truncated, _ = environment.step(actions[0])
        state = observe_rewards(model, [reward], state)
        total, steps, ended = total + reward, steps + 1, terminated or truncated
    return total, steps


def hopper(context: int = 5) -> Policy:
    """A policy of Hopper's sizes with random weights: its robots fall after different numbers of steps."""
    scaler = Scaler(observation_names(11), np.zeros(11), np.ones(11))
    between = PolicyPreprocessing("Hopper-v4", scaler, (-1.0,) * 3, (1.0,) * 3, 1000.0, 3600.0)
    sizes = {"d_model": 8, "nhead": 1, "num_layers": 1, "dim_feedforward": 16, "context": context}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return Policy(observations=11, actions=3, preprocessing=between, **sizes).eval()


@MODES
def test_an_environment_of_the_users_own(mode: Any) -> None:
    """Episodes in a given environment bring what a plain loop brings, each from its own seed."""
    model = follower()
    found = run_episodes(model, Follow(), episodes=3, seed=5, mode=mode)
    expected = [by_loop(model, Follow(), 5 + index, mode)[0] for index in range(3)]
    assert np.allclose(found.returns, expected)
    assert found.steps.tolist() == [LENGTH] * 3
    assert found.environment == "Follow"
    assert found.score is None
    assert (found.mean, found.deviation) == (np.mean(expected), np.std(expected))
    assert len(set(found.returns.tolist())) == 3


@MODES
@pytest.mark.parametrize("encoder", ["aaren", "transformer", "gru", "mingru"])
def test_side_by_side_as_one_by_one(mode: Any, encoder: str, registered: str) -> None:
    """Copies that run side by side and end at different steps bring what each brings alone."""
    model = follower(encoder=encoder)
    found = run_episodes(model, registered, episodes=5, mode=mode)
    expected = [by_loop(model, Follow(None), index, mode) for index in range(5)]
    assert len(set(found.steps.tolist())) > 1
    assert found.steps.tolist() == [steps for _, steps in expected]
    assert np.allclose(found.returns, [total for total, _ in expected], atol=1e-4)


def test_streamed_is_parallel_in_a_real_simulator() -> None:
    """In a recorded episode of a robot, the streamed actions are those of one parallel pass over it."""
    model = hopper()
    environment = make_environment("Hopper-v4")
    observation, _ = environment.reset(seed=0)
    state, seen, returns, actions = begin_episodes(model, 1), [], [], []
    for _ in range(60):
        seen.append(model.preprocessing.scaled_observations(observation))
        returns.append(float(state.return_to_go) / 1000)
        _, state = choose_actions(model, observation[None], state)
        actions.append(state.action[0])
        observation, reward, terminated, _, _ = environment.step(state.action[0].numpy())
        state = observe_rewards(model, [reward], state)
        if terminated:
            break
    environment.close()
    assert len(actions) > 5
    done = torch.stack(actions)[None]
    with torch.no_grad():
        parallel, _ = model(torch.tensor([returns]), torch.from_numpy(np.stack(seen))[None], done)
    assert torch.allclose(parallel, done, atol=1e-5)


def test_a_seed_decides_the_returns() -> None:
    """The same seed gives the same returns, another one others; the target is heard."""
    model = follower()
    first, again, other = (run_episodes(model, Follow(), episodes=2, seed=seed) for seed in (1, 1, 9))
    assert np.array_equal(first.returns, again.returns)
    assert not np.array_equal(first.returns, other.returns)
    assert first.target_return == 8.0
    asked = run_episodes(model, Follow(), episodes=2, seed=1, target_return=-50.0)
    assert asked.target_return == -50.0
    assert not np.array_equal(first.returns, asked.returns)


def test_scores_and_plain_data() -> None:
    """The score is of the mean return, and all goes through JSON."""
    found = EpisodeReturns("HalfCheetah-v4", "streamed", 6000.0, np.array([5000.0, 5934.0]), np.array([1000, 1000]))
    assert found.score == pytest.approx(46.3, abs=0.05)
    assert found.to_dict() == {
        "environment": "HalfCheetah-v4",
        "mode": "streamed",
        "target_return": 6000.0,
        "episodes": 2,
        "mean": 5467.0,
        "deviation": 467.0,
        "score": found.score,
        "returns": [5000.0, 5934.0],
        "steps": [1000, 1000],
    }


def test_what_cannot_be_played() -> None:
    """Other sizes, unknown environments, no episodes and episodes that are too long are refused."""
    model = follower()
    with pytest.raises(DataError, match=r"observations of shape \(2,\) and actions of shape \(1,\), received \(11,\)"):
        run_episodes(model, "Hopper-v4")
    with pytest.raises(DataError, match="expected an environment of Gymnasium, received 'Follow-v0'"):
        run_episodes(model)
    with pytest.raises(ValueError, match="episodes: expected at least 1, received 0"):
        run_episodes(model, Follow(), episodes=0)
    with pytest.raises(ValueError, match="timesteps: expected 0 to 15, received 16 to 16"):
        run_episodes(model, Follow(length=20), episodes=1)
    assert issubclass(Follow, gymnasium.Env)


def test_an_id_imports_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id with a module before it, which a model's file may hold, is refused before anything is imported."""
    (tmp_path / "evil_environment.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match="expected the id of an environment without a module"):
        make_environment("evil_environment:HalfCheetah-v4")


def test_a_negative_seed_is_refused() -> None:
    """A seed that Gymnasium would refuse is refused in our words."""
    with pytest.raises(ValueError, match="seed: expected 0 or more, received -1"):
        run_episodes(follower(), Follow(3), episodes=1, seed=-1)
