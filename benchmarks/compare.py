"""Two records of a benchmark, or two commits of the package.

    python benchmarks/compare.py OLD.json NEW.json
    python benchmarks/compare.py --commits A B training.py [--rounds 2] [--install] [-- --case "8 x 1024"]

For every contender it prints the ratio of the medians, new / old, and says "lower" or "higher" where the change is
beyond the noise: three standard errors of both medians, from the samples; with several runs of a side also how far
their medians lie apart; never less than 2 %, or 5 % where a side ran once. Two records are two processes, perhaps on
two days, and what differs between processes cannot be seen in one record of each: `--commits` runs both alternately
(A, B, A, B) instead.

The benchmark file is the one beside this script, for both commits. The package is that of the commit: its `src`, or
with `--install` what `pip install` makes of it, which a commit with a compiled kernel needs. What stands behind `--` is
passed to the benchmark.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STANDARD_ERRORS = 3
LEAST_NOISE, LEAST_NOISE_OF_ONE_RUN = 0.02, 0.05
# how it was when records did not say so
SILENT: dict[str, object] = {"keeps_memory": False, "matmul_precision": "highest"}
Record = dict[str, Any]
# (case, contender) to the samples of every run
Samples = dict[tuple[str, str], list[list[float]]]


@dataclass(frozen=True)
class Change:
    """One contender, before and after: medians, and the relative noise of their ratio."""

    case: str
    contender: str
    unit: str
    old: float
    new: float
    noise: float

    @property
    def ratio(self) -> float:
        """New / old."""
        return self.new / self.old

    @property
    def verdict(self) -> str:
        """What can be said of it."""
        if abs(math.log(self.ratio)) <= self.noise:
            return ""
        return "lower" if self.ratio < 1 else "higher"


def samples_of(records: Sequence[Record]) -> Samples:
    """The samples of several runs of one benchmark by case and contender."""
    found: Samples = {}
    for record in records:
        for result in record["results"]:
            for contender, samples in result["samples"].items():
                found.setdefault((result["case"], contender), []).append(samples)
    return found


def relative_noise(runs: Sequence[Sequence[float]]) -> float:
    """How far the median of these samples may be off, as a part of it."""
    pooled = [sample for run in runs for sample in run]
    median = statistics.median(pooled)
    deviation = 1.4826 * statistics.median(abs(sample - median) for sample in pooled)
    standard_error = 1.2533 * deviation / math.sqrt(len(pooled))
    medians = [statistics.median(run) for run in runs]
    return max(STANDARD_ERRORS * standard_error, max(medians) - min(medians)) / median


def changes(old: Sequence[Record], new: Sequence[Record]) -> list[Change]:
    """Every contender that both sides have; what differs by nothing but noise is among them."""
    before, after = samples_of(old), samples_of(new)
    units = {result["case"]: result["unit"] for record in new for result in record["results"]}
    found = []
    for (case, contender), runs in before.items():
        if (case, contender) in after:
            sides = (runs, after[case, contender])
            least = LEAST_NOISE if min(map(len, sides)) > 1 else LEAST_NOISE_OF_ONE_RUN
            noise = max(least, sum(relative_noise(side) for side in sides))
            medians = [statistics.median([sample for run in side for sample in run]) for side in sides]
            found.append(Change(case, contender, units[case], medians[0], medians[1], noise))
    return found


def show(found: Sequence[Change]) -> None:
    """Print the changes, case by case."""
    case = ""
    for change in found:
        if change.case != case:
            case = change.case
            print(f"\n{case}")
        print(
            f"  {change.contender:<50}{change.old:>10.4g} ->{change.new:>10.4g} {change.unit:<6}"
            f"{change.ratio:>7.3f} x  ± {100 * change.noise:.0f} %  {change.verdict}".rstrip()
        )
    beyond = sum(bool(change.verdict) for change in found)
    print(f"\n{beyond} of {len(found)} beyond the noise")


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """In what the descriptions of two machines differ; the load always does."""
    before, after = SILENT | dict(old), SILENT | dict(new)
    return [
        f"{key}: {before.get(key)} -> {after[key]}"
        for key in after
        if key != "load_at_start" and before.get(key) != after[key]
    ]


def compare(old: Sequence[Record], new: Sequence[Record]) -> int:
    """Print what differs between the machines and between the times; the exit code."""
    for record in (*old, *new):
        if record["quick"]:
            print("a record of --quick says nothing about times; run without it", file=sys.stderr)
            return 2
    print(*differences(old[0]["machine"], new[0]["machine"]), sep="\n")
    show(changes(old, new))
    return 0


def git(repository: Path, *words: str) -> str:
    """The output of one git command."""
    return subprocess.run(["git", "-C", repository, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def checkout(repository: Path, revision: str) -> Iterator[Path]:
    """The files of a commit in a temporary worktree, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="aaren-compare-") as folder:
        tree = Path(folder) / "tree"
        git(repository, "worktree", "add", "--quiet", "--detach", str(tree), revision)
        try:
            yield tree
        finally:
            git(repository, "worktree", "remove", "--force", str(tree))


def package_folder(tree: Path, install: bool) -> Path:
    """Where the package of a worktree can be imported from."""
    if not install:
        return tree / "src"
    site = tree.parent / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(tree)]
    subprocess.run(command, check=True)
    return site


def environment(package: Path) -> dict[str, str]:
    """Variables under which `python -S` finds this package and the installed dependencies.

    -S, since an editable installation of the package would come first otherwise.
    """
    paths = sysconfig.get_paths()
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(package), paths["purelib"], paths["platlib"]])}


def run_with(package: Path, file: Path, arguments: Sequence[str]) -> Record:
    """Run a benchmark with the package of a folder.

    Raises:
        RuntimeError: another package would be imported.
    """
    python, variables = [sys.executable, "-S"], environment(package)
    where = [*python, "-c", "import aaren; print(aaren.__file__)"]
    imported = subprocess.run(where, env=variables, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    if not Path(imported).is_relative_to(package):
        raise RuntimeError(f"expected the package in {package}, python imports {imported}")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "record.json"
        command = [*python, str(file), *arguments, "--json", str(output)]
        subprocess.run(command, env=variables, check=True, stdout=subprocess.DEVNULL)
        record: Record = json.loads(output.read_text(encoding="utf-8"))
    return record


def run_commits(
    repository: Path, revisions: tuple[str, str], file: Path, arguments: Sequence[str], rounds: int, install: bool
) -> tuple[list[Record], list[Record]]:
    """Records of both commits, run in turn."""
    old: list[Record] = []
    new: list[Record] = []
    with checkout(repository, revisions[0]) as old_tree, checkout(repository, revisions[1]) as new_tree:
        packages = [package_folder(tree, install) for tree in (old_tree, new_tree)]
        for index in range(rounds):
            for side, package, records in zip(revisions, packages, (old, new), strict=True):
                print(f"round {index + 1} of {rounds}: {side}", flush=True)
                records.append(run_with(package, file, arguments))
    return old, new


def main(argv: Sequence[str] | None = None) -> int:
    """Compare two records, or make them from two commits first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE", help="OLD.json NEW.json, or a benchmark file")
    parser.add_argument("--commits", nargs=2, metavar=("A", "B"), help="run the benchmark file with these commits")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each commit (default 2)")
    parser.add_argument("--install", action="store_true", help="install each commit into a temporary folder")
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    chosen = parser.parse_args(words[:end])
    if chosen.commits:
        if len(chosen.files) != 1:
            parser.error("--commits: expected one benchmark file, such as training.py")
        if "--quick" in words[end + 1 :]:
            parser.error("--quick: its records say nothing about times; run without it")
        file = HERE / Path(chosen.files[0]).name
        old, new = run_commits(
            HERE.parent, tuple(chosen.commits), file, words[end + 1 :], chosen.rounds, chosen.install
        )
        return compare(old, new)
    if len(chosen.files) != 2:
        parser.error("expected OLD.json NEW.json, or --commits A B and a benchmark file")
    old, new = ([json.loads(Path(file).read_text(encoding="utf-8"))] for file in chosen.files)
    return compare(old, new)


if __name__ == "__main__":
    sys.exit(main())
