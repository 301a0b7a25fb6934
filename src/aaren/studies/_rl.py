"""An offline reinforcement learning run: train on episodes, then act in the real environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aaren.data import EpisodeSet, find_parts, normalized_score, read_episodes
from aaren.evaluation import run_episodes
from aaren.models import ActingMode
from aaren.studies._recipe import Plan
from aaren.training import TrainingOptions, train_policy


def read(plan: Plan) -> EpisodeSet:
    """The episodes of a recipe; several files are one set."""
    return read_episodes([*find_parts(plan.recipe.dataset.name).values()])


def run(plan: Plan, directory: Path) -> dict[str, Any]:
    """Train one policy and let it act.

    Returns:
        metrics: mean return and D4RL's normalised score, of acting as trained (windowed: the last steps are read again
        before each action) and in constant time (streamed: the whole episode is kept); simple: the mean of all
        complete episodes of the set; run: the record of the training.
    """
    settings = plan.part("data")
    episodes = read(plan)
    options = dict(plan.part("training"))
    result = train_policy(
        episodes,
        directory,
        environment=settings["environment"],
        steps=options.pop("steps"),
        options=TrainingOptions(**options, seed=plan.seed),
        resume=True,
        progress=False,
        **plan.model,
    )
    found = dict(result.record)
    found.pop("metrics", None)
    metrics = {}
    modes: tuple[tuple[ActingMode, str], ...] = (("windowed", ""), ("streamed", "_streamed"))
    for mode, suffix in modes:
        # the first episode's seed is far from any in training and the same for all encoders
        played = run_episodes(result.model, episodes=settings["episodes"], seed=1_000 * (plan.seed + 1), mode=mode)
        mean = float(played.returns.mean())
        metrics[f"return{suffix}"] = mean
        metrics[f"score{suffix}"] = normalized_score(settings["environment"], mean)
    behaviour = float(sum(episode.rewards.sum() for episode in episodes.complete().episodes)) / len(
        episodes.complete().episodes
    )
    behaved = {"return": behaviour, "score": normalized_score(settings["environment"], behaviour)}
    return {"metrics": metrics, "simple": {"the data's own episodes": behaved}, "run": found}
