"""Streams inside Spark beside a pool alone: `python benchmarks/engine.py [--json FILE]`, and the plan of a cluster.

What is measured: the wall time of whole micro-batches of a query on two cores of this machine, source, shuffle, state,
its commit and the sink included, against the same rows in one `StreamPool` on one thread, for a forecaster of 2 layers
of width 32. Two loads: every stream has a row in a micro-batch; one in twenty has. The first micro-batch, in which the
streams begin and Java warms up, is left out. And bytes of state a stream, in memory and in the checkpoint.

What it does not say: nothing about a network between machines, nor about a store of checkpoints that is far away.
The gate: what the query says is what the pool says; exit code 1 and no JSON if it is not.

`python benchmarks/engine.py --plan FILE.json` calculates a plan from the figures of such a run: nothing in it is
measured but they.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _harness import option_parser, refused
from _machine import machine
from _plan import print_plan
from pool import HOUR, NAMES, START, forecaster

CORES, CALL, SPARSE = 2, 1024, 20
SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": str(CORES),
    "spark.sql.session.timeZone": "UTC",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
}


def loads(streams: int, batches: int) -> list[tuple[str, np.ndarray]]:
    """Micro-batches: a name for the load, and which streams have a row."""
    random = np.random.default_rng(0)
    few = max(1, streams // SPARSE)
    sparse = [("sparse", random.choice(streams, few, replace=False)) for _ in range(batches)]
    return [("first", np.arange(streams)), *[("dense", np.arange(streams)) for _ in range(batches)], *sparse]


def write(folder: Path, batches: Sequence[tuple[str, np.ndarray]]) -> list[dict[str, Any]]:
    """One file of rows for each micro-batch; their columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    random, found = np.random.default_rng(1), []
    counts = np.zeros(len(batches[0][1]), dtype=np.int64)  # each row is the next hour of its stream: no gaps
    for index, (_, streams) in enumerate(batches):
        times = START + counts[streams] * HOUR
        counts[streams] += 1
        rows = {"key": [f"stream-{n}" for n in streams.tolist()], "date": times}
        rows |= {name: random.standard_normal(len(streams)) for name in NAMES}
        file = folder / f"{index:04d}.parquet"
        pq.write_table(pa.table(rows), file)
        os.utime(file, (index + 1, index + 1))  # Spark takes files in the order of these times
        found.append(rows)
    return found


def run_query(folder: Path, buckets: int) -> list[float]:
    """Seconds of each micro-batch."""
    from pyspark.sql import SparkSession

    from aaren.engines import spark_streams

    builder = SparkSession.builder.master(f"local[{CORES}]")
    for name, value in SETTINGS.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    schema = spark.read.parquet(str(folder / "in")).schema
    rows = spark.readStream.schema(schema).option("maxFilesPerTrigger", 1).parquet(str(folder / "in"))
    said = spark_streams(rows, folder / "model", buckets=buckets)
    writer = said.writeStream.format("parquet").outputMode("append").trigger(availableNow=True)
    query = writer.option("checkpointLocation", str(folder / "checkpoint")).start(str(folder / "out"))
    query.awaitTermination()
    seconds = [step["durationMs"]["triggerExecution"] / 1e3 for step in query.recentProgress if step["numInputRows"]]
    spark.stop()
    return seconds


def run_pool(model: Any, rows: Sequence[dict[str, Any]], streams: int) -> tuple[list[float], Any, list[Any]]:
    """Seconds for the rows of each micro-batch in one pool, the pool, and what it says."""
    pool, seconds, said = model.pool(streams), [], []
    for columns in rows:
        start, means = time.perf_counter(), []
        for first in range(0, len(columns["key"]), CALL):
            part = {name: column[first : first + CALL] for name, column in columns.items()}
            means.append(pool.update(part.pop("key"), part).arrays["mean"])
        seconds.append(time.perf_counter() - start)
        said.append(np.concatenate(means))
    return seconds, pool, said


def faults(folder: Path, rows: Sequence[dict[str, Any]], said: Sequence[Any]) -> list[str]:
    """What the query says, against the pool."""
    import pyarrow.parquet as pq

    wanted = {
        (key, time): mean.ravel()
        for columns, means in zip(rows, said, strict=True)
        for key, time, mean in zip(columns["key"], columns["date"].tolist(), means, strict=True)
    }
    count, worst = 0, 0.0
    for file in (folder / "out").glob("*.parquet"):
        for row in pq.read_table(file, columns=["key", "time", "mean"]).to_pylist():
            count += 1
            worst = max(worst, float(np.abs(np.ravel(row["mean"]) - wanted[row["key"], row["time"]]).max()))
    if count != len(wanted):
        return [f"expected {len(wanted)} rows out of the query, received {count}"]
    return [] if worst < 1e-3 else [f"the query says another thing than the pool, by up to {worst:.2g}"]


def nbytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(chosen: argparse.Namespace, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """The faults, and the figures."""
    model = forecaster(2, 32)
    model.save(folder / "model")
    batches = loads(chosen.streams, chosen.batches)
    rows = write(folder / "in", batches)
    seconds = run_query(folder, chosen.buckets)
    alone, pool, said = run_pool(model, rows, chosen.streams)
    found: dict[str, Any] = {}
    for load in ("dense", "sparse"):
        places = [place for place, (name, _) in enumerate(batches) if name == load]
        events = len(batches[places[0]][1])
        engine, one = (statistics.median(each[place] for place in places) for each in (seconds, alone))
        found[load] = {
            "events": events,
            "seconds": [seconds[place] for place in places],
            "events_per_second": events / engine,
            "events_per_second_per_core": events / engine / CORES,
            "pool_events_per_second": events / one,
            "pool_seconds": [alone[place] for place in places],
            "engine_over_pool_in_core_time": CORES * engine / one,
        }
    state = nbytes(folder / "checkpoint/state")
    sizes = {"record_bytes": pool.record_bytes, "checkpoint_bytes_per_stream": state / chosen.streams}
    return faults(folder, rows, said), {**found, **sizes, "streams": chosen.streams, "buckets": chosen.buckets}


def options() -> argparse.ArgumentParser:
    parser = option_parser(__doc__)
    parser.add_argument("--streams", type=int, default=20_000, help="keys (default 20,000)")
    parser.add_argument("--buckets", type=int, default=64, help="groups of keys (default 64)")
    parser.add_argument("--batches", type=int, default=3, help="micro-batches of each load (default 3)")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="calculate from the JSON of a run; measure nothing")
    parser.add_argument(
        "--interval", type=float, default=3600, help="seconds between two rows of a stream, for the plan"
    )
    parser.add_argument("--price", type=float, default=0.05, help="of a core for an hour, for the plan (default 0.05)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options().parse_args(arguments)
    if chosen.plan:
        print_plan(json.loads(chosen.plan.read_text(encoding="utf-8")), chosen.interval, chosen.price)
        return 0
    if chosen.quick:
        chosen.streams, chosen.buckets, chosen.batches = 60, 2, 1
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    try:
        wrong, found = measure(chosen, folder)
    finally:
        shutil.rmtree(folder)
    if refused(wrong):
        return 1
    line = json.dumps({"benchmark": "engine", "machine": machine(), "quick": chosen.quick, **found})
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(line + "\n", encoding="utf-8")
    print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
