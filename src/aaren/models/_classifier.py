"""The classifier: rows of a series in, at every row the logits of its class out."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from aaren.models._build_encoder import build_encoder
from aaren.models._classifier_config import ClassifierConfig
from aaren.models._classifier_preprocessing import ClassifierPreprocessing
from aaren.models._model import Model
from aaren.nn import SinusoidalPositions


class Classification(NamedTuple):
    """What a classifier says.

    Args:
        logits: after every token, before calibration, shape (batch, tokens, classes).
    """

    logits: Float[Tensor, "batch tokens classes"]


class ClassifierState(NamedTuple):
    """What a classifier keeps between calls.

    Args:
        position: tokens seen so far, shape (batch,).
        total: sum of the encoder's outputs over them, float64 of shape (batch, d_model).
        last: output at the last of them, zeros before the first, shape (batch, d_model).
        encoder: the encoder's state.
    """

    position: Int[Tensor, " batch"]
    total: Float[Tensor, "batch d"]
    last: Float[Tensor, "batch d"]
    encoder: Any


class Classifier(Model[ClassifierConfig, ClassifierPreprocessing]):
    r"""Multivariate series classifier: embed, encode, and at every token say which class the series is of.

    .. math:: \text{logits}_k = W \left[\, y_k \,;\, \tfrac{1}{k} \sum_{i \le k} y_i \,\right] + b

    with the encoder's outputs y. The head that is published flattens all outputs of a padded series and needs its end;
    this one keeps their running sum instead, so that it streams: the logits after row k depend on rows 1 to k alone.

    Args:
        config: a `ClassifierConfig`, or leave it out and give its fields by name.
        preprocessing: the user's channels, units and classes; needed to stream and save.
        metadata: data, metrics and versions for the model card; plain data.

    Source: arXiv 2405.13956, experiments on time series classification (protocol); the head is this library's.

    Example:
        >>> model = Classifier(channels=3, classes=4, d_model=16, nhead=2, num_layers=1)
        >>> said, state = model(torch.zeros(5, 10, 3))
        >>> said.logits.shape
        torch.Size([5, 10, 4])
        >>> said, state = model(torch.zeros(5, 1, 3), state=state)  # one more row, in constant memory
    """

    kind = "classifier"
    config_type = ClassifierConfig
    preprocessing_type = ClassifierPreprocessing

    def __init__(
        self,
        config: ClassifierConfig | None = None,
        *,
        preprocessing: ClassifierPreprocessing | None = None,
        metadata: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(config, preprocessing, metadata, fields)
        config = self.config
        if preprocessing is not None:
            preprocessing.require_sizes(config.channels, config.classes)
        self.embed = nn.Linear(2 * config.channels, config.d_model)
        self.positions = SinusoidalPositions(config.d_model) if config.positions else None
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = build_encoder(config)
        self.head = nn.Linear(2 * config.d_model, config.classes)

    def forward(
        self,
        values: Float[Tensor, "batch tokens channels"],
        mask: Bool[Tensor, "batch tokens"] | None = None,
        state: ClassifierState | None = None,
    ) -> tuple[Classification, ClassifierState]:
        """Say after every token which class the series is of.

        Args:
            values: in units of the training deviation, shape (batch, tokens, channels); NaN is a missing value.
            mask: shape (batch, tokens), True for a token that is there; a False one, such as padding, is as if
                deleted, and its logits are those of the token before it.
            state: what the call before returned, or None at the start of a series.

        Returns:
            The logits and the state.

        Raises:
            ValueError: a shape is wrong, or the state is of a batch of another size.
        """
        self._check(values, mask, state)
        before = None if state is None else state.encoder
        if state is None:
            state = self.init_state(len(values))
        observed = values.isfinite()
        if mask is not None:
            observed = observed & mask[..., None]
        # a value that is missing enters nowhere, as 0 in its place and as 0 in its mask
        features = torch.cat([values.masked_fill(~observed, 0), observed.to(values.dtype)], -1)
        present = torch.ones_like(values[..., 0], dtype=torch.bool) if mask is None else mask
        count = state.position[:, None] + present.cumsum(1)
        x = self.embed(features.to(self.embed.weight.dtype))
        if self.positions is not None:
            x = x + self.positions((count - 1).clamp(min=0)).to(x.dtype)
        encoded, encoder_state = self.encoder(self.dropout(x), before, mask)
        last = _last_present(encoded, present, state.last)
        kept = encoded.double() if mask is None else encoded.double().masked_fill(~mask[..., None], 0)
        total = state.total[:, None] + kept.cumsum(1)
        mean = (total / count.clamp(min=1)[..., None]).to(last.dtype)
        logits = self.head(torch.cat([last, mean], -1))
        return Classification(logits), ClassifierState(count[:, -1], total[:, -1], last[:, -1], encoder_state)

    def init_state(self, batch_size: int = 1) -> ClassifierState:
        """The state of a series that has not begun."""
        weight, width = self.head.weight, self.config.d_model
        return ClassifierState(
            torch.zeros(batch_size, dtype=torch.int64, device=weight.device),
            torch.zeros(batch_size, width, dtype=torch.float64, device=weight.device),
            torch.zeros(batch_size, width, dtype=weight.dtype, device=weight.device),
            self.encoder.init_state(batch_size),
        )

    def loss(
        self,
        said: Classification,
        labels: Int[Tensor, " batch"],
        mask: Bool[Tensor, "batch tokens"] | None = None,
    ) -> Float[Tensor, ""]:
        """Cross-entropy at the last token, plus `early_weight` times its mean over the tokens before; a mean of cases.

        Args:
            said: from `forward`.
            labels: positions of the classes.
            mask: as in `forward`.
        """
        loss = F.cross_entropy(said.logits[:, -1], labels)  # padding repeats the last logits
        if not self.config.early_weight:
            return loss
        tokens = said.logits.shape[1]
        each = F.cross_entropy(said.logits.mT, labels[:, None].expand(-1, tokens), reduction="none")
        early = torch.ones_like(each, dtype=torch.bool) if mask is None else mask
        early = early & (early.cumsum(1) < early.sum(1, keepdim=True))
        mean = (each * early).sum(1) / early.sum(1).clamp(min=1)
        return loss + self.config.early_weight * mean.mean()

    def probabilities(
        self, logits: Float[Tensor, "*batch classes"], rows: Int[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch classes"]:
        """Calibrated probabilities: the softmax of logits divided by a temperature; 1 without preprocessing.

        Args:
            logits: shape (..., classes).
            rows: how many rows of the series they come after, shape (...), as `ClassifierState.position`.

        Returns:
            float64, of the shape of the logits.
        """
        if self.preprocessing is None:
            return logits.double().softmax(-1)
        return (logits.double() / self.preprocessing.temperature(rows)[..., None]).softmax(-1)

    def describe(self) -> str:
        """What the model does, in one sentence."""
        preprocessing = self.preprocessing
        if preprocessing is None:
            return f"Says which of {self.config.classes} classes a series of {self.config.channels} channels is of."
        classes, channels = ", ".join(preprocessing.classes), ", ".join(preprocessing.channels)
        return f"Says after every row which of the classes {classes} a series of {channels} is of."

    def _check(self, values: Tensor, mask: Tensor | None, state: ClassifierState | None) -> None:
        channels = self.config.channels
        if values.dim() != 3 or values.shape[-1] != channels or values.shape[1] == 0:
            raise ValueError(f"values: expected shape (batch, tokens >= 1, {channels}), received {tuple(values.shape)}")
        if mask is not None and mask.shape != values.shape[:2]:
            raise ValueError(f"mask: expected shape {tuple(values.shape[:2])}, received {tuple(mask.shape)}")
        if state is not None and len(state.position) != len(values):
            raise ValueError(
                f"state: expected that of a batch of {len(values)}, received one of {len(state.position)}; pass the "
                "state that the call before returned for the same series"
            )


def _last_present(
    encoded: Float[Tensor, "batch tokens d"], present: Bool[Tensor, "batch tokens"], before: Float[Tensor, "batch d"]
) -> Float[Tensor, "batch tokens d"]:
    """At each token the output at the last token that is there, up to it; what came before the call where none is."""
    tokens = encoded.shape[1]
    places = torch.arange(1, tokens + 1, device=encoded.device) * present
    index = places.cummax(1).values[..., None].expand(-1, -1, encoded.shape[2])
    return torch.cat([before[:, None].to(encoded.dtype), encoded], 1).gather(1, index)
