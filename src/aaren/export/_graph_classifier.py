"""A classifier as a graph: a row or a chunk of rows in, the class of the series after the last one out."""

from __future__ import annotations

import math

import torch
from torch import nn

from aaren.export._graph_encoder import Positions, State, encoder_graph
from aaren.export._wide import constant
from aaren.models import Classifier


class ClassifierGraph(nn.Module):
    """Embed, encode, and say by the last output and the mean of all of them which class the series is of.

    Args:
        model: with preprocessing.
        chunk: whether there may be several rows.
        pairs: the form of numbers of more digits than float32.
    """

    def __init__(self, model: Classifier, *, chunk: bool, pairs: bool) -> None:
        super().__init__()
        assert model.preprocessing is not None, "a model without is refused"
        scaler = model.preprocessing.scaler
        countable = 2**31 if pairs else 2**63  # a runtime without float64 counts rows in 32 bits
        rows, temperatures = zip(*(one for one in model.preprocessing.temperatures if one[0] < countable), strict=True)
        self.starts = torch.tensor(rows)
        self.temperatures = constant(temperatures, pairs=pairs)
        self.mean, self.deviation = (constant(x, pairs=pairs) for x in (scaler.mean, scaler.deviation))
        self.embed, self.head = model.embed, model.head
        self.positions = Positions(model.config.d_model, pairs=pairs) if model.positions else None
        self.encoder = encoder_graph(model.encoder, chunk=chunk)

    def forward(self, row: State, state: State) -> tuple[State, State]:
        """Outputs and state after rows `values`."""
        scaled = ((row["values"] - self.mean) / self.deviation).narrow()
        observed = scaled.abs() < math.inf
        x = self.embed(torch.cat([torch.where(observed, scaled, 0), observed.float()], -1))
        position, total = state["position"], state["total"]
        if self.positions is not None:
            places = total.of(position + torch.arange(x.shape[0]))
            x = x + self.positions(places)
        encoded, after = self.encoder(x, state)
        position, total = position + x.shape[0], total + encoded.to(total.work().dtype).sum(0)
        mean = (total / total.of(position)).narrow()
        logits = self.head(torch.cat([encoded[-1], mean])[None])[0]
        temperatures = self.temperatures.work()
        begun = (position >= self.starts).to(temperatures.dtype)
        here = begun - torch.cat([begun[1:], torch.zeros_like(begun[:1])])
        temperature = (temperatures * here).sum()
        chances = (logits.to(temperatures.dtype) / temperature).softmax(-1)
        after |= {"position": position, "total": total, "last": encoded[-1]}
        return {"probabilities": total.of(chances)}, after
