"""One plot: axes of matplotlib in, an SVG out whose colours are CSS variables, light or dark as the reader has it."""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING, Any

from aaren.errors import MissingDependencyError
from aaren.evaluation._css import CSS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (4.7, 2.9)
# a colour that nobody would choose, for each CSS variable
MARKS = {
    "ink": "#010203",
    "quiet": "#010204",
    "grid": "#010205",
    "aaren": "#010206",
    "transformer": "#010207",
    "head-1": "#010208",
    "head-2": "#010209",
    "head-3": "#01020a",
    "head-4": "#01020b",
}
HEAD_COLOURS = 4
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MARKS["quiet"],
    "axes.labelcolor": MARKS["ink"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": MARKS["grid"],
    "grid.linewidth": 0.8,
    "text.color": MARKS["ink"],
    "xtick.color": MARKS["quiet"],
    "ytick.color": MARKS["quiet"],
    "xtick.labelcolor": MARKS["ink"],
    "ytick.labelcolor": MARKS["ink"],
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def require_matplotlib() -> None:
    """Say early that matplotlib is missing.

    Raises:
        MissingDependencyError: with the command that installs it.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError("matplotlib", "report", "the report") from None


class Panel:
    """A figure of one pair of axes that becomes an SVG with CSS colours, without global state of matplotlib.

    Args:
        name: for ids inside of the SVG.
        description: for those who do not see it.
        size: in inches.

    As a context manager it gives the axes; `svg` is there afterwards.
    """

    def __init__(self, name: str, description: str, size: tuple[float, float] = _SIZE) -> None:
        require_matplotlib()
        self.name, self.description, self.size = name, description, size

    def __enter__(self) -> Axes:
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        self._style = rc_context(_STYLE | {"svg.hashsalt": self.name})  # type: ignore[arg-type]
        self._style.__enter__()
        self._figure = Figure(figsize=self.size, layout="constrained")
        return self._figure.add_subplot()

    def __exit__(self, *failure: Any) -> None:
        try:
            if failure[0] is None:
                buffer = io.StringIO()
                nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
                self._figure.savefig(buffer, format="svg", metadata=nothing)
                self.svg = _inline(buffer.getvalue(), self.name, self.description)
        finally:
            self._style.__exit__(None, None, None)


def _inline(svg: str, name: str, description: str) -> str:
    """An SVG file as an element of a page: no prologue, no id that another panel has, CSS colours, an alt text."""
    body = svg[svg.index("<svg") :]
    head, rest = body.split(">", 1)
    view_box = re.search(r'viewBox="[^"]+"', head)
    assert view_box is not None
    used = set(re.findall(r"url\(#([^)]+)\)", rest)) | set(re.findall(r'href="#([^"]+)"', rest))
    rest = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", rest)
    for identifier in used:
        rest = rest.replace(f'id="{identifier}"', f'id="{name}-{identifier}"').replace(
            f"#{identifier}", f"#{name}-{identifier}"
        )
    for variable, mark in MARKS.items():
        rest = rest.replace(mark, f"var(--{variable})")
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {view_box[0]} '
        f'role="img" aria-label="{html.escape(description)}">'
    )
    return start + rest.strip()


def standing_alone(svg: str) -> str:
    """The inline SVG of a page as a file, with the colours and the paper that the page would give it."""
    variables = CSS[: CSS.index("*{box-sizing")].strip()
    head, rest = svg.split(">", 1)
    style = f"<style>{variables}\ntext{{font-family:system-ui,sans-serif!important}}</style>"
    return f'{head}>{style}<rect width="100%" height="100%" fill="var(--paper)"/>{rest}\n'
