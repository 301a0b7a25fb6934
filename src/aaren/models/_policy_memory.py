"""What a policy remembers of its episode between two actions: the encoder's state, or the last K steps."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class PolicyState(NamedTuple):
    """The memory of the mode "streamed": all of the episode, in what the encoder keeps of it.

    Args:
        timestep: steps whose action is known, shape (batch,).
        encoder: the encoder's state.
    """

    timestep: Int[Tensor, " batch"]
    encoder: Any


class PolicyWindow(NamedTuple):
    """The memory of the mode "windowed": the last steps, which are read again before each action, as in training.

    Args:
        timestep: steps whose action is known, shape (batch,).
        returns_to_go: of the steps in the window, scaled, shape (batch, steps); steps is at most K.
        observations: the same steps, scaled, shape (batch, steps, observations).
        actions: the same steps, scaled, shape (batch, steps, actions). Between `act` and `observe` there is one step
            less of them.
    """

    timestep: Int[Tensor, " batch"]
    returns_to_go: Float[Tensor, "batch steps"]
    observations: Float[Tensor, "batch steps observations"]
    actions: Float[Tensor, "batch known actions"]


PolicyMemory = PolicyState | PolicyWindow
