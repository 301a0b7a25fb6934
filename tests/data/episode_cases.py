"""Small files of episodes in both layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np


def flat(lengths: tuple[int, ...] = (4, 3), cut: bool = False, seed: int = 0) -> dict[str, Any]:
    """D4RL's arrays: episodes that end at a terminal, the last at a timeout or not at all."""
    generator, steps = np.random.default_rng(seed), sum(lengths)
    terminals, timeouts = np.zeros((2, steps), dtype=np.bool_)
    ends = np.cumsum(lengths) - 1
    terminals[ends[:-1]] = True
    timeouts[ends[-1]] = not cut
    return {
        "observations": generator.normal(size=(steps, 3)).astype(np.float32),
        "actions": generator.uniform(-1, 1, (steps, 2)).astype(np.float32),
        "rewards": generator.normal(size=steps).astype(np.float32),
        "terminals": terminals,
        "timeouts": timeouts,
    }


def write(path: Path, arrays: dict[str, Any]) -> Path:
    """Write arrays by key; "a/b" is b in the group a."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def grouped(path: Path, episodes: list[dict[str, Any]]) -> Path:
    """Write Minari's layout; each episode has one observation more than actions."""
    return write(path, {f"episode_{i}/{key}": array for i, one in enumerate(episodes) for key, array in one.items()})


def transformer(steps: int, seed: int = 0, terminal: bool = False) -> dict[str, Any]:
    """One episode of Decision Transformer's arrays."""
    one = minari(steps, seed)
    observations, following = one["observations"][:-1].astype(np.float32), one["observations"][1:].astype(np.float32)
    rewards, terminals = one["rewards"].astype(np.float32), one["truncations"] & terminal
    arrays = {"observations": observations, "next_observations": following, "actions": one["actions"]}
    return {**arrays, "rewards": rewards, "terminals": terminals}


def minari(steps: int, seed: int = 0) -> dict[str, Any]:
    """One episode of Minari's arrays that a limit of time ended."""
    generator = np.random.default_rng(seed)
    ends = np.arange(steps) == steps - 1
    return {
        "observations": generator.normal(size=(steps + 1, 3)),
        "actions": generator.uniform(-1, 1, (steps, 2)).astype(np.float32),
        "rewards": generator.normal(size=steps),
        "terminations": np.zeros(steps, dtype=np.bool_),
        "truncations": ends,
    }
