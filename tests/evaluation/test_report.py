"""The demo's page: self-contained, escaped, made from plain results and nothing else."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from html.parser import HTMLParser

import pytest

from aaren.errors import MissingDependencyError
from aaren.evaluation import (
    AttentionAges,
    CostCurves,
    DemoResults,
    ForecastWeek,
    HeadAttention,
    ModelResult,
    Source,
    StreamCheck,
    render_report,
    verdict,
)

HOSTILE = "<script>alert('x')</script>\"&$\\frac{1}$"


def _errors(mse: float) -> dict[str, float]:
    return {"mse": mse, "mae": mse / 2, "below_q0.1": 0.1, "below_q0.9": 0.85, "count": 100}


def _model(name: str, windows: float, streamed: float) -> ModelResult:
    return ModelResult(name, 1000, 3, 0.5, 12.3, _errors(windows), _errors(streamed))


def _hours(number: int) -> list[str]:
    return [f"2018-02-{1 + hour // 24:02d}T{hour % 24:02d}:00:00" for hour in range(number)]


def _results(column: str = "OT", quick: bool = False) -> DemoResults:
    line = [float(hour % 7) for hour in range(48)]
    week = ForecastWeek(column, _hours(48), line, line, [x - 1 for x in line], [x + 1 for x in line], [0.1, 0.9], 24)
    heads = [
        HeadAttention(layer, head, [0.1 * head, 0.6, 1.0], 10, 12.5, 4.0 * head) for layer in (1, 2) for head in (1, 2)
    ]
    return DemoResults(
        quick=quick,
        source=Source(
            column, "ab" * 32, 300, [100, 100, 100], [column], f"by {column}.", "https://example.org/?a=1&b=2"
        ),
        settings={"horizon": 24, "look_back": 96, "note": column},
        models=[_model("Aaren", 0.31, 0.30), _model("Transformer", 0.32, 0.33), _model(column, 0.29, 0.36)],
        baselines={"last value": _errors(0.9), "linear": _errors(0.35)},
        forecasts=[week, dataclasses.replace(week, column="HUFL")],
        stream=StreamCheck(300, 101, 3e-6, 1e-4, 999, 999, 1234.5, column, _hours(48), 24, line, line, 2, [1e-6, 0.0]),
        cost=CostCurves(8, 2, 1, 16, 1, [0, 10, 20], [64] * 3, [0, 640, 1280], [0.0, 0.1, 0.2], [0.0, 0.2, 0.5]),
        attention=AttentionAges(300, "2018-02-01T00:00:00", [1, 17, 300], heads),
        commands=[[column, f"aaren predict {column}"]],
        versions={"aaren": column},
        hardware={"processor": column},
        seconds={"data": 0.5},
    )


class _Page(HTMLParser):
    """All elements of a page with their attributes, and the text outside of style and plots."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page() -> str:
    """The page of ordinary results."""
    return render_report(_results())


def test_nothing_is_fetched(page: str) -> None:
    """The page makes no request: no script, no image, no style sheet, no address but in links that a person follows."""
    elements = _Page(page).elements
    assert not {tag for tag, _ in elements} & {"script", "img", "link", "iframe", "object", "embed", "image", "base"}
    for tag, attributes in elements:
        for name, value in attributes.items():
            if tag == "a" or name.startswith("xmlns"):
                continue
            assert "//" not in (value or ""), (tag, name, value)
            assert name not in ("src", "srcset", "href", "action", "data"), (tag, name, value)
            assert name != "xlink:href" or (value or "").startswith("#")
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page


def test_hostile_names_stay_text(page: str) -> None:
    """A column's name can neither open an element nor close an attribute nor be taken for a formula."""
    hostile, plain = _Page(render_report(_results(HOSTILE))), _Page(page)
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    assert [sorted(attributes) for _, attributes in hostile.elements] == [
        sorted(attributes) for _, attributes in plain.elements
    ]
    labels = [attributes.get("aria-label") or "" for _, attributes in hostile.elements]
    assert any(HOSTILE in label for label in labels)


def test_results_survive_json(page: str) -> None:
    """The page made from results that went through JSON is the same, byte for byte."""
    again = DemoResults.from_dict(json.loads(json.dumps(_results().to_dict())))
    assert again == _results()
    assert render_report(again) == page


def test_every_plot_says_what_it_shows(page: str) -> None:
    """Every plot has an alternative text of its own, and no identifier of one plot is used in another."""
    elements = _Page(page).elements
    labels = [attributes["aria-label"] for tag, attributes in elements if tag == "svg"]
    assert len(labels) == 2 + 2 + 2 + 2
    assert len(set(labels)) == len(labels)
    assert all(attributes["role"] == "img" for tag, attributes in elements if tag == "svg")
    identifiers = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    references = set(re.findall(r'(?:url\(|href=")#([^")]+)', page))
    assert references <= set(identifiers)


def test_colours_follow_the_reader(page: str) -> None:
    """Plots take their colours from variables that are set for light and for dark, and have no other."""
    plots = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert not re.findall(r"(?:fill|stroke): ?#", plots)
    used = set(re.findall(r"var\(--([\w-]+)\)", page))
    light, dark = page.split("@media (prefers-color-scheme:dark)")
    for name in used:
        assert f"--{name}:" in light
        assert f"--{name}:" in dark.split("</style>")[0]


def test_quick_run_is_called_one(page: str) -> None:
    """A quick run says so on the page, and a full one does not."""
    assert "Quick run." in render_report(_results(quick=True))
    assert "Quick run." not in page


def test_simple_forecast_that_wins_is_named() -> None:
    """If a simple forecast has the lowest error, the first words say so."""
    results = dataclasses.replace(_results("GRU"), baselines={"linear": _errors(0.2), "last value": _errors(0.9)})
    assert verdict(results) == (
        "A simple forecast wins: linear has the lowest squared error, 0.2000. "
        "Streamed, not better: Aaren, Transformer and GRU."
    )


def test_models_are_told_apart_from_the_best_simple_forecast() -> None:
    """If a model has the lowest error, it is named, and which of the models beat the best simple forecast, streamed."""
    assert verdict(_results("GRU")) == (
        "No simple forecast wins: the lowest squared error is 0.2900 (GRU, from windows); the best simple forecast "
        "is linear, 0.3500. Streamed, better than linear: Aaren and Transformer; not better: GRU."
    )


def test_missing_matplotlib_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib the error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"the report needs .*'matplotlib'.*aaren\[report\]"):
        render_report(_results())


def test_settings_of_matplotlib_are_left_alone() -> None:
    """Drawing changes no global setting of matplotlib and opens no figure of pyplot."""
    import matplotlib

    before = dict(matplotlib.rcParams)
    render_report(_results())
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
