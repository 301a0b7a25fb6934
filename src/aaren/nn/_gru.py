"""The recurrent baseline: `torch.nn.GRU` behind the encoders' call."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aaren.nn._aaren import require_tokens

_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class GRUEncoder(nn.Module):
    """A stack of GRU layers of one width with the encoders' call; its state is the hidden state of every layer.

    Args:
        d_model: width of inputs, hidden states and outputs.
        num_layers: number of layers.
        dropout: probability between layers, in training.
    """

    def __init__(self, d_model: int, num_layers: int, dropout: float = 0.1) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers: expected at least 1, received {num_layers}")
        self.d_model, self.num_layers = d_model, num_layers
        between = dropout if num_layers > 1 else 0.0
        self.gru = nn.GRU(d_model, d_model, num_layers, batch_first=True, dropout=between)

    def forward(
        self,
        x: Float[Tensor, "batch tokens d"],
        state: Float[Tensor, "batch layers d"] | None = None,
        mask: Bool[Tensor, "batch tokens"] | None = None,
        *,
        elapsed: Float[Tensor, "batch tokens"] | None = None,
        added: Float[Tensor, "batch tokens d"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens d"], Float[Tensor, "batch layers d"]]:
        """Run over a prompt, a chunk or one token; arguments as in `AarenEncoder.forward`.

        `elapsed` is ignored; `added` is added once, to x.
        """
        require_tokens(x, self.d_model, mask=mask, elapsed=elapsed)
        x = x if added is None else x + added
        batch, tokens, _ = x.shape
        hidden = x.new_zeros(batch, self.num_layers, self.d_model) if state is None else state
        expected = (batch, self.num_layers, self.d_model)
        if hidden.shape != expected:
            raise ValueError(
                f"state: expected shape {expected}, received {tuple(hidden.shape)}; is it of another model or batch? "
                f"start with init_state({batch})"
            )
        if batch == 0 or tokens == 0:
            return x.clone(), hidden.clone()
        if mask is None:
            y, after = self.gru(x, hidden.transpose(0, 1).contiguous())
            return y, after.transpose(0, 1)
        return self._forward_masked(x, hidden, mask)

    def _forward_masked(self, x: Tensor, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Delete the masked tokens, run, and give each masked token the output of the one before it.

        Layer by layer on padded tokens, as the state of each layer is its output at the last token that is kept;
        `pack_padded_sequence` would take time quadratic in the tokens to train on a CPU.
        """
        lengths = mask.sum(1)
        order = mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
        y = x.masked_fill(~mask[..., None], 0).gather(1, order[..., None].expand_as(x))
        last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, self.d_model)
        after = []
        for layer in range(self.num_layers):
            if layer > 0:
                y = nn.functional.dropout(y, self.gru.dropout, self.training)
            weights = [getattr(self.gru, f"{name}_l{layer}") for name in _WEIGHTS]
            first = hidden[None, :, layer].contiguous()
            y, _ = torch.gru(y, first, weights, True, 1, 0.0, self.training, False, True)
            after.append(y.gather(1, last))
        state = torch.where((lengths > 0)[:, None, None], torch.cat(after, 1), hidden)
        y = torch.cat([hidden[:, -1:], y], 1)
        return y.gather(1, mask.cumsum(1)[..., None].expand_as(x)), state

    def step(
        self,
        x: Float[Tensor, "batch d"],
        state: Float[Tensor, "batch layers d"],
        *,
        elapsed: Float[Tensor, " batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch d"], Float[Tensor, "batch layers d"]]:
        """One token; `elapsed` is ignored."""
        y, state = self.forward(x[:, None], state)
        return y[:, 0], state

    def init_state(self, batch_size: int) -> Float[Tensor, "batch layers d"]:
        """The hidden states of a sequence that has not begun: zeros, shape (batch, layers, d_model)."""
        weight = next(self.gru.parameters())
        return weight.new_zeros(batch_size, self.num_layers, self.d_model)
