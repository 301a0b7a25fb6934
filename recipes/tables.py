"""Make docs/results.md from the records in results/: no figure there is typed.

python recipes/tables.py [--check]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
FORECASTING = ROOT / "results" / "forecasting-etth1-96.jsonl"
DEMO = ROOT / "results" / "demo.json"

HEAD = """# Results

Made by `python recipes/tables.py` from the records in `results/`, each with its settings, versions and hardware.
"""


def _machine(found: dict[str, Any]) -> str:
    processor = found.get("processor", found.get("cpu", "unknown processor"))
    return f"{processor}, {found['cores']} cores, {found['threads']} threads"


def _mean_and_spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def forecasting() -> str:
    """The ETTh1 table: encoders by one function, beside simple forecasts, and the paired difference."""
    lines = FORECASTING.read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines if line.endswith("}")]
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for record in records:
        runs.setdefault(record["config"]["encoder"], {})[record["seed"]] = record
    config, options = records[0]["config"], records[0]["options"]
    rows = []
    for encoder, by_seed in runs.items():
        errors = [record["metrics"]["windows"] for record in by_seed.values()]
        mse, mae = ([error[name] for error in errors] for name in ("mse", "mae"))
        parameters = next(iter(by_seed.values()))["parameters"]
        rows.append(
            (statistics.mean(mse), encoder, _mean_and_spread(mse), _mean_and_spread(mae), f"{parameters:,}", len(mse))
        )
    for name, error in records[0]["metrics"]["baselines"].items():
        rows.append((error["mse"], name, f"{error['mse']:.4f}", f"{error['mae']:.4f}", "", 1))
    table = ["| forecast | MSE | MAE | parameters | seeds |", "|---|---|---|---|---|"]
    table += [f"| {name} | {mse} | {mae} | {count} | {seeds} |" for _, name, mse, mae, count, seeds in sorted(rows)]
    seeds = sorted(set(runs["aaren"]) & set(runs["transformer"]))
    own, other = (
        [runs[encoder][seed]["metrics"]["windows"]["mse"] for seed in seeds] for encoder in ("aaren", "transformer")
    )
    ratio = statistics.mean(own) / statistics.mean(other) - 1
    best = min(rows)
    verdict = (
        f"Over {len(seeds)} seeds Aaren's mean squared error is {100 * ratio:+.1f} % against the Transformer's "
        f"(by seed: {', '.join(f'{100 * (a / b - 1):+.1f} %' for a, b in zip(own, other, strict=True))})."
    )
    if best[1] in records[0]["metrics"]["baselines"]:
        verdict += f" **The best forecast here is none of the encoders: it is “{best[1]}”.**"
    return "\n".join(
        [
            "## Forecasting ETTh1, look-back 96, horizon 96, multivariate",
            "",
            "The paper's protocol (windows normalised one by one, one forecast from the last row, 12/4/4 months, every "
            "test window, standardised data), trained by one function that differs in the encoder alone: "
            "`python recipes/forecasting_etth1.py`.",
            f"Scale: width {config['d_model']} (the paper has 512), feed-forward {config['dim_feedforward']}, "
            f"{config['nhead']} heads, {config['num_layers']} layers, at most {options['epochs']} epochs, learning "
            f"rate {options['learning_rate']:g} times {options['learning_rate_decay']:g} each epoch, the same for all. "
            "± is the deviation over seeds; the simple forecasts have no seed.",
            "",
            *table,
            "",
            verdict,
            "",
            f"Data: ETTh1 (ETDataset, CC BY-ND 4.0), sha256 `{records[0]['data']['sha256'][:16]}…`, identical to the "
            f"published file. Machine: {_machine(records[0]['hardware'])}.",
            "",
        ]
    )


def demo() -> str:
    """The demo's table: the models that stream."""
    found = json.loads(DEMO.read_text(encoding="utf-8"))
    stream = found["stream"]
    rows = [
        (model["streamed"]["mse"], model["name"], f"{model['windows']['mse']:.4f}", f"{model['streamed']['mse']:.4f}")
        for model in found["models"]
    ]
    rows += [(error["mse"], name, f"{error['mse']:.4f}", "") for name, error in found["baselines"].items()]
    return "\n".join(
        [
            "## The demo: models that stream, ETTh1, 24 rows ahead",
            "",
            "`make demo`, one seed; normalisation, decay and highway as `aaren train` has them. *From windows* starts "
            "anew for each window, *streamed* has read the whole table before.",
            "",
            "| forecast | MSE from windows | MSE streamed |",
            "|---|---|---|",
            *[f"| {name} | {windows} | {streamed} |" for _, name, windows, streamed in sorted(rows)],
            "",
            f"Streamed row by row, {stream['rows']:,} rows: the largest difference from the parallel pass is "
            f"{stream['largest_difference']:.1e} training deviations; the state had {stream['state_bytes_first']:,} "
            f"bytes after the first row and {stream['state_bytes_last']:,} after the last.",
            "",
        ]
    )


def main() -> int:
    """Write the page, or with --check say whether it is what the records give."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    page = "\n".join([HEAD, forecasting(), demo()])
    if parser.parse_args().check:
        same = PAGE.read_text(encoding="utf-8") == page
        print(
            "docs/results.md is what the records give" if same else "docs/results.md is stale: python recipes/tables.py"
        )
        return 0 if same else 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
