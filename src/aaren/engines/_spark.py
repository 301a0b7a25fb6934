"""The streams of a model as an operator of Spark Structured Streaming, which keeps their state in its own checkpoints.

Keys are hashed into buckets. A bucket is a group of Spark's `transformWithStateInPandas` with one value of state, the
records of its streams; its rows of a micro-batch go through the model together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aaren
from aaren.data import Schema
from aaren.data._optional import optional
from aaren.engines._step import BucketStep
from aaren.streaming import open_stream


def spark_streams(
    df: Any,
    model_directory: str | Path,
    *,
    key: str = "key",
    number: str | None = None,
    buckets: int = 256,
    **options: Any,
) -> Any:
    """What the streams of a model say to the rows of a streaming DataFrame.

    Each row is taken as if it came alone, so that nothing depends on how Spark cuts micro-batches: a refused row does
    not stop the next one. Rows of one key in a micro-batch are taken in the order of `number`, or without it in the
    order of the model's time columns; text sorts as text there: write all times in one way, the year first.

    Null is a missing value; NaN is a bad one.

    Args:
        df: a streaming DataFrame with the key, the model's columns, and the number if rows have one. It may have more.
        model_directory: what `model.save` wrote, under this path on the driver and on all workers.
        key: the column whose text names the stream of a row. A row where it is null is refused.
        number: the column of the number of a row in its stream, from 1; with it, a row that the source sends again is
            told and not applied.
        buckets: groups that keys are hashed into, fixed for the life of a checkpoint. Of a bucket that has rows in a
            micro-batch, all state is read and written: aim at a few hundred streams in each.
        **options: of the streams, such as `on_bad_row`.

    Returns:
        A streaming DataFrame for output mode "append", with a row for each row of `df`: `key`; `rows`, those that the
        stream has counted after it; `status`, "taken", "skipped", "refused" or "duplicate"; `error`, why it was
        refused; and the arrays of `PoolResult` as columns, null where the row was not taken. What is an array
        of (horizon, targets) for a row there, comes flat: `mean[step * targets + target]`.

    Raises:
        MissingDependencyError: pyspark, or a package that it needs, is not installed.
        ModelFileError: the model cannot be loaded.
        ValueError: the model cannot be streamed in records, `df` has not the columns, or there is nothing to order by.
    """
    functions = optional("pyspark.sql.functions", "spark_streams", "spark")
    for package in ("pandas", "pyarrow", "google.protobuf"):
        optional(package, "spark_streams", "spark")
    from aaren.engines._spark_processor import SparkStreams
    from aaren.engines._spark_schema import ABSENT, BUCKET, KEY, NUMBER, cell, output_schema

    if not isinstance(buckets, int) or buckets < 1:
        raise ValueError(f"buckets: expected a whole number, at least 1, received {buckets!r}")
    model = aaren.load(model_directory)
    stream = open_stream(model, None, **options)
    columns = _columns(df, stream.schema, key, number)
    order = (NUMBER,) if number is not None else tuple(cell(place) for place in range(len(stream.schema.time)))
    if not order:
        raise ValueError(
            "number: expected the column with the number of each row, received None, and the model has no time column; "
            "Spark does not keep the order of rows, so that something must tell it"
        )
    step = BucketStep(model, buckets, **options)
    processor = SparkStreams(str(model_directory), step.stamp, buckets, key, number, order, columns, options)

    def column(name: str) -> Any:  # in quotes, since a dot would ask for a field
        return functions.col("`" + name.replace("`", "``") + "`")

    nulls = [column(name).isNull() for name in columns]
    some_null = nulls[0]
    for null in nulls[1:]:
        some_null = some_null | null
    marks = functions.concat(*[functions.when(null, "1").otherwise("0") for null in nulls])
    text = functions.coalesce(column(key).cast("string"), functions.lit(""))
    bucket = functions.pmod(functions.xxhash64(text), functions.lit(buckets)).cast("int")
    wanted = [bucket.alias(BUCKET), column(key).cast("string").alias(KEY)]
    wanted += [column(name).alias(cell(place)) for place, name in enumerate(columns)]
    if number is not None:
        wanted.append(column(number).try_cast("long").alias(NUMBER))
    prepared = df.select(*wanted, functions.when(some_null, marks).alias(ABSENT))
    return prepared.groupBy(BUCKET).transformWithStateInPandas(
        statefulProcessor=processor, outputStructType=output_schema(step), outputMode="append", timeMode="none"
    )


def _columns(df: Any, schema: Schema, key: str, number: str | None) -> tuple[str, ...]:
    """The model's columns that the DataFrame has, the optional one that names a series among them."""
    names = (*schema.time, *schema.inputs)
    missing = [name for name in (key, number, *names) if name is not None and name not in df.columns]
    if missing:
        raise ValueError(f"df: expected the columns {missing}, received {df.columns}")
    if number is not None and (number == key or number in names):
        raise ValueError(f"number: expected a column of its own, received {number!r}, which has another part already")
    named = schema.series_id is not None and schema.series_id in df.columns and schema.series_id not in (key, number)
    return (*names, schema.series_id) if named and schema.series_id is not None else names
