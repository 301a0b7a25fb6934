"""A query that a test runs in a process of its own, and kills: `python spark_job.py FOLDER [--number COLUMN] [...]`.

Rows come from the JSON files of FOLDER/in, one a micro-batch; what the streams say goes to FOLDER/out, the state to
FOLDER/checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from aaren.engines import spark_streams

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.session.timeZone": "UTC",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
}
ROWS = "key STRING, number STRING, date TIMESTAMP_NTZ, `PM2.5` DOUBLE, wind DOUBLE"


def session() -> Any:
    """Spark in this process, two cores."""
    builder = SparkSession.builder.master("local[2]")
    for name, value in SETTINGS.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    return spark


def start(spark: Any, folder: Path, model: str = "model", **options: Any) -> Any:
    """Begin the query, or go on with it; it ends when all files are done."""
    rows = spark.readStream.schema(ROWS).option("maxFilesPerTrigger", 1).json(str(folder / "in"))
    said = spark_streams(rows, folder / model, **options)
    writer = said.writeStream.format("parquet").outputMode("append").trigger(availableNow=True)
    return writer.option("checkpointLocation", str(folder / "checkpoint")).start(str(folder / "out"))


def main() -> None:
    """Run to the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    start(session(), chosen.folder, number="number", buckets=4).awaitTermination()


if __name__ == "__main__":
    sys.exit(main())
