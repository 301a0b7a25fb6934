"""Instructions of the kernels, which do not depend on load or clock: `python benchmarks/instructions.py [--update]`.

What is measured: instructions of one forward and of one backward call of every kernel backend that runs here, at one
fixed size in one thread, divided by tokens times dim, as `valgrind --tool=callgrind` counts them. They are compared
with `benchmarks/instructions.json`: exit code 1 if one has more than 5 % more. `--update` writes that file.

How: a process under callgrind imports, prepares and warms up without being counted. Then it runs n calls, and 2n, and
the difference of the two counts is that of n calls: what the request itself costs cancels. Before, the kernels' numbers
are checked against Algorithm 1.

What it does not say: nothing about time: memory, caches and the width of instructions are not in a count. Valgrind has
no AVX-512 and shows the kernels a processor without it, on any machine. Counts of a kernel in Python change with the
version of PyTorch; the record says which it was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

BASELINE = Path(__file__).with_suffix(".json")
SHAPE = (1, 4, 256, 64)
CALLS = 2
MOST = 1.05
DIRECTIONS = ("forward", "backward")
Kernels = dict[str, Callable[[int], None]]


class Counted(NamedTuple):
    """Instructions per token and dim by kernel, and the environment that they belong to."""

    environment: dict[str, str]
    instructions: dict[str, float]


def kernels() -> Kernels:
    """Every kernel and direction here, by name, as a function `run_kernel(n)` that calls it n times.

    Raises:
        ValueError: a kernel computes something else.
    """
    import torch

    from _gate import inputs, timed_faults
    from aaren.ops import backends, prefix_attention

    torch.set_num_threads(1)
    faults = timed_faults(SHAPE)
    if faults:
        raise ValueError("; ".join(faults))
    scores, values, _ = inputs(SHAPE, grad=True)
    found: Kernels = {}

    def add(name: str) -> None:
        outputs, _ = prefix_attention(scores, values, backend=name)
        grad_outputs = torch.ones_like(outputs)

        def run_forward(n: int) -> None:
            with torch.no_grad():
                for _ in range(n):
                    prefix_attention(scores, values, backend=name)

        def run_backward(n: int) -> None:
            for _ in range(n):
                torch.autograd.grad(outputs, [scores, values], grad_outputs, retain_graph=True)

        found.update(zip((f"{name} {direction}" for direction in DIRECTIONS), (run_forward, run_backward), strict=True))

    for backend in backends():
        if backend.backward is not None and backend.runs_on(torch.device("cpu")):
            add(backend.name)
    return found


def serve(requests: IO[str], answers: IO[str]) -> None:
    """The process that is counted: names what it has, then does what each line asks for, such as `3 native forward`."""
    import gc

    import torch

    found = kernels()
    gc.disable()
    for run_kernel in found.values():
        run_kernel(1)
    print(json.dumps([torch.__version__, *found]), file=answers, flush=True)
    for line in requests:
        count, name = line.strip().split(" ", 1)
        found[name](int(count))
        print("done", file=answers, flush=True)


class Callgrind:
    """A process under callgrind that serves requests; counting is off until `start`."""

    def __init__(self, command: Sequence[str]) -> None:
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null"]
        variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            [*valgrind, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
        )

    def line(self) -> str:
        """What the process says next.

        Raises:
            RuntimeError: it ended.
        """
        assert self._process.stdout is not None
        found = self._process.stdout.readline()
        if not found:
            raise RuntimeError(f"the process under callgrind ended with exit code {self._process.wait()}")
        return found.strip()

    def ask(self, request: str) -> None:
        """Send a request, and wait until it is done."""
        assert self._process.stdin is not None
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        self.line()

    def start(self) -> None:
        """Count from here on."""
        self._control("-i", "on")

    def count(self) -> int:
        """Instructions of all threads since `start`.

        Raises:
            RuntimeError: nothing was counted.
        """
        answer = self._control("-e")
        found = [
            int(number.replace(",", "")) for number in re.findall(r"^\s*Th\s+\d+\s+([\d,]+)", answer, re.MULTILINE)
        ]
        if not sum(found):
            raise RuntimeError(f"callgrind_control: expected counts for each thread, received {answer!r}")
        return sum(found)

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _control(self, *what: str) -> str:
        command = ["callgrind_control", *what, str(self._process.pid)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def callgrind(command: Sequence[str]) -> Iterator[Callgrind]:
    """A `Callgrind` that is ended in any case."""
    process = Callgrind(command)
    try:
        yield process
    finally:
        process.end()


def count() -> Counted:
    """Count all kernels in one process."""
    tokens_and_dims = SHAPE[0] * SHAPE[1] * SHAPE[2] * SHAPE[3]
    found = {}
    with callgrind([sys.executable, __file__, "--serve"]) as process:
        torch_version, *names = json.loads(process.line())
        process.start()
        for name in names:
            process.ask(f"1 {name}")
            counts = [process.count()]
            for calls in (CALLS, 2 * CALLS):
                process.ask(f"{calls} {name}")
                counts.append(process.count())
            of_calls = (counts[2] - counts[1]) - (counts[1] - counts[0])
            found[name] = round(of_calls / CALLS / tokens_and_dims, 3)
    environment = {"processor": platform.machine(), "python": platform.python_version(), "torch": torch_version}
    return Counted(environment, found)


def compare(counted: Counted, baseline: dict[str, Any]) -> bool:
    """Print counts beside the baseline's; whether none has grown by more than is allowed."""
    for key, value in counted.environment.items():
        if baseline["environment"].get(key) != value:
            print(f"{key}: the baseline is of {baseline['environment'].get(key)}, this is {value}")
    good = True
    for name, instructions in counted.instructions.items():
        before = baseline["instructions"].get(name)
        text = "no baseline" if before is None else f"{instructions / before:.3f} x the baseline"
        if before is not None and instructions > MOST * before:
            good, text = False, f"{text}: more than {MOST:g} x"
        print(f"{name:<24}{instructions:>10.3f} instructions per token and dim   {text}")
    return good


def main(argv: Sequence[str] | None = None) -> int:
    """Count, and compare or update."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help=f"write {BASELINE.name} from what is counted")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.serve:
        serve(sys.stdin, sys.stdout)
        return 0
    if not (shutil.which("valgrind") and shutil.which("callgrind_control")):
        print("expected valgrind with callgrind_control on the path; install valgrind", file=sys.stderr)
        return 2
    counted = count()
    if chosen.update:
        content = {"shape": SHAPE, **counted._asdict()}
        BASELINE.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0 if compare(counted, json.loads(BASELINE.read_text(encoding="utf-8"))) else 1


if __name__ == "__main__":
    sys.exit(main())
