"""Anomaly scores on the labelled series of the Numenta Anomaly Benchmark, beside simple detectors.

    AAREN_DATA=... python benchmarks/nab.py --json results/anomaly/nab.json

Each detector may learn from the first 15 % of a series (at most 750 rows), which are not scored; then it sees row after
row. All scores are turned into alarms by one threshold for all series, chosen with the labels as the benchmark does it;
"flags" is what `AnomalyStream` flags by itself, without a label. Nine of the benchmark's 58 series are here, so that
the numbers cannot be compared with the published ones of the whole.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.data import read_series
from aaren.evaluation import NAB_PROFILES, NabSeries, nab_probation, nab_score, windowed_gaussian
from aaren.models import Forecaster
from aaren.streaming import AnomalyStream
from aaren.training import TrainingOptions, train_forecaster

COLUMNS = ("value", "day_sin", "day_cos")
MODEL: dict[str, Any] = {
    "look_back": 48,
    "d_model": 16,
    "nhead": 2,
    "num_layers": 1,
    "dim_feedforward": 32,
    "highway": 24,
    "decay": "learned",
    "quantiles": (0.05, 0.5, 0.95),
}
EPOCHS, SEEDS, DRAWS = 20, (0, 1, 2), 20


def read(folder: Path) -> dict[str, tuple[list[datetime], NDArray[np.float64], list[tuple[int, int]]]]:
    """Times, values and windows (first and last row) of every series, by its name in the benchmark."""
    labels = json.loads((folder / "combined_windows.json").read_text())
    found = {}
    for name, windows in sorted(labels.items()):
        path = folder / f"{Path(name).name}.gz"
        if not path.exists():
            continue
        with gzip.open(path, "rt") as file:
            rows = list(csv.reader(file))[1:]
        times = [datetime.fromisoformat(time) for time, _ in rows]
        # the first row of a time: clocks are set back in some series
        place = {time: row for row, time in reversed(list(enumerate(times)))}
        ends = [tuple(place[datetime.fromisoformat(end)] for end in window) for window in windows]
        found[name] = times, np.array([float(value) for _, value in rows]), ends
    return found


def cells(times: list[datetime], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows for the model: the value, and the time of day as a point on a circle."""
    angle = np.array([2 * np.pi * (time.hour * 60 + time.minute) / 1440 for time in times])
    return np.stack([values, np.sin(angle), np.cos(angle)], 1)


def train(rows: NDArray[np.float64], folder: Path, seed: int) -> Forecaster:
    """A small forecaster of the next row."""
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows.tolist()])
    table = read_series(path, targets=COLUMNS[0], covariates=COLUMNS[1:], time=None)
    options = TrainingOptions(epochs=EPOCHS, patience=EPOCHS, batch_size=16, stride=2, seed=seed, accelerator="cpu")
    trained = train_forecaster(
        table, folder / "model", horizon=1, split=(0.7, 0.15, 0.15), options=options, progress=False, **MODEL
    )
    return trained.model


def stream(model: Forecaster, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score of every row (0 without one), and 1 where it was flagged."""
    live = AnomalyStream(model)
    found = [live.update(row) for row in rows.tolist()]
    scores = np.array([0.0 if one is None or one.score is None else one.score for one in found])
    return scores, np.array([float(one is not None and one.is_anomaly) for one in found])


def table_of(scores: dict[str, NDArray[np.float64]], series: dict[str, Any], threshold: float | None) -> dict[str, Any]:
    """What the benchmark says of a detector, by profile."""
    corpus = [NabSeries(scores[name], windows) for name, (_, _, windows) in series.items()]
    return {
        name: {**vars(found), "threshold": found.threshold if np.isfinite(found.threshold) else None}
        for name, found in ((name, nab_score(corpus, profile, threshold)) for name, profile in NAB_PROFILES.items())
    }


def mean_of(tables: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over seeds, and the single scores."""
    return {
        profile: {
            "score": float(np.mean([table[profile]["score"] for table in tables])),
            "scores": [table[profile]["score"] for table in tables],
            "found": float(np.mean([table[profile]["found"] for table in tables])),
            "windows": tables[0][profile]["windows"],
            "false_alarms": float(np.mean([table[profile]["false_alarms"] for table in tables])),
        }
        for profile in NAB_PROFILES
    }


def detectors(series: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The table of every detector."""
    ours, flags = [], []
    for seed in SEEDS:
        scores, flagged = {}, {}
        for name, (times, values, _) in series.items():
            rows = cells(times, values)
            with tempfile.TemporaryDirectory() as folder:
                model = train(rows[: nab_probation(len(rows))], Path(folder), seed)
            scores[name], flagged[name] = stream(model, rows)
            print(f"seed {seed}  {name}: {len(rows)} rows, {int(flagged[name].sum())} flagged", flush=True)
        ours.append(table_of(scores, series, None))
        flags.append(table_of(flagged, series, 1.0))
    gaussian = {name: windowed_gaussian(values) for name, (_, values, _) in series.items()}
    fixed = {}
    for name, (_, values, _) in series.items():
        start = values[: nab_probation(len(values))]
        fixed[name] = np.abs(values - start.mean()) / (start.std() or 1.0)
    drawn = []
    for seed in range(DRAWS):
        draw = np.random.default_rng(seed)
        drawn.append(
            table_of({name: draw.random(len(values)) for name, (_, values, _) in series.items()}, series, None)
        )
    nothing = {name: np.zeros(len(values)) for name, (_, values, _) in series.items()}
    return {
        "aaren": mean_of(ours),
        "aaren, own flags": mean_of(flags),
        "windowed Gaussian": mean_of([table_of(gaussian, series, None)]),
        "static z-score": mean_of([table_of(fixed, series, None)]),
        "random": mean_of(drawn),
        "null": mean_of([table_of(nothing, series, 1.0)]),
    }


def markdown(record: dict[str, Any]) -> str:
    """The table of `docs/anomalies.md`."""
    lines = [f"| detector | {' | '.join(NAB_PROFILES)} | windows found | false alarms |", "|---|---|---|---|---|---|"]
    for name, found in record["detectors"].items():
        scores = " | ".join(f"{found[profile]['score']:.1f}" for profile in NAB_PROFILES)
        standard = found["standard"]
        lines.append(
            f"| {name} | {scores} | {standard['found']:.3g} of {standard['windows']} | {standard['false_alarms']:.3g} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the record to this file")
    arguments = parser.parse_args()
    series = read(Path(os.environ["AAREN_DATA"]) / "streaming" / "nab")
    record = {
        "series": {name: {"rows": len(v), "windows": len(w)} for name, (_, v, w) in series.items()},
        "model": MODEL,
        "epochs": EPOCHS,
        "seeds": list(SEEDS),
        "detectors": detectors(series),
    }
    print(markdown(record))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
