"""The streams inside Spark, embedded on this machine: what one pool says, over restarts and kills."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aaren.errors import MissingDependencyError

NEEDED = ("pyspark", "pandas", "pyarrow", "google.protobuf")


def lacking() -> str:
    """Why Spark cannot run here; empty if it can."""
    try:
        absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    except ModuleNotFoundError:
        absent = ["google.protobuf"]
    if absent:
        return f"needs {', '.join(absent)}: make engine, or pip install 'aaren[spark]'"
    if not shutil.which("java") and "JAVA_HOME" not in os.environ:
        return "needs Java 17 or newer, which is not on the PATH"
    return ""


WHY = lacking()
spark_only = [pytest.mark.engine, pytest.mark.skipif(bool(WHY), reason=WHY or "Spark is there")]
pytestmark = pytest.mark.filterwarnings("default")  # those of Spark and py4j are not ours


@pytest.fixture(scope="module")
def job() -> Any:
    """The module of the query."""
    spec = importlib.util.spec_from_file_location("spark_job", Path(__file__).parent / "spark_job.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def spark(job) -> Any:
    """One session for all tests of this file."""
    found = job.session()
    yield found
    found.stop()


def send(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Put a file where the query looks for them, whole at once, and later than all before by the time it bears."""
    (folder / "in").mkdir(exist_ok=True)
    moment = 1_700_000_000 + 10 * len(list((folder / "in").iterdir()))
    text = "".join(json.dumps(row | {"number": str(row["number"])}) + "\n" for row in rows)
    (folder / "hidden").write_text(text, encoding="utf-8")
    os.utime(folder / "hidden", (moment, moment))  # Spark takes files in the order of these, and ties in any
    (folder / "hidden").rename(folder / "in" / f"{name}.json")


def said(folder: Path) -> list[dict[str, Any]]:
    """The rows that the query has committed; a file that no committed batch names does not count."""
    import pyarrow.parquet as pq

    files = set()
    for log in (folder / "out/_spark_metadata").iterdir():
        if not log.name.startswith("."):
            files |= {Path(json.loads(line)["path"]).name for line in log.read_text().splitlines()[1:]}
    return [row for file in sorted(files) for row in pq.read_table(folder / "out" / file).to_pylist()]


def expect(rows: list[dict[str, Any]], found: list[dict[str, Any]], pool: Any) -> None:
    """The taken rows are those that a pool takes, each once, with its predictions."""
    columns = {name: [row[name] for row in rows] for name in ("date", "PM2.5", "wind")}
    result = pool.update([row["key"] for row in rows], columns)
    wanted = {
        (row["key"], n): mean for row, n, mean in zip(rows, result.rows.tolist(), result.arrays["mean"], strict=True)
    }
    taken = [row for row in found if row["status"] == "taken"]
    assert sorted((row["key"], row["rows"]) for row in taken) == sorted(wanted)
    for row in taken:
        np.testing.assert_allclose(row["mean"], wanted[row["key"], row["rows"]].ravel(), rtol=1e-4, atol=1e-5)


class TestSpark:
    pytestmark = spark_only

    def test_several_batches_and_a_restart(self, spark, job, tmp_path, forecaster, sensor_rows):
        """Over micro-batches, a restart and bad rows all is as in one pool; a foreign checkpoint is refused."""
        model, rows = forecaster(0), sensor_rows(12, 6)
        model.save(tmp_path / "model")
        bad = [dict(rows[60]) | {"PM2.5": 1e300, "key": "sensor 1", "number": 7}]
        bad += [dict(rows[0]) | {"key": None}, dict(rows[0]) | {"number": "x"}, rows[5]]
        rows[30]["PM2.5"] = None  # missing, which is not bad
        send(tmp_path, "0", rows[24:0:-1] + rows[:1])  # in no order
        send(tmp_path, "1", rows[25:48])
        job.start(spark, tmp_path, number="number", buckets=4).awaitTermination()
        assert len(said(tmp_path)) == 48
        send(tmp_path, "2", rows[48:])
        send(tmp_path, "3", bad)
        job.start(spark, tmp_path, number="number", buckets=4).awaitTermination()
        found = said(tmp_path)
        expect(rows, found, model.pool(100))
        assert [row["rows"] for row in found if row["status"] == "duplicate"] == [6]
        refused = sorted((row["error"] for row in found if row["status"] == "refused"), key=lambda told: "line" in told)
        refused[:2] = sorted(refused[:2])
        assert all(row["mean"] is None for row in found if row["status"] != "taken")
        assert len(refused) == 3
        assert "column 'key': expected the key of a stream, received null" in refused[0]
        assert "column 'number': expected a whole number from 1, received null" in refused[1]
        assert "stream 'sensor 1', line 7, column 'PM2.5'" in refused[2]

        forecaster(1).save(tmp_path / "other")
        send(tmp_path, "4", [row | {"number": 7} for row in rows[:12]])
        for options, words in (
            ({"model": "other"}, "expected model"),
            ({"buckets": 8}, "expected buckets 8, received"),
        ):
            before = said(tmp_path)
            with pytest.raises(Exception, match=f"ModelFileError.*checkpoint: {words}"):
                job.start(spark, tmp_path, **{"number": "number", "buckets": 4, **options}).awaitTermination()
            assert said(tmp_path) == before

    def test_nothing_is_lost_or_twice_after_kills(self, tmp_path, forecaster, sensor_rows):
        """The process of the query dies by SIGKILL in mid-stream, twice; who starts it again gets every row once."""
        model, rows = forecaster(0), sensor_rows(10, 12)
        model.save(tmp_path / "model")
        for batch in range(12):
            send(tmp_path, f"{batch:02d}", rows[10 * batch : 10 * batch + 10])
        commits = tmp_path / "checkpoint/commits"
        for batches in (2, 5):
            process = subprocess.Popen(
                [sys.executable, Path(__file__).parent / "spark_job.py", tmp_path],
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            while process.poll() is None and not (commits / str(batches)).exists():
                time.sleep(0.02)
            assert process.poll() is None, "the query ended before it was killed"
            os.killpg(process.pid, signal.SIGKILL)  # the driver, its Java process and its workers
            process.wait()
        assert not (commits / "11").exists()
        subprocess.run(
            [sys.executable, Path(__file__).parent / "spark_job.py", tmp_path], check=True, capture_output=True
        )
        found = said(tmp_path)
        assert len(found) == len(rows)
        expect(rows, found, model.pool(100))

    def test_what_cannot_be_is_said_at_the_call(self, spark, job, tmp_path, forecaster):
        """Columns that are not there, an order that nothing tells, and no bucket are errors before the query starts."""
        from aaren.engines import spark_streams

        forecaster(0).save(tmp_path / "model")
        rows = spark.createDataFrame([], job.ROWS)
        with pytest.raises(ValueError, match=r"df: expected the columns \['wind'\]"):
            spark_streams(rows.drop("wind"), tmp_path / "model")
        with pytest.raises(ValueError, match="number: expected a column of its own"):
            spark_streams(rows, tmp_path / "model", number="key")
        with pytest.raises(ValueError, match="buckets: expected a whole number"):
            spark_streams(rows, tmp_path / "model", buckets=0)


@pytest.mark.skipif(importlib.util.find_spec("pyspark") is not None, reason="pyspark is there")
def test_without_spark_the_extra_is_named():
    """Who has no pyspark is told how to install it."""
    from aaren.engines import spark_streams

    with pytest.raises(MissingDependencyError, match=r"aaren\[spark\]"):
        spark_streams(None, "model")
