"""Rows of a bucket through the model, with the state of the bucket as bytes before and after: no engine in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aaren.engines._bucket import read_bucket, stamp_of
from aaren.models import Model
from aaren.streaming import PoolResult, StreamPool

Arrays = Mapping[str, NDArray[Any]]


class BucketStep:
    """Takes rows of any bucket. It keeps no stream between two calls: state is what the engine hands over.

    Args:
        model: a trained model.
        buckets: number of buckets.
        **options: of the streams.
    """

    def __init__(self, model: Model[Any, Any], buckets: int, **options: Any) -> None:
        self._model, self._options = model, options
        self._pool = StreamPool(model, 1024, **options)
        self.stamp = stamp_of(model.fingerprint(), self._pool.layout, buckets)

    def take(
        self, keys: list[str], columns: Arrays, numbers: NDArray[np.int64] | None, state: bytes | None
    ) -> tuple[PoolResult, bytes]:
        """Take rows as if each came alone: what becomes of one does not depend on how rows were put into calls.

        Args:
            keys: of the rows, those of one key in order.
            columns: cells of the rows by name.
            numbers: as `StreamPool.update` takes them.
            state: of the bucket, None before its first row.

        Returns:
            The outcome, row by row, and the state of the bucket after it.

        Raises:
            ModelFileError: the state is damaged, or of another model.
            DataError: a record in it is damaged.
        """
        pool = self._room(len(set(keys)))
        bucket = read_bucket(state, self.stamp, pool.record_bytes)
        known = bucket.known(list(dict.fromkeys(keys)))
        try:
            pool.set_records(known, bucket.of(known))
            result = pool.update(keys, columns, numbers, hold_back=False)
            there = pool.keys()
            bucket.put(there, pool.records(there))
        finally:
            left = pool.keys()
            for key in left:
                pool.drop(key)
        return result, bucket.to_bytes(self.stamp)

    def empty(self) -> Arrays:
        """The arrays of an outcome of no rows."""
        return self._pool.update([], []).arrays

    def _room(self, streams: int) -> StreamPool:
        """A pool with room for so many streams."""
        if streams > self._pool.capacity:
            self._pool = StreamPool(self._model, 2 * streams, **self._options)
        return self._pool
