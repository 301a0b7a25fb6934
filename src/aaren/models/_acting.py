"""Acting in the user's units, in one episode or several at once: observation in, action out, then the reward."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from aaren.models._policy import Policy
from aaren.models._policy_memory import PolicyMemory
from aaren.models._policy_preprocessing import PolicyPreprocessing

ActingMode = Literal["streamed", "windowed"]


class ActingState(NamedTuple):
    """Where some episodes are; a value, whose tensors all have the batch first.

    Args:
        memory: what the policy remembers.
        return_to_go: what is still to come of the return that was asked for, shape (batch,), in the user's units.
        action: the last action, scaled, shape (batch, actions).
    """

    memory: PolicyMemory
    return_to_go: Float[Tensor, " batch"]
    action: Float[Tensor, "batch actions"]


def begin_episodes(
    model: Policy, batch_size: int, mode: ActingMode = "streamed", target_return: float | None = None
) -> ActingState:
    """The state of episodes that have not begun.

    Args:
        model: with preprocessing.
        batch_size: number of episodes.
        mode: "streamed" keeps all of the episode in a state of constant size, each token read once; "windowed" reads
            the last K steps again before each action, as in training.
        target_return: the return to ask for; None for that of the preprocessing.

    Raises:
        ValueError: the mode is another word, the target is not finite, or the model has no preprocessing.
    """
    if mode not in ("streamed", "windowed"):
        raise ValueError(f"mode: expected 'streamed' or 'windowed', received {mode!r}")
    preprocessing = _preprocessing(model)
    target = preprocessing.target_return if target_return is None else float(target_return)
    preprocessing.require_target(target)
    return ActingState(
        model.init_state(batch_size) if mode == "streamed" else model.init_window(batch_size),
        torch.full((batch_size,), target, dtype=torch.float64, device=model.device),
        torch.zeros(batch_size, model.config.actions, device=model.device),
    )


@torch.inference_mode(False)
@torch.no_grad()
def choose_actions(
    model: Policy, observations: ArrayLike, state: ActingState
) -> tuple[NDArray[np.float32], ActingState]:
    """The actions for observations, shape (batch, observations), in the user's units; shape (batch, actions).

    Twenty-seven numbers of an Ant fill the first of the 111 of D4RL's; the others, contact forces, are zero there.

    Raises:
        ValueError: a shape is wrong, or an episode is longer than the policy's table of time steps.
    """
    preprocessing = _preprocessing(model)
    seen = np.asarray(observations, dtype=np.float64)
    if seen.shape[-1:] == (27,) and model.config.observations == 111:
        seen = np.concatenate([seen, np.zeros((*seen.shape[:-1], 84))], -1)
    expected = (len(state.return_to_go), model.config.observations)
    if seen.shape != expected:
        raise ValueError(f"observations: expected shape {expected}, received {seen.shape}; is it another environment?")
    scaled = torch.from_numpy(preprocessing.scaled_observations(seen)).to(model.device)
    wanted = (state.return_to_go / preprocessing.return_scale).to(scaled.dtype)
    actions, memory = model.act(wanted, scaled, state.memory)
    return preprocessing.to_actions(actions.cpu().numpy()), ActingState(memory, state.return_to_go, actions)


@torch.inference_mode(False)
@torch.no_grad()
def observe_rewards(
    model: Policy, rewards: ArrayLike, state: ActingState, actions: ArrayLike | None = None
) -> ActingState:
    """Take in what the actions brought, shape (batch,); the return to go falls by it.

    Args:
        model: the policy.
        rewards: in the user's units.
        state: what `choose_actions` returned.
        actions: what was really done, shape (batch, actions), if it was something else.
    """
    done = state.action
    if actions is not None:
        done = torch.from_numpy(_preprocessing(model).scaled_actions(actions)).to(done)
    earned = torch.from_numpy(np.asarray(rewards, dtype=np.float64)).to(state.return_to_go)
    return ActingState(model.observe(done, state.memory), state.return_to_go - earned, done)


def _preprocessing(model: Policy) -> PolicyPreprocessing:
    if model.preprocessing is None:
        raise ValueError("model: expected preprocessing (environment and scales), received None; train or load a model")
    return model.preprocessing
