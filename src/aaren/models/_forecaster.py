"""The forecaster: rows in, a forecast of the next steps out at every row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from aaren.data import span_text
from aaren.models._build_encoder import build_encoder
from aaren.models._config import ForecasterConfig
from aaren.models._model import Model
from aaren.models._preprocessing import Preprocessing
from aaren.nn import LearnedPositions, LinearHighway, RunningNorm, SinusoidalPositions
from aaren.ops import AttentionState, is_plain


class Forecast(NamedTuple):
    """Forecasts in units of the training deviation.

    Args:
        mean: shape (batch, tokens, horizon, targets).
        quantiles: shape (batch, tokens, horizon, targets, levels), ascending; no levels if none are configured.
    """

    mean: Float[Tensor, "batch tokens horizon targets"]
    quantiles: Float[Tensor, "batch tokens horizon targets levels"]


class ForecasterState(NamedTuple):
    """What a forecaster keeps between calls.

    Args:
        position: tokens seen so far, shape (batch,).
        norm: running mean and deviation.
        highway: the last rows of the targets, NaN where missing, shape (batch, highway, targets).
        encoder: the encoder's state.
    """

    position: Int[Tensor, " batch"]
    norm: AttentionState
    highway: Float[Tensor, "batch rows targets"]
    encoder: Any


class Forecaster(Model[ForecasterConfig, Preprocessing]):
    """Multivariate forecaster: normalise, embed, encode, and at every token forecast `horizon` steps of the targets.

    Args:
        config: a `ForecasterConfig`, or leave it out and give its fields by name.
        preprocessing: the user's columns, units and interval; needed to stream and save.
        metadata: data, metrics and versions for the model card; plain data.

    Example:
        >>> model = Forecaster(inputs=3, targets=2, horizon=4, d_model=16, quantiles=(0.1, 0.9))
        >>> forecast, state = model(torch.zeros(5, 10, 3))
        >>> forecast.mean.shape, forecast.quantiles.shape
        (torch.Size([5, 10, 4, 2]), torch.Size([5, 10, 4, 2, 2]))
        >>> forecast, state = model(torch.zeros(5, 1, 3), state=state)  # one more token, in constant memory
    """

    kind = "forecaster"
    config_type = ForecasterConfig
    preprocessing_type = Preprocessing

    def __init__(
        self,
        config: ForecasterConfig | None = None,
        *,
        preprocessing: Preprocessing | None = None,
        metadata: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(config, preprocessing, metadata, fields)
        config = self.config
        if preprocessing is not None:
            preprocessing.require_sizes(config.inputs, config.targets, config.calendar)
        features = 2 * config.inputs + config.calendar + (config.decay == "time")
        self.embed = nn.Linear(features, config.d_model)
        self.positions: nn.Module | None = None
        if config.positions == "sinusoidal":
            self.positions = SinusoidalPositions(config.d_model)
        elif config.positions == "learned":
            self.positions = LearnedPositions(config.look_back, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = build_encoder(config)
        outputs = 1 + len(config.quantiles)
        self.head = nn.Linear(config.d_model, config.horizon * config.targets * outputs)
        self.highway = LinearHighway(config.highway, config.horizon) if config.highway else None
        self.norm = RunningNorm(float(config.half_life or config.look_back))

    def forward(
        self,
        values: Float[Tensor, "batch tokens inputs"],
        calendar: Float[Tensor, "batch tokens features"] | None = None,
        state: ForecasterState | None = None,
        *,
        elapsed: Float[Tensor, "batch tokens"] | None = None,
    ) -> tuple[Forecast, ForecasterState]:
        """Forecast from every token on.

        Args:
            values: inputs in units of the training deviation, targets first, shape (batch, tokens, inputs); NaN is a
                missing value.
            calendar: calendar features, shape (batch, tokens, config.calendar); None if there are none.
            state: what the call before returned, or None at the start of a series.
            elapsed: time since the token before in units of the interval, shape (batch, tokens); for `decay="time"`.

        Returns:
            The forecast and the state. With `normalization="window"` there is one forecast, from the last token.

        Raises:
            ValueError: a shape is wrong, `elapsed` is missing with `decay="time"`, or a state was given with
                `normalization="window"`.
        """
        self._check(values, calendar, state, elapsed)
        if state is not None and self._is_one_token(values, calendar, elapsed):
            return self._one_token(values, calendar, state, elapsed)
        observed = values.isfinite()
        missing = ~observed
        # a value that is missing enters nowhere, as 0 in its place and as 0 in its mask
        values = values.masked_fill(missing, 0)
        if self.config.normalization == "window":
            mean, deviation = _window_statistics(values, observed)
            norm_state = self.norm.init_state(len(values), self.config.inputs).to(values.device)
        else:
            mean, deviation, norm_state = self.norm(values, observed, None if state is None else state.norm)
        x, position = self._embed(values, missing, mean, deviation, calendar, elapsed, state)
        encoded, encoder_state = self.encoder(x, None if state is None else state.encoder, elapsed=elapsed)
        base, highway_state = self._base(values, observed, mean, None if state is None else state.highway)
        if self.config.normalization == "window":
            encoded, deviation, base = encoded[:, -1:], deviation[:, -1:], base[:, -1:]
        forecast = self._forecast(encoded, base, deviation)
        return forecast, ForecasterState(position, norm_state, highway_state, encoder_state)

    def _is_one_token(self, values: Tensor, calendar: Tensor | None, elapsed: Tensor | None) -> bool:
        """Whether this is one token of streams in plain float32 on the CPU, without gradients."""
        return (
            values.shape[1] == 1
            and not torch.is_grad_enabled()
            and is_plain(values, calendar, elapsed)
            and not torch.is_autocast_enabled("cpu")
            and all(x is None or (x.dtype == torch.float32 and x.is_cpu) for x in (values, calendar, elapsed))
            and self.embed.weight.dtype == self.head.weight.dtype == torch.float32
            and self.embed.weight.is_cpu
            and self.head.weight.is_cpu
        )

    def _one_token(
        self,
        values: Float[Tensor, "batch 1 inputs"],
        calendar: Float[Tensor, "batch 1 features"] | None,
        state: ForecasterState,
        elapsed: Float[Tensor, "batch 1"] | None,
    ) -> tuple[Forecast, ForecasterState]:
        """What `forward` says, with the arithmetic around the modules by NumPy.

        Of this size NumPy does it in a fraction of the time that PyTorch takes to begin, and without handing Python's
        lock to another thread at every operation.
        """
        config, given = self.config, values.numpy()
        observed = np.isfinite(given)
        known = np.where(observed, given, np.float32(0))
        seen, values = torch.from_numpy(observed), torch.from_numpy(known)
        mean, deviation, norm_state = self.norm(values, seen, state.norm)
        spread = deviation.numpy()
        with np.errstate(all="ignore"):  # as PyTorch does; what is no number is refused by the streams
            parts = [np.where(observed, (known - mean.numpy()) / spread, np.float32(0)), observed.astype(np.float32)]
            if calendar is not None:
                parts.append(calendar.numpy())
            if config.decay == "time" and elapsed is not None:
                parts.append(np.log1p(elapsed.numpy())[..., None])
        x = self.embed(torch.from_numpy(np.concatenate(parts, -1)))
        if self.positions is not None:
            x = x + self.positions(state.position[:, None]).to(x.dtype)
        encoded, encoder_state = self.encoder(self.dropout(x), state.encoder, elapsed=elapsed)
        base, highway_state = self._base(values, seen, mean, state.highway)
        raw = self.head(encoded).numpy().reshape(len(given), 1, config.horizon, config.targets, -1)
        with np.errstate(all="ignore"):
            raw = raw * spread[:, :, None, : config.targets, None] + base.numpy()[..., None]
        if config.quantiles:
            raw[..., 1:].sort(-1)
        said = torch.from_numpy(raw)
        return (
            Forecast(said[..., 0], said[..., 1:]),
            ForecasterState(state.position + 1, norm_state, highway_state, encoder_state),
        )

    def init_state(self, batch_size: int = 1) -> ForecasterState:
        """The state of a series that has not begun."""
        return ForecasterState(
            torch.zeros(batch_size, dtype=torch.int64, device=self.head.weight.device),
            self.norm.init_state(batch_size, self.config.inputs).to(self.head.weight.device),
            self._highway_start(batch_size),
            self.encoder.init_state(batch_size),
        )

    def loss(self, forecast: Forecast, future: Float[Tensor, "batch tokens horizon targets"]) -> Float[Tensor, ""]:
        """Mean squared error of the mean, plus the mean pinball loss of the quantiles; missing values do not count.

        Args:
            forecast: from `forward`.
            future: what came, in units of the training deviation, NaN where it is missing.
        """
        known = future.isfinite()
        future = future.masked_fill(~known, 0)
        count = known.sum().clamp(min=1)
        loss = ((forecast.mean - future).square() * known).sum() / count
        if self.config.quantiles:
            levels = torch.tensor(self.config.quantiles, device=future.device)
            error = future[..., None] - forecast.quantiles
            pinball = torch.maximum(levels * error, (levels - 1) * error)
            loss = loss + (pinball * known[..., None]).sum() / (count * len(levels))
        return loss

    def describe(self) -> str:
        """What the model does, in one sentence."""
        preprocessing, steps = self.preprocessing, f"{self.config.horizon} steps"
        if preprocessing is None:
            return f"Forecasts {self.config.targets} channels for {steps} from {self.config.inputs}."
        if preprocessing.interval is not None:
            steps += f" of {span_text(preprocessing.interval)}"
        schema = preprocessing.schema
        return f"Forecasts {', '.join(schema.targets)} for {steps} from {', '.join(schema.inputs)}."

    def _check(
        self, values: Tensor, calendar: Tensor | None, state: ForecasterState | None, elapsed: Tensor | None
    ) -> None:
        config = self.config
        if values.dim() != 3 or values.shape[-1] != config.inputs or values.shape[1] == 0:
            raise ValueError(
                f"values: expected shape (batch, tokens >= 1, {config.inputs}), received {tuple(values.shape)}"
            )
        received = 0 if calendar is None else calendar.shape[-1]
        if received != config.calendar:
            raise ValueError(f"calendar: expected {config.calendar} features for each token, received {received}")
        if config.decay == "time" and elapsed is None:
            raise ValueError("elapsed: expected the time since the token before, as decay='time', received None")
        if state is not None and config.normalization == "window":
            raise ValueError(
                "state: expected None with normalization='window', which needs the whole window at once; "
                "train with normalization='running' to stream"
            )

    def _embed(
        self,
        values: Float[Tensor, "batch tokens inputs"],
        missing: Bool[Tensor, "batch tokens inputs"],
        mean: Tensor,
        deviation: Tensor,
        calendar: Tensor | None,
        elapsed: Tensor | None,
        state: ForecasterState | None,
    ) -> tuple[Float[Tensor, "batch tokens d"], Int[Tensor, " batch"]]:
        """Tokens of the encoder, and the position after the last one."""
        parts = [((values - mean) / deviation).masked_fill(missing, 0), (~missing).to(values.dtype)]
        if calendar is not None:
            parts.append(calendar)
        if self.config.decay == "time" and elapsed is not None:
            parts.append(torch.log1p(elapsed)[..., None])
        x = self.embed(torch.cat(parts, -1).to(self.embed.weight.dtype))
        start = torch.zeros_like(values[:, 0, 0], dtype=torch.int64) if state is None else state.position
        if self.positions is not None:
            places = start[:, None] + torch.arange(values.shape[1], device=values.device)
            x = x + self.positions(places).to(x.dtype)
        return self.dropout(x), start + values.shape[1]

    def _highway_start(self, batch_size: int) -> Float[Tensor, "batch rows targets"]:
        if self.highway is None:
            return self.head.weight.new_zeros(batch_size, 0, self.config.targets)
        return self.highway.init_state(batch_size, self.config.targets)

    def _base(
        self, values: Tensor, observed: Tensor, mean: Tensor, state: Tensor | None
    ) -> tuple[Float[Tensor, "batch tokens horizon targets"], Float[Tensor, "batch rows targets"]]:
        """What the head's outputs are added to: the mean, or the linear forecast of the highway."""
        targets = self.config.targets
        if self.highway is None:
            return mean[:, :, None, :targets], self._highway_start(len(values))
        return self.highway(values[..., :targets], observed[..., :targets], mean[..., :targets], state)

    def _forecast(
        self, encoded: Tensor, base: Float[Tensor, "batch tokens #horizon targets"], deviation: Tensor
    ) -> Forecast:
        """The head's outputs, in units of the running deviation, on top of the base."""
        config = self.config
        batch, tokens, _ = encoded.shape
        raw = self.head(encoded).view(batch, tokens, config.horizon, config.targets, 1 + len(config.quantiles))
        raw = raw.to(base.dtype) * deviation[:, :, None, : config.targets, None] + base[..., None]
        # sorted quantiles never cross, and sorting never raises the pinball loss
        return Forecast(raw[..., 0], raw[..., 1:].sort(-1).values if config.quantiles else raw[..., 1:])


def _window_statistics(
    values: Float[Tensor, "batch tokens inputs"], observed: Bool[Tensor, "batch tokens inputs"]
) -> tuple[Float[Tensor, "batch 1 inputs"], Float[Tensor, "batch 1 inputs"]]:
    """Mean and deviation of the observed values of each window, shape (batch, 1, inputs)."""
    count = observed.sum(1, keepdim=True).clamp(min=1)
    mean = values.sum(1, keepdim=True) / count
    variance = ((values - mean).square() * observed).sum(1, keepdim=True) / count
    return mean, (variance + 1e-5).sqrt()


def future_of(
    block: Float[Tensor, "batch rows targets"], tokens: int, horizon: int
) -> Float[Tensor, "batch tokens horizon targets"]:
    """What comes after each of the first `tokens` rows, as a view: entry [b, k, h] is row k + 1 + h."""
    return block[:, 1:].unfold(1, horizon, 1)[:, :tokens].transpose(2, 3)
