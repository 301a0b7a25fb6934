"""Small forecasters of every kind, with parameters that hide nothing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aaren.data import Scaler, Schema
from aaren.models import Forecaster, Preprocessing

SMALL: dict[str, Any] = {
    "inputs": 3,
    "targets": 2,
    "horizon": 4,
    "calendar": 2,
    "look_back": 12,
    "d_model": 8,
    "nhead": 2,
    "num_layers": 2,
    "dim_feedforward": 16,
}
ENCODERS: list[dict[str, Any]] = [
    {"encoder": "aaren"},
    {"encoder": "aaren", "decay": "learned", "norm_first": True},
    {"encoder": "aaren", "decay": "time"},
    {"encoder": "transformer"},
    {"encoder": "gru"},
    {"encoder": "mingru"},
]
EXTRAS: list[dict[str, Any]] = [
    {"positions": positions, "highway": highway, "quantiles": quantiles}
    for positions, highway, quantiles in itertools.product(
        (None, "sinusoidal", "learned"), (0, 5), ((), (0.1, 0.5, 0.9))
    )
]
ALL: list[dict[str, Any]] = [
    {**encoder, **extra, "normalization": normalization}
    for encoder in ENCODERS
    for extra in EXTRAS
    for normalization in ("running", "window")
    if (normalization, extra["positions"]) != ("running", "learned")
]
RUNNING: list[dict[str, Any]] = [case for case in ALL if case["normalization"] == "running"]


def name(case: dict[str, Any]) -> str:
    """A short name of a case, for the test's id."""
    return "-".join(str(value) for value in case.values())


def forecaster(**fields: Any) -> Forecaster:
    """A small forecaster in evaluation mode, always the same; its parameters random, since zeros hide mistakes."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(7)
        model = Forecaster(**{**SMALL, **fields}).eval()
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


def inputs(batch: int = 2, tokens: int = 10, missing: float = 0.0) -> dict[str, Tensor]:
    """Arguments of `forward`; a share of the values is missing."""
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(batch, tokens, SMALL["inputs"], generator=generator)
    values[torch.rand(values.shape, generator=generator) < missing] = torch.nan
    return {
        "values": values,
        "calendar": torch.randn(batch, tokens, SMALL["calendar"], generator=generator),
        "elapsed": torch.rand(batch, tokens, generator=generator) + 0.5,
    }


def part(arguments: dict[str, Tensor], start: int, stop: int) -> dict[str, Tensor]:
    """Some tokens of the arguments."""
    return {key: tensor[:, start:stop] for key, tensor in arguments.items()}


def preprocessing(targets: tuple[str, ...] = ("OT", "load"), covariates: tuple[str, ...] = ("wind",)) -> Preprocessing:
    """Hourly rows of two targets and a covariate, with one calendar feature (two numbers)."""
    names = targets + covariates
    scaler = Scaler(names, np.arange(len(names)) / 3, 1 + np.arange(len(names)) / 7)
    interval = np.timedelta64(3600 * 10**6, "us")
    return Preprocessing(Schema(targets, covariates, ("date",)), scaler, ("hour_of_day",), interval)
