"""What the demo found, as plain data that goes through JSON unchanged.

The demo measures it; table, plots and page are made from it and from nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelResult:
    """One trained model.

    Args:
        name: as the page calls it.
        parameters: how many.
        epochs: passes over the training part.
        validation_loss: the best one, whose weights were kept.
        seconds: of training.
        windows: errors on the test part from windows, as `ForecastErrors.summary`.
        streamed: errors of the same forecasts from a stream that has seen all rows before.
    """

    name: str
    parameters: int
    epochs: int
    validation_loss: float
    seconds: float
    windows: dict[str, float]
    streamed: dict[str, float]


@dataclass(frozen=True)
class Source:
    """The data and whose they are.

    Args:
        name: of the data set.
        sha256: of its file.
        rows: of the table.
        split: rows of training, validation and test.
        targets: columns that are forecast.
        attribution: who made it, and under which licence it is passed on.
        origin: where it comes from, a link.
    """

    name: str
    sha256: str
    rows: int
    split: list[int]
    targets: list[str]
    attribution: str
    origin: str


@dataclass(frozen=True)
class ForecastWeek:
    """One column over a few days, forecast anew after every `horizon` rows.

    Args:
        column: its name.
        times: ISO times of the rows, one for each entry of the lists below.
        truth: what came, in the column's units.
        mean: the forecast from the last row before the block of `horizon` rows that a row is in.
        lower: lowest quantile of that forecast.
        upper: highest quantile.
        levels: the levels of these two quantiles.
        horizon: rows of a block.
    """

    column: str
    times: list[str]
    truth: list[float]
    mean: list[float]
    lower: list[float]
    upper: list[float]
    levels: list[float]
    horizon: int


@dataclass(frozen=True)
class StreamCheck:
    """One table through the model twice: a row at a time, and in parallel.

    Args:
        rows: rows that were streamed.
        compared: forecasts compared, from every row of the test part.
        largest_difference: over mean and quantiles of all of them, in training deviations.
        limit: what it must not exceed.
        state_bytes_first: bytes of the stream's state after the first row.
        state_bytes_last: the same after the last row.
        median_microseconds: from a row's arrival to its forecast, in the user's units.
        column: the column of the lists below.
        times: ISO times of the last rows.
        ahead: how many rows ahead the forecasts of these rows were made.
        streamed: those forecasts, streamed.
        parallel: the same, in parallel.
        block: test rows that one entry of `differences` stands for.
        differences: largest difference in each block, in training deviations.
    """

    rows: int
    compared: int
    largest_difference: float
    limit: float
    state_bytes_first: int
    state_bytes_last: int
    median_microseconds: float
    column: str
    times: list[str]
    ahead: int
    streamed: list[float]
    parallel: list[float]
    block: int
    differences: list[float]


@dataclass(frozen=True)
class CostCurves:
    """Memory and cumulative time of two encoder stacks, fed one token at a time; the paper's Figure 5.

    Args:
        d_model: width.
        nhead: heads.
        num_layers: layers.
        dim_feedforward: width of the feed-forward networks.
        threads: torch's threads.
        tokens: how many tokens had been fed, ascending from 0.
        aaren_bytes: bytes of state in use after so many tokens.
        transformer_bytes: the same, of the key-value caches.
        aaren_seconds: time for all tokens so far.
        transformer_seconds: the same.
    """

    d_model: int
    nhead: int
    num_layers: int
    dim_feedforward: int
    threads: int
    tokens: list[int]
    aaren_bytes: list[int]
    transformer_bytes: list[int]
    aaren_seconds: list[float]
    transformer_seconds: list[float]


@dataclass(frozen=True)
class HeadAttention:
    """How the weights of one head are spread over the past at one row.

    Args:
        layer: from 1.
        head: from 1.
        share: weight on the last rows, as many as the entry of `AttentionAges.ages` says.
        median_age: the last so many rows hold half of the weight.
        mean_age: the weighted mean of the ages, in rows.
        half_life: rows after which the learned decay alone halves a weight; None without decay.
    """

    layer: int
    head: int
    share: list[float]
    median_age: int
    mean_age: float
    half_life: float | None


@dataclass(frozen=True)
class AttentionAges:
    """What every head of a trained Aaren attends to at one row.

    Args:
        rows: rows of the past, the current one included.
        time: ISO time of the row.
        ages: numbers of last rows, ascending.
        heads: in the order of layers and heads.
    """

    rows: int
    time: str
    ages: list[int]
    heads: list[HeadAttention]


@dataclass(frozen=True)
class DemoResults:
    """Everything that the demo found.

    Args:
        quick: whether it was a short run, whose errors say nothing.
        source: the data.
        settings: of models and training, by name.
        models: Aaren first, then what it is compared with.
        baselines: errors of the simple forecasts by name.
        forecasts: panels of forecasts.
        stream: streaming against parallel.
        cost: memory and time against tokens.
        attention: what the trained Aaren attends to.
        commands: what to run next, as (purpose, command).
        versions: of the packages.
        hardware: of the machine.
        seconds: by stage.
    """

    quick: bool
    source: Source
    settings: dict[str, Any]
    models: list[ModelResult]
    baselines: dict[str, dict[str, float]]
    forecasts: list[ForecastWeek]
    stream: StreamCheck
    cost: CostCurves
    attention: AttentionAges
    commands: list[list[str]]
    versions: dict[str, str]
    hardware: dict[str, Any]
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> DemoResults:
        """What `to_dict` gave, also after JSON."""
        attention = data["attention"]
        parts: dict[str, Any] = {
            "source": Source(**data["source"]),
            "models": [ModelResult(**one) for one in data["models"]],
            "forecasts": [ForecastWeek(**one) for one in data["forecasts"]],
            "stream": StreamCheck(**data["stream"]),
            "cost": CostCurves(**data["cost"]),
            "attention": AttentionAges(
                **{**attention, "heads": [HeadAttention(**head) for head in attention["heads"]]}
            ),
        }
        return DemoResults(**{**data, **parts})
