"""The house: which floor may know which, what an import costs, and that the README's commands work."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from aaren.studies import write_tables

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "aaren"
FLOORS = {
    "data": set(),
    "ops": set(),
    "nn": {"ops"},
    "models": {"data", "nn", "ops"},
    "evaluation": {"data", "models", "nn", "ops"},
    "training": {"data", "evaluation", "models", "nn", "ops"},
    "streaming": {"data", "evaluation", "models", "nn", "ops"},
    "export": {"data", "evaluation", "models", "nn", "ops", "streaming"},
    "serving": {"data", "evaluation", "models", "nn", "ops", "streaming"},
    "engines": {"data", "evaluation", "models", "nn", "ops", "streaming"},
    "studies": {"data", "evaluation", "models", "nn", "ops", "streaming", "training"},
    "cli": {"data", "evaluation", "export", "models", "nn", "ops", "serving", "streaming", "studies", "training"},
}
# a verb that users expect on a model: `model.stream()` imports its floor when it is called
ALLOWED_UPWARDS = {("models/_model.py", "streaming")}


def _imported_floors(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("aaren."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("aaren.")}
    return found & set(FLOORS)


@pytest.mark.parametrize("floor", sorted(FLOORS))
def test_a_floor_knows_only_those_below_it(floor):
    """No module imports a floor above its own, but for the one exception that CONTRIBUTING names."""
    for path in sorted((SOURCE / floor).rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        upwards = _imported_floors(path) - FLOORS[floor] - {floor}
        assert {(name, other) for other in upwards} <= ALLOWED_UPWARDS, name


def test_every_package_has_a_floor():
    """A new package cannot escape the rule above."""
    assert {path.parent.name for path in SOURCE.glob("*/__init__.py")} == set(FLOORS)


def test_import_is_light():
    """`import aaren` brings in torch, numpy and safetensors, and none of the optional packages."""
    heavy = [
        "polars",
        "pandas",
        "narwhals",
        "lightning",
        "matplotlib",
        "cyclopts",
        "rich",
        "pyarrow",
        "h5py",
        "gymnasium",
        "mujoco",
        "fastapi",
        "uvicorn",
        "prometheus_client",
        "pyspark",
    ]
    code = f"import aaren, sys, json; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_nothing_is_unpickled():
    """No source imports pickle or asks torch to load or save pickles."""
    forbidden = re.compile(r"\b(import pickle|from pickle|torch\.load|torch\.save|weights_only=False|joblib|dill)\b")
    for path in SOURCE.rglob("*.py"):
        assert not forbidden.search(path.read_text(encoding="utf-8")), path


def test_readme_python_runs(tmp_path, monkeypatch):
    """Every Python block of the README runs as it stands, after the commands before it."""
    monkeypatch.chdir(tmp_path)
    hours = [f"2018-06-{day:02d} {hour:02d}:00:00" for day in range(1, 27) for hour in range(24)]
    rows = [f"{hour},{10 + (index % 24) / 4 + index % 7}" for index, hour in enumerate(hours)]
    Path("data.csv").write_text("\n".join(["date,load", *rows]) + "\n", encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    training = next(block for block in blocks if "train_forecaster" in block)
    space: dict[str, object] = {}
    torch.manual_seed(0)
    for block in (training, *(block for block in blocks if block is not training)):
        exec(compile(block, "README.md", "exec"), space)
    assert space["stream"].rows == 1
    assert Path("live.state").exists()


def test_readme_commands_exist():
    """Every `aaren` verb and `make` target that README and docs name is there."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake ([a-z]+)\b`?", text)) - {"it"}:
        assert re.search(rf"^{target}:", make, re.MULTILINE), target
    from aaren.cli._app import app

    for verb in set(re.findall(r"(?:\$ |bin/)aaren ([a-z]+)", text)):
        assert verb in app, verb


def test_results_are_made_from_records(tmp_path):
    """The pages of results are what the records give: no figure in them was typed, no page is left over."""
    write_tables(ROOT / "results", tmp_path)
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.md")}
    kept = [ROOT / "docs" / "results.md", *(ROOT / "docs" / "results").rglob("*.md")]
    there = {path.relative_to(ROOT / "docs"): path.read_text() for path in kept}
    assert made == there, "aaren reproduce --tables docs"


def test_the_readme_says_of_the_comparison_what_the_page_says():
    """Every mean in margins, with its interval, every mean rank and count of rows of the README stands on the page."""
    readme, page = (
        " ".join((ROOT / name).read_text(encoding="utf-8").split()) for name in ("README.md", "docs/results.md")
    )
    patterns = (
        r"\d+\.\d\d margins [^().;]*\((?:90 % interval of how much worse )?[+-]\d+\.\d\d to [+-]\d+\.\d\d",
        r"(?:minGRU|GRU|Transformer|Aaren|Aaren with decay) \d\.\d\d\b",
        r"over the \d+ rows",
        r"\d+ of \d+ rows",
        r"\d+ runs in \d+ rows",
    )
    for pattern in patterns:
        found = re.findall(pattern, readme)
        assert found, pattern
        assert [words for words in found if words not in page] == []


def test_the_readmes_table_of_the_comparison_is_the_pages():
    """Setting by setting, for Aaren and with decay, README says what the page says; bold is what is not shown."""
    readme, page = (
        _margins((ROOT / name).read_text(encoding="utf-8").replace("&nbsp;", " "))
        for name in ("README.md", "docs/results.md")
    )
    assert list(readme) == list(page)
    assert len(readme) == 5
    for setting, cells in readme.items():
        told = [cell.split("<br>") for cell in page[setting]]
        assert [cell.strip("*") for cell in cells] == [f"{mean} ({interval})" for mean, interval, _ in told]
        assert [cell.startswith("**") for cell in cells] == ["not shown" in shown for _, _, shown in told]


def _margins(text):
    """The first two cells of each setting in the table of margins."""
    margins = r" *\| [A-Z][a-z ]+ \| \**[+-]\d\.\d\d(<br>| \()[+-]\d\.\d\d to"
    rows = [re.split(r" *\| *", line.strip())[1:-1] for line in text.splitlines() if re.match(margins, line)]
    return {setting: cells[:2] for setting, *cells in rows}
