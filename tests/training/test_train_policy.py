"""From episodes to a policy's directory: what is learned, what is left, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import aaren
from aaren.data import Episode, EpisodeSet, observation_scaler
from aaren.errors import DataError, ModelFileError
from aaren.models import Policy, PolicyPreprocessing
from aaren.training import EpisodeWindows, PolicyResult, _fit, policy_data, policy_options, train_policy

TINY: dict[str, Any] = {
    "d_model": 16,
    "num_layers": 1,
    "dim_feedforward": 16,
    "dropout": 0.0,
    "max_episode_steps": 12,
    "context": 4,
}


def episodes(count: int = 12, length: int = 10, cut: int = 0, seed: int = 0) -> EpisodeSet:
    """The right action is the first number of the observation; the last episodes are cut."""
    generator = np.random.default_rng(seed)
    found = []
    for index in range(count):
        seen = generator.uniform(-0.8, 0.8, (length - index % 3, 2)).astype(np.float32)
        rewards = generator.normal(size=len(seen)).astype(np.float32)
        found.append(Episode(seen, seen[:, :1].copy(), rewards, False, index < count - cut))
    return EpisodeSet(tuple(found), "some/folder/tiny.hdf5", "0" * 64)


def train(directory: Path, data: EpisodeSet | None = None, *, resume: bool = False, **changes: Any) -> PolicyResult:
    """A short run on the CPU."""
    fields = {**TINY, **{name: changes.pop(name) for name in list(changes) if name in (*TINY, "encoder", "decay")}}
    named = {name: changes.pop(name) for name in ("target_return", "action_bounds") if name in changes}
    steps = changes.pop("steps", 40)
    options = policy_options(
        steps, **{"epochs": 2, "batch_size": 16, "learning_rate": 1e-2, "accelerator": "cpu", **changes}
    )
    return train_policy(
        data or episodes(),
        directory,
        environment="Tiny-v0",
        steps=steps,
        options=options,
        resume=resume,
        progress=False,
        **named,
        **fields,
    )


def bits(model: Policy) -> dict[str, bytes]:
    """All weights, as bytes."""
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("encoder", ["aaren", "transformer"])
def test_the_known_policy_is_learned(encoder: str, tmp_path: Path) -> None:
    """Where the right action is a number of the observation, the policy finds it."""
    result = train(tmp_path, steps=100, epochs=2, encoder=encoder)
    assert result.record["metrics"]["validation"]["mse"] < 0.02
    losses = [epoch["validation_loss"] for epoch in result.record["history"]]
    assert result.record["training"]["validation_loss"] == min(losses)


def test_what_a_run_leaves(tmp_path: Path) -> None:
    """A run leaves a model directory with its record; the loaded model is the returned one."""
    result = train(tmp_path, episodes(cut=2))
    assert bits(aaren.load(tmp_path)) == bits(result.model)
    record = json.loads((tmp_path / "record.jsonl").read_text())
    assert record["kind"] == "policy"
    assert record["data"] == {
        "source": "tiny.hdf5",
        "sha256": "0" * 64,
        "environment": "Tiny-v0",
        "episodes": 10,
        "validation_episodes": 1,
        "left_out_episodes": 2,
        "steps": result.record["data"]["steps"],
    }
    assert record["training"]["steps"] == 40
    assert "returns of the recorded episodes" in (tmp_path / "MODEL_CARD.md").read_text()


def test_validation_episodes_teach_nothing(tmp_path: Path) -> None:
    """Scales and target come from the training episodes alone."""
    data = episodes()
    held = data.episodes[9]  # every tenth is set aside
    strange = Episode(held.observations * 100, held.actions, held.rewards + 1000, False, True)
    other = EpisodeSet((*data.episodes[:9], strange, *data.episodes[10:]), data.source, data.sha256)
    plain, changed = train(tmp_path / "a", data, steps=2), train(tmp_path / "b", other, steps=2)
    assert plain.model.preprocessing is not None
    assert changed.model.preprocessing is not None
    assert plain.model.preprocessing.to_dict() == changed.model.preprocessing.to_dict()
    assert plain.model.preprocessing.target_return == max(
        one.total_return for one in (*data.episodes[:9], *data.episodes[10:])
    )


def test_a_seed_decides(tmp_path: Path) -> None:
    """The same seed gives the same bits, another seed others."""
    whole = train(tmp_path / "a", dropout=0.2, epochs=2, steps=8)
    assert bits(train(tmp_path / "b", dropout=0.2, epochs=2, steps=8).model) == bits(whole.model)
    assert bits(train(tmp_path / "c", dropout=0.2, epochs=2, steps=8, seed=1).model) != bits(whole.model)


def test_a_resumed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was stopped ends with the bits of one that was not; a run with other options is not resumed."""
    whole = train(tmp_path / "whole", dropout=0.2, epochs=3, steps=9)
    ended = _fit._Task.on_train_epoch_end

    def stop(task: Any) -> None:
        ended(task)
        if task.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_fit._Task, "on_train_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", dropout=0.2, epochs=3, steps=9)
    with pytest.raises(ModelFileError, match="expected one of a run with the same table"):
        train(tmp_path / "stopped", dropout=0.2, epochs=4, steps=9, resume=True)
    assert bits(train(tmp_path / "stopped", dropout=0.2, epochs=3, steps=9, resume=True).model) == bits(whole.model)


def windows(context: int | None, *, every_step: bool) -> tuple[EpisodeSet, EpisodeWindows]:
    """Windows of the episodes with the scales of a policy."""
    data = episodes(4)
    return data, EpisodeWindows(data.episodes, scales(data), context, every_step=every_step)


@pytest.mark.parametrize("context", [1, 4, None])
def test_every_step_once(context: int | None) -> None:
    """The windows of the validation part hold each step once, with its time step, action and return-to-go."""
    data, found = windows(context, every_step=False)
    batch = found.__getitems__(range(len(found)))
    mask = batch["mask"]
    actions = np.concatenate([one.actions for one in data.episodes])
    assert np.allclose(batch["actions"][mask].numpy(), actions, atol=1e-6)
    times = np.concatenate([np.arange(one.steps) for one in data.episodes])
    assert batch["timesteps"][mask].tolist() == times.tolist()
    to_go = np.concatenate([one.rewards[::-1].astype(float).cumsum()[::-1] for one in data.episodes]) / 10
    assert np.allclose(batch["returns_to_go"][mask].numpy(), to_go, atol=1e-6)
    for tensor in batch.values():
        assert not tensor[~mask].any()
    assert {name: tensor.tolist() for name, tensor in found[0].items()} == {
        name: tensor[0].tolist() for name, tensor in batch.items()
    }


@pytest.mark.parametrize("context", [4, None])
def test_episodes_count_by_their_length(context: int | None) -> None:
    """There is a window for every step of training, inside one episode, padded behind its end."""
    data, found = windows(context, every_step=True)
    assert len(found) == data.steps
    batch = found.__getitems__(range(len(found)))
    first, mask = batch["timesteps"][:, 0], batch["mask"]
    for row in range(len(found)):
        steps = int(mask[row].sum())
        assert mask[row, :steps].all()
        assert batch["timesteps"][row, :steps].tolist() == list(range(int(first[row]), int(first[row]) + steps))
    counts = torch.bincount(torch.from_numpy(found.stops)).tolist()
    assert [count for count in counts if count] == [one.steps for one in data.episodes]


def test_padding_reaches_no_gradient() -> None:
    """What stands behind the end of an episode changes neither the loss nor its gradient."""
    data, found = windows(4, every_step=True)
    model = Policy(observations=2, actions=1, preprocessing=scales(data), **TINY)
    loss = policy_data(model, data.episodes[:-1], data.episodes[-1:]).loss
    batch = found.__getitems__(range(len(found)))
    spoiled = {
        name: torch.where(batch["mask"] if x.dim() == 2 else batch["mask"][..., None], x, torch.ones_like(x))
        for name, x in batch.items()
        if name != "mask"
    }
    assert not batch["mask"].all()
    gradients = []
    for one in (batch, {**spoiled, "mask": batch["mask"]}):
        model.zero_grad()
        value, samples = loss(model, one)
        value.backward()
        assert samples == int(batch["mask"].sum())
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for left, right in zip(*gradients, strict=True):
        assert torch.allclose(left, right, atol=1e-7)


def scales(data: EpisodeSet) -> PolicyPreprocessing:
    """Scales of the episodes."""
    return PolicyPreprocessing("Tiny-v0", observation_scaler(data.episodes), (-1.0,), (1.0,), 10.0, 1.0)


def test_the_papers_options() -> None:
    """The options are the paper's: AdamW 1e-4, weight decay 1e-4, batch 64, clip 0.25, 10,000 steps of warm-up."""
    options = policy_options()
    assert (options.optimizer, options.learning_rate, options.weight_decay) == ("adamw", 1e-4, 1e-4)
    assert (options.batch_size, options.clip, options.warmup_steps) == (64, 0.25, 10_000)
    assert (options.learning_rate_decay, options.patience) == (1.0, options.epochs)


def test_episodes_of_another_robot_are_not_learned_from(tmp_path: Path) -> None:
    """Of a robot that is known by name, episodes of other sizes are refused, and nothing is left."""
    with pytest.raises(
        DataError, match="expected episodes of Hopper-v4, with 11 observations and 3 actions, received 2"
    ):
        train_policy(episodes(), tmp_path / "model", environment="Hopper-v4", steps=1, progress=False)
    assert not (tmp_path / "model").exists()


def test_what_is_refused_before_time_is_spent(tmp_path: Path) -> None:
    """One episode, cut ones alone, long ones, actions out of bounds and no steps are refused, and nothing is left."""
    for data, changes, words in (
        (episodes(1), {}, "at least two complete episodes"),
        (episodes(3, cut=2), {}, "at least two complete episodes.*received 1"),
        (episodes(3, cut=3), {}, "expected at least one episode with its end"),
        (episodes(3, length=13), {}, "at most max_episode_steps = 12 steps, received 13"),
        (episodes(3), {"action_bounds": (-0.1, 0.1)}, "expected actions from -0.1 to 0.1, received -0"),
    ):
        with pytest.raises(DataError, match=words):
            train(tmp_path / "model", data, **changes)
    for changes, words in (
        ({"steps": 0}, "steps: expected"),
        ({"target_return": float("nan")}, "target_return: expected a finite number"),
        ({"target_return": 1e308}, "target_return: expected a finite number within 1e.15, received 1e.308"),
        ({"action_bounds": (1.0, 1.0)}, "action bounds: expected finite low < high"),
    ):
        with pytest.raises(ValueError, match=words):
            train(tmp_path / "model", **changes)
    assert not (tmp_path / "model").exists()
