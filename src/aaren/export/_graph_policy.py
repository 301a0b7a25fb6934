"""A policy as a graph: the reward of the action before and an observation in, the next action out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from aaren.export._graph_encoder import State, encoder_graph
from aaren.export._wide import constant, where
from aaren.models import Policy


class PolicyGraph(nn.Module):
    """Three tokens a step, return to go, observation and action, each added to the vector of its time step.

    The action of a step is the model's own, so steps come one by one: there is no chunk.

    Args:
        model: with preprocessing.
        pairs: the form of numbers of more digits than float32.

    Source: arXiv 2106.01345 (Decision Transformer).
    """

    def __init__(self, model: Policy, *, pairs: bool) -> None:
        super().__init__()
        known = model.preprocessing
        assert known is not None, "a model without is refused"
        low, high = np.array(known.action_low), np.array(known.action_high)
        self.mean, self.deviation, self.low, self.half_range = (
            constant(x, pairs=pairs) for x in (known.scaler.mean, known.scaler.deviation, low, (high - low) / 2)
        )
        self.lowest, self.highest = (torch.from_numpy(x.astype(np.float32)) for x in (low, high))
        self.scale = known.return_scale
        self.embed_return, self.embed_observation = model.embed_return, model.embed_observation
        self.embed_action, self.embed_timestep = model.embed_action, model.embed_timestep
        self.norm, self.head = model.norm, model.head
        self.encoder = encoder_graph(model.encoder, "memory.encoder", chunk=False)

    def forward(self, row: State, state: State) -> tuple[State, State]:
        """Outputs and state after a row `observation` with `reward`, which is NaN where there was no action yet."""
        reward, step = row["reward"].each(lambda x: x[0]), state["memory.timestep"]
        acted = reward.narrow() == reward.narrow()
        memory = {name: kept for name, kept in state.items() if name.startswith("memory.encoder")}
        _, after = self._take(self.embed_action(state["action"][None]), step, memory)
        memory = {name: where(acted, after[name], kept) for name, kept in memory.items()}
        step = step + acted.long()
        to_go = state["return_to_go"]
        to_go = where(acted, to_go - reward, to_go)
        _, memory = self._take(self.embed_return((to_go / self.scale).narrow()[None, None]), step, memory)
        seen = ((row["observation"] - self.mean) / self.deviation).narrow()
        encoded, memory = self._take(self.embed_observation(seen), step, memory)
        action = torch.tanh(self.head(encoded))[0]
        units = ((to_go.of(action) + 1.0) * self.half_range + self.low).narrow()
        units = torch.minimum(torch.maximum(units, self.lowest), self.highest)
        after = {**memory, "memory.timestep": step, "return_to_go": to_go, "action": action}
        return {"action": units, "return_to_go": to_go}, after

    def _take(self, token: Tensor, step: Tensor, memory: State) -> tuple[Tensor, State]:
        """One token through the encoder."""
        return self.encoder(self.norm(token + self.embed_timestep(step)), memory)
