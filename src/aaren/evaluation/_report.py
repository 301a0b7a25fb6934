"""The demo's report: results in, one HTML page out that needs nothing else, on a screen or a phone, light or dark.

The results are plain data and go through JSON unchanged, so that the page can be made again from `demo.json`, and
shows no number that is not in it. All text is escaped. Nothing here measures anything or touches a file.
"""

from __future__ import annotations

from collections.abc import Sequence

from aaren.evaluation._css import CSS
from aaren.evaluation._html import link, panels, section, table, text
from aaren.evaluation._plots import attention_panels, cost_panels, forecast_panel, stream_panels
from aaren.evaluation._results import AttentionAges, CostCurves, DemoResults, StreamCheck
from aaren.evaluation._verdict import error_rows, verdict

PAPER = "https://arxiv.org/abs/2405.13956"


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
        f"<title>Aaren demo: {text(results.source.name)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _count(number: float | int) -> str:
    return f"{number:,.0f}"


def _day(time: str) -> str:
    return time.split("T")[0]


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
        f'<p class="lede">Aaren ({link(PAPER, "Attention as an RNN")}) is softmax attention that trains in parallel '
        "like a Transformer, and then runs one row at a time in constant memory like an RNN. <code>aaren demo</code> "
        f"trained it and two other models on this machine to forecast the {len(results.source.targets)} columns of "
        f"{text(results.source.name)}, an electricity transformer's hourly loads and oil temperature, and streamed "
        f"the table row by row.</p>\n{quick}"
        '<ul class="tiles">'
        + "".join(f"<li><strong>{text(number)}</strong> {text(what)}</li>" for number, what in tiles)
        + "</ul>\n</header>"
    )


def _errors(results: DemoResults) -> str:
    settings = results.settings
    return section(
        "Errors on the test part",
        f'<p class="verdict">{text(verdict(results))}</p>',
        table(
            ("Forecast", "MSE, windows", "MAE, windows", "MSE, streamed", "MAE, streamed"),
            error_rows(results),
            strong=0,
        ),
        f"<p>{text(settings['horizon'])} rows ahead, all columns, every window of {_count(results.source.split[2])} "
        "test rows, in units of the training deviation. <em>Windows</em>: each forecast sees the last "
        f"{text(settings['look_back'])} rows as if nothing had been before. <em>Streamed</em>: the same forecasts "
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
        + table(("Model", "Parameters", "Epochs", "Validation loss", "Training"), rows)
        + "<p>One code path; only the encoder differs. The validation part chose the epoch, and the test part was "
        f"read once. Settings of all three: {text(settings)}.</p></details>"
    )


def _forecasts(results: DemoResults) -> str:
    plots = [
        (f"{week.column}, {_day(week.times[0])} to {_day(week.times[-1])}", forecast_panel(week, f"forecast-{index}"))
        for index, week in enumerate(results.forecasts, 1)
    ]
    week, streamed = results.forecasts[0], results.models[0].streamed
    low, high = week.levels[0], week.levels[-1]
    held = streamed[f"below_q{high:g}"] - streamed[f"below_q{low:g}"]
    return section(
        "Forecasts and what came",
        panels(*plots),
        f"<p>Aaren, streamed, over the last rows of the test part (not chosen for looks): every {week.horizon} rows a "
        f"forecast of the next {week.horizon}. The band runs from the {low:g} to the {high:g} quantile; over the whole "
        f"test part it held {held:.0%} of what came ({high - low:.0%} would be perfect).</p>",
    )


def _stream(stream: StreamCheck) -> str:
    both, difference = stream_panels(stream)
    return section(
        "Streaming is the same computation",
        panels(
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
    return section(
        "What a token costs",
        panels(("State in use, MB", memory), ("Cumulative time, seconds", time)),
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
    plots = attention_panels(attention)
    rows = [
        (
            f"Layer {head.layer}, head {head.head}",
            _count(head.median_age),
            f"{head.mean_age:,.1f}",
            "none" if head.half_life is None else f"{head.half_life:,.1f}",
        )
        for head in attention.heads
    ]
    return section(
        "What it attends to",
        panels(*((f"Layer {index}: attention on the last rows", svg) for index, svg in enumerate(plots, 1))),
        f"<p>The weights of the trained model at {text(attention.time.replace('T', ' '))}, the last test row, with "
        f"{_count(attention.rows)} rows behind it. A curve says how much of a head's attention lies on the last rows; "
        "the dot is where half of it does.</p>",
        "<details><summary>Effective age of every head, in rows</summary>"
        + table(("Head", "Half of the weight", "Mean age", "Half-life of its decay"), rows)
        + "</details>",
    )


def _next(commands: Sequence[Sequence[str]]) -> str:
    steps = "".join(f"<li>{text(purpose)}<pre><code>{text(line)}</code></pre></li>" for purpose, line in commands)
    return section("How to go on", f'<ol class="commands">{steps}</ol>')


def _colophon(results: DemoResults) -> str:
    source = results.source
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    hardware = ", ".join(f"{name} {value}" for name, value in results.hardware.items())
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in results.seconds.items())
    split = " / ".join(_count(rows) for rows in source.split)
    return (
        "<footer>\n"
        f"<p><strong>Data.</strong> {text(source.name)}: {text(source.attribution)} "
        f"{link(source.origin, source.origin)}. {_count(source.rows)} rows, of which {split} for training, "
        f"validation and test; SHA-256 <code>{text(source.sha256)}</code>.</p>\n"
        f"<p><strong>Method.</strong> Attention as an RNN, {link(PAPER, 'arXiv 2405.13956')}.</p>\n"
        f"<p><strong>Made with</strong> {text(versions)}. <strong>On</strong> {text(hardware)}. "
        f"<strong>Time:</strong> {text(stages)}. Every number here is in demo.json, beside this file.</p>\n</footer>"
    )
