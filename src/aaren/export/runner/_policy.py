"""One step of a policy: the reward of the action before and an observation in, the next action out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from aaren.export.runner._attention import Array
from aaren.export.runner._encoder import LayerNorm, State, make_encoder
from aaren.export.runner._weights import Weights


class PolicyStep:
    """Three tokens a step, return to go, observation and action, each added to the vector of its time step.

    Args:
        weights: of the model.
        config: of the model.
        preprocessing: of the model.

    Source: arXiv 2106.01345 (Decision Transformer).
    """

    def __init__(self, weights: Weights, config: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> None:
        width, actions = config["d_model"], config["actions"]
        self.embed_return = weights.linear("embed_return", width, 1)
        self.embed_observation = weights.linear("embed_observation", width, config["observations"])
        self.embed_action = weights.linear("embed_action", width, actions)
        self.times = weights.take("embed_timestep.weight", config["max_episode_steps"], width)
        self.norm = LayerNorm(weights, "norm", width)
        self.encoder = make_encoder(weights, config, "memory.encoder")
        self.head_weight, self.head_bias = weights.linear("head", actions, width)
        scaler = preprocessing["scaler"]
        self.mean, self.deviation = np.array(scaler["mean"]), np.array(scaler["deviation"])
        self.low, self.high = np.array(preprocessing["action_low"]), np.array(preprocessing["action_high"])
        self.return_scale = preprocessing["return_scale"]

    def __call__(self, token: Mapping[str, Array], state: State) -> tuple[State, State]:
        """Outputs and state after a token `observation`, with `reward`, which is NaN where there was no action yet."""
        step, to_go, reward = int(state["memory.timestep"]), float(state["return_to_go"]), float(token["reward"])
        memory: State = state
        if not math.isnan(reward):  # the action before was done
            _, memory = self._take(self.embed_action, state["action"], step, memory)
            step, to_go = step + 1, to_go - reward
        wanted = np.array([to_go / self.return_scale], dtype=np.float32)
        _, memory = self._take(self.embed_return, wanted, step, memory)
        seen = ((token["observation"] - self.mean) / self.deviation).astype(np.float32)
        encoded, memory = self._take(self.embed_observation, seen, step, memory)
        action = np.tanh(self.head_weight @ encoded + self.head_bias)
        units = np.clip(self.low + (action.astype(np.float64) + 1) / 2 * (self.high - self.low), self.low, self.high)
        after = {**memory, "memory.timestep": np.array(step), "return_to_go": np.array(to_go), "action": action}
        return {"action": units.astype(np.float32), "return_to_go": np.array(to_go)}, after

    def _take(self, embed: tuple[Array, Array], x: Array, step: int, memory: State) -> tuple[Array, State]:
        """One token through the encoder."""
        weight, bias = embed
        return self.encoder.step(self.norm(weight @ x + bias + self.times[step]), memory, 1.0)
