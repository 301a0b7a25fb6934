"""The state of an export after a long stream: `python benchmarks/export_long_run.py --to openvino [--tokens 1000000]`.

What is measured: how far the output of an attention layer's state, weighted_sum / normalizer, is from softmax attention
over all tokens so far, computed in float64, in a hundred places of the stream; relative to the largest output. The
layer is the first of a classifier without positions, whose scores and values PyTorch computes for many tokens at once.
Exit code 1 if the bar, 1e-6, does not hold. `--log` appends a line for each place.

What it does not say: anything about time, or about the layers after the first, whose inputs differ by rounding.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _harness import option_parser
from aaren import Classifier
from aaren.data import Scaler
from aaren.export import export, open_export
from aaren.export._graph_encoder import Attention
from aaren.export._pairs import joined
from aaren.models import ClassifierPreprocessing

PLACES, BAR = 100, 1e-6
CHANNELS = 2


def classifier(decay: str | None) -> Classifier:
    """One layer of width 16 with two heads, random weights."""
    names = tuple("xy"[:CHANNELS])
    known = ClassifierPreprocessing(("a", "b"), Scaler(names, np.zeros(CHANNELS), np.ones(CHANNELS)))
    sizes: dict[str, Any] = {"d_model": 16, "nhead": 2, "num_layers": 1, "dim_feedforward": 16}
    torch.manual_seed(0)
    return Classifier(preprocessing=known, channels=CHANNELS, classes=2, positions=None, decay=decay, **sizes).eval()


class Exact:
    """Softmax attention over all tokens so far, in float64."""

    def __init__(self, model: Classifier) -> None:
        layer = model.encoder.layers[0]
        self.embed, self.norm = model.embed, layer.norm1 if layer.norm_first else torch.nn.Identity()
        self.attention = Attention(layer.self_attn, chunk=False)
        rate = getattr(self.attention, "rate", torch.zeros(self.attention.heads))
        self.rate = rate.double().numpy()
        self.normalizer: Any = 0.0
        self.weighted_sum: Any = 0.0

    @torch.no_grad()
    def output(self, tokens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The output after more tokens."""
        x = torch.from_numpy(tokens).float()
        projected = self.attention.project(self.norm(self.embed(torch.cat([x, torch.ones_like(x)], -1)))).double()
        scores, values = projected.numpy()[:, : len(self.rate)], projected.numpy()[:, len(self.rate) :]
        ages = np.arange(len(tokens) - 1, -1, -1.0)[:, None]
        weights = np.exp(scores - ages * self.rate)  # scores of these weights are small
        kept = np.exp(-len(tokens) * self.rate)
        self.normalizer = kept * self.normalizer + weights.sum(0)
        heads = values.reshape(len(tokens), len(self.rate), -1)
        self.weighted_sum = kept[:, None] * self.weighted_sum + (weights[..., None] * heads).sum(0)
        return self.weighted_sum / self.normalizer[:, None]


def main(argv: Sequence[str] | None = None) -> int:
    """The tokens, then one JSON line."""
    parser = option_parser(__doc__)
    parser.set_defaults(threads=1)
    parser.add_argument("--to", default="openvino", help="the runtime (default openvino)")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="of the stream (default 1,000,000)")
    parser.add_argument("--decay", choices=["none", "learned"], default="none", help="of the layer (default none)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append a line of JSON here for each place")
    chosen = parser.parse_args(argv)
    torch.set_num_threads(chosen.threads)
    model = classifier(None if chosen.decay == "none" else chosen.decay)
    with tempfile.TemporaryDirectory() as folder:
        runner: Any = open_export(export(model, Path(folder) / "out", chosen.to).directory)
    exact, generator = Exact(model), np.random.default_rng(0)
    state, errors = {spec.name: spec.first() for spec in runner.manifest.state}, []
    count = 2 if chosen.quick else max(1, chosen.tokens // PLACES)
    for place in range(1, PLACES + 1):
        tokens = generator.normal(size=(count, CHANNELS))
        for token in tokens:
            _, state = runner.step({"values": token}, state)
        kept, output = joined(state), exact.output(tokens)
        found = kept["encoder.0.weighted_sum"] / kept["encoder.0.normalizer"][:, None]
        errors.append(float(np.abs(found - output).max() / np.abs(output).max()))
        if chosen.log is not None:
            with chosen.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"tokens": place * count, "error": errors[-1]}) + "\n")
    line = json.dumps(
        {"benchmark": "export_long_run", "to": chosen.to, "decay": chosen.decay, "tokens": PLACES * count}
        | {"largest_error": max(errors), "last_error": errors[-1], "bar": BAR}
    )
    if chosen.json is not None:
        chosen.json.write_text(line + "\n", encoding="utf-8")
    print(line)
    return int(max(errors) > BAR)


if __name__ == "__main__":
    sys.exit(main())
