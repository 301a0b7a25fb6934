"""Open idle connections to a service: `python tests/serving/idle_connections.py [--connections 10000]`.

Starts `aaren serve`, opens connections on which nothing is ever sent, and asks for predictions meanwhile: each of the
askers opens a connection of its own, sends a row and waits for the answer. Then nothing is done until the service has
closed every idle connection by itself. The last line is one JSON object:

    connections: how many were open at once     refused: of those, how many the service did not take
    megabytes: memory of the service before, with all of them open, and after it has closed them
    answers_ms: median and worst of the answers while they were open

Linux alone, where /proc says how much memory a process has.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # for `serving_cases`, which is not a test module

from serving_cases import Process, untrained

_ANSWERS, _SPARE = 50, 200


def megabytes(process: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise OSError(f"process {process} has no memory: it has ended")


def allow_files(wanted: int) -> None:
    """Raise the limit of open files of this process, and so of the service that it starts, as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if allowed < wanted:
        raise SystemExit(f"expected a system that allows {wanted} open files, received a limit of {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


def ask(service: Process, number: int) -> float:
    """Seconds until a new connection has the answer to a row."""
    began = time.perf_counter()
    (answer,) = service.send([{"key": f"asker {number}", "row": ["2016-07-01 00:00:00", 1.0]}])
    assert answer["status"] == "taken", answer
    return time.perf_counter() - began


def run(connections: int) -> dict[str, Any]:
    """Open so many, ask, and wait until they are closed; what the last line of the script says."""
    allow_files(connections + _SPARE)
    with tempfile.TemporaryDirectory() as folder:
        untrained().save(Path(folder) / "model")
        service = Process(Path(folder) / "model", "--connections", connections + _SPARE)
        try:
            found = look(service, connections)
        finally:
            code, said = service.end(signal.SIGTERM)
        assert code == 0, said
    return found


def look(service: Process, connections: int) -> dict[str, Any]:
    """The memory of a service and its answers before, with and after idle connections."""
    for number in range(_ANSWERS):
        ask(service, number)
    before = megabytes(service.process.pid)
    idle = [socket.create_connection(("127.0.0.1", service.port), timeout=30) for _ in range(connections)]
    answers = [ask(service, _ANSWERS + number) for number in range(_ANSWERS)]
    ready = select.poll()
    for one in idle:
        ready.register(one, select.POLLIN)
    refused, still_open = len(ready.poll(0)), megabytes(service.process.pid)
    last_words = []
    for one in idle:
        one.settimeout(60)
        last_words.append(one.recv(4096)[:12])
        assert one.recv(4096) == b""
        one.close()
    assert set(last_words) <= {b"HTTP/1.1 408", b"HTTP/1.1 503"}, set(last_words)
    ask(service, 2 * _ANSWERS)
    return {
        "connections": connections - refused,
        "refused": refused,
        "megabytes": {"before": before, "open": still_open, "closed": megabytes(service.process.pid)},
        "answers_ms": {
            "median": round(1e3 * statistics.median(answers), 1),
            "worst": round(1e3 * max(answers), 1),
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The script; exit code 1 if a connection was refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    found = run(parser.parse_args(arguments).connections)
    print(json.dumps(found))
    return int(found["refused"] > 0)


if __name__ == "__main__":
    sys.exit(main())
