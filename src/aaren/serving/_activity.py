"""The most active streams of a namespace, and what the live page draws of some of them, in bounded memory."""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from aaren.serving._answers import Answer
from aaren.serving._points import band, truth

_MOST_KEYS = 256
_SAMPLE = 16
_MEMORY_SECONDS = 20.0
_WATCHED = 16
_ASKED_SECONDS = 30.0
_POINTS = 240


class History:
    """The last rows of one stream as points.

    Args:
        target: name of the column that is drawn, if the rows have one.
    """

    def __init__(self, target: str | None) -> None:
        self._target = target
        self._points: deque[dict[str, Any]] = deque(maxlen=_POINTS)
        self._last: Answer | None = None
        self._ahead: dict[str, Any] = {}

    def add(self, answer: Answer, row: Any) -> None:
        """One more row that was taken, with its prediction."""
        point: dict[str, Any] = {"number": answer.number}
        last = self._last
        followed = last is not None and last.number is not None and answer.number == last.number + 1
        before = last.prediction if followed and last is not None else None
        point["truth"] = truth(answer.prediction, before, row, self._target)
        if followed:
            point |= {name: values[0] for name, values in self._ahead.items() if name != "classes" and values}
        self._ahead = band(answer.prediction)
        if "classes" in self._ahead:
            point["classes"] = self._ahead["classes"]
        self._last = answer
        self._points.append(point)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the points, what is ahead, number and time of the last row."""
        said = {} if self._last is None else self._last.prediction.to_dict()
        return {
            "number": None if self._last is None else self._last.number,
            "time": said.get("time"),
            "points": list(self._points),
            "ahead": self._ahead,
        }


class Activity:
    """How active the streams are, by a sample of their rows, with a memory of some seconds.

    Args:
        target: name of the column that is drawn, if the rows have one.
    """

    def __init__(self, target: str | None) -> None:
        self._target = target
        self._weights: dict[str, float] = {}
        self._numbers: dict[str, int] = {}
        self._watched: dict[str, History] = {}
        self._asked: dict[str, float] = {}
        self._ticked = self._began = time.monotonic()

    def drawn(self, keys: Sequence[str | None], sent: Sequence[int]) -> set[int]:
        """Of which rows of a request the page wants what the model says: the last ones of each stream that is watched.

        Args:
            keys: of all rows.
            sent: the indices of those that went to the pool, ascending; some of their keys are watched from now on if
                there is room.
        """
        if len(self._watched) < _WATCHED:
            for index in sent if len(sent) <= _SAMPLE else random.sample(sent, _SAMPLE):
                key = keys[index]
                if key is not None and len(self._watched) < _WATCHED:
                    self._watched.setdefault(key, History(self._target))
        found, left = set[int](), dict.fromkeys(self._watched, _POINTS)
        for index in reversed(sent):
            key = keys[index]
            if key is not None and left.get(key):
                left[key] -= 1
                found.add(index)
        return found

    def saw(self, keys: Sequence[str], numbers: Sequence[int]) -> None:
        """The rows of one request were taken; `numbers` are theirs."""
        self._tick()
        if not keys:
            return
        some = range(len(keys)) if len(keys) <= _SAMPLE else random.sample(range(len(keys)), _SAMPLE)
        last = dict(zip(keys, numbers, strict=True))
        for index in some:
            self._weights[keys[index]] = self._weights.get(keys[index], 0.0) + len(keys) / len(some)
            self._numbers[keys[index]] = int(last[keys[index]])
        if len(self._weights) > 2 * _MOST_KEYS:  # many at once: to look for one costs as much as to look for all
            for key in sorted(self._weights, key=self._weights.__getitem__)[:-_MOST_KEYS]:
                self._forget(key)

    def record(self, answer: Answer, row: Any) -> None:
        """A row of a watched stream, with its prediction."""
        if answer.key is not None and answer.key in self._watched:
            self._watched[answer.key].add(answer, row)

    def history(self, key: str) -> dict[str, Any]:
        """The last points of a stream, which is watched from now on for a while."""
        self._asked[key] = time.monotonic()
        if len(self._asked) > _WATCHED:
            del self._asked[min(self._asked, key=self._asked.__getitem__)]
        return self._watched.setdefault(key, History(self._target)).to_dict()

    def top(self, most: int) -> list[dict[str, Any]]:
        """The most active streams: key, number of the last row that was seen, about how many rows in a second."""
        self._tick()
        since = max(1.0, min(_MEMORY_SECONDS, time.monotonic() - self._began))
        ordered = sorted(self._weights.items(), key=lambda item: (-item[1], item[0]))[:most]
        return [
            {"key": key, "number": self._numbers[key], "rows_per_second": round(weight / since, 2)}
            for key, weight in ordered
        ]

    def forget(self, key: str) -> None:
        """The stream was dropped, or set to another state."""
        self._forget(key)
        self._watched.pop(key, None)

    def _forget(self, key: str) -> None:
        self._weights.pop(key, None)
        self._numbers.pop(key, None)

    def _tick(self) -> None:
        """Once in a second: let old rows count for less, and watch what is asked for and the most active."""
        now = time.monotonic()
        if now - self._ticked < 1:
            return
        fade = math.exp(-(now - self._ticked) / _MEMORY_SECONDS)
        self._ticked = now
        self._weights = {key: weight * fade for key, weight in self._weights.items()}
        self._asked = {key: when for key, when in self._asked.items() if now - when < _ASKED_SECONDS}
        best = sorted(self._weights, key=self._weights.__getitem__, reverse=True)
        keep = dict.fromkeys([*self._asked, *best][:_WATCHED])
        self._watched = {key: self._watched.get(key) or History(self._target) for key in keep}
