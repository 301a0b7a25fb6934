"""The model card: what is in it, and that no name of a column or file can break it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from forecaster_cases import forecaster, preprocessing

import aaren
from aaren.data import Scaler, Schema
from aaren.models import Preprocessing

HOSTILE = "a|b\n\n# Injected\r\n| x | y |\n|---|---|"


def card(directory: Path) -> str:
    """The card as it was written."""
    return (directory / "MODEL_CARD.md").read_text(encoding="utf-8")


def rows(text: str) -> dict[str, str]:
    """Cells of all tables, by the name in the first column; every row must have two cells."""
    found = {}
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith(("| | |", "|---")):
            cells = line.replace(r"\|", "\0").strip("|").split("|")
            assert len(cells) == 2, line
            found[cells[0].strip()] = cells[1].strip().replace("\0", r"\|")
    return found


def test_the_card_says_what_the_model_is(tmp_path: Path) -> None:
    """The card names the columns, the interval, all fields, the parameters, and all that the metadata has."""
    metadata = {
        "data": {"source": "ETTh1.csv.gz", "rows": 17420},
        "metrics": {"windows": "MSE 0.4"},
        "other": {"no": 1},
    }
    model = forecaster(preprocessing=preprocessing(), metadata=metadata)
    model.save(tmp_path)
    text = card(tmp_path)
    assert text.startswith("# Forecaster (aaren)\n")
    assert "Forecasts OT, load for 4 steps of 1 hour from OT, load, wind." in text
    cells = rows(text)
    assert cells["parameters"] == f"{sum(p.numel() for p in model.parameters()):,}"
    assert {name: str(value) for name, value in model.config.to_dict().items()}.items() <= cells.items()
    assert cells["source"] == "ETTh1.csv.gz"
    assert cells["rows"] == "17420"
    assert "## Metrics" in text
    assert "## Limits" in text
    assert aaren.__version__ in text.splitlines()[-1]
    assert "## Other" not in text


def test_the_card_without_time_and_without_preprocessing(tmp_path: Path) -> None:
    """Rows without time have no interval; a model without preprocessing has no columns."""
    plain = Preprocessing(Schema(("OT",)), Scaler(("OT",), np.zeros(1), np.ones(1)))
    forecaster(inputs=1, targets=1, calendar=0, preprocessing=plain).save(tmp_path)
    assert "Forecasts OT for 4 steps from OT." in card(tmp_path)
    forecaster().save(tmp_path)
    assert "Forecasts OT" not in card(tmp_path)


def test_hostile_names_break_neither_lines_nor_tables(tmp_path: Path) -> None:
    """Line breaks and pipes in names of columns and files stay inside their line and cell."""
    tame = forecaster(preprocessing=preprocessing(), metadata={"data": {"source": "a", "b": 1}})
    model = forecaster(preprocessing=preprocessing((HOSTILE, "c")), metadata={"data": {"source": HOSTILE, HOSTILE: 1}})
    tame.save(tmp_path / "tame")
    model.save(tmp_path / "hostile")
    text = card(tmp_path / "hostile")
    assert len(text.splitlines()) == len(card(tmp_path / "tame").splitlines())
    assert rows(text)["source"] == r"a\|b # Injected \| x \| y \| \|---\|---\|"
    assert not any(line.startswith("# Injected") for line in text.splitlines())
    assert aaren.load(tmp_path / "hostile").preprocessing.schema.targets == (HOSTILE, "c")


@pytest.mark.parametrize("encoder", ["transformer", "gru", "mingru"])
def test_the_card_names_its_encoder(encoder: str, tmp_path: Path) -> None:
    """The title says which encoder it is."""
    forecaster(encoder=encoder).save(tmp_path)
    assert card(tmp_path).startswith(f"# Forecaster ({encoder})\n")
