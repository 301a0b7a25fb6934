"""The policy: what should come, what is seen, what was done; out comes the next action (Decision Transformer)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from aaren.models._build_encoder import build_encoder
from aaren.models._model import Model
from aaren.models._policy_config import PolicyConfig
from aaren.models._policy_memory import PolicyMemory, PolicyState, PolicyWindow
from aaren.models._policy_preprocessing import PolicyPreprocessing


class Policy(Model[PolicyConfig, PolicyPreprocessing]):
    r"""A policy from recorded episodes: actions that are to reach a given return, by sequence modelling.

    A step t is three tokens, return-to-go :math:`\hat R_t`, observation :math:`s_t` and action :math:`a_t`, each
    embedded and added to a learned vector of t; a layer norm, then the encoder; the action is

    .. math:: \tanh(W\, y(s_t) + b), \qquad y(s_t) \text{ the output at the token of } s_t

    which has seen all steps before t, :math:`\hat R_t` and :math:`s_t`, and not :math:`a_t`.

    Args:
        config: a `PolicyConfig`, or leave it out and give its fields by name.
        preprocessing: environment, scales and the return to ask for; needed to act and save.
        metadata: data, metrics and versions for the model card; plain data.

    Source: arXiv 2106.01345 (Decision Transformer); arXiv 2405.13956, its reinforcement-learning setting, for
        Aaren in place of attention.

    Example:
        >>> policy = Policy(observations=17, actions=6, d_model=16, dim_feedforward=32)
        >>> actions, state = policy(torch.zeros(2, 5), torch.zeros(2, 5, 17), torch.zeros(2, 5, 6))
        >>> actions.shape
        torch.Size([2, 5, 6])
        >>> action, state = policy.act(torch.zeros(2), torch.zeros(2, 17), state)  # the sixth step
        >>> state = policy.observe(action, state)
    """

    kind = "policy"
    config_type = PolicyConfig
    preprocessing_type = PolicyPreprocessing

    def __init__(
        self,
        config: PolicyConfig | None = None,
        *,
        preprocessing: PolicyPreprocessing | None = None,
        metadata: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(config, preprocessing, metadata, fields)
        config = self.config
        if preprocessing is not None:
            preprocessing.require_sizes(config.observations, config.actions)
        self.embed_return = nn.Linear(1, config.d_model)
        self.embed_observation = nn.Linear(config.observations, config.d_model)
        self.embed_action = nn.Linear(config.actions, config.d_model)
        self.embed_timestep = nn.Embedding(config.max_episode_steps, config.d_model)
        nn.init.normal_(self.embed_timestep.weight, std=0.02)
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = build_encoder(config)
        self.head = nn.Linear(config.d_model, config.actions)

    def forward(
        self,
        returns_to_go: Float[Tensor, "batch steps"],
        observations: Float[Tensor, "batch steps observations"],
        actions: Float[Tensor, "batch steps actions"],
        timesteps: Int[Tensor, "batch steps"] | None = None,
        mask: Bool[Tensor, "batch steps"] | None = None,
        state: PolicyState | None = None,
    ) -> tuple[Float[Tensor, "batch steps actions"], PolicyState]:
        """The action at every step, from what was known before it.

        Args:
            returns_to_go: divided by `return_scale`, shape (batch, steps).
            observations: in units of the training deviation, shape (batch, steps, observations).
            actions: that were taken, scaled to -1 ... 1, shape (batch, steps, actions).
            timesteps: from 0 at the start of an episode, shape (batch, steps); None counts on from `state`.
            mask: shape (batch, steps), True for a step that is there; a False one is as if deleted.
            state: what the call before returned, or None at the start of an episode.

        Returns:
            The actions, scaled to -1 ... 1, shape (batch, steps, actions), and the state.

        Raises:
            ValueError: a shape is wrong, or a time step is beyond `max_episode_steps`.
        """
        self._check(returns_to_go, observations, actions)
        batch, steps = returns_to_go.shape
        if state is None:
            state = self.init_state(batch)
            before = None  # the encoders' parallel path without a state is their fastest
        else:
            before = state.encoder
        if timesteps is None:
            timesteps = state.timestep[:, None] + torch.arange(steps, device=returns_to_go.device)
            if mask is not None:
                timesteps = state.timestep[:, None] + (mask.cumsum(1) - 1).clamp(min=0)
        times = self._times(timesteps, mask)
        tokens = torch.stack(
            [
                self.embed_return(returns_to_go[..., None]) + times,
                self.embed_observation(observations) + times,
                self.embed_action(actions) + times,
            ],
            2,
        ).flatten(1, 2)
        present = None if mask is None else mask.repeat_interleave(3, 1)
        encoded, after = self.encoder(self.dropout(self.norm(tokens)), before, present)
        real = timesteps if mask is None else timesteps.masked_fill(~mask, -1)
        known = torch.maximum(state.timestep, real.amax(1) + 1) if steps else state.timestep
        return self._actions(encoded[:, 1::3]), PolicyState(known, after)

    def act(
        self,
        returns_to_go: Float[Tensor, " batch"],
        observations: Float[Tensor, "batch observations"],
        state: PolicyMemory,
    ) -> tuple[Float[Tensor, "batch actions"], PolicyMemory]:
        """The action for one more observation; `observe` tells what was done before the next call.

        Args:
            returns_to_go: what is to come from here on, divided by `return_scale`, shape (batch,).
            observations: in units of the training deviation, shape (batch, observations).
            state: from `init_state` (constant time, all of the episode) or `init_window` (the last K steps read
                again), or what the call before returned.

        Returns:
            The actions, scaled to -1 ... 1, shape (batch, actions), and the state.
        """
        if isinstance(state, PolicyWindow):
            return self._act_in_window(returns_to_go, observations, state)
        times = self._times(state.timestep, None)
        encoder = state.encoder
        for token in (self.embed_return(returns_to_go[:, None]), self.embed_observation(observations)):
            encoded, encoder = self._take(token + times, encoder)
        return self._actions(encoded), PolicyState(state.timestep, encoder)

    def observe(self, actions: Float[Tensor, "batch actions"], state: PolicyMemory) -> PolicyMemory:
        """Take in the actions that were done after `act`, scaled to -1 ... 1, shape (batch, actions)."""
        if isinstance(state, PolicyWindow):
            known = torch.cat([state.actions, actions[:, None]], 1)
            return PolicyWindow(state.timestep + 1, state.returns_to_go, state.observations, known)
        _, encoder = self._take(self.embed_action(actions) + self._times(state.timestep, None), state.encoder)
        return PolicyState(state.timestep + 1, encoder)

    def loss(
        self,
        predicted: Float[Tensor, "batch steps actions"],
        actions: Float[Tensor, "batch steps actions"],
        mask: Bool[Tensor, "batch steps"],
    ) -> Float[Tensor, ""]:
        """Mean squared error over the actions of the steps that are there."""
        squared = F.mse_loss(predicted, actions, reduction="none").mean(-1)
        return (squared * mask).sum() / mask.sum().clamp(min=1)

    def init_state(self, batch_size: int = 1) -> PolicyState:
        """The state of an episode that has not begun, for the mode "streamed"."""
        return PolicyState(self._no_steps(batch_size), self.encoder.init_state(batch_size))

    def init_window(self, batch_size: int = 1) -> PolicyWindow:
        """The same for the mode "windowed"."""
        weight, config = self.head.weight, self.config
        return PolicyWindow(
            self._no_steps(batch_size),
            weight.new_zeros(batch_size, 0),
            weight.new_zeros(batch_size, 0, config.observations),
            weight.new_zeros(batch_size, 0, config.actions),
        )

    def describe(self) -> str:
        """What the model does, in one sentence."""
        told = f"{self.config.actions} numbers of an action from {self.config.observations} of an observation"
        if self.preprocessing is None:
            return f"Chooses {told}."
        return f"Acts in {self.preprocessing.environment}: {told}."

    def _act_in_window(
        self, returns_to_go: Tensor, observations: Tensor, state: PolicyWindow
    ) -> tuple[Float[Tensor, "batch actions"], PolicyWindow]:
        """The action after the last K - 1 steps and this one, all read again."""
        kept = (self.config.context or self.config.max_episode_steps) - 1
        first = max(0, state.actions.shape[1] - kept)
        returns = torch.cat([state.returns_to_go[:, first:], returns_to_go[:, None]], 1)
        seen = torch.cat([state.observations[:, first:], observations[:, None]], 1)
        known = state.actions[:, first:]
        # the last action is not known yet; its token comes behind the output that is read
        ahead = torch.cat([known, known.new_zeros(len(known), 1, self.config.actions)], 1)
        steps = seen.shape[1]
        timesteps = state.timestep[:, None] + torch.arange(1 - steps, 1, device=seen.device)
        actions, _ = self(returns, seen, ahead, timesteps)
        return actions[:, -1], PolicyWindow(state.timestep, returns, seen, known)

    def _take(self, token: Float[Tensor, "batch d"], encoder: Any) -> tuple[Float[Tensor, "batch d"], Any]:
        """One token through the encoder."""
        encoded, encoder = self.encoder(self.dropout(self.norm(token))[:, None], encoder)
        return encoded[:, 0], encoder

    def _actions(self, encoded: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch actions"]:
        return torch.tanh(self.head(encoded))

    def _times(
        self, timesteps: Int[Tensor, "*batch"], mask: Bool[Tensor, "*batch"] | None
    ) -> Float[Tensor, "*batch d"]:
        """The learned vectors of time steps; none is beyond the table."""
        if mask is not None:
            timesteps = timesteps.masked_fill(~mask, 0)
        if timesteps.numel() and not 0 <= int(timesteps.min()) <= int(timesteps.max()) < self.config.max_episode_steps:
            raise ValueError(
                f"timesteps: expected 0 to {self.config.max_episode_steps - 1}, received {int(timesteps.min())} to "
                f"{int(timesteps.max())}; train with a larger max_episode_steps, or begin a new episode"
            )
        return self.embed_timestep(timesteps)

    def _no_steps(self, batch_size: int) -> Int[Tensor, " batch"]:
        return torch.zeros(batch_size, dtype=torch.int64, device=self.head.weight.device)

    def _check(self, returns_to_go: Tensor, observations: Tensor, actions: Tensor) -> None:
        config, shape = self.config, tuple(returns_to_go.shape)
        received = (tuple(observations.shape), tuple(actions.shape))
        if len(shape) != 2 or received != ((*shape, config.observations), (*shape, config.actions)):
            raise ValueError(
                f"expected returns_to_go (batch, steps), observations (batch, steps, {config.observations}) and "
                f"actions (batch, steps, {config.actions}), received {shape}, {received[0]}, {received[1]}"
            )
