"""Tiny files in the published layouts of the original sets that cannot be had here, under their published names."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from aaren.data import DataSet

HOURS = 1000
STEPS = 30


class Cases(NamedTuple):
    """What the header of an archive's `.ts` file says: channels, classes, and whether cases differ in length."""

    channels: int
    classes: tuple[str, ...]
    equal: bool = True


CASES = {
    "EthanolConcentration": Cases(3, ("E35", "E38", "E40", "E45")),
    "FaceDetection": Cases(144, ("0", "1")),
    "Heartbeat": Cases(61, ("normal", "abnormal")),
    "PEMS-SF": Cases(963, tuple(f"{day}.0" for day in range(1, 8))),
    "SelfRegulationSCP1": Cases(6, ("negativity", "positivity")),
    "SelfRegulationSCP2": Cases(7, ("negativity", "positivity")),
    "SpokenArabicDigits": Cases(13, tuple(map(str, range(1, 11))), equal=False),
}
EVENTS = {"MIMIC-II": (60, 75), "Reddit": (40, 984), "Mooc": (40, 97), "StackOverflow": (6633, 22)}
"""Sequences and marks; the recipe of StackOverflow names how many of its sequences are in each part."""
UNMARKED = {"Uber": 40, "Taxi": 40}
ROBOTS = {"HalfCheetah": (17, 6), "Ant": (111, 8), "Hopper": (11, 3), "Walker2d": (17, 6)}
"""Numbers of an observation and of an action."""


def write_original(one: DataSet, root: Path) -> None:
    """Write the files of a set below a folder, each under the first of its names."""
    files = {part: root / candidates[0][0] for part, candidates in one.files.items()}
    for path in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    if one.setting == "forecasting":
        _table(files["data"], random)
    elif one.setting == "classification":
        for path in files.values():
            _cases(path, one.name, CASES[one.name], random)
    elif one.setting == "rl":
        _episodes(files["data"], *ROBOTS[one.name.split("-")[0]], random)
    elif one.name == "MIMIC-II":
        sequences, marks = EVENTS[one.name]
        _fold(files["train"], files["train_times"], sequences, marks, random)
        _fold(files["test"], files["test_times"], sequences // 9, marks // 2, random)  # so few do not have every mark
    else:
        _padded(files["data"], one.name, random)


def _table(path: Path, random: np.random.Generator) -> None:
    """Hours in rows, a column for each sensor or client, the last one named OT."""
    names = ("0", "1", "OT")
    dates = np.datetime64("2016-07-01T02:00:00") + np.arange(HOURS) * np.timedelta64(1, "h")
    daily = np.sin(np.arange(HOURS) * np.pi / 12)[:, None] + 0.1 * random.normal(size=(HOURS, len(names)))
    rows = [f"{str(date).replace('T', ' ')},{','.join(map(str, row))}" for date, row in zip(dates, daily, strict=True)]
    path.write_text("\n".join([",".join(("date", *names)), *rows]) + "\n", encoding="utf-8")


def _cases(path: Path, name: str, cases: Cases, random: np.random.Generator) -> None:
    """The archive's `.ts`: a header, then a line for each case, channels apart by colons, its class at the end."""
    length = "@equalLength true\n@seriesLength 8\n" if cases.equal else "@equalLength false\n"
    head = (
        f"#The data set {name}\n@problemName {name}\n@timeStamps false\n@missing false\n@univariate false\n"
        f"@dimensions {cases.channels}\n{length}@classLabel true {' '.join(cases.classes)}\n@data\n"
    )
    lines = []
    for index in range(5 * len(cases.classes)):
        steps = 8 if cases.equal else 4 + index % 5
        values = random.normal(size=(cases.channels, steps)).round(4)
        channels = [",".join(map(str, channel)) for channel in values]
        lines.append(":".join((*channels, cases.classes[index % len(cases.classes)])))
    path.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


def _fold(events: Path, times: Path, sequences: int, marks: int, random: np.random.Generator) -> None:
    """The two files of a fold of Du et al.: a line for each sequence, marks from 1."""
    lengths = random.integers(2, 5, sequences)
    kinds = [" ".join(map(str, random.integers(1, marks + 1, length))) for length in lengths]
    spans = [" ".join(map(str, np.cumsum(random.exponential(1, length)).round(4))) for length in lengths]
    events.write_text("\n".join(kinds) + "\n", encoding="utf-8")
    times.write_text("\n".join(spans) + "\n", encoding="utf-8")


def _padded(path: Path, name: str, random: np.random.Generator) -> None:
    """The arrays of the Meta-TPP code: padded at the end, marks from 1, masks; sets without marks have none."""
    sequences, marks = EVENTS.get(name) or (UNMARKED[name], 0)
    lengths = random.integers(2, 5, sequences)
    masks = np.arange(4) < lengths[:, None]
    times = np.where(masks, np.cumsum(random.exponential(1, masks.shape), axis=1), 0)
    kinds = np.where(masks, random.integers(1, marks + 1, masks.shape), 0) if marks else None
    marked = {} if kinds is None else {"marks": kinds}
    np.savez(path, times=times, masks=masks.astype(float), **marked)


def _episodes(path: Path, observations: int, actions: int, random: np.random.Generator) -> None:
    """D4RL's arrays: steps one after the other, three episodes of them, the last ended by a limit of time."""
    terminals, timeouts = np.zeros((2, STEPS), dtype=np.bool_)
    terminals[[STEPS // 3, 2 * STEPS // 3]], timeouts[-1] = True, True
    with h5py.File(path, "w") as file:
        file["observations"] = random.normal(size=(STEPS, observations)).astype(np.float32)
        file["next_observations"] = random.normal(size=(STEPS, observations)).astype(np.float32)
        file["actions"] = random.uniform(-1, 1, (STEPS, actions)).astype(np.float32)
        file["rewards"] = random.normal(size=STEPS).astype(np.float32)
        file["terminals"], file["timeouts"] = terminals, timeouts
        file["infos/qpos"] = random.normal(size=(STEPS, 9))
        file["metadata/algorithm"] = np.bytes_(b"SAC")
