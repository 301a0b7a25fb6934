"""Pieces of HTML for the demo's report; each escapes what it is given as text."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def text(value: object) -> str:
    """Anything as text, escaped."""
    return html.escape(str(value))


def link(address: str, label: str) -> str:
    """A link that a person may follow; both parts are escaped."""
    return f'<a href="{text(address)}">{text(label)}</a>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]], strong: int | None = None) -> str:
    """A table whose first column is text and whose other columns are numbers; every cell is escaped."""
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in header)
    body = []
    for index, (first, *rest) in enumerate(rows):
        cells = "".join(f"<td>{text(cell)}</td>" for cell in rest)
        mark = ' class="best"' if index == strong else ""
        body.append(f'<tr{mark}><th scope="row">{text(first)}</th>{cells}</tr>')
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def panels(*plots: tuple[str, str]) -> str:
    """Plots with titles, side by side where there is room."""
    figures = (f"<figure><figcaption>{text(title)}</figcaption>{svg}</figure>" for title, svg in plots)
    return f'<div class="panels">{"".join(figures)}</div>'


def section(title: str, *parts: str) -> str:
    """A part of the page below its title; the title is escaped, the parts are HTML."""
    return f"<section>\n<h2>{text(title)}</h2>\n" + "\n".join(parts) + "\n</section>"
