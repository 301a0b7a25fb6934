"""Kill `aaren serve` again and again: `python tests/kill_service.py [--kills 100] [--keys 24]`.

What `kill.py` does to a writer of durable streams is done here to the service, with clients that know HTTP alone. Four
of them send rows of their own keys, each with its number, as JSON and as lines (NDJSON), and note what was answered.
The service is killed with SIGKILL at a random instant, while it starts or while it answers; now and then it gets
SIGTERM instead, and must end with exit code 0. Then it is started again on the same store, must have every row that
was answered, and each client sends again what was not answered, and some rows that were. At the end every prediction
and every record is compared with those of a pool that nobody killed. The last line is one JSON object, as in `kill.py`.

The service is the command itself, in a forked process, so that a start does not take the seconds of its imports.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

import aaren.serving  # noqa: F401 - the forked services have it then
from aaren.cli._app import run as command
from kill import EVERY, MEMORY, Rows, compare

CLIENTS, ROWS_IN_A_REQUEST, SENT_AGAIN = 4, 16, 3
LONGEST_LIFE, KILLED_AT_START, ENDED = 0.6, 0.2, 0.1


@dataclass
class Told:
    """What clients were answered: rows by key, predictions by key and number, and rows that were known already."""

    acknowledged: Counter[str] = field(default_factory=Counter)
    means: dict[tuple[str, int], Any] = field(default_factory=dict)
    duplicates: int = 0
    requests: int = 0
    wrong: list[Any] = field(default_factory=list)


class Life:
    """The service in a process of its own, from its start to its end.

    Args:
        model: directory of the model.
        store: folder of the store.
        capacity: streams in memory.
    """

    def __init__(self, model: Path, store: Path, capacity: int) -> None:
        self._said, said = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            os.close(self._said)
            os.dup2(said, 2)
            sys.stderr = os.fdopen(2, "w", buffering=1)
            options = f"--port 0 --capacity {capacity} --max-gap 0 --store".split()
            os._exit(command(["serve", str(model), *options, str(store)]))
        os.close(said)
        self._words = os.fdopen(self._said)
        self.port: int | None = None

    def started(self) -> bool:
        """Wait until it takes requests; False if it ends before."""
        line = self._words.readline()
        if line.startswith("aaren: serving"):
            self.port = int(line.rsplit(":", 1)[1].strip().rstrip("/"))
        elif line:
            raise SystemExit(f"the service ended by itself: {line}")
        return self.port is not None

    def end(self, number: int) -> str:
        """End it; what it said since its start. A service that was asked to end must do so in good order."""
        os.kill(self.child, number)
        _, status = os.waitpid(self.child, 0)
        said = self._words.read()
        self._words.close()
        if number == signal.SIGTERM and (os.waitstatus_to_exitcode(status) != 0 or "Traceback" in said):
            raise SystemExit(f"SIGTERM ended the service with {os.waitstatus_to_exitcode(status)}: {said}")
        return said


def ask(port: int, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
    """The answer to a request: JSON, or the lines that came of it; OSError if there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"content-type": kind})
        answer = connection.getresponse()
        data = answer.read()
    except http.client.IncompleteRead as error:
        if kind == "application/json":
            raise OSError("the answer is not whole") from error
        data = error.partial[: error.partial.rfind(b"\n") + 1]  # a line that came is an answer
    except http.client.HTTPException as error:
        raise OSError("there is no answer") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise OSError(f"{answer.status}: {data[:200]!r}")
    return json.loads(data) if kind == "application/json" else [json.loads(line) for line in data.splitlines()]


def send(port: int, rows: Rows, keys: Sequence[str], told: Told, choice: random.Random, lock: threading.Lock) -> None:
    """One client: rows of its keys, until the service is gone."""
    sent = {key: max(0, told.acknowledged[key] - choice.randrange(SENT_AGAIN)) for key in keys}
    while True:
        chosen = choice.choices(keys, k=choice.randint(1, ROWS_IN_A_REQUEST))
        numbers = []
        for key in chosen:
            sent[key] += 1
            numbers.append(sent[key])
        cells = rows.mappings(chosen, numbers)
        given = [{"key": k, "number": n, "row": row} for k, n, row in zip(chosen, numbers, cells, strict=True)]
        try:
            if choice.random() < 0.5:
                found = ask(port, "POST", "/v1/rows", json.dumps({"rows": given}).encode())["rows"]
            else:
                lines = b"".join(json.dumps(one).encode() + b"\n" for one in given)
                found = ask(port, "POST", "/v1/rows", lines, "application/x-ndjson")
        except OSError:
            return
        with lock:
            told.requests += 1
            note(told, chosen, numbers, found)


def note(told: Told, keys: Sequence[str], numbers: Sequence[int], found: Sequence[Any]) -> None:
    """Note the answers to rows, as far as they came: a stop ends a body of lines early."""
    for key, number, one in zip(keys, numbers, found, strict=False):
        if (one.get("key"), one.get("number")) != (key, number) or one["status"] not in ("taken", "duplicate"):
            if "error" not in one or "stopping" not in str(one):
                told.wrong.append(one)
            return
        told.acknowledged[key] = max(told.acknowledged[key], number)
        if one["status"] == "duplicate":
            told.duplicates += 1
        else:
            told.means[key, number] = [[step] for step in one["prediction"]["forecast"]["OT"]["mean"]]


def run(kills: int, keys: int, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Kill so many services, then compare; what the last line of the script says."""
    rows, choice, told, lost = Rows(keys), random.Random(seed), Told(), 0
    names = list(rows.starts)
    rows.model.save(folder / "model")
    for life in range(1, kills + 1):
        service = Life(folder / "model", folder / "store", 2 * keys // 3)
        if choice.random() < KILLED_AT_START:
            time.sleep(choice.uniform(0, LONGEST_LIFE))
            service.end(signal.SIGKILL)
            continue
        assert service.started(), "it was not killed yet"
        assert service.port is not None, "it has started"
        for key in names:
            if told.acknowledged[key]:
                count = ask(service.port, "GET", f"/v1/stream?key={quote(key)}")["rows"]
                lost += max(0, told.acknowledged[key] - count)
        lock = threading.Lock()
        clients = [
            threading.Thread(
                target=send,
                args=(service.port, rows, names[n::CLIENTS], told, random.Random(choice.random()), lock),
            )
            for n in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        time.sleep(choice.uniform(0, LONGEST_LIFE))
        service.end(signal.SIGTERM if choice.random() < ENDED else signal.SIGKILL)
        for client in clients:
            client.join()
        if told.wrong:
            raise SystemExit(f"a row was not taken: {told.wrong[:3]}")
        if life % EVERY == 0:
            print(f"{life} kills, {told.acknowledged.total()} rows, {lost} lost, {told.duplicates} known", flush=True)
    counts = {"kills": kills, "requests": told.requests, "rows": told.acknowledged.total(), "lost": lost}
    compared = compare(rows, told.acknowledged, told.means, folder / "store")
    return counts | {"sent_again_and_known": told.duplicates} | compared


def main(arguments: Sequence[str] | None = None) -> int:
    """The script; exit code 1 if a row was lost or applied twice, or an answer is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--keys", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help=f"where the store is made (default {MEMORY} if it is there)")
    chosen = parser.parse_args(arguments)
    if chosen.folder is None and Path(MEMORY).is_dir():
        chosen.folder = MEMORY
    torch.set_num_threads(1)  # threads do not survive a fork
    folder = Path(tempfile.mkdtemp(dir=chosen.folder))
    began = time.monotonic()
    try:
        found = run(chosen.kills, chosen.keys, folder, chosen.seed)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(found | {"seconds": round(time.monotonic() - began, 1)}))
    return int(any(found[name] for name in ("lost", "lost_at_end", "twice", "wrong_predictions", "wrong_records")))


if __name__ == "__main__":
    sys.exit(main())
