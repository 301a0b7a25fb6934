"""What a worker of Spark does with the rows of a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

import aaren
from aaren.engines._spark_schema import ABSENT, KEY, NUMBER, cell, output_frame, refused_frame
from aaren.engines._step import BucketStep
from aaren.errors import ModelFileError


class SparkStreams(StatefulProcessor):
    """The operator, as Spark carries it to its workers: settings alone; the model is loaded there.

    Args:
        directory: of the model.
        stamp: of the states that it may go on from; the model on a worker must give the same.
        buckets: number of buckets.
        key: name of the column.
        number: name of the column, or None.
        order: columns that rows of one key are ordered by.
        columns: of the model.
        options: of the streams.
    """

    def __init__(
        self,
        directory: str,
        stamp: str,
        buckets: int,
        key: str,
        number: str | None,
        order: tuple[str, ...],
        columns: tuple[str, ...],
        options: dict[str, Any],
    ) -> None:
        self._directory, self._stamp, self._buckets = directory, stamp, buckets
        self._key, self._number, self._order, self._columns = key, number, order, columns
        self._options = tuple(sorted(options.items()))

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Called by Spark for each partition of each micro-batch."""
        self._state = handle.getValueState("streams", "records BINARY")

    def handleInputRows(self, key: Any, rows: Iterator[Any], timerValues: Any) -> Iterator[Any]:  # noqa: N802
        """Take the rows of a bucket.

        Raises:
            ModelFileError: the checkpoint, or the model on this worker, is not the one that the query began with.
        """
        step = _step(self._directory, self._stamp, self._buckets, self._options)
        frame = pd.concat(list(rows), ignore_index=True)
        if self._number is not None:
            frame[NUMBER] = pd.to_numeric(frame[NUMBER])  # all null comes as objects
        frame = frame.sort_values([*self._order], kind="stable", ignore_index=True)
        wrong = self._unnumbered(frame)
        if wrong.any():
            yield refused_frame(frame[wrong], self._key, self._number, step.empty())
            frame = frame[~wrong]
        if not len(frame):
            return
        kept = self._state.get()
        keys = frame[KEY].tolist()
        columns = {name: cells(frame, place) for place, name in enumerate(self._columns)}
        numbers = None if self._number is None else frame[NUMBER].to_numpy(np.int64)
        result, state = step.take(keys, columns, numbers, None if kept is None else bytes(kept[0]))
        self._state.update((state,))
        yield output_frame(keys, result)

    def _unnumbered(self, frame: Any) -> NDArray[np.bool_]:
        """Which rows have no key, or a number that is none."""
        wrong = frame[KEY].isna()
        if self._number is not None:
            wrong |= ~(frame[NUMBER] >= 1)
        return wrong.to_numpy(bool)

    def close(self) -> None:
        """Nothing is open."""


def cells(frame: Any, place: int) -> NDArray[Any]:
    """Cells of a column, with None where Spark had null and NaN where it had NaN."""
    column, marks = frame[cell(place)], frame[ABSENT]
    absent = np.array([isinstance(mark, str) and mark[place] == "1" for mark in marks], dtype=np.bool_)
    if not absent.any():
        return column.to_numpy()
    found: NDArray[Any] = column.astype(object).to_numpy(copy=True)
    found[absent] = None
    return found


@lru_cache(maxsize=4)
def _step(directory: str, stamp: str, buckets: int, options: tuple[tuple[str, Any], ...]) -> BucketStep:
    """The model of a worker, which it keeps from one micro-batch to the next."""
    import torch

    torch.set_num_threads(1)  # Spark runs as many workers as there are cores
    step = BucketStep(aaren.load(directory), buckets, **dict(options))
    if step.stamp != stamp:
        raise ModelFileError(
            f"{directory}: expected on this worker the model of the driver, received another one: {step.stamp}, where "
            f"the driver has {stamp}; ship one directory to all of them"
        )
    return step
