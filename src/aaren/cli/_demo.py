"""`aaren demo`: a first result in a few minutes, on a real series, with a page to look at."""

from __future__ import annotations

import json as jsonlib
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from aaren.cli._common import print_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aaren.data import SeriesSet
    from aaren.evaluation import (
        AttentionAges,
        CostCurves,
        DemoResults,
        ForecastWeek,
        ModelResult,
        PreparedData,
        Source,
        StreamCheck,
    )
    from aaren.models import Forecaster
    from aaren.training import TrainingResult

Flag = Parameter(negative=())
HORIZON = 24
LEVELS = (0.1, 0.5, 0.9)
LIMIT = 1e-4
SHOWN_COLUMNS = ("OT", "HUFL")
SHOWN_BLOCKS = 7
COST_POINTS = 50
WARM_UP = 20
MODELS = {"aaren": "Aaren", "transformer": "Transformer", "gru": "GRU"}
ATTRIBUTION = (
    "from ETDataset (ETT-small) by Haoyi Zhou and others, CC BY-ND 4.0 "
    "(https://creativecommons.org/licenses/by-nd/4.0/), passed on unchanged."
)


@dataclass(frozen=True)
class Plan:
    """How much the demo does. The full plan was chosen by the validation loss alone, once for all three models."""

    split: tuple[int, int, int] = (8640, 2880, 2880)
    config: dict[str, Any] = field(
        default_factory=lambda: {
            "look_back": 192,
            "highway": 96,
            "d_model": 64,
            "nhead": 4,
            "num_layers": 2,
            "dim_feedforward": 128,
            "dropout": 0.1,
        }
    )
    options: dict[str, Any] = field(
        default_factory=lambda: {
            "epochs": 8,
            "batch_size": 16,
            "learning_rate": 0.004,
            "learning_rate_decay": 0.8,
            "patience": 3,
            "stride": 24,
        }
    )
    cost: dict[str, int] = field(
        default_factory=lambda: {"d_model": 128, "nhead": 8, "num_layers": 4, "dim_feedforward": 512}
    )
    tokens: int = 5000


def quick_plan() -> Plan:
    """The same steps on little data, to see that everything works."""
    plan = Plan()
    return Plan(
        split=(960, 240, 240),
        config={**plan.config, "look_back": 96, "d_model": 32, "dim_feedforward": 64},
        options={**plan.options, "epochs": 2},
        cost={**plan.cost, "d_model": 64, "num_layers": 2, "dim_feedforward": 128},
        tokens=500,
    )


def demo(
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("demo-output"),
    quick: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
) -> None:
    """Train on a real series, stream it, measure the cost, and write a page to look at.

    The series comes with the package: ETTh1, an electricity transformer's hourly loads and oil temperature (ETDataset,
    Haoyi Zhou and others, CC BY-ND 4.0). Aaren, a Transformer and a GRU are trained on it and compared with simple
    forecasts; Aaren then takes the table row by row, which must give the forecasts that it gives in parallel; and its
    memory and time per token are measured beside those of a Transformer with a key-value cache. It takes a few minutes
    and fetches nothing.

    Parameters
    ----------
    output
        Folder for report.html, demo.json and the three models.
    quick
        Little data and training, in seconds: to see that everything works, not how well.
    json
        Print all results as one JSON line instead of a table.
    """
    from aaren.evaluation import render_report, require_matplotlib

    require_matplotlib()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output):
        pass  # a folder that cannot be written is said now and not after minutes of training
    results = run_demo(quick_plan() if quick else Plan(), output, quick)
    data = results.to_dict()
    page = output / "report.html"
    (output / "demo.json").write_text(jsonlib.dumps(data, allow_nan=False) + "\n", encoding="utf-8")
    page.write_text(render_report(results), encoding="utf-8")
    if json:
        print_json(data)
    else:
        _print_results(results)
    _say(f"The report: {page.resolve()}")
    _say("Next:")
    for purpose, line in results.commands:
        _say(f"  {line}    # {purpose}")


def run_demo(plan: Plan, output: Path, quick: bool) -> DemoResults:
    """All stages, one line on standard error for each."""
    from aaren.data import find, read_series
    from aaren.evaluation import DemoResults, parallel_forecasts
    from aaren.training import hardware, versions

    clock = _Clock()
    path = find("ETTh1")
    with clock("data"):
        table = read_series(path, targets="all")
    _say(f"ETTh1: {ATTRIBUTION}")
    trained = [_train(encoder, plan, table, output / encoder, clock) for encoder in MODELS]
    model, prepared = trained[0].model, trained[0].data
    start, stop = prepared.rows("test")[0]
    with clock("forecasts in parallel"), _attention_inputs(model) as attended:
        parallel = parallel_forecasts(model, prepared, 0, stop)
    with clock(f"streaming {stop} rows"):
        streamed = _stream_rows(model, table, start, stop)
    with clock(f"cost of {plan.tokens} tokens"):
        cost = _measure_cost(plan)
    times = _iso(table, stop)
    with clock("attention weights"):
        attention = _attention_ages(model, attended, times[-1])
    return DemoResults(
        quick=quick,
        source=_source(table, plan),
        settings={"horizon": HORIZON, **plan.config, **plan.options, "normalization": "running", "positions": "none"},
        models=[_model_result(name, result) for name, result in zip(MODELS.values(), trained, strict=True)],
        baselines=trained[0].metrics["baselines"],
        forecasts=[_forecast_week(table, streamed, column, times) for column in SHOWN_COLUMNS],
        stream=_stream_check(prepared, streamed, parallel, times),
        cost=cost,
        attention=attention,
        commands=_commands(path, output),
        versions=versions(),
        hardware=hardware(),
        seconds=clock.seconds,
    )


def _source(table: SeriesSet, plan: Plan) -> Source:
    from aaren.data import data_sets
    from aaren.evaluation import Source

    about = next(one for one in data_sets() if one.name == "ETTh1")
    return Source(
        name=about.name,
        sha256=str(table.sha256),
        rows=len(table.series[0].values),
        split=list(plan.split),
        targets=list(table.schema.targets),
        attribution=ATTRIBUTION,
        origin=about.origin,
    )


class _Clock:
    """Times stages and says each on standard error."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - begin
        _say(f"{stage}: {self.seconds[stage]:.1f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _train(encoder: str, plan: Plan, table: SeriesSet, directory: Path, clock: _Clock) -> TrainingResult:
    from aaren.training import TrainingOptions, train_forecaster

    with clock(f"training and evaluating {MODELS[encoder]}"):
        return train_forecaster(
            table,
            directory,
            horizon=HORIZON,
            split=plan.split,
            options=TrainingOptions(accelerator="cpu", **plan.options),
            progress=sys.stderr.isatty(),
            encoder=encoder,
            decay="learned" if encoder == "aaren" else None,
            normalization="running",
            quantiles=LEVELS,
            **plan.config,
        )


def _model_result(name: str, result: TrainingResult) -> ModelResult:
    from aaren.evaluation import ModelResult

    record = result.record
    return ModelResult(
        name,
        record["parameters"],
        record["training"]["epochs"],
        record["training"]["validation_loss"],
        record["seconds"],
        result.metrics["windows"],
        result.metrics["streamed"],
    )


@dataclass(frozen=True, eq=False)
class _Streamed:
    """What a stream said from the row before the test part on.

    Args:
        rows: rows that the stream took in all.
        first: row, from 0, of the first forecast below.
        mean: shape (forecasts, horizon, targets), in the table's units.
        quantiles: shape (forecasts, horizon, targets, levels).
        nbytes: of the state after the first and after the last row.
        microseconds: of each of these rows.
    """

    rows: int
    first: int
    mean: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    nbytes: tuple[int, int]
    microseconds: list[float]


def _stream_rows(model: Forecaster, table: SeriesSet, start: int, stop: int) -> _Streamed:
    """Feed the table from its first row, as a user would, and keep the forecasts of the test part."""
    import numpy as np
    from rich.console import Console
    from rich.progress import track

    from aaren.streaming import Stream

    live, series, first = Stream(model), table.series[0], start - 1
    means, quantiles, microseconds, nbytes = [], [], [], 0
    console = Console(stderr=True)
    for row in track(range(stop), "streaming", console=console, transient=True, disable=not console.is_terminal):
        cells = [*([] if series.times is None else [series.times[row]]), *series.values[row].tolist()]
        begin = time.perf_counter()
        prediction = live.update(cells)
        spent = time.perf_counter() - begin
        assert prediction is not None, "on_bad_row='error' leaves no row out"
        nbytes = nbytes or live.nbytes()
        if row >= first:
            means.append(prediction.mean)
            quantiles.append(prediction.quantiles)
            microseconds.append(1e6 * spent)
    return _Streamed(stop, first, np.stack(means), np.stack(quantiles), (nbytes, live.nbytes()), microseconds)


def _stream_check(
    prepared: PreparedData,
    streamed: _Streamed,
    parallel: tuple[NDArray[np.float32], NDArray[np.float32]],
    times: Sequence[str],
) -> StreamCheck:
    """Compare both ways, mean and quantiles, in training deviations.

    Raises:
        RuntimeError: they differ by more than rounding.
    """
    import numpy as np

    from aaren.evaluation import StreamCheck

    scaler, targets = prepared.preprocessing.scaler, len(prepared.preprocessing.schema.targets)
    center, deviation = scaler.mean[:targets], scaler.deviation[:targets]
    mean, quantiles = (forecasts[streamed.first :] for forecasts in parallel)
    scaled = np.concatenate(
        [
            ((streamed.mean - center) / deviation)[..., None],
            (streamed.quantiles - center[:, None]) / deviation[:, None],
        ],
        -1,
    )
    difference = np.abs(scaled - np.concatenate([mean[..., None], quantiles], -1)).max((1, 2, 3))
    largest = float(difference.max())
    if not largest <= LIMIT:
        raise RuntimeError(f"streaming differs from parallel by {largest:.1e} deviations, more than {LIMIT:.0e}")
    block = max(1, len(difference) // 240)
    shown = SHOWN_BLOCKS * HORIZON
    column = prepared.preprocessing.schema.targets.index(SHOWN_COLUMNS[0])
    # the forecast of the row t, HORIZON rows ahead, was made at the row t - HORIZON
    made = slice(-shown - HORIZON, -HORIZON)
    return StreamCheck(
        rows=streamed.rows,
        compared=len(difference),
        largest_difference=largest,
        limit=LIMIT,
        state_bytes_first=streamed.nbytes[0],
        state_bytes_last=streamed.nbytes[1],
        median_microseconds=statistics.median(streamed.microseconds),
        column=SHOWN_COLUMNS[0],
        times=list(times[-shown:]),
        ahead=HORIZON,
        streamed=streamed.mean[made, -1, column].tolist(),
        parallel=prepared.preprocessing.to_units(mean[made, -1])[:, column].tolist(),
        block=block,
        differences=[float(difference[at : at + block].max()) for at in range(0, len(difference), block)],
    )


def _iso(table: SeriesSet, stop: int) -> list[str]:
    times = table.series[0].times
    assert times is not None, "ETTh1 has times"
    return [str(time) for time in times[:stop].astype("datetime64[s]")]


def _forecast_week(table: SeriesSet, streamed: _Streamed, column: str, times: Sequence[str]) -> ForecastWeek:
    """The last blocks of the test part, each forecast from the row before it."""
    from aaren.evaluation import ForecastWeek

    index, shown = table.schema.targets.index(column), SHOWN_BLOCKS * HORIZON
    first = len(times) - shown
    origins = [row - 1 - streamed.first for row in range(first, len(times), HORIZON)]
    quantiles = streamed.quantiles[origins, :, index].reshape(shown, -1)
    return ForecastWeek(
        column=column,
        times=list(times[first:]),
        truth=table.series[0].values[first : len(times), index].tolist(),
        mean=streamed.mean[origins, :, index].ravel().tolist(),
        lower=quantiles[:, 0].tolist(),
        upper=quantiles[:, -1].tolist(),
        levels=[LEVELS[0], LEVELS[-1]],
        horizon=HORIZON,
    )


def _measure_cost(plan: Plan) -> CostCurves:
    """Step both stacks through the same tokens, a block of each in turn, so that noise of the machine hits both."""
    import torch

    from aaren.evaluation import CostCurves

    block, width = plan.tokens // COST_POINTS, plan.cost["d_model"]
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        stacks = _stacks(plan)
        for encoder in stacks:
            _steps(encoder, torch.zeros(WARM_UP, 1, width), encoder.init_state(1))
        tokens = torch.randn(plan.tokens, 1, width)
        states: list[Any] = [stacks[0].init_state(1), stacks[1].init_state(1, capacity=plan.tokens)]
        nbytes, seconds = [[_nbytes(state)] for state in states], [[0.0], [0.0]]
        for first in range(0, plan.tokens, block):
            for which, encoder in enumerate(stacks):
                states[which], spent = _steps(encoder, tokens[first : first + block], states[which])
                seconds[which].append(seconds[which][-1] + spent)
                nbytes[which].append(_nbytes(states[which]))
    counts = list(range(0, plan.tokens + 1, block))
    return CostCurves(
        **plan.cost,
        threads=torch.get_num_threads(),
        tokens=counts,
        aaren_bytes=nbytes[0],
        transformer_bytes=nbytes[1],
        aaren_seconds=seconds[0],
        transformer_seconds=seconds[1],
    )


def _stacks(plan: Plan) -> tuple[Any, Any]:
    """Untrained stacks of Aaren and of the Transformer that differ in the attention only."""
    from aaren.nn import AarenEncoder, AarenEncoderLayer, TransformerEncoder, TransformerEncoderLayer

    size: dict[str, Any] = {name: plan.cost[name] for name in ("d_model", "nhead", "dim_feedforward")}
    layers = plan.cost["num_layers"]
    aaren = AarenEncoder(AarenEncoderLayer(**size, dropout=0.0, decay="learned"), layers)
    return aaren.eval(), TransformerEncoder(TransformerEncoderLayer(**size, dropout=0.0), layers).eval()


def _steps(encoder: Any, tokens: Any, state: Any) -> tuple[Any, float]:
    begin = time.perf_counter()
    for token in tokens:
        _, state = encoder.step(token, state)
    return state, time.perf_counter() - begin


def _nbytes(state: Any) -> int:
    """Bytes in use by a state; of a cache, those of the tokens in it, without the room behind them."""
    from torch.utils import _pytree as pytree

    return sum(x.numel() * x.element_size() for x in pytree.tree_leaves(state))


@contextmanager
def _attention_inputs(model: Forecaster) -> Iterator[list[list[Any]]]:
    """Keep what comes into the attention of every layer, chunk by chunk, while the model runs."""
    layers: Any = model.encoder.layers
    kept: list[list[Any]] = [[] for _ in layers]
    hooks = [
        layer.self_attn.register_forward_pre_hook(lambda module, inputs, into=into: into.append(inputs[0]))
        for layer, into in zip(layers, kept, strict=True)
    ]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def _attention_ages(model: Forecaster, attended: list[list[Any]], at: str) -> AttentionAges:
    """How old the rows are that every head attends to at the last row that the model saw."""
    import numpy as np
    import torch

    from aaren.evaluation import AttentionAges, HeadAttention

    rows = sum(chunk.shape[1] for chunk in attended[0])
    ages = sorted({*np.geomspace(1, rows, 80).round().astype(int).tolist()})
    layers: Any = model.encoder.layers
    heads = []
    for number, (layer, chunks) in enumerate(zip(layers, attended, strict=True), 1):
        attention = layer.self_attn
        with torch.no_grad():
            weights = attention.attention_weights(torch.cat(chunks, 1))[0].flip(-1).numpy()
            rate = torch.nn.functional.softplus(attention.decay_rate).tolist()
        for head, weight in enumerate(weights):
            share = weight.cumsum()
            heads.append(
                HeadAttention(
                    layer=number,
                    head=head + 1,
                    share=share[np.array(ages) - 1].tolist(),
                    median_age=int(np.searchsorted(share, 0.5)) + 1,
                    mean_age=float(weight @ np.arange(rows)),
                    half_life=float(np.log(2) / rate[head]),
                )
            )
    return AttentionAges(rows, at, ages, heads)


def _commands(path: Path, output: Path) -> list[list[str]]:
    """What to run next; each line works as it stands but for the last, which wants the user's own table."""
    table, model = shlex.quote(str(path)), shlex.quote(str(output / "aaren"))
    show = "gunzip -c" if path.suffix == ".gz" else "cat"
    return [
        ["What comes after the last row of the table", f"aaren predict {model} {table}"],
        ["A forecast after every row, from a pipe", f"{show} {table} | head -n 200 | aaren stream {model}"],
        ["Your own table", "aaren train forecaster data.csv --target all --horizon 24"],
    ]


def _print_results(results: DemoResults) -> None:
    from rich.console import Console
    from rich.table import Table

    from aaren.evaluation import error_rows, verdict

    table = Table(title="Errors on the test part, in training deviations", title_justify="left", title_style="bold")
    table.add_column("forecast")
    for name in ("MSE, windows", "MAE, windows", "MSE, streamed", "MAE, streamed"):
        table.add_column(name, justify="right")
    for index, row in enumerate(error_rows(results)):
        table.add_row(*row, style="" if index else "bold green")
    console = Console()
    console.print(table)
    stream, cost = results.stream, results.cost
    last = cost.tokens[-1]
    console.print(
        f"{'Quick run: the errors say nothing. ' if results.quick else ''}{verdict(results)}\n\n"
        f"Streaming {stream.rows:,} rows: largest difference to parallel {stream.largest_difference:.1e} deviations, "
        f"state {stream.state_bytes_first:,} bytes after the first row and {stream.state_bytes_last:,} after the last, "
        f"median {stream.median_microseconds:,.0f} µs per row.\n"
        f"After {last:,} tokens: Aaren {cost.aaren_bytes[-1]:,} bytes of state and {cost.aaren_seconds[-1]:.1f} s, "
        f"Transformer {cost.transformer_bytes[-1]:,} bytes and {cost.transformer_seconds[-1]:.1f} s.",
        highlight=False,
    )
