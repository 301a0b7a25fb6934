"""`aaren train forecaster`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from aaren.cli._common import (
    columns,
    decay_of,
    error_table,
    existing,
    named_errors,
    print_json,
    quantile_levels,
    require_trainable,
    require_writable_folder,
    split_parts,
    time_columns,
)
from aaren.cli._train_options import TrainOptions

Many = Parameter(negative=())


def forecaster(
    data: Path,
    /,
    *,
    target: Annotated[list[str], Many],
    horizon: int,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("model"),
    covariates: Annotated[list[str] | None, Many] = None,
    time: str = "auto",
    series_id: str | None = None,
    split: str = "0.7,0.1,0.2",
    encoder: Literal["aaren", "transformer", "gru", "mingru"] = "aaren",
    look_back: int = 192,
    normalization: Literal["running", "window"] = "running",
    decay: Literal["none", "learned", "time"] | None = None,
    highway: int = 96,
    quantiles: str = "0.1,0.5,0.9",
    positions: Literal["none", "sinusoidal", "learned"] = "none",
    options: Annotated[TrainOptions, Parameter(name="*")] = TrainOptions(),  # noqa: B008 (it is frozen)
) -> None:
    """Train a forecaster on a table and write it to a folder.

    The table is split in time. The first part trains, the second decides when to stop, the third is read once, at
    the end, for the errors that are printed and recorded, beside simple forecasts.

    Parameters
    ----------
    data
        CSV (also .gz) or Parquet file with a header.
    target
        Column to forecast; repeat it, or give several with commas; "all" for every numeric column.
    horizon
        Rows to forecast.
    output
        Folder for the model: config.json, model.safetensors, preprocessing.json, MODEL_CARD.md, record.jsonl.
    covariates
        Further input columns, as --target; they are not forecast.
    time
        Column of the time; or its parts with commas, as year,month,day,hour; or "none" if rows are equally spaced.
        By default a column called date, time, timestamp, datetime or ds.
    series_id
        Column that tells several series in one table apart.
    split
        Training, validation and test, as fractions or as numbers of rows.
    encoder
        The model's core: aaren, or a baseline to compare with.
    look_back
        Rows of a training sequence.
    normalization
        "running" streams, with a forecast at every row. "window" is the paper's protocol, and does not stream.
    decay
        Of aaren, how older rows fade: by a learned rate per head and row (by default), per head and elapsed time, or
        not at all (the paper).
    highway
        Last rows that a linear map takes straight to the forecast; 0 for none.
    quantiles
        Levels to forecast beside the mean, with commas; "" for none.
    positions
        Position encoding; streams without an end want none.
    options
        Encoder, training and output.
    """
    from aaren.data import read_series
    from aaren.training import TrainingOptions, train_forecaster

    require_trainable(options.accelerator, options.seed)
    parts, levels = split_parts(split), quantile_levels(quantiles)
    fading = decay_of(encoder, "learned" if decay is None and encoder == "aaren" else decay)
    require_writable_folder(output)
    table = read_series(
        existing(data),
        targets=columns(target),
        covariates=columns(covariates),
        time=time_columns(time),
        series_id=series_id,
    )
    print(table.describe(), file=sys.stderr)
    result = train_forecaster(
        table,
        output,
        horizon=horizon,
        split=parts,
        options=TrainingOptions(**options.training()),
        resume=options.resume,
        encoder=encoder,
        look_back=look_back,
        normalization=normalization,
        decay=fading,
        highway=highway,
        quantiles=levels,
        positions=None if positions == "none" else positions,
        **options.sizes(),
    )
    if options.json:
        print_json(result.record)
        return
    error_table("Errors on the test part, in training deviations", named_errors(result.metrics, encoder))
    following = f"aaren stream {output} < rows.csv" if normalization == "running" else f"aaren predict {output} {data}"
    print(f"Model written to {output}. Next: {following}")
