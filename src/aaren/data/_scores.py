"""The published scale of returns: 0 is a random policy, 100 an expert."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from aaren.errors import DataError

REFERENCE_RETURNS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "Ant": (-325.6, 3879.7),
        "HalfCheetah": (-280.178953, 12135.0),
        "Hopper": (-20.272305, 3234.3),
        "Walker2d": (1.629008, 4592.3),
    }
)
"""Returns of a random policy and of an expert, by environment; as D4RL publishes them."""

TARGET_RETURNS: Mapping[str, float] = MappingProxyType({"HalfCheetah": 6000.0, "Hopper": 3600.0, "Walker2d": 5000.0})
"""Returns that Decision Transformer asks for, by environment (arXiv 2106.01345, appendix A); none is given for Ant."""


def environment_name(environment: str) -> str:
    """The name of an environment without its version, as the tables above have it.

    Example:
        >>> environment_name("HalfCheetah-v4"), environment_name("mujoco/Hopper-v5")
        ('HalfCheetah', 'Hopper')
    """
    return re.sub(r"-v\d+$", "", environment.rsplit("/", 1)[-1])


def normalized_score(environment: str, total_return: float) -> float:
    r"""The D4RL score of a return: :math:`100\, (R - R_{random}) / (R_{expert} - R_{random})`.

    Args:
        environment: "HalfCheetah-v4", "Hopper", ...; the version does not matter.
        total_return: return of an episode, or a mean of them, not discounted.

    Returns:
        The score in percent.

    Raises:
        DataError: the environment has no published references.

    Source: D4RL, arXiv 2004.07219.

    Example:
        >>> round(normalized_score("HalfCheetah-v4", 5467.0), 1)
        46.3
    """
    name = environment_name(environment)
    if name not in REFERENCE_RETURNS:
        raise DataError(
            f"expected an environment with published references ({', '.join(REFERENCE_RETURNS)}), received "
            f"{environment!r}; compare its returns themselves"
        )
    random, expert = REFERENCE_RETURNS[name]
    return 100 * (total_return - random) / (expert - random)
