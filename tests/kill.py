"""Kill a writer of durable streams again and again: `python tests/kill.py [--kills 1000] [--keys 24]`.

A writer takes real rows (the bundled hours of ETTh1, another stretch of them for every key) through `DurableStreams`,
and tells its parent of every row that `update` has acknowledged. The parent kills it with SIGKILL at a random instant:
while it opens the store, replays, checkpoints, takes a snapshot, or, most often, writes; then it starts another, which
sends each key's rows again from the first that was not acknowledged. At the end every prediction and every record is
compared with those of plain streams that nobody killed. The last line is one JSON object:

    lost: acknowledged rows that a later start did not count     twice: rows beyond what was sent, in any record
    predictions: how many were compared    wrong_predictions, wrong_records: of those, not equal bit for bit

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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent / "streaming"))

from stand_in_pool import DUPLICATE, TAKEN, StandInPool

from aaren import Forecaster
from aaren.data import find, read_series
from aaren.evaluation import prepare
from aaren.streaming import DurableStreams, StreamStore

ROWS_IN_A_CALL = 16
LONGEST_LIFE = 1.5
KILLED_AT_START = 0.2
MEMORY = "/dev/shm"
Rows = list[dict[str, Any]]


def make_model() -> tuple[Forecaster, Rows]:
    """A tiny forecaster with fixed random weights, and the rows of the bundled series."""
    table = read_series(find("ETTh1"), targets=["OT"], covariates=["MUFL"])
    data = prepare(table, (8640, 2880, 2880))
    torch.manual_seed(0)
    sizes = {"look_back": 24, "horizon": 2, "d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 16}
    calendar = data.calendar.shape[1]
    model = Forecaster(
        preprocessing=data.preprocessing, inputs=2, targets=1, calendar=calendar, decay="learned", **sizes
    )
    series = table.series[0]
    assert series.times is not None
    name = table.schema.time[0]
    rows = [
        {name: str(moment), **dict(zip(table.schema.inputs, cells, strict=True))}
        for moment, cells in zip(series.times, series.values.tolist(), strict=True)
    ]
    return model.eval(), rows


def open_store(model: Forecaster, folder: Path) -> StreamStore:
    """The store of the writers."""
    return StreamStore(folder, fingerprint=model.fingerprint(), layout={"kind": "snapshot of a stream"})


def write(
    model: Forecaster, rows: Rows, starts: dict[str, int], acknowledged: Counter[str], folder: Path, out: int
) -> None:
    """What a writer does until it is killed: say what it has after its replay, then send rows and tell each answer."""
    store = open_store(model, folder)
    pool = StandInPool(model, store, folder.parent, capacity=2 * len(starts) // 3)
    streams = DurableStreams(pool, store, checkpoint_rows=150, checkpoint_keys=4)
    tell(out, {"replayed": {key: streams.rows(key) for key in starts}})
    choice, sent = random.Random(os.getpid()), Counter(acknowledged)
    calls = 0
    while True:
        calls += 1
        if calls % 40 == 0:
            store.snapshot()
        keys = choice.choices(list(starts), k=ROWS_IN_A_CALL)
        numbers = []
        for key in keys:
            sent[key] += 1
            numbers.append(sent[key])
        cells = [rows[(starts[key] + number) % len(rows)] for key, number in zip(keys, numbers, strict=True)]
        result = streams.update(keys, cells, numbers)
        assert set(result.status) <= {TAKEN, DUPLICATE}, result.errors
        said = [None if each is None else each.to_dict() for each in result.predictions]
        tell(out, {"answers": list(zip(keys, numbers, said, strict=True))})


def tell(out: int, message: dict[str, Any]) -> None:
    """One line to the parent, whole or cut by the kill."""
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(out, data) :]


def live_and_die(work: Any, seconds: float, from_start: bool) -> list[dict[str, Any]]:
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
        os.waitpid(child, 0)
    os.close(incoming)
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def run(kills: int, keys: int, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Kill so many writers, then compare; what the last line of the script says."""
    model, rows = make_model()
    choice = random.Random(seed)
    starts = {f"key {n}": 500 * n for n in range(keys)}
    acknowledged: Counter[str] = Counter()
    answers: dict[tuple[str, int], Any] = {}
    lost = duplicates = lives = calls = 0
    while lives < kills:
        life = choice.uniform(0, LONGEST_LIFE)
        from_start = choice.random() < KILLED_AT_START
        told = live_and_die(lambda out: write(model, rows, starts, acknowledged, folder, out), life, from_start)
        lives += 1
        for message in told:
            if "error" in message:
                raise SystemExit(f"a writer ended by itself: {message['error']}")
            lost += sum(max(0, acknowledged[key] - count) for key, count in message.get("replayed", {}).items())
            calls += "answers" in message
            for key, number, said in message.get("answers", []):
                acknowledged[key] = max(acknowledged[key], number)
                duplicates += said is None
                if said is not None:
                    answers[key, number] = said
    return {
        "kills": lives,
        "calls": calls,
        "rows": sum(acknowledged.values()),
        "lost": lost,
        "sent_again_and_known": duplicates,
        **compare(model, rows, starts, acknowledged, answers, folder),
    }


def compare(
    model: Forecaster,
    rows: Rows,
    starts: dict[str, int],
    acknowledged: Counter[str],
    answers: dict[tuple[str, int], Any],
    folder: Path,
) -> dict[str, int]:
    """Records and predictions against plain streams that nobody killed."""
    found: Counter[str] = Counter(twice=0, wrong_predictions=0, wrong_records=0, predictions=len(answers))
    with open_store(model, folder) as store, tempfile.TemporaryDirectory() as place:
        store.verify()
        pool = StandInPool(model, store, folder.parent, capacity=len(starts) + 1)
        DurableStreams(pool, store)
        for key, start in starts.items():
            stream, count = model.stream(), pool.rows(key)
            # a call that was killed between its sync and its answer is counted, and was not acknowledged
            found["twice"] += max(0, count - acknowledged[key] - ROWS_IN_A_CALL)
            found["lost_at_end"] += max(0, acknowledged[key] - count)
            for number in range(1, count + 1):
                said = stream.update(rows[(start + number) % len(rows)])
                assert said is not None
                if (key, number) in answers:
                    found["wrong_predictions"] += json.loads(json.dumps(said.to_dict())) != answers[key, number]
            if count:
                stream.save(Path(place) / "record")
                found["wrong_records"] += (Path(place) / "record").read_bytes() != pool.record(key)
    return dict(found)


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
    try:
        found = run(chosen.kills, chosen.keys, folder / "store", chosen.seed)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(found))
    return int(any(found[name] for name in ("lost", "lost_at_end", "twice", "wrong_predictions", "wrong_records")))


if __name__ == "__main__":
    sys.exit(main())
