"""Kill a writer of durable streams again and again: `python tests/kill.py [--kills 1000] [--keys 24]`.

A writer takes real rows (the bundled hours of ETTh1, another stretch of them for every key) through `DurableStreams`
with room for two thirds of the keys, and tells its parent of every row that was acknowledged. The parent kills it with
SIGKILL at a random instant: while it opens the store, replays, checkpoints, takes a snapshot, or, most often, writes;
then it starts another, which sends each key's rows again from the first that was not acknowledged. At the end every
prediction and every record is compared with those of a pool that nobody killed. The last line is one JSON object:

    lost: acknowledged rows that a later start did not count     twice: rows beyond what was sent, in any record
    predictions: how many were compared    wrong_predictions, wrong_records: of those, not equal
    largest_difference: of all floats, in units of max(1, |float|)

Counts and times in a record are compared exactly, floats within 2e-4, the rounding of float32: rows of a call go
through the model together, and after a kill they are other rows. A row too many or too few moves the time.

A kill leaves the page cache of the system in place, so this says nothing about the power: `test_store_damage.py` cuts
the log instead.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aaren import Forecaster
from aaren.data import find, read_series
from aaren.evaluation import prepare
from aaren.streaming import DurableStreams, RowStatus

ROWS_IN_A_CALL, CALLS_IN_A_GROUP = 16, 3
LONGEST_LIFE = 0.6
KILLED_AT_START = 0.2
TOLERANCE = 2e-4
MEMORY = "/dev/shm"
EVERY = 50
HOUR = np.timedelta64(1, "h")


class Rows:
    """A model with fixed random weights, and as many rows as anybody asks for: the bundled series, over and over."""

    def __init__(self, keys: int) -> None:
        table = read_series(find("ETTh1"), targets=["OT"], covariates=["MUFL"])
        data = prepare(table, (8640, 2880, 2880))
        torch.manual_seed(0)
        sizes = {"look_back": 24, "horizon": 2, "d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 16}
        calendar = data.calendar.shape[1]
        self.model = Forecaster(
            preprocessing=data.preprocessing, inputs=2, targets=1, calendar=calendar, decay="learned", **sizes
        ).eval()
        series = table.series[0]
        assert series.times is not None
        self._begin, self._values = series.times[0], series.values
        self._time, self._names = table.schema.time[0], table.schema.inputs
        self.starts = {f"key {n}": 500 * n for n in range(keys)}
        warm = list(self.starts)  # what a first call costs is paid before the forks
        self.model.pool(keys).update(warm, self.mappings(warm, [1] * keys)).raise_first()

    def columns(self, keys: Sequence[str], numbers: Sequence[int]) -> dict[str, Any]:
        """Rows by their key and their number in its stream."""
        place = np.array([self.starts[key] + number for key, number in zip(keys, numbers, strict=True)])
        values = self._values[place % len(self._values)]
        times = self._begin + place * HOUR
        return {self._time: times, **{name: values[:, column] for column, name in enumerate(self._names)}}

    def mappings(self, keys: Sequence[str], numbers: Sequence[int]) -> list[dict[str, Any]]:
        """The same, row by row, with times as text."""
        columns = self.columns(keys, numbers)
        columns[self._time] = np.datetime_as_string(columns[self._time])
        return [dict(zip(columns, cells, strict=True)) for cells in zip(*map(list, columns.values()), strict=True)]

    def open(self, folder: Path) -> DurableStreams:
        """The streams of the writers; a row that is missing would be refused."""
        return DurableStreams(
            self.model, folder, 2 * len(self.starts) // 3, checkpoint_rows=150, checkpoint_keys=4, max_gap=0
        )


def write(rows: Rows, acknowledged: Counter[str], folder: Path, out: int) -> None:
    """What a writer does until it is killed: say what it has after its replay, then send rows and tell each answer."""
    streams = rows.open(folder)
    tell(out, {"replayed": {key: streams.rows(key) for key in rows.starts}})
    choice, sent = random.Random(os.getpid()), Counter(acknowledged)

    def send(keys: list[str]) -> list[tuple[str, int, list[float] | None]]:
        numbers = []
        for key in keys:
            sent[key] += 1
            numbers.append(sent[key])
        make = choice.choice([rows.columns, rows.mappings])
        result = streams.update(keys, make(keys, numbers), numbers)
        assert set(result.status.tolist()) <= {RowStatus.TAKEN, RowStatus.DUPLICATE}, result.errors
        new = (result.status == RowStatus.TAKEN).tolist()
        means = [mean if taken else None for mean, taken in zip(result.arrays["mean"].tolist(), new, strict=True)]
        return list(zip(keys, numbers, means, strict=True))

    for call in range(1, sys.maxsize):
        if call % 40 == 0:
            streams.snapshot()
        if call % 5 == 0:
            with streams.group():
                some = [choice.choices(list(rows.starts), k=ROWS_IN_A_CALL) for _ in range(CALLS_IN_A_GROUP)]
                answers = [answer for keys in some for answer in send(keys)]
        elif call % 7 == 0:  # more keys than there is room for
            answers = send(list(rows.starts))
        else:
            answers = send(choice.choices(list(rows.starts), k=ROWS_IN_A_CALL))
        tell(out, {"answers": answers})


def tell(out: int, message: dict[str, Any]) -> None:
    """One line to the parent, whole or cut by the kill."""
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(out, data) :]


def live_and_die(work: Callable[[int], None], seconds: float, from_start: bool) -> list[dict[str, Any]]:
    """Run the work in a forked process and kill it; the whole lines that it told.

    Args:
        work: takes the file descriptor to tell lines to.
        seconds: until the kill.
        from_start: whether they count from the fork; else from the first line, when the replay is done.
    """
    incoming, outgoing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(incoming)
            work(outgoing)
        except BaseException as error:
            tell(outgoing, {"error": f"{type(error).__name__}: {error}"})
        finally:
            os._exit(1)
    os.close(outgoing)
    data, end = b"", time.monotonic() + seconds if from_start else None
    os.set_blocking(incoming, False)
    killed = False
    while True:
        if not killed and end is not None and time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed = True
        try:
            piece = os.read(incoming, 1 << 16)
        except BlockingIOError:
            time.sleep(0.001)
            continue
        if not piece:
            break
        data += piece
        if end is None and b"\n" in piece:
            end = time.monotonic() + seconds
    if not killed:
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            raise SystemExit(f"a writer ended by itself: {signal.Signals(os.WTERMSIG(status)).name}")
    os.close(incoming)
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def run(kills: int, keys: int, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Kill so many writers, then compare; what the last line of the script says."""
    rows, choice = Rows(keys), random.Random(seed)
    acknowledged: Counter[str] = Counter()
    answers: dict[tuple[str, int], Any] = {}
    lost = duplicates = calls = 0
    for life in range(1, kills + 1):
        seconds, from_start = choice.uniform(0, LONGEST_LIFE), choice.random() < KILLED_AT_START
        told = live_and_die(lambda out: write(rows, acknowledged, folder, out), seconds, from_start)
        for message in told:
            if "error" in message:
                raise SystemExit(f"a writer ended by itself: {message['error']}")
            lost += sum(max(0, acknowledged[key] - count) for key, count in message.get("replayed", {}).items())
            calls += "answers" in message
            for key, number, mean in message.get("answers", []):
                acknowledged[key] = max(acknowledged[key], number)
                duplicates += mean is None
                if mean is not None:
                    answers[key, number] = mean
        if life % EVERY == 0:
            print(f"{life} kills, {acknowledged.total()} rows, {lost} lost, {duplicates} sent again", flush=True)
    counts = {"kills": kills, "calls": calls, "rows": acknowledged.total(), "lost": lost}
    return counts | {"sent_again_and_known": duplicates} | compare(rows, acknowledged, answers, folder)


def compare(
    rows: Rows, acknowledged: Counter[str], answers: dict[tuple[str, int], Any], folder: Path
) -> dict[str, float]:
    """Records and predictions against a pool that nobody killed."""
    found: dict[str, float] = dict.fromkeys(("lost_at_end", "twice", "wrong_predictions", "wrong_records"), 0)
    found |= {"predictions": len(answers), "largest_difference": 0.0}

    def differ(one: Any, other: Any) -> bool:
        difference = np.abs(one - other) / np.maximum(1, np.abs(other))
        difference = float(np.nan_to_num(difference, nan=0.0).max(initial=0.0))
        found["largest_difference"] = max(found["largest_difference"], difference)
        return difference > TOLERANCE or bool((np.isnan(one) != np.isnan(other)).any())

    pool = rows.model.pool(len(rows.starts))
    streams = rows.open(folder)
    streams.store.verify()
    count = {key: streams.rows(key) for key in rows.starts}
    for number in range(1, max(count.values()) + 1):
        keys = [key for key in rows.starts if number <= count[key]]
        result = pool.update(keys, rows.columns(keys, [number] * len(keys)))
        result.raise_first()
        for key, mean in zip(keys, result.arrays["mean"], strict=True):
            if (key, number) in answers:
                found["wrong_predictions"] += differ(np.array(answers[key, number]), mean)
    # a call that was killed between its sync and its answer is counted, and was not acknowledged
    untold = CALLS_IN_A_GROUP * ROWS_IN_A_CALL
    for key in rows.starts:
        found["lost_at_end"] += max(0, acknowledged[key] - count[key])
        found["twice"] += max(0, count[key] - acknowledged[key] - untold)
        if not count[key]:
            continue
        one, other = (torch.from_numpy(each.records([key]).copy()) for each in (streams, pool))
        wrong = False
        for field in pool.layout.fields:
            left, right = field.of(one).numpy(), field.of(other).numpy()
            exact = np.issubdtype(left.dtype, np.integer)
            wrong |= not np.array_equal(left, right) if exact else differ(left, right)
        found["wrong_records"] += wrong
    streams.close()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The script; exit code 1 if a row was lost or applied twice, or an answer is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--keys", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help=f"where the store is made (default {MEMORY} if it is there)")
    chosen = parser.parse_args(arguments)
    if chosen.folder is None and Path(MEMORY).is_dir():
        chosen.folder = MEMORY  # a kill does not depend on the disk: more calls, and more kills in a minute
    torch.set_num_threads(1)  # threads do not survive a fork
    folder = Path(tempfile.mkdtemp(dir=chosen.folder))
    began = time.monotonic()
    try:
        found = run(chosen.kills, chosen.keys, folder / "store", chosen.seed)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(found | {"seconds": round(time.monotonic() - began, 1)}))
    return int(any(found[name] for name in ("lost", "lost_at_end", "twice", "wrong_predictions", "wrong_records")))


if __name__ == "__main__":
    sys.exit(main())
