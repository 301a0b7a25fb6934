"""MODEL_CARD.md: what a model is, what it was trained on, how well it did, with which versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aaren._version import __version__

if TYPE_CHECKING:
    from aaren.models._model import Model


_NO_LOOK_UP = "Aaren's weights over the past do not depend on the current row: no content look-up."


def _inline(text: object) -> str:
    """Text that stays on its line and in its cell: the names of columns and files are the user's."""
    return " ".join(str(text).split()).replace("|", "\\|")


def _table(rows: dict[str, Any]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {_inline(name)} | {_inline(value)} |" for name, value in rows.items()), ""]


def model_card(model: Model[Any, Any]) -> str:
    """The card in Markdown, made from the model's configuration, preprocessing and metadata."""
    config, metadata = model.config, model.metadata
    parameters = sum(p.numel() for p in model.parameters())
    lines = [f"# {type(model).__name__} ({config.encoder})", "", _inline(model.describe()), ""]
    lines += ["## Model", "", *_table({"parameters": f"{parameters:,}", **config.to_dict()})]
    for section in ("data", "training", "metrics", "versions"):
        if isinstance(metadata.get(section), dict):
            lines += [f"## {section.capitalize()}", "", *_table(metadata[section])]
    lines += [
        "## Limits",
        "",
        *([_NO_LOOK_UP] if config.encoder == "aaren" else []),
        "What the model says extrapolates the training data; its probabilities and quantiles are as calibrated as the "
        "validation data were like the stream.",
        "",
        f"Written by aaren {__version__}. Load with `aaren.load(directory)`; nothing in this directory is executable.",
        "",
    ]
    return "\n".join(lines)
