"""`aaren data regenerate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from aaren.cli._common import require_writable
from aaren.data import environment_name, normalized_score
from aaren.data import regenerate as record_episodes
from aaren.errors import DataError


def regenerate(
    environment: str,
    level: Literal["medium", "medium-replay", "expert"],
    /,
    *,
    policies: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    steps: int = 30_000,
    seed: int = 0,
) -> None:
    """Record episodes anew: trained policies act in a simulated environment, in D4RL's file layout.

    The result stands for the D4RL set of that name, and is not that set.

    Parameters
    ----------
    environment
        Ant-v4, HalfCheetah-v4, Hopper-v4 or Walker2d-v4; later versions observe and reward otherwise.
    level
        Who acts: a medium policy, an expert, or (medium-replay) random, weak and medium ones as in a training.
    policies
        Folder with the policies as plain arrays, HalfCheetah-ppo.npz and so on.
    output
        HDF5 file to write.
    steps
        At least so many; the last episode is played to its end.
    seed
        Decides all draws: the same seed, the same bytes.
    """
    if not policies.is_dir():
        raise DataError("expected a folder of policies, received none", source=str(policies))
    require_writable(output)
    returns = record_episodes(environment, level, policies, output, steps=steps, seed=seed)
    score = normalized_score(environment, float(returns.mean()))
    print(
        f"{environment_name(environment)} {level}: {len(returns)} episodes, mean return {returns.mean():.1f} "
        f"(deviation {returns.std():.1f}), normalised score {score:.1f}; written to {output}"
    )
