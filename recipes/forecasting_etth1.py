"""ETTh1, look-back 96, horizon 96, multivariate: Aaren, Transformer and GRU; only the encoder differs.

The protocol is the paper's (arXiv 2405.13956, section 4.3 and appendix): windows normalised one by one, one forecast
from the last token, splits of 12/4/4 months, test errors over every window on standardised data. The scale is smaller
than the paper's (width 64 rather than 512), the same for all encoders, and is part of every record. Model selection
uses the validation part alone.

    python recipes/forecasting_etth1.py [--seeds 3] [--threads 2]

Records go to results/forecasting-etth1-96.jsonl as runs finish; a run that has its record is skipped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch

from aaren.data import find, read_series
from aaren.training import TrainingOptions, append_record, train_forecaster

RECORDS = Path(__file__).parents[1] / "results" / "forecasting-etth1-96.jsonl"
ENCODERS = ("aaren", "transformer", "gru")
SPLIT = (8640, 2880, 2880)  # 12, 4 and 4 months of 30 days
MODEL = {
    "look_back": 96,
    "horizon": 96,
    "d_model": 64,
    "nhead": 4,
    "num_layers": 2,
    "dim_feedforward": 256,
    "dropout": 0.1,
    "activation": "gelu",
    "positions": "sinusoidal",
    "normalization": "window",
}
OPTIONS = {
    "epochs": 10,
    "batch_size": 32,
    "learning_rate": 5e-4,
    "learning_rate_decay": 0.5,
    "patience": 3,
    "clip": 0.0,
}


def finished() -> set[tuple[str, int]]:
    """Encoder and seed of every run that has a record."""
    if not RECORDS.exists():
        return set()
    records = [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return {(record["config"]["encoder"], record["seed"]) for record in records}


def main() -> None:
    """Run what has no record yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = read_series(find("ETTh1"), targets="all")
    for seed in range(arguments.seeds):
        for encoder in ENCODERS:
            if (encoder, seed) in finished():
                continue
            with tempfile.TemporaryDirectory() as directory:
                result = train_forecaster(
                    data,
                    directory,
                    split=SPLIT,
                    options=TrainingOptions(**OPTIONS, seed=seed),
                    progress=False,
                    encoder=encoder,
                    **MODEL,
                )
            append_record(RECORDS, result.record)
            errors = result.metrics["windows"]
            seconds = result.record["seconds"]
            print(f"{encoder} seed {seed}: MSE {errors['mse']:.4f} MAE {errors['mae']:.4f} in {seconds:.0f} s")


if __name__ == "__main__":
    main()
