"""`aaren train policy`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from aaren.cli._common import decay_of, existing, print_json, require_trainable, require_writable_folder
from aaren.cli._train_options import Absent, TrainOptions


@dataclass(frozen=True, kw_only=True)
class PolicyOptions(TrainOptions):
    """What differs for a policy, whose training does not end early.

    Parameters
    ----------
    epochs
        How often the validation part is looked at; the steps are spread evenly.
    batch_size
        Windows in a step.
    dropout
        Dropout probability; the paper has 0.1, but where the recorded actions are good, 0 may imitate them better.
    learning_rate
        Once warmed up.
    learning_rate_decay
        Factor after each epoch; the paper has 1.
    warmup_steps
        Steps over which the learning rate rises; by default a tenth of all.
    seed
        Decides weights, windows and dropout.
    json
        Print the whole record as one JSON line instead of text.
    """

    d_model: int = 128
    nhead: int = 1
    num_layers: int = 3
    dim_feedforward: int = 512
    batch_size: int = 64
    learning_rate: float = 1e-4
    learning_rate_decay: float = 1.0
    warmup_steps: int | None = None
    patience: Annotated[int, Absent] = 3
    compile: Annotated[bool, Absent] = False

    def training(self) -> dict[str, Any]:
        """Fields of `TrainingOptions`; `policy_options` has the patience."""
        fields = super().training()
        del fields["patience"]
        return fields


def policy(
    *data: Path,
    environment: str,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("model"),
    steps: int = 100_000,
    context: str = "20",
    target_return: float | None = None,
    action_bounds: str = "-1,1",
    encoder: Literal["aaren", "transformer", "gru", "mingru"] = "aaren",
    decay: Literal["none", "learned"] = "none",
    max_episode_steps: int = 1000,
    options: Annotated[PolicyOptions, Parameter(name="*")] = PolicyOptions(),
) -> None:
    """Train a policy on recorded episodes (offline reinforcement learning) and write it to a folder.

    The policy learns which action followed, given what the episode still brought. Every tenth episode, at least
    one, decides which weights are kept. `aaren evaluate` then lets it act in the environment.

    Parameters
    ----------
    data
        HDF5 files of D4RL or Minari, folders of Minari's sets, or pickles of Decision Transformer, which are not
        unpickled; several are joined, as medium and expert to medium-expert.
    environment
        Id of the environment that the episodes are from, such as HalfCheetah-v4.
    output
        Folder for the model: config.json, model.safetensors, preprocessing.json, MODEL_CARD.md, record.jsonl.
    steps
        Steps of the optimizer, rounded up to a multiple of the epochs; the paper has 100,000.
    context
        Steps of a training window, K; "all" for whole episodes.
    target_return
        The return that the policy is to ask for; by default that of Decision Transformer, or the best of the training
        episodes.
    action_bounds
        Least and greatest value of every number of an action.
    encoder
        The model's core: aaren, or a baseline to compare with.
    decay
        Of aaren, how older steps fade: not at all (the paper), or by a learned rate per head.
    max_episode_steps
        Steps of the longest episode that the policy can play.
    options
        Encoder, training and output.
    """
    from aaren.data import make_environment, read_episodes, require_robot
    from aaren.training import policy_options, train_policy

    require_trainable(options.accelerator, options.seed)
    window, bounds = _context(context), _bounds(action_bounds)
    fading = decay_of(encoder, decay)
    require_writable_folder(output)
    if not data:
        raise ValueError("DATA: expected at least one file of episodes, received none")
    episodes = read_episodes([path if path.is_dir() else existing(path, "a file of episodes") for path in data])
    simulator = make_environment(environment)  # a wrong one is found before the training, not after it
    simulator.close()
    require_robot(simulator, episodes)
    print(episodes.describe(), file=sys.stderr)
    result = train_policy(
        episodes,
        output,
        environment=environment,
        steps=steps,
        context=window,
        target_return=target_return,
        action_bounds=bounds,
        options=policy_options(steps, **options.training()),
        resume=options.resume,
        encoder=encoder,
        decay=fading,
        max_episode_steps=max_episode_steps,
        **options.sizes(),
    )
    if options.json:
        print_json(result.record)
        return
    metrics = result.record["metrics"]
    print(f"Mean squared error of the actions of the validation episodes: {metrics['validation']['mse']:.4f}")
    print(f"Model written to {output}. Next: aaren evaluate {output}")


def _context(given: str) -> int | None:
    """Steps of a window, or None for whole episodes."""
    if given == "all":
        return None
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"--context: expected a number of steps of at least 1, or 'all'; received {given!r}")
    return int(given)


def _bounds(given: str) -> tuple[float, float]:
    """Two numbers from text such as "-1,1"."""
    try:
        low, high = (float(part) for part in given.split(","))
        if not low < high:
            raise ValueError
    except ValueError:
        raise ValueError(f"--action-bounds: expected two ascending numbers, such as -1,1; received {given!r}") from None
    return low, high
