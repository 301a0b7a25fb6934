"""Encoders as graphs: the same layers, on plain tensors with a state by name, for one token or for a chunk of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aaren.export._graph_names import CHUNK
from aaren.export._wide import constant
from aaren.nn import Aaren, GRUEncoder, MinGRU
from aaren.nn._mingru import positive

State = dict[str, Any]


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear layer of given weights, without gradients."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer


class Positions(nn.Module):
    """Sines and cosines of positions or times.

    Args:
        width: of the encoder.
        pairs: the form of numbers of more digits than float32.

    Source: arXiv 1706.03762, section 3.5.
    """

    def __init__(self, width: int, *, pairs: bool) -> None:
        super().__init__()
        self.frequencies = constant(np.exp(-math.log(10000.0) * np.arange(0, width, 2) / width), pairs=pairs)

    def forward(self, places: Any) -> Tensor:
        """Encode `places`, shape (tokens,), as (tokens, width) float32."""
        angles = (places.each(lambda x: x[:, None]) * self.frequencies).turns()
        return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2).float()


class Attention(nn.Module):
    """Aaren with the query folded into the key projection: scores and values are one product of the token.

    One token (`chunk=False`) is the paper's cell; a chunk is masked softmax over its tokens, with the state as one
    token more before them. Sums over the past are `Wide`.

    Args:
        attention: whose weights they are.
        chunk: whether there may be several tokens.

    Source: arXiv 2405.13956, section 3.1 (attention as an RNN; many-to-many) and 3.3.
    """

    def __init__(self, attention: Aaren, *, chunk: bool) -> None:
        super().__init__()
        self.heads, self.chunk, self.decay = attention.num_heads, chunk, attention.decay
        folded = attention._folded_query()
        values = attention.in_proj_weight.chunk(3)[2]
        none = folded.new_zeros(self.heads)  # the key's bias cancels in the softmax
        biases = attention.in_proj_bias
        assert biases is not None, "models have biases"
        self.project = linear(torch.cat([folded, values]), torch.cat([none, biases.chunk(3)[2]]))
        self.out = linear(attention.out_proj.weight, attention.out_proj.bias)
        if attention.decay_rate is not None:
            self.rate = F.softplus(attention.decay_rate).detach()

    def forward(self, x: Tensor, state: State, elapsed: Tensor | None) -> tuple[Tensor, State]:
        """Outputs, shape (tokens, d), and the state after them.

        Args:
            x: shape (tokens, d).
            state: max_score (heads,), normalizer (heads,), weighted_sum (heads, dim).
            elapsed: shape (tokens,), for `decay="time"`.
        """
        projected = self.project(x)
        decay = None
        if self.decay == "learned":
            decay = -self.rate.expand(x.shape[0], -1)
        elif elapsed is not None and self.decay == "time":
            decay = -self.rate * elapsed[:, None]
        state = {**state, "max_score": state["max_score"].bounded()}
        attended, state = (self._attend_chunk if self.chunk else self._attend_one)(projected, decay, state)
        return self.out(attended), state

    def _attend_one(self, projected: Tensor, decay: Tensor | None, state: State) -> tuple[Tensor, State]:
        """The paper's cell; before the first token the maximum is far below every score, and the sums are 0."""
        earlier = state["max_score"] if decay is None else state["max_score"] + decay[0]
        token = earlier.of(projected)
        later = token.each(lambda x: x[:, : self.heads].flatten())
        values = token.each(lambda x: x[:, self.heads :].reshape(self.heads, -1))
        top = earlier.maximum(later)
        old, new = (earlier - top).exp(), (later - top).exp()
        normalizer = state["normalizer"] * old + new
        old, new, divisor = (one.each(lambda x: x[:, None]) for one in (old, new, normalizer))
        weighted_sum = state["weighted_sum"] * old + new * values
        output = (weighted_sum / divisor).narrow().reshape(1, -1)
        return output, {"max_score": top, "normalizer": normalizer, "weighted_sum": weighted_sum}

    def _attend_chunk(self, projected: Tensor, decay: Tensor | None, state: State) -> tuple[Tensor, State]:
        """Masked softmax for the outputs; the state after the last token by itself, with all its digits."""
        scores, values = projected[:, : self.heads], projected[:, self.heads :].unflatten(1, (self.heads, -1))
        m, u, w = state["max_score"], state["normalizer"], state["weighted_sum"]
        work = m.work().dtype
        logits, start = scores.to(work).expand(scores.shape[0], -1, -1), m.work().expand(scores.shape[0], -1)
        places = torch.arange(scores.shape[0])
        after = places[:, None] > places[None, :]
        total = m
        if decay is not None:
            # [k, i]: the sum of the decays after token i up to k, term by term
            spans = torch.where(after[..., None], decay.to(work)[:, None], 0.0).cumsum(0)
            faded = decay.to(work).cumsum(0)
            logits, start, total = logits + spans, start + faded, m + faded[-1]
        future = places[:, None] < places[None, :]
        logits = torch.where(future[..., None], -math.inf, logits)
        top = torch.maximum(logits.amax(1), start)
        weights, kept = (logits - top[:, None]).exp(), (start - top).exp()
        known = values.to(work)
        sums = torch.einsum("kih,ihd->khd", weights, known) + kept[..., None] * w.work()
        outputs = sums / (weights.sum(1) + kept * u.work())[..., None]

        last = m.of(logits[-1].amax(0))
        top_last = total.maximum(last)
        old = (total - top_last).exp()
        weights = (logits[-1] - top_last.work()).exp()
        normalizer = u * old + weights.sum(0)
        weighted_sum = w * old.each(lambda x: x[:, None]) + (weights[..., None] * known).sum(0)
        return outputs.float().flatten(1), {
            "max_score": top_last,
            "normalizer": normalizer,
            "weighted_sum": weighted_sum,
        }


class Recurrence(nn.Module):
    """minGRU in the place of attention: h = (1 - z) h + z g(c). Source: arXiv 2410.01201, section 3.1."""

    def __init__(self, gru: MinGRU, *, chunk: bool) -> None:
        super().__init__()
        self.chunk = chunk
        self.project = linear(gru.in_proj.weight, gru.in_proj.bias)
        self.out = linear(gru.out_proj.weight, gru.out_proj.bias)

    def forward(self, x: Tensor, hidden: Tensor, _: Tensor | None) -> tuple[Tensor, Tensor]:
        """Outputs, shape (tokens, d), and the hidden numbers after them, shape (hidden,)."""
        gate, candidate = self.project(x).chunk(2, -1)
        z = torch.sigmoid(gate)
        kept, new = 1 - z, z * positive(candidate)
        if self.chunk:
            # a scan over the maps h -> kept h + new: after `reach` doublings each reaches back to the first token
            for reach in [1 << power for power in range((CHUNK - 1).bit_length())]:
                before = (
                    F.pad(new, (0, 0, reach, 0))[: x.shape[0]],
                    F.pad(kept, (0, 0, reach, 0), value=1.0)[: x.shape[0]],
                )
                new, kept = new + kept * before[0], kept * before[1]
        states = kept * hidden + new
        return self.out(states), states[-1]


class LayerStack(nn.Module):
    """Layers of attention or minGRU, each with a feed-forward network.

    Args:
        encoder: the model's.
        prefix: of the names of its state.
        chunk: whether there may be several tokens.
    """

    def __init__(self, encoder: Any, prefix: str, *, chunk: bool) -> None:
        super().__init__()
        self.prefix, self.encoder = prefix, encoder
        self.mixers = nn.ModuleList(
            Attention(layer.self_attn, chunk=chunk)
            if isinstance(layer.self_attn, Aaren)
            else Recurrence(layer.self_attn, chunk=chunk)
            for layer in encoder.layers
        )

    def forward(
        self, x: Tensor, state: State, elapsed: Tensor | None = None, added: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Outputs, shape (tokens, d), and the state after them; the arguments are those of `AarenEncoder`."""
        after: State = {}
        for index, (layer, mixer) in enumerate(zip(self.encoder.layers, self.mixers, strict=True)):
            x = x if added is None else x + added
            name = f"{self.prefix}.{index}"
            mixed, kept = mixer(layer.norm1(x) if layer.norm_first else x, _kept(state, name), elapsed)
            x = x + mixed
            x = x if layer.norm_first else layer.norm1(x)
            hidden = layer.activation(layer.linear1(layer.norm2(x) if layer.norm_first else x))
            x = x + layer.linear2(hidden)
            x = x if layer.norm_first else layer.norm2(x)
            after.update(
                {f"{name}.{part}": value for part, value in kept.items()} if isinstance(kept, dict) else {name: kept}
            )
        return (x if self.encoder.norm is None else self.encoder.norm(x)), after


class GRUStack(nn.Module):
    """`torch.nn.GRU`, one token: reset, update and candidate, in this order in its weights."""

    def __init__(self, encoder: GRUEncoder, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        weights = dict(encoder.gru.named_parameters())
        self.inputs, self.hidden = (
            nn.ModuleList(
                linear(weights[f"weight_{part}_l{index}"], weights[f"bias_{part}_l{index}"])
                for index in range(encoder.num_layers)
            )
            for part in ("ih", "hh")
        )

    def forward(
        self, x: Tensor, state: State, elapsed: Tensor | None = None, added: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """The output, shape (1, d), and the state; `elapsed` is not used."""
        x = x if added is None else x + added
        before, after = state[self.prefix], []
        for index, (of_input, of_hidden) in enumerate(zip(self.inputs, self.hidden, strict=True)):
            hidden = before[index : index + 1]
            (r_x, z_x, n_x), (r_h, z_h, n_h) = of_input(x).chunk(3, -1), of_hidden(hidden).chunk(3, -1)
            z = torch.sigmoid(z_x + z_h)
            x = (1 - z) * torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h) + z * hidden
            after.append(x)
        return x, {self.prefix: torch.cat(after)}


def encoder_graph(encoder: Any, prefix: str = "encoder", *, chunk: bool) -> nn.Module:
    """The graph of a model's encoder."""
    return GRUStack(encoder, prefix) if isinstance(encoder, GRUEncoder) else LayerStack(encoder, prefix, chunk=chunk)


def _kept(state: State, name: str) -> Any:
    """What one layer keeps: a tensor of that name, or the three of an attention."""
    if name in state:
        return state[name]
    return {part: state[f"{name}.{part}"] for part in ("max_score", "normalizer", "weighted_sum")}
