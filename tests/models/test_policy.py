"""The policy: what each action may depend on, streamed and in parallel, padding, refusals, its directory."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policy_cases import ENCODERS, SMALL, name, policy, preprocessing, steps
from torch import Tensor
from torch.utils import _pytree as pytree

import aaren
from aaren.errors import ModelFileError
from aaren.models import (
    ActingState,
    Policy,
    PolicyConfig,
    PolicyPreprocessing,
    begin_episodes,
    choose_actions,
    observe_rewards,
)

every_encoder = pytest.mark.parametrize("case", ENCODERS, ids=name)


def streamed(model: Policy, returns: Tensor, seen: Tensor, done: Tensor, state: Any) -> Tensor:
    """The actions of `act` and `observe` in turn."""
    actions = []
    with torch.no_grad():
        for step in range(returns.shape[1]):
            action, state = model.act(returns[:, step], seen[:, step], state)
            state = model.observe(done[:, step], state)
            actions.append(action)
    return torch.stack(actions, 1)


@every_encoder
def test_streamed_equals_parallel(case: dict[str, Any]) -> None:
    """Token by token gives the actions of one parallel pass over the episode."""
    model, (returns, seen, done) = policy(**case), steps()
    with torch.no_grad():
        expected, state = model(returns, seen, done)
    assert torch.allclose(streamed(model, returns, seen, done, model.init_state(2)), expected, atol=1e-5)
    assert state.timestep.tolist() == [10, 10]


@every_encoder
def test_windowed_equals_the_window_alone(case: dict[str, Any]) -> None:
    """In the mode "windowed" an action is that of the last K steps read as a batch, with their own time steps."""
    model, (returns, seen, done) = policy(**case), steps()
    found = streamed(model, returns, seen, done, model.init_window(2))
    for step in range(10):
        window = slice(max(0, step - SMALL["context"] + 1), step + 1)
        times = torch.arange(window.start, window.stop).expand(2, -1)
        with torch.no_grad():
            expected, _ = model(returns[:, window], seen[:, window], done[:, window], times)
        assert torch.allclose(found[:, step], expected[:, -1], atol=1e-5)


@every_encoder
def test_an_action_depends_on_what_came_before_it(case: dict[str, Any]) -> None:
    """The action of a step depends on its return-to-go, its observation and earlier actions, on nothing later."""
    model, (returns, seen, done) = policy(**case), steps(1)
    inputs = [x.clone().requires_grad_() for x in (returns, seen, done)]
    actions, _ = model(*inputs)
    gradients = torch.autograd.grad(actions[0, 5].sum(), inputs)
    for index, gradient in enumerate(gradients):
        reach = gradient[0].reshape(10, -1).abs().sum(1) > 0
        assert reach.tolist() == [step < 5 or (step == 5 and index < 2) for step in range(10)]


@every_encoder
def test_masked_steps_are_as_if_deleted(case: dict[str, Any]) -> None:
    """Padding on the left, on the right or inside changes no action, whatever stands there."""
    model, (returns, seen, done) = policy(**case), steps(1)
    mask = torch.tensor([[False, False, True, True, False, True, True, True, False, False]])
    times = mask.cumsum(1) - 1
    kept = mask[0]
    with torch.no_grad():
        expected, _ = model(returns[:, kept], seen[:, kept], done[:, kept])
        for given in (times, None):
            found, state = model(returns, seen, done, given, mask)
            assert torch.allclose(found[:, kept], expected, atol=1e-5)
            assert state.timestep.tolist() == [5]


@every_encoder
def test_any_partition_gives_the_same(case: dict[str, Any]) -> None:
    """In chunks, each from the state of the one before, the actions are those of one pass."""
    model, (returns, seen, done) = policy(**case), steps()
    with torch.no_grad():
        expected, _ = model(returns, seen, done)
        state, found = None, []
        for part in (slice(0, 3), slice(3, 4), slice(4, 10)):
            actions, state = model(returns[:, part], seen[:, part], done[:, part], state=state)
            found.append(actions)
    assert torch.allclose(torch.cat(found, 1), expected, atol=1e-5)


def test_the_state_does_not_grow() -> None:
    """Aaren's state has the same bytes after every step; that of the window ends to grow at K steps."""
    model = policy(max_episode_steps=40)
    sizes: dict[str, list[int]] = {}
    for mode in ("streamed", "windowed"):
        state = begin_episodes(model, 1, mode)
        for _ in range(40):
            _, state = choose_actions(model, np.zeros((1, 3)), state)
            state = observe_rewards(model, [1.0], state)
            leaves = pytree.tree_leaves(state)
            sizes.setdefault(mode, []).append(sum(leaf.numel() * leaf.element_size() for leaf in leaves))
    assert len(set(sizes["streamed"])) == 1
    assert len(set(sizes["windowed"][4:])) == 1


def test_acting_is_in_the_users_units() -> None:
    """Observations, returns and actions are scaled as the preprocessing says, and the return-to-go falls by rewards."""
    model, between = policy(), preprocessing()
    seen = np.array([[0.5, 1.0, -2.0]])
    actions, state = choose_actions(model, seen, begin_episodes(model, 1, target_return=20.0))
    scaled = torch.from_numpy(((seen - between.scaler.mean) / between.scaler.deviation).astype(np.float32))
    with torch.no_grad():
        expected, _ = model.act(torch.tensor([2.0]), scaled, model.init_state())
    low, high = np.array(between.action_low), np.array(between.action_high)
    assert np.allclose(actions, low + (expected.numpy() + 1) / 2 * (high - low), atol=1e-6)
    state = observe_rewards(model, [3.0], state)
    assert isinstance(state, ActingState)
    assert state.return_to_go.tolist() == [17.0]
    given = observe_rewards(model, [3.0], choose_actions(model, seen, begin_episodes(model, 1))[1], [[1.0, -2.0]])
    assert torch.allclose(given.action, torch.tensor([[1.0, -1.0]]))


def test_scales_undo_each_other() -> None:
    """Scaled actions become the user's again, and never leave their bounds."""
    between = preprocessing()
    actions = np.array([[-2.0, 2.0], [1.0, 0.25]], dtype=np.float32)
    assert np.allclose(between.to_actions(between.scaled_actions(actions)), actions)
    assert between.to_actions([[-1.5, 1.5]]).tolist() == [[-2.0, 2.0]]


def test_an_ant_of_27_numbers_is_filled_up() -> None:
    """A policy of D4RL's 111 numbers takes the simulator's 27, the others being zero."""
    model = policy(observations=111)
    seen = np.random.default_rng(0).normal(size=(2, 27))
    short, _ = choose_actions(model, seen, begin_episodes(model, 2))
    whole, _ = choose_actions(model, np.pad(seen, ((0, 0), (0, 84))), begin_episodes(model, 2))
    assert np.array_equal(short, whole)


def test_the_loss_is_over_real_actions() -> None:
    """The loss is the mean squared error over the actions that are there, whatever stands in the padding."""
    model, (_, _, done) = policy(), steps()
    predicted, mask = torch.zeros_like(done), torch.rand(2, 10) < 0.5
    expected = done[mask].square().mean()
    assert torch.allclose(model.loss(predicted, done, mask), expected)
    assert torch.allclose(model.loss(predicted, done.masked_fill(~mask[..., None], 9), mask), expected)


def test_saved_and_loaded(tmp_path: Path) -> None:
    """A loaded policy acts with the same bits; another target return is another fingerprint."""
    model, (returns, seen, done) = policy(), steps()
    model.save(tmp_path / "model")
    loaded = aaren.load(tmp_path / "model")
    assert loaded.preprocessing == model.preprocessing or loaded.fingerprint() == model.fingerprint()
    with torch.no_grad():
        assert torch.equal(loaded(returns, seen, done)[0], model(returns, seen, done)[0])
    edit = json.loads((tmp_path / "model" / "preprocessing.json").read_text())
    (tmp_path / "model" / "preprocessing.json").write_text(json.dumps({**edit, "target_return": 6.0}))
    with pytest.raises(ModelFileError, match="fingerprint"):
        aaren.load(tmp_path / "model")
    assert "Acts in Tiny-v0: 2 numbers of an action from 3 of an observation." in model.describe()


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"observations": 0}, "observations: expected a whole number of at least 1"),
        ({"context": 0}, "context: expected"),
        ({"context": 13}, "context: expected at most max_episode_steps = 12, received 13"),
        ({"decay": "time"}, "decay: expected None or 'learned'"),
        ({"max_episode_steps": 2.5}, "max_episode_steps: expected a whole number"),
    ],
)
def test_wrong_configurations(fields: dict[str, Any], message: str) -> None:
    """A field out of range is named with what was expected."""
    with pytest.raises(ValueError, match=message):
        PolicyConfig(**{**SMALL, **fields})


@pytest.mark.usefixtures("without_shape_checks")
def test_wrong_calls() -> None:
    """Wrong shapes, time steps beyond the table, unknown modes and endless targets are refused by name."""
    model, (returns, seen, done) = policy(), steps()
    for arguments in ((returns, seen[..., :2], done), (returns, seen, done[:, :4]), (returns[0], seen[0], done[0])):
        with pytest.raises(ValueError, match=r"expected returns_to_go \(batch, steps\)"):
            model(*arguments)
    with pytest.raises(ValueError, match="timesteps: expected 0 to 11, received 3 to 12"):
        model(returns, seen, done, torch.arange(3, 13).expand(2, -1))
    with pytest.raises(ValueError, match="mode: expected 'streamed' or 'windowed', received 'fast'"):
        begin_episodes(model, 1, "fast")
    with pytest.raises(ValueError, match="target_return: expected a finite number"):
        begin_episodes(model, 1, target_return=float("inf"))
    with pytest.raises(ValueError, match=r"observations: expected shape \(2, 3\), received \(2, 4\)"):
        choose_actions(model, np.zeros((2, 4)), begin_episodes(model, 2))
    with pytest.raises(ValueError, match="expected preprocessing"):
        begin_episodes(Policy(**SMALL), 1)
    with pytest.raises(ValueError, match=r"expected \(observations, actions\) = \(3, 2\)"):
        Policy(preprocessing=preprocessing(4), **SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"environment": 3}, "environment: expected a name"),
        ({"action_low": [-2.0]}, "action bounds: expected finite low < high"),
        ({"action_high": [-2.0, 3.0]}, "action bounds"),
        ({"action_low": "x"}, "expected what `save` writes"),
        ({"return_scale": 0.0}, "return_scale: expected a positive number"),
        ({"target_return": float("nan")}, "target_return: expected a finite number"),
        ({"scaler": {}}, "expected a scaler"),
        ({"other": 1}, "missing or unknown: .'other'"),
    ],
)
def test_wrong_preprocessing(change: dict[str, Any], message: str) -> None:
    """What `save` would not have written is refused with its entry."""
    with pytest.raises(ModelFileError, match=message):
        PolicyPreprocessing.from_dict({**preprocessing().to_dict(), **change})
    same = PolicyPreprocessing.from_dict(preprocessing().to_dict())
    assert same.to_dict() == preprocessing().to_dict()
    assert dataclasses.asdict(same)["environment"] == "Tiny-v0"
