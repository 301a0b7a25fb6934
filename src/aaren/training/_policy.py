"""From recorded episodes to a policy's directory: the Python twin of `aaren train policy`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aaren.data import (
    REFERENCE_RETURNS,
    TARGET_RETURNS,
    Episode,
    EpisodeSet,
    environment_name,
    normalized_score,
    observation_scaler,
    require_robot,
)
from aaren.errors import DataError
from aaren.models import Policy, PolicyConfig, PolicyPreprocessing
from aaren.training._fit import Batch, TrainingData, fit
from aaren.training._options import TrainingOptions
from aaren.training._policy_windows import EpisodeWindows
from aaren.training._record import save_with_record


@dataclass(frozen=True, eq=False)
class PolicyResult:
    """What training leaves.

    Args:
        model: with the best weights, on the CPU.
        record: data, hyperparameters, metrics, time, versions and hardware; plain data, also in `record.jsonl`.
    """

    model: Policy
    record: dict[str, Any]


def policy_options(steps: int = 100_000, **changes: Any) -> TrainingOptions:
    """The paper's options: AdamW 1e-4, weight decay 1e-4, batch 64, clip 0.25, warm-up over a tenth of the steps.

    The weights of the best of 10 epochs are kept; none ends the training early.

    Args:
        steps: of the optimizer, in all; the paper has 100,000, with 10,000 of warm-up.
        **changes: other values of fields of `TrainingOptions`.

    Example:
        >>> policy_options().warmup_steps, policy_options(2000, seed=1).warmup_steps
        (10000, 200)
    """
    epochs = changes.get("epochs", 10)
    paper: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": 64,
        "learning_rate": 1e-4,
        "learning_rate_decay": 1.0,
        "weight_decay": 1e-4,
        "warmup_steps": steps // 10,
        "patience": epochs,
        "clip": 0.25,
    }
    return TrainingOptions(**{**paper, **changes})


def train_policy(
    episodes: EpisodeSet,
    directory: str | Path,
    *,
    environment: str,
    steps: int = 100_000,
    context: int | None = 20,
    target_return: float | None = None,
    action_bounds: tuple[float, float] = (-1.0, 1.0),
    options: TrainingOptions | None = None,
    resume: bool = False,
    progress: bool = True,
    **config: Any,
) -> PolicyResult:
    """Train a policy and save it with its record.

    Every tenth episode, at least one, decides which weights are kept; nothing else is learned from them.
    Episodes without their end are left out, since their returns are not known.

    Args:
        episodes: from `aaren.data.read_episodes`.
        directory: model directory to write.
        environment: id of the environment that the episodes are from, such as "HalfCheetah-v4".
        steps: of the optimizer, spread evenly over `options.epochs` epochs, and rounded up to a multiple of them.
        context: K, steps of a training window; None for whole episodes.
        target_return: the return that the policy is to ask for; None for that of Decision Transformer, or the best of
            the training episodes where it has none.
        action_bounds: least and greatest value of every number of an action.
        options: how to train; None for `policy_options(steps)`.
        resume: go on from the last checkpoint in the directory.
        progress: show a progress bar on standard error.
        **config: further fields of `PolicyConfig`, such as `encoder`, `decay`, `max_episode_steps`.

    Returns:
        The model and the record.

    Raises:
        DataError: the episodes are of another robot than the environment's, as far as their sizes tell; there are fewer
            than two complete ones, one is longer than `max_episode_steps`, or an action is outside of the bounds.
        ValueError: a field of the configuration is out of range.
        ModelFileError: the directory cannot be written, or the checkpoint is not of this run.
    """
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, received {steps}")
    require_robot(environment, episodes)
    options = options or policy_options(steps)
    directory = Path(directory)
    complete = episodes.complete()
    train, validation = _split(complete)
    preprocessing = PolicyPreprocessing(
        environment,
        observation_scaler(train),
        (float(action_bounds[0]),) * episodes.actions,
        (float(action_bounds[1]),) * episodes.actions,
        1000.0,
        _target(environment, train) if target_return is None else float(target_return),
    )
    configuration = PolicyConfig(
        observations=episodes.observations, actions=episodes.actions, context=context, **config
    )
    _require_fit(complete, configuration, action_bounds)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = Policy(configuration, preprocessing=preprocessing)
        training = fit(
            model,
            policy_data(model, train, validation, drawn=math.ceil(steps / options.epochs) * options.batch_size),
            options,
            directory,
            resume=resume,
            progress=progress,
        )
    metrics = {"validation": {"mse": training["validation_loss"]}, "data": _returns(environment, complete)}
    record = save_with_record(
        model,
        directory,
        data={
            "source": " + ".join(Path(name).name for name in episodes.source.split(" + ")),
            "sha256": episodes.sha256,
            "environment": environment,
            "episodes": len(complete.episodes),
            "validation_episodes": len(validation),
            "left_out_episodes": len(episodes.episodes) - len(complete.episodes),
            "steps": complete.steps,
        },
        options=options,
        training={**training, "steps": options.epochs * math.ceil(steps / options.epochs)},
        metrics=metrics,
        summary=_summary(metrics),
    )
    return PolicyResult(model, record)


def policy_data(
    model: Policy, train: Sequence[Episode], validation: Sequence[Episode], *, drawn: int | None = None
) -> TrainingData:
    """The windows of training and validation episodes, and the loss of a policy.

    Args:
        model: with preprocessing.
        train: episodes to learn from, each as often as it is long.
        validation: episodes that decide; each of their steps counts once.
        drawn: windows of an epoch.
    """
    assert model.preprocessing is not None, "a policy learns with its preprocessing"
    preprocessing, context = model.preprocessing, model.config.context

    def loss(model: Policy, batch: Batch) -> tuple[Tensor, int]:
        mask = batch["mask"]
        # no mask for the encoder: padding is behind the last step, where a causal encoder does not look
        predicted, _ = model(batch["returns_to_go"], batch["observations"], batch["actions"], batch["timesteps"])
        return model.loss(predicted, batch["actions"], mask), int(mask.sum())

    return TrainingData(
        EpisodeWindows(train, preprocessing, context, every_step=True),
        EpisodeWindows(validation, preprocessing, context, every_step=False),
        loss,
        drawn=drawn,
    )


def _split(episodes: EpisodeSet) -> tuple[Sequence[Episode], Sequence[Episode]]:
    """Training and validation episodes."""
    total = len(episodes.episodes)
    if total < 2:
        raise DataError(
            "expected at least two complete episodes, one to learn from and one that decides which weights are kept; "
            f"received {total}",
            source=episodes.source,
        )
    # every tenth, wherever a file of ordered episodes has its good ones
    held = range(9, total, 10) if total >= 10 else [total - 1]
    kept = [episode for number, episode in enumerate(episodes.episodes) if number not in held]
    return kept, [episodes.episodes[number] for number in held]


def _target(environment: str, train: Sequence[Episode]) -> float:
    best = max(episode.total_return for episode in train)
    return TARGET_RETURNS.get(environment_name(environment), best)


def _require_fit(episodes: EpisodeSet, config: PolicyConfig, bounds: tuple[float, float]) -> None:
    """Refuse episodes that are too long for the table of time steps, and actions beyond their bounds."""
    longest = max(episode.steps for episode in episodes.episodes)
    if longest > config.max_episode_steps:
        raise DataError(
            f"expected episodes of at most max_episode_steps = {config.max_episode_steps} steps, received {longest}; "
            "give a larger one",
            source=episodes.source,
        )
    least = min(float(episode.actions.min()) for episode in episodes.episodes)
    greatest = max(float(episode.actions.max()) for episode in episodes.episodes)
    slack = 1e-5 * (bounds[1] - bounds[0])
    if least < bounds[0] - slack or greatest > bounds[1] + slack:
        raise DataError(
            f"expected actions from {bounds[0]:g} to {bounds[1]:g}, received {least:g} to {greatest:g}; give the "
            "environment's with action_bounds=",
            source=episodes.source,
        )


def _returns(environment: str, episodes: EpisodeSet) -> dict[str, float]:
    """What the recorded behaviour itself reached."""
    returns = episodes.returns()
    found = {"mean_return": float(returns.mean()), "deviation": float(returns.std()), "best": float(returns.max())}
    if environment_name(environment) in REFERENCE_RETURNS:
        found["score"] = normalized_score(environment, float(np.mean(returns)))
    return found


def _summary(metrics: dict[str, Any]) -> dict[str, str]:
    """Metrics for the model card."""
    data = metrics["data"]
    return {
        "actions of the validation episodes": f"mean squared error {metrics['validation']['mse']:.4f}, scaled",
        "returns of the recorded episodes": f"mean {data['mean_return']:.1f}, best {data['best']:.1f}",
    }
