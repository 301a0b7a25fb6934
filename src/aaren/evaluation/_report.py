"""The demo's report: results in, one HTML page out that needs nothing else, on a screen or a phone, light or dark.

The results are plain data and go through JSON unchanged, so that the page can be made again from `demo.json`, and
shows no number that is not in it. All text is escaped. Nothing here measures anything or touches a file.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aaren.evaluation._plots import (
    AttentionAges,
    CostCurves,
    ForecastWeek,
    HeadAttention,
    StreamCheck,
    attention_panels,
    cost_panels,
    forecast_panel,
    stream_panels,
)

PAPER = "https://arxiv.org/abs/2405.13956"


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


def error_rows(results: DemoResults) -> list[list[str]]:
    """The table of errors, best first: name, MSE and MAE from windows, MSE and MAE streamed."""
    rows: list[tuple[float, list[str]]] = []
    for model in results.models:
        errors = [model.windows["mse"], model.windows["mae"], model.streamed["mse"], model.streamed["mae"]]
        rows.append((min(errors[0], errors[2]), [model.name, *(f"{error:.4f}" for error in errors)]))
    for name, simple in results.baselines.items():
        rows.append((simple["mse"], [name, f"{simple['mse']:.4f}", f"{simple['mae']:.4f}", "", ""]))
    return [row for _, row in sorted(rows)]


def verdict(results: DemoResults) -> str:
    """Whether a simple forecast wins, in plain words computed from the errors."""
    simple = min(results.baselines, key=lambda name: results.baselines[name]["mse"])
    bar = results.baselines[simple]["mse"]
    entries = [
        (errors["mse"], f"{model.name}, {how}")
        for model in results.models
        for how, errors in (("from windows", model.windows), ("streamed", model.streamed))
    ]
    lowest, winner = min(entries)
    if bar <= lowest:
        first = f"A simple forecast wins: {simple} has the lowest squared error, {bar:.4f}."
    else:
        first = (
            f"No simple forecast wins: the lowest squared error is {lowest:.4f} ({winner}); the best simple forecast "
            f"is {simple}, {bar:.4f}."
        )
    better = [model.name for model in results.models if model.streamed["mse"] < bar]
    rest = [model.name for model in results.models if model.name not in better]
    streamed = [f"better than {simple}: {_listed(better)}"] if better else []
    streamed += [f"not better: {_listed(rest)}"] if rest else []
    return f"{first} Streamed, {'; '.join(streamed)}."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def render_report(results: DemoResults) -> str:
    """The page.

    Args:
        results: of the demo.

    Returns:
        HTML, with style and plots inside, that makes no request.

    Raises:
        MissingDependencyError: matplotlib is missing.
    """
    sections = (
        _header(results),
        _errors(results),
        _forecasts(results),
        _stream(results.stream),
        _cost(results.cost),
        _attention(results.attention),
        _next(results.commands),
        _colophon(results),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Aaren demo: {_text(results.source.name)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _link(address: str, label: str) -> str:
    return f'<a href="{_text(address)}">{_text(label)}</a>'


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _day(time: str) -> str:
    return time.split("T")[0]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]], strong: int | None = None) -> str:
    """A table whose first column is text and whose other columns are numbers; every cell is escaped."""
    head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in header)
    body = []
    for index, (first, *rest) in enumerate(rows):
        cells = "".join(f"<td>{_text(cell)}</td>" for cell in rest)
        mark = ' class="best"' if index == strong else ""
        body.append(f'<tr{mark}><th scope="row">{_text(first)}</th>{cells}</tr>')
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _panels(*panels: tuple[str, str]) -> str:
    """Plots with titles, side by side where there is room."""
    figures = (f"<figure><figcaption>{_text(title)}</figcaption>{svg}</figure>" for title, svg in panels)
    return f'<div class="panels">{"".join(figures)}</div>'


def _section(title: str, *parts: str) -> str:
    return f"<section>\n<h2>{_text(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def _header(results: DemoResults) -> str:
    stream, cost = results.stream, results.cost
    tiles = (
        (f"{stream.largest_difference:.1e}", "training deviations: largest difference between streaming and parallel"),
        (f"{_count(stream.state_bytes_last)} bytes", f"of state, after 1 row and after {_count(stream.rows)}"),
        (f"{stream.median_microseconds / 1000:.2f} ms", "from a row to its forecast, median"),
        (
            f"{_count(cost.transformer_bytes[-1] / cost.aaren_bytes[-1])} times",
            f"the state of Aaren is what a Transformer of the same size holds after {_count(cost.tokens[-1])} tokens",
        ),
    )
    quick = (
        '<p class="quick"><strong>Quick run.</strong> Little data and training, to see that everything works; '
        "the errors below say nothing about the models. Run <code>aaren demo</code> for the real ones.</p>"
        if results.quick
        else ""
    )
    return (
        "<header>\n<h1>Softmax attention that streams</h1>\n"
        f'<p class="lede">Aaren ({_link(PAPER, "Attention as an RNN")}) is softmax attention that trains in parallel '
        "like a Transformer, and then runs one row at a time in constant memory like an RNN. <code>aaren demo</code> "
        f"trained it and two other models on this machine to forecast the {len(results.source.targets)} columns of "
        f"{_text(results.source.name)}, an electricity transformer's hourly loads and oil temperature, and streamed "
        f"the table row by row.</p>\n{quick}"
        '<ul class="tiles">'
        + "".join(f"<li><strong>{_text(number)}</strong> {_text(what)}</li>" for number, what in tiles)
        + "</ul>\n</header>"
    )


def _errors(results: DemoResults) -> str:
    settings = results.settings
    return _section(
        "Errors on the test part",
        f'<p class="verdict">{_text(verdict(results))}</p>',
        _table(
            ("Forecast", "MSE, windows", "MAE, windows", "MSE, streamed", "MAE, streamed"),
            error_rows(results),
            strong=0,
        ),
        f"<p>{_text(settings['horizon'])} rows ahead, all columns, every window of {_count(results.source.split[2])} "
        "test rows, in units of the training deviation. <em>Windows</em>: each forecast sees the last "
        f"{_text(settings['look_back'])} rows as if nothing had been before. <em>Streamed</em>: the same forecasts "
        "from a model that has read the table from its beginning. One seed each, so differences of a few per cent "
        "may be chance, between the models and to the simple forecasts.</p>",
        _training(results),
    )


def _training(results: DemoResults) -> str:
    rows = [
        (
            model.name,
            _count(model.parameters),
            model.epochs,
            f"{model.validation_loss:.4f}",
            f"{model.seconds:.0f} s",
        )
        for model in results.models
    ]
    settings = ", ".join(f"{name} {value}" for name, value in results.settings.items())
    return (
        "<details><summary>How they were trained</summary>"
        + _table(("Model", "Parameters", "Epochs", "Validation loss", "Training"), rows)
        + "<p>One code path; only the encoder differs. The validation part chose the epoch, and the test part was "
        f"read once. Settings of all three: {_text(settings)}.</p></details>"
    )


def _forecasts(results: DemoResults) -> str:
    panels = [
        (f"{week.column}, {_day(week.times[0])} to {_day(week.times[-1])}", forecast_panel(week, f"forecast-{index}"))
        for index, week in enumerate(results.forecasts, 1)
    ]
    week, streamed = results.forecasts[0], results.models[0].streamed
    low, high = week.levels[0], week.levels[-1]
    held = streamed[f"below_q{high:g}"] - streamed[f"below_q{low:g}"]
    return _section(
        "Forecasts and what came",
        _panels(*panels),
        f"<p>Aaren, streamed, over the last rows of the test part (not chosen for looks): every {week.horizon} rows a "
        f"forecast of the next {week.horizon}. The band runs from the {low:g} to the {high:g} quantile; over the whole "
        f"test part it held {held:.0%} of what came ({high - low:.0%} would be perfect).</p>",
    )


def _stream(stream: StreamCheck) -> str:
    both, difference = stream_panels(stream)
    return _section(
        "Streaming is the same computation",
        _panels(
            (f"{stream.column}, forecast {stream.ahead} rows ahead", both),
            ("Difference, training deviations", difference),
        ),
        f"<p>{_count(stream.rows)} rows went through <code>aaren.Stream</code> one at a time, in the table's own "
        f"units, and once more in parallel. The {_count(stream.compared)} forecasts of the test part differ by at most "
        f"<strong>{stream.largest_difference:.1e}</strong> training deviations (rounding; the limit is "
        f"{stream.limit:.0e}). The state held {_count(stream.state_bytes_first)} bytes after the first row and "
        f"{_count(stream.state_bytes_last)} after the last. A row took {_count(stream.median_microseconds)} µs "
        "(median), reading and checking it included.</p>",
    )


def _cost(cost: CostCurves) -> str:
    memory, time = cost_panels(cost)
    return _section(
        "What a token costs",
        _panels(("State in use, MB", memory), ("Cumulative time, seconds", time)),
        f"<p>The paper's Figure 5, measured on this machine just now: {cost.num_layers} layers, width {cost.d_model}, "
        f"{cost.nhead} heads, feed-forward {cost.dim_feedforward}, untrained, batch 1, float32, torch threads: "
        f"{cost.threads}, the two stepped in turns. The Transformer is a good one: fused attention and a key-value "
        f"cache that is allocated ahead. After {_count(cost.tokens[-1])} tokens it holds "
        f"{cost.transformer_bytes[-1] / 1e6:.1f} MB, and Aaren {cost.aaren_bytes[-1] / 1e6:.3f} MB, as before the "
        f"first. All tokens took {cost.transformer_seconds[-1]:.1f} s and {cost.aaren_seconds[-1]:.1f} s. From the "
        "first tenth of the tokens to the last, one token of the Transformer went from "
        f"{_tenths(cost, cost.transformer_seconds)}, one of Aaren from {_tenths(cost, cost.aaren_seconds)}.</p>",
    )


def _tenths(cost: CostCurves, seconds: Sequence[float]) -> str:
    """Time per token in the first and in the last tenth of the tokens."""
    tokens, points = cost.tokens, max(1, (len(cost.tokens) - 1) // 10)
    first = (seconds[points] - seconds[0]) / (tokens[points] - tokens[0])
    last = (seconds[-1] - seconds[-1 - points]) / (tokens[-1] - tokens[-1 - points])
    return f"{1000 * first:.2f} to {1000 * last:.2f} ms"


def _attention(attention: AttentionAges) -> str:
    panels = attention_panels(attention)
    rows = [
        (
            f"Layer {head.layer}, head {head.head}",
            _count(head.median_age),
            f"{head.mean_age:,.1f}",
            "none" if head.half_life is None else f"{head.half_life:,.1f}",
        )
        for head in attention.heads
    ]
    return _section(
        "What it attends to",
        _panels(*((f"Layer {index}: attention on the last rows", svg) for index, svg in enumerate(panels, 1))),
        f"<p>The weights of the trained model at {_text(attention.time.replace('T', ' '))}, the last test row, with "
        f"{_count(attention.rows)} rows behind it. A curve says how much of a head's attention lies on the last rows; "
        "the dot is where half of it does.</p>",
        "<details><summary>Effective age of every head, in rows</summary>"
        + _table(("Head", "Half of the weight", "Mean age", "Half-life of its decay"), rows)
        + "</details>",
    )


def _next(commands: Sequence[Sequence[str]]) -> str:
    steps = "".join(f"<li>{_text(purpose)}<pre><code>{_text(line)}</code></pre></li>" for purpose, line in commands)
    return _section("How to go on", f'<ol class="commands">{steps}</ol>')


def _colophon(results: DemoResults) -> str:
    source = results.source
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    hardware = ", ".join(f"{name} {value}" for name, value in results.hardware.items())
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in results.seconds.items())
    split = " / ".join(_count(rows) for rows in source.split)
    return (
        "<footer>\n"
        f"<p><strong>Data.</strong> {_text(source.name)}: {_text(source.attribution)} "
        f"{_link(source.origin, source.origin)}. {_count(source.rows)} rows, of which {split} for training, "
        f"validation and test; SHA-256 <code>{_text(source.sha256)}</code>.</p>\n"
        f"<p><strong>Method.</strong> Attention as an RNN, {_link(PAPER, 'arXiv 2405.13956')}.</p>\n"
        f"<p><strong>Made with</strong> {_text(versions)}. <strong>On</strong> {_text(hardware)}. "
        f"<strong>Time:</strong> {_text(stages)}. Every number here is in demo.json, beside this file.</p>\n</footer>"
    )


_CSS = """
:root{--paper:#fdfdfb;--raised:#f3f4f1;--ink:#1c2126;--quiet:#6b737c;--grid:#e3e5e2;--aaren:#0b7a75;--transformer:#c4501b;
--head-1:#0b7a75;--head-2:#2f66d0;--head-3:#8a3fd1;--head-4:#cf3572;--warn:#fff3d6}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--raised:#1e2327;--ink:#e6e8ea;--quiet:#98a1aa;--grid:#30363c;
--aaren:#3cc7bd;--transformer:#f08a4b;--head-1:#3cc7bd;--head-2:#7aa5ff;--head-3:#c08cff;--head-4:#ff7fae;--warn:#3a3013}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:1.0625rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:62rem;margin:0 auto;padding:clamp(1.5rem,5vw,4rem) clamp(1rem,4vw,2.5rem)}
h1{font-size:clamp(1.9rem,5vw,2.9rem);line-height:1.12;letter-spacing:-.02em;margin:0 0 1rem;text-wrap:balance}
h2{font-size:1.4rem;line-height:1.25;letter-spacing:-.01em;margin:0 0 .9rem}
p{max-width:44rem;margin:.8rem 0}
.lede{font-size:1.15rem}
section{margin-top:3.25rem;padding-top:1.6rem;border-top:1px solid var(--grid)}
a{color:var(--aaren);overflow-wrap:anywhere}
.tiles{list-style:none;margin:2rem 0 0;padding:0;display:grid;gap:1rem;
grid-template-columns:repeat(auto-fit,minmax(min(13rem,100%),1fr))}
.tiles li{background:var(--raised);border-radius:.6rem;padding:.9rem 1.1rem 1rem;font-size:.9rem;line-height:1.4;
color:var(--quiet)}
.tiles strong{display:block;font-size:1.55rem;line-height:1.3;color:var(--aaren);font-variant-numeric:tabular-nums}
.quick{background:var(--warn);border-radius:.6rem;padding:.8rem 1.1rem}
.verdict{font-weight:600}
.scroll{overflow-x:auto;margin:1.2rem 0}
table{border-collapse:collapse;width:100%;max-width:44rem;font-size:.95rem;font-variant-numeric:tabular-nums}
th,td{padding:.42rem .7rem;text-align:right;border-bottom:1px solid var(--grid);font-weight:400}
th:first-child{text-align:left;padding-left:0}
thead th{color:var(--quiet);font-size:.85rem;line-height:1.3;vertical-align:bottom}
.best th,.best td{font-weight:650;color:var(--aaren)}
.panels{display:grid;gap:1.5rem 2rem;grid-template-columns:repeat(auto-fit,minmax(min(24rem,100%),1fr));margin:1.2rem 0}
figure{margin:0;min-width:0}
figcaption{font-weight:600;font-size:.95rem;margin-bottom:.3rem}
svg{display:block;width:100%;height:auto}
svg text{font-family:inherit!important}
details{margin:1rem 0}
summary{cursor:pointer;color:var(--aaren)}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
pre{white-space:pre-wrap;background:var(--raised);border-radius:.5rem;padding:.75rem 1rem;margin:.35rem 0 1rem}
.commands{padding-left:1.3rem}
footer{margin-top:3.25rem;padding-top:1rem;border-top:1px solid var(--grid);font-size:.85rem;color:var(--quiet)}
@media (max-width:30rem){th,td{padding:.4rem .35rem}table{font-size:.85rem}thead th{font-size:.75rem}}
"""
