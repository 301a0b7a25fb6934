"""A live episode: rows and calls give the same actions, snapshots go on bit for bit, bad rows change nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import aaren
from aaren.data import Scaler, observation_names
from aaren.errors import DataError, ModelFileError
from aaren.models import Policy, PolicyPreprocessing
from aaren.streaming import PolicyStream

STEPS = 10
MODES = pytest.mark.parametrize("mode", ["streamed", "windowed"])


@pytest.fixture(scope="module")
def policy() -> Policy:
    """A small policy with random weights."""
    scaler = Scaler(observation_names(3), np.arange(3) / 3, 1 + np.arange(3) / 7)
    between = PolicyPreprocessing("Tiny-v0", scaler, (-2.0, -1.0), (2.0, 1.0), 10.0, 5.0)
    sizes = {"d_model": 8, "nhead": 2, "num_layers": 2, "dim_feedforward": 16, "max_episode_steps": STEPS, "context": 4}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        model = Policy(observations=3, actions=2, preprocessing=between, **sizes).eval()
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Rows of an episode: three numbers of an observation, and the reward of the step before."""
    generator = np.random.default_rng(0)
    names = observation_names(3)
    return [
        {**dict(zip(names, generator.normal(size=3).tolist(), strict=True)), "reward": float(step) if step else None}
        for step in range(STEPS)
    ]


def state_bits(stream: PolicyStream) -> list[bytes]:
    """All tensors of the state, bit by bit."""
    return [leaf.numpy().tobytes() for leaf in pytree.tree_leaves(stream.state)]


def said(stream: PolicyStream, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a stream says to each row."""
    return [action.to_dict() for row in rows if (action := stream.update(row)) is not None]


@MODES
def test_calls_and_rows_agree(mode: Any, policy: Policy, rows: list[dict[str, Any]]) -> None:
    """`act` and `observe` in turn give the actions of the same rows by `update`, and the same return-to-go."""
    live, agent = policy.stream(mode=mode), policy.stream(mode=mode)
    assert isinstance(agent, PolicyStream)
    for row in rows:
        if row["reward"] is not None:
            agent.observe(row["reward"])
        action = agent.act([row[name] for name in observation_names(3)])
        said_to_row = live.update(row)
        assert np.array_equal(action, said_to_row.action)
        assert (np.abs(action) <= [2.0, 1.0]).all()
        assert agent.return_to_go == said_to_row.return_to_go
    assert agent.return_to_go == 5.0 - sum(range(STEPS))
    assert live.rows == agent.rows == STEPS


@MODES
def test_streamed_is_parallel(mode: Any, policy: Policy, rows: list[dict[str, Any]]) -> None:
    """The live actions are those of one parallel pass; windowed, of the pass over the first K steps."""
    agent = policy.stream(mode=mode)
    seen, returns, actions = [], [], []
    for row in rows:
        seen.append(policy.preprocessing.scaled_observations([row[name] for name in observation_names(3)]))
        agent.update(row)
        returns.append(agent.return_to_go / 10)
        actions.append(agent.state.action[0])
    done = torch.stack(actions)[None]
    with torch.no_grad():
        parallel, _ = policy(torch.tensor([returns]), torch.from_numpy(np.stack(seen))[None], done)
    count = STEPS if mode == "streamed" else 4
    assert torch.allclose(parallel[:, :count], done[:, :count], atol=1e-5)


def test_the_state_does_not_grow(policy: Policy, rows: list[dict[str, Any]]) -> None:
    """Streamed, the state has the same bytes from the first row to the last."""
    live = policy.stream()
    sizes = set()
    for row in rows:
        live.update(row)
        sizes.add(live.nbytes())
    assert len(sizes) == 1


@MODES
@pytest.mark.parametrize("between", ["rows", "act and observe"])
def test_a_restored_stream_goes_on(
    mode: Any, between: str, policy: Policy, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Saved and restored after any row, also between an action and its reward, the rest is the same bit for bit."""
    whole = said(policy.stream(mode=mode, target_return=7.0), rows)
    for cut in range(STEPS):
        live = policy.stream(mode=mode, target_return=7.0)
        first = said(live, rows[:cut])
        if between == "act and observe" and cut:
            live.observe(rows[cut]["reward"])
        live.save(tmp_path / "state")
        again = policy.stream(tmp_path / "state", mode=mode)
        assert state_bits(again) == state_bits(live)
        if between == "act and observe" and cut:
            action = again.act([rows[cut][name] for name in observation_names(3)])
            assert [float(f"{value:.7g}") for value in action.tolist()] == whole[cut]["action"]
        else:
            assert first + said(again, rows[cut:]) == whole
        again.reset()
        assert again.return_to_go == 7.0


def test_foreign_and_damaged_snapshots(policy: Policy, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """A snapshot of the other mode, of another policy, or cut off, is refused by name."""
    path = tmp_path / "state"
    live = policy.stream()
    said(live, rows[:3])
    live.save(path)
    data = path.read_bytes()
    with pytest.raises(ModelFileError, match="state"):
        policy.stream(path, mode="windowed")
    other = Policy(policy.config, preprocessing=policy.preprocessing)
    with pytest.raises(ModelFileError, match="the state is of another model"):
        other.stream(path)
    for length in (0, 7, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(ModelFileError, match="state"):
            policy.stream(path)


def test_another_return_than_the_snapshot_asks_for(policy: Policy, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """No return is dropped in silence: that of the snapshot, or of the model, may be said again, another is refused."""
    for target in (None, 7.0):
        live = policy.stream(target_return=target)
        said(live, rows[:3])
        live.save(tmp_path / "state")
        own = policy.preprocessing.target_return if target is None else target
        again = policy.stream(tmp_path / "state", target_return=own)
        assert state_bits(again) == state_bits(live)
        with pytest.raises(ValueError, match=f"target_return: expected {own:g}, for which the snapshot asks"):
            policy.stream(tmp_path / "state", target_return=own + 1)


def test_a_new_episode(policy: Policy, rows: list[dict[str, Any]]) -> None:
    """After `reset` the stream is as new, with the target that is given, or its own."""
    live = policy.stream()
    first = said(live, rows)
    live.reset()
    again = said(live, rows)
    assert [one["action"] for one in again] == [one["action"] for one in first]
    assert [one["row"] for one in again] == list(range(STEPS + 1, 2 * STEPS + 1))
    live.reset(target_return=50.0)
    assert said(live, rows[:1])[0]["return_to_go"] == 50.0


def test_what_was_really_done(policy: Policy, rows: list[dict[str, Any]]) -> None:
    """An action that replaced the policy's is what the next one sees; the policy's own makes no difference."""
    observation = [rows[1][name] for name in observation_names(3)]
    actions = []
    for done in (None, "own", [1.5, -0.5]):
        agent = policy.stream()
        own = agent.act([rows[0][name] for name in observation_names(3)])
        agent.observe(1.0, own if done == "own" else done)
        actions.append(agent.act(observation))
    assert np.allclose(actions[0], actions[1], atol=1e-6)
    assert not np.allclose(actions[0], actions[2], atol=1e-3)


Change = Callable[[dict[str, Any]], dict[str, Any]]
BAD: dict[str, tuple[Change, str]] = {
    "infinity": (
        lambda row: {**row, "observation_1": float("inf")},
        "column 'observation_1': expected a finite number",
    ),
    "missing": (lambda row: {**row, "observation_2": None}, "column 'observation_2': .* received nan"),
    "beyond float32": (lambda row: {**row, "observation_0": 1e300}, "column 'observation_0': .*received 1e\\+300"),
    "text": (lambda row: {**row, "observation_0": "x"}, "column 'observation_0': expected a number, received 'x'"),
    "no reward": (lambda row: {**row, "reward": None}, "column 'reward': expected the reward of the action before"),
    "an infinite reward": (lambda row: {**row, "reward": float("nan")}, "column 'reward': .*received nan"),
    "no column": (lambda row: {"reward": 1.0}, "column 'observation_0': no such column"),
}


@MODES
@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_changes_nothing(mode: Any, case: str, policy: Policy, rows: list[dict[str, Any]]) -> None:
    """A bad row is refused with row and column or left out; the state is what it was, but for a reward that counts."""
    change, words = BAD[case]
    live = policy.stream(mode=mode)
    said(live, rows[:3])
    before = state_bits(live)
    with pytest.raises(DataError, match=f"stream, line 4, .*{words}"):
        live.update(change(rows[3]))
    assert state_bits(live) == before
    assert live.rows == 3
    skipping = policy.stream(mode=mode, on_bad_row="skip")
    said(skipping, rows[:3])
    to_go = skipping.return_to_go
    assert skipping.update(change(rows[3])) is None
    counted = 0.0 if "column 'reward'" in words else change(rows[3])["reward"]
    assert skipping.return_to_go == to_go - counted
    after = skipping.state._replace(return_to_go=live.state.return_to_go)
    assert [leaf.numpy().tobytes() for leaf in pytree.tree_leaves(after)] == before
    assert (skipping.rows, skipping.skipped) == (4, 1)


@MODES
@pytest.mark.parametrize("left_out", [[0], [4], [0, 1], [3, 4, 5], [0, 4, 9]])
def test_the_reward_of_a_row_that_is_left_out(
    mode: Any, left_out: list[int], policy: Policy, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Rewards of rows that are left out count: of the first rows too, when there was no action, and over a restart."""
    bad = [{**row, "observation_1": None} if index in left_out else row for index, row in enumerate(rows)]
    live = policy.stream(mode=mode, on_bad_row="skip")
    found = said(live, bad)
    assert [one["row"] for one in found] == [index + 1 for index in range(STEPS) if index not in left_out]
    assert live.return_to_go == 5.0 - sum(range(STEPS))
    for one in found:
        assert one["return_to_go"] == 5.0 - sum(range(one["row"]))
    first = policy.stream(mode=mode, on_bad_row="skip")
    begun = said(first, bad[:5])
    first.save(tmp_path / "state")
    again = policy.stream(tmp_path / "state", mode=mode, on_bad_row="skip")
    assert begun + said(again, bad[5:]) == found


def test_a_row_left_out_before_an_episode_is_not_of_it(
    policy: Policy, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """After a reset a reward before the first action is refused, though the last row was left out; restarted too."""
    live = policy.stream()
    said(live, rows[:3])
    live.skip(None)
    live.reset()
    live.save(tmp_path / "state")
    for stream in (live, policy.stream(tmp_path / "state")):
        with pytest.raises(DataError, match="line 5, column 'reward': expected no reward before the first action"):
            stream.update({**rows[0], "reward": 2.0})
        assert stream.skip({"reward": 2.0}) == ""
        assert stream.return_to_go == 5.0
        assert stream.update({**rows[0], "reward": 2.0}) is not None  # of the row that was left out in this episode
        assert stream.return_to_go == 3.0


def test_a_row_left_out_before_the_reward_was_observed(policy: Policy, rows: list[dict[str, Any]]) -> None:
    """After `observe` no reward is due or possible, though a row was left out between the action and its reward."""
    live = policy.stream()
    live.act([0.0, 1.0, 2.0])
    assert live.skip(None) == "its reward is not known and counts as 0: the return-to-go stays 5"
    live.observe(3.0)
    with pytest.raises(DataError, match="expected no reward before the first action"):
        live.update({**rows[0], "reward": 7.0})
    assert live.return_to_go == 2.0


def test_what_is_lost_with_a_row(policy: Policy, rows: list[dict[str, Any]]) -> None:
    """`skip` tells a reward that is not known, where one is due; one that is known is counted without a word."""
    live = policy.stream()
    assert live.skip(None) == ""  # no action awaits a reward
    said(live, rows[:2])
    assert live.skip({"reward": "2.5"}) == ""
    assert live.return_to_go == 5.0 - 1.0 - 2.5
    assert live.skip([0.0, 1.0, "x", 0.5]) == ""
    for row in (None, {}, {"reward": None}, {"reward": "x"}, {"reward": np.inf}, {"reward": 1e300}, [1.0], "text", 5):
        assert live.skip(row) == "its reward is not known and counts as 0: the return-to-go stays 1"
    assert live.return_to_go == 1.0


def test_imputed_rows(policy: Policy, rows: list[dict[str, Any]]) -> None:
    """With "impute" a missing number is the training mean, and a missing reward 0."""
    left, right = (policy.stream(on_bad_row="impute") for _ in range(2))
    said(left, rows[:3])
    said(right, rows[:3])
    bad = {**rows[3], "observation_1": None, "observation_2": float("inf"), "reward": None}
    mean = policy.preprocessing.scaler.mean
    good = {**rows[3], "observation_1": mean[1], "observation_2": mean[2], "reward": 0.0}
    assert left.update(bad).to_dict() == right.update(good).to_dict()


def test_turns_and_ends(policy: Policy, rows: list[dict[str, Any]]) -> None:
    """A reward before an action, two actions without a reward, and a step beyond the table are refused."""
    agent = policy.stream()
    with pytest.raises(DataError, match="line 1, column 'reward': expected no reward before the first action"):
        agent.update({**rows[0], "reward": 1.0})
    with pytest.raises(ValueError, match="observe: expected a call of act before"):
        agent.observe(1.0)
    agent.act([0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="act: expected the reward of the action before"):
        agent.act([0.0, 0.0, 0.0])
    with pytest.raises(DataError, match="expected a finite reward and action"):
        agent.observe(float("nan"))
    with pytest.raises(ValueError, match=r"action: expected shape \(2,\), received \(3,\)"):
        agent.observe(1.0, [0.0, 0.0, 0.0])
    agent.observe(1.0)
    with pytest.raises(ValueError, match=r"observations: expected shape \(1, 3\), received \(1, 2\)"):
        agent.act([0.0, 0.0])
    with pytest.raises(DataError, match="column 'observation_1': expected a finite number"):
        agent.act([0.0, float("nan"), 0.0])
    live = policy.stream()
    said(live, rows)
    with pytest.raises(DataError, match="line 11: expected at most max_episode_steps = 10 steps in an episode"):
        live.update({**rows[1], "reward": 1.0})


@pytest.mark.usefixtures("without_shape_checks")
def test_what_is_no_number(policy: Policy) -> None:
    """Observations, rewards and actions that are no numbers are refused in words, and the episode goes on as before."""
    agent = policy.stream()
    for bad in (["x"] * 3, {"observation_0": 1.0}, [[1.0], [2.0, 3.0], 4.0], [10**400, 0, 0]):
        with pytest.raises(DataError, match=r"stream: expected an observation in numbers, received .*; give it as"):
            agent.act(bad)
    agent.act([0.0, 0.0, 0.0])
    before = state_bits(agent)
    for bad in ("x", {}, 10**400):
        with pytest.raises(DataError, match="stream: expected a reward in numbers, received"):
            agent.observe(bad)
    with pytest.raises(DataError, match=r"expected a finite reward and action .*, received None and None"):
        agent.observe(None)
    with pytest.raises(ValueError, match=r"reward: expected one number, received shape \(2,\)"):
        agent.observe([1.0, 2.0])
    with pytest.raises(DataError, match=r"expected an action in numbers, received \['x', 'y'\]"):
        agent.observe(1.0, ["x", "y"])
    assert state_bits(agent) == before
    agent.observe(np.array([1.0], dtype=np.float32))


@pytest.mark.usefixtures("without_shape_checks")
def test_wrong_arguments(policy: Policy) -> None:
    """Unknown modes and policies for rows are refused, and so is a model without preprocessing."""
    with pytest.raises(ValueError, match="mode: expected 'streamed' or 'windowed'"):
        policy.stream(mode="fast")
    with pytest.raises(ValueError, match="on_bad_row: expected"):
        policy.stream(on_bad_row="ignore")
    with pytest.raises(ValueError, match="expected preprocessing"):
        aaren.Policy(observations=3, actions=2, d_model=8).stream()


@MODES
def test_numbers_far_beyond_change_nothing(policy: Policy, rows: list[dict[str, Any]], mode: Any) -> None:
    """An observation, a reward, an action or a target far beyond is refused, and the episode goes on as before."""
    stream = PolicyStream(policy, mode=mode)
    stream.update(rows[0])
    before = state_bits(stream)
    for value in (1e16, 1e30, -1e300):
        with pytest.raises(DataError, match=r"within 1e\+15 training deviations of the mean, received"):
            stream.update({**rows[1], "observation_1": value})
    for reward in (1e42, -1e300, 1e16):
        with pytest.raises(DataError, match="return-to-go within"):
            stream.observe(reward)
        with pytest.raises(DataError, match="return-to-go within"):
            stream.update({**rows[1], "reward": reward})
    with pytest.raises(DataError, match="return-to-go within"):
        stream.observe(1.0, np.array([1e17, 0.0]))
    assert state_bits(stream) == before
    said = stream.update(rows[1])
    assert said is not None
    assert np.isfinite(said.action).all()
    with pytest.raises(ValueError, match="target_return: expected a finite number within"):
        PolicyStream(policy, mode=mode, target_return=1e300)


@MODES
def test_an_action_that_is_no_number_is_refused(policy: Policy, rows: list[dict[str, Any]], mode: Any) -> None:
    """If the model's own numbers overflow, the row is refused, its reward too, and the episode goes on as before."""
    overflowing = copy.deepcopy(policy)
    stream = PolicyStream(overflowing, mode=mode)
    stream.update(rows[0])
    before, to_go = state_bits(stream), stream.return_to_go
    with torch.no_grad():
        kept = overflowing.state_dict()["embed_observation.weight"].clone()
        overflowing.state_dict()["embed_observation.weight"].fill_(3e38)
    with pytest.raises(DataError, match=r"line 2: .*after which nothing is a number"):
        stream.update(rows[1])
    assert (state_bits(stream), stream.return_to_go) == (before, to_go)
    with torch.no_grad():
        overflowing.state_dict()["embed_observation.weight"].copy_(kept)
    whole = PolicyStream(policy, mode=mode)
    assert said(stream, rows[1:]) == said(whole, rows)[1:]


def test_the_short_observation_of_an_ant_is_checked() -> None:
    """The 27 numbers of an Ant's simulator stand for 111, and are refused like any others if one is not finite."""
    scaler = Scaler(observation_names(111), np.zeros(111), np.ones(111))
    between = PolicyPreprocessing("Ant-v4", scaler, (-1.0,) * 8, (1.0,) * 8, 1000.0, 6000.0)
    sizes = {"d_model": 8, "nhead": 2, "num_layers": 1, "context": 4}
    model = Policy(observations=111, actions=8, preprocessing=between, **sizes).eval()
    stream = PolicyStream(model)
    for bad in (np.nan, np.inf, 1e200, 1e16):
        with pytest.raises(DataError, match=r"expected a finite number within 1e\+15 training deviations"):
            stream.act(np.full(27, bad))
    assert np.isfinite(stream.act(np.zeros(27))).all()
