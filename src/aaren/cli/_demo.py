"""`aaren demo`: a first result in a few minutes, on a real series, with a page to look at."""

from __future__ import annotations

import json as jsonlib
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from aaren.cli._common import print_json

if TYPE_CHECKING:
    from aaren.data import SeriesSet
    from aaren.evaluation import DemoResults, ModelResult, Source
    from aaren.training import TrainingResult

Flag = Parameter(negative=())
HORIZON = 24
LEVELS = (0.1, 0.5, 0.9)
SHOWN_COLUMNS = ("OT", "HUFL")
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
    from aaren.streaming import write_atomically

    require_matplotlib()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output):
        pass  # a folder that cannot be written is said now and not after minutes of training
    results = run_demo(quick_plan() if quick else Plan(), output, quick)
    data = results.to_dict()
    page = output / "report.html"
    write_atomically(output / "demo.json", (jsonlib.dumps(data, allow_nan=False) + "\n").encode())
    write_atomically(page, render_report(results).encode())
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
    from aaren.cli._demo_attention import attention_ages, attention_inputs
    from aaren.cli._demo_cost import measure_cost
    from aaren.cli._demo_stream import forecast_week, iso_times, stream_check, stream_rows
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
    with clock("forecasts in parallel"), attention_inputs(model) as attended:
        parallel = parallel_forecasts(model, prepared, 0, stop)
    with clock(f"streaming {stop} rows"):
        streamed = stream_rows(model, table, start, stop)
    with clock(f"cost of {plan.tokens} tokens"):
        cost = measure_cost(plan.cost, plan.tokens)
    times = iso_times(table, stop)
    with clock("attention weights"):
        attention = attention_ages(model, attended, times[-1])
    return DemoResults(
        quick=quick,
        source=_source(table, plan),
        settings={"horizon": HORIZON, **plan.config, **plan.options, "normalization": "running", "positions": "none"},
        models=[_model_result(name, result) for name, result in zip(MODELS.values(), trained, strict=True)],
        baselines=trained[0].metrics["baselines"],
        forecasts=[forecast_week(table, streamed, times, column, LEVELS) for column in SHOWN_COLUMNS],
        stream=stream_check(prepared, streamed, parallel, times, SHOWN_COLUMNS[0]),
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
