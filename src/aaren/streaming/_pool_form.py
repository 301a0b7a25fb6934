"""What a pool must know of a kind of stream to take many rows in one step of the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from aaren.streaming._base import ModelStream
from aaren.streaming._layout import RecordLayout
from aaren.streaming._policy_stream import PolicyAction, PolicyStream

Parsed = TypeVar("Parsed")
Arrays = Mapping[str, NDArray[Any]]
Places = NDArray[np.intp]


class RowTable:
    """Rows of a call, in whichever form they came.

    Args:
        rows: a mapping of columns, or a sequence or array of rows.
        count: how many there must be.

    Raises:
        ValueError: there are more or less.
        TypeError: it is something else.
    """

    def __init__(self, rows: Any, count: int) -> None:
        columns = rows if isinstance(rows, Mapping) else {"rows": rows}
        for name, column in columns.items():
            if isinstance(column, str | bytes) or not isinstance(column, Sequence | np.ndarray):
                raise TypeError(
                    f"{name}: expected {count} rows, or columns by name as lists or arrays, received "
                    f"{type(column).__name__}"
                )
            if len(column) != count:
                raise ValueError(f"{name}: expected one for each of {count} keys, received {len(column)}")
        self.rows, self.count = rows, count

    def row(self, place: int) -> Any:
        """One row, as a stream takes it."""
        if isinstance(self.rows, Mapping):
            return {name: column[place] for name, column in self.rows.items()}
        row = self.rows[place]
        return row.tolist() if isinstance(row, np.ndarray) else row


class PoolForm(ABC, Generic[Parsed]):
    """The fast form of a stream: rows of many streams at once, as long as they are plain.

    A plain row is one that its stream would take as the next token. Any other goes through a stream of its own, which
    decides what becomes of it, so that there is one definition alone. In what follows `places` are places of rows in
    the call, shape (n,), and `records` those of their streams, uint8 of shape (n, record_bytes).

    Args:
        stream: a new one, with the options of all of them.
        layout: of its records.
    """

    def __init__(self, stream: ModelStream[Any, Any], layout: RecordLayout) -> None:
        self.layout = layout

    @abstractmethod
    def parse(self, table: RowTable, keys: Sequence[str]) -> Parsed:
        """All rows of a call, read column by column."""

    @abstractmethod
    def plain(self, parsed: Parsed, places: Places, records: Tensor) -> NDArray[np.bool_]:
        """Which rows may go through `advance`."""

    @abstractmethod
    def advance(self, parsed: Parsed, places: Places, records: Tensor) -> tuple[Arrays, NDArray[np.bool_]]:
        """Take plain rows: write the new state into `records`, and say what the streams say, and which are sound.

        The record of a row that is not sound, since what follows it is not a number, is not kept.
        """

    @abstractmethod
    def empty(self, count: int) -> dict[str, NDArray[Any]]:
        """Arrays for as many predictions, NaN all over."""

    @abstractmethod
    def put(self, arrays: Arrays, place: int, said: Any) -> None:
        """Write the prediction of a stream into the arrays."""

    @abstractmethod
    def make(self, arrays: Arrays, place: int, number: int) -> Any:
        """The prediction of row `number` of a stream from the arrays."""


class PolicyForm(PoolForm[None]):
    """Policies: every row goes through a stream of its own."""

    def __init__(self, stream: PolicyStream, layout: RecordLayout) -> None:
        super().__init__(stream, layout)
        self._actions = stream.model.config.actions

    def parse(self, table: RowTable, keys: Sequence[str]) -> None:
        """Nothing."""

    def plain(self, parsed: None, places: Places, records: Tensor) -> NDArray[np.bool_]:
        """No row."""
        return np.zeros(len(places), dtype=np.bool_)

    def advance(self, parsed: None, places: Places, records: Tensor) -> tuple[Arrays, NDArray[np.bool_]]:
        """Never called, since no row is plain."""
        raise AssertionError("no row of a policy is plain")

    def empty(self, count: int) -> dict[str, NDArray[Any]]:
        """Actions and returns to go."""
        return {
            "action": np.full((count, self._actions), np.nan, dtype=np.float32),
            "return_to_go": np.full(count, np.nan),
        }

    def put(self, arrays: Arrays, place: int, said: PolicyAction) -> None:
        """Write an action into the arrays."""
        arrays["action"][place], arrays["return_to_go"][place] = said.action, said.return_to_go

    def make(self, arrays: Arrays, place: int, number: int) -> PolicyAction:
        """The action from the arrays."""
        return PolicyAction(number, arrays["action"][place], float(arrays["return_to_go"][place]))
