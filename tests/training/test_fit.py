"""Inside the fit loop: the order of windows, and the truth that each forecast is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from training_cases import MODEL, fit_table, options, table, train

from aaren.errors import TrainingError
from aaren.evaluation import WindowDataset, model_inputs, prepare
from aaren.models import Forecaster
from aaren.training import forecasting_data
from aaren.training._fit import _Shuffled, _Task

LOOK_BACK, HORIZON = MODEL["look_back"], MODEL["horizon"]


def orders(seed: int, epochs: int = 3) -> list[list[int]]:
    """Orders of 20 windows in the first epochs."""
    sampler = _Shuffled(20, seed)
    found = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        found.append(list(sampler))
    return found


def test_every_epoch_has_an_order_of_its_own() -> None:
    """Every epoch takes each window once, in an order that the seed and the epoch decide and nothing else."""
    state = torch.get_rng_state()
    first = orders(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert orders(0) == first
    assert [sorted(order) for order in [*first, *orders(1)]] == [list(range(20))] * 6
    assert len({tuple(order) for order in [*first, *orders(1)]}) == 6
    assert len(_Shuffled(20, 0)) == 20


def test_training_takes_each_window_once_in_every_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of an epoch see every training window once, the last smaller batch included, and orders differ."""
    data = prepare(table(), (0.7, 0.1, 0.2))
    model = Forecaster(inputs=1, targets=1, calendar=data.calendar.shape[1], **MODEL)
    seen: dict[int, list[float]] = {}
    step = _Task.training_step

    def watched(self: _Task, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        seen.setdefault(self.current_epoch, []).extend(batch["values"][:, 0, 0].tolist())
        return step(self, batch, index)

    monkeypatch.setattr(_Task, "training_step", watched)
    fit_table(model, data, options(epochs=2), tmp_path)
    expected = data.values[data.windows("train", LOOK_BACK, HORIZON, 2), 0].tolist()
    assert sorted(seen[0]) == sorted(seen[1]) == sorted(expected)
    assert seen[0] != seen[1]


@pytest.mark.parametrize("normalization", ["running", "window"])
@pytest.mark.parametrize("part", ["train", "validation"])
def test_the_loss_is_against_the_rows_that_follow(normalization: Any, part: Any) -> None:
    """Each forecast is held against the rows after its token, and against those of the part alone."""
    data = prepare(table(), (0.7, 0.1, 0.2))
    fields = {**MODEL, "normalization": normalization, "quantiles": (0.2, 0.8)}
    model = Forecaster(inputs=1, targets=1, calendar=data.calendar.shape[1], **fields).eval()
    dataset = WindowDataset(data, part, LOOK_BACK, HORIZON)
    batch = dataset.__getitems__([0, 3])
    forecast, _ = model(**model_inputs(batch))
    truth = torch.from_numpy(data.targets_inside(part))
    tokens = range(LOOK_BACK) if normalization == "running" else [LOOK_BACK - 1]
    starts = dataset.starts[[0, 3]].tolist()
    future = torch.stack(
        [torch.stack([truth[start + k + 1 : start + k + 1 + HORIZON] for k in tokens]) for start in starts]
    )
    assert future.isnan().any() == (part == "validation" and normalization == "running")
    loss, windows = forecasting_data(model, data, options()).loss(model, batch)
    torch.testing.assert_close(loss, model.loss(forecast, future))
    assert windows == 2


def test_a_run_that_diverges_is_an_error(tmp_path: Path) -> None:
    """A loss that is not finite ends in an error that says so, and no model is saved."""
    with pytest.raises(TrainingError, match="not finite"):
        train(tmp_path, learning_rate=1e18, clip=0.0)
    assert not (tmp_path / "config.json").exists()


@pytest.fixture
def precision_of_products() -> Iterator[Callable[[], list[str]]]:
    """What the process has set, for all products and for those of GPUs and oneDNN; afterwards as before."""
    parts = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    before = [part.fp32_precision for part in parts]
    yield lambda: [torch.get_float32_matmul_precision(), *(part.fp32_precision for part in parts)]
    torch.set_float32_matmul_precision("highest")
    for part, precision in zip(parts, before, strict=True):
        part.fp32_precision = precision


@pytest.mark.parametrize("step", ["training_step", "validation_step"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_precision_of_products_is_that_of_the_fit_alone(
    step: str,
    fails: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision_of_products: Callable[[], list[str]],
) -> None:
    """Every step has the precision of the options; after a fit, and after one that failed, it is that of before."""
    torch.set_float32_matmul_precision("high")
    before, seen = precision_of_products(), set()
    original = getattr(_Task, step)

    def watched(self: _Task, batch: dict[str, torch.Tensor], index: int) -> object:
        seen.add(torch.get_float32_matmul_precision())
        if fails:
            raise KeyError("a fault in the step")
        return original(self, batch, index)

    monkeypatch.setattr(_Task, step, watched)
    for name in ("medium", "highest"):
        seen.clear()
        with pytest.raises(KeyError, match="a fault") if fails else nullcontext():
            train(tmp_path / name, epochs=1, matmul_precision=name)
        assert seen == {name}
        assert precision_of_products() == before


def test_a_program_may_have_set_parts_of_the_precision(
    tmp_path: Path, precision_of_products: Callable[[], list[str]]
) -> None:
    """Where GPUs or oneDNN have a setting of their own, PyTorch tells none of all; training keeps both all the same."""
    parts = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    for settings in (("tf32", "ieee"), ("none", "bf16")):
        for part, precision in zip(parts, settings, strict=True):
            part.fp32_precision = precision
        with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
            precision_of_products()
        train(tmp_path / settings[0], epochs=1, matmul_precision="medium")
        assert tuple(part.fp32_precision for part in parts) == settings


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # PyTorch's own, in its compiler
def test_compiled_training_is_the_same_training(tmp_path: Path) -> None:
    """With `compile` the losses are those of eager training to rounding; afterwards the model is an ordinary one."""
    data = prepare(table(), (0.7, 0.1, 0.2))
    losses, weights = [], []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = Forecaster(inputs=1, targets=1, calendar=data.calendar.shape[1], **{**MODEL, "dropout": 0.0})
        found = fit_table(model, data, options(epochs=1, compile=compiled), tmp_path / str(compiled))
        losses.append(found["validation_loss"])
        weights.append(model.state_dict())
        assert model.encoder._compiled_call_impl is None
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert weights[0].keys() == weights[1].keys()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, where it imports its compiler
def test_a_compiler_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a working compiler the error says so and what to do, and the encoder is left uncompiled."""
    from torch._inductor.exc import InductorError

    def fail(self: torch.nn.Module, *arguments: object, **options: object) -> object:
        raise InductorError(RuntimeError("no g++"), "compile_fx")

    data = prepare(table(), (0.7, 0.1, 0.2))
    model = Forecaster(inputs=1, targets=1, calendar=data.calendar.shape[1], **MODEL)
    monkeypatch.setattr(_Task, "training_step", fail)
    with pytest.raises(TrainingError, match=r"torch\.compile failed: .*; train without compile"):
        fit_table(model, data, options(epochs=1, compile=True), tmp_path)
    assert model.encoder._compiled_call_impl is None
