"""Episodes in the pickles of Decision Transformer's code, which are not unpickled but interpreted."""

from __future__ import annotations

from typing import Any

import numpy as np

from aaren.data._episode_arrays import Reading, checked_array, require_whole
from aaren.data._episodes import Episode
from aaren.data._plain_pickle import plain_value, read_plain_pickle


def episodes_of_pickle(data: bytes, source: str) -> list[Episode]:
    """Episodes of a pickled list of dictionaries, one an episode, each with its end.

    Args:
        data: the pickle; `observations`, `actions`, `rewards` and `terminals` are read of each dictionary.
        source: file name; for messages.

    Returns:
        The episodes; one that no terminal ends was ended by a limit of time.

    Raises:
        DataError: the pickle is not of plain data, an array is missing, there several times, or not as `checked_array`
            has it, or lengths differ.

    Source: the code of arXiv 2106.01345 (Decision Transformer), which makes such files of D4RL's.
    """
    values = read_plain_pickle(data, source)
    reading = Reading(source, len(data))
    if len(values) != 1 or not isinstance(values[0], list):
        raise reading.error("expected a pickled list of episodes, received something else")
    return [_episode(one, f"episode_{index}", reading) for index, one in enumerate(values[0])]


def _episode(one: Any, name: str, reading: Reading) -> Episode:
    observations, actions, rewards, terminals = (
        _array(one, key, f"{name}/{key}", reading) for key in ("observations", "actions", "rewards", "terminals")
    )
    steps = {"observations": observations, "actions": actions, "terminals": terminals}
    require_whole(name, len(rewards), steps, reading)
    return Episode(observations, actions, rewards, bool(terminals[-1]), not terminals[-1])


def _array(one: Any, key: str, name: str, reading: Reading) -> Any:
    if not isinstance(one, dict) or key not in one:
        found = ", ".join(sorted(one)) if isinstance(one, dict) else type(one).__name__
        raise reading.error(f"expected {name!r}, received {found or 'nothing'}")
    array = plain_value(one[key], reading.label)
    if not isinstance(array, np.ndarray):
        raise reading.error(f"expected an array as {name!r}, received {type(array).__name__}")
    reading.require_room(name, array.nbytes, array.nbytes)
    return checked_array(array, key, name, reading)
