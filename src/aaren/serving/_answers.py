"""What a client gets for each of its rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from aaren.serving._batcher import Part
from aaren.serving._rows import Rows

STATUSES = ("taken", "skipped", "refused", "duplicate")
"""By the number that the pool gives to each."""

_JSON = json.JSONEncoder(separators=(",", ":"))


class Answer(NamedTuple):
    """The answer to one row.

    Args:
        key: as the client wrote it; None if it could not be read.
        number: of the row in its stream, or None if it is in none.
        status: one of `STATUSES`.
        prediction: what the model says after the row, if it was taken and this was asked for.
        error: what was wrong, if it was refused.
        column: where, if that is known.
    """

    key: str | None
    number: int | None
    status: str
    prediction: Any = None
    error: str | None = None
    column: str | None = None

    def to_dict(self, *, prediction: bool = True) -> dict[str, Any]:
        """Plain data for JSON, with the prediction or without."""
        found: dict[str, Any] = {"key": self.key, "number": self.number, "status": self.status}
        if prediction and self.prediction is not None:
            found["prediction"] = {name: x for name, x in self.prediction.to_dict().items() if name != "row"}
        if self.error is not None:
            found["error"] = {"message": self.error, **({"column": self.column} if self.column else {})}
        return found


def answers(
    rows: Rows, part: Part | None, sent: Sequence[int], whole: Sequence[str], wants: Callable[[int], bool]
) -> Iterator[Answer]:
    """The answers to the rows of a request in their order.

    Args:
        rows: of the request.
        part: what the pool said of those that went to it; None if none did.
        sent: their indices, ascending.
        whole: their keys, as the pool knows them.
        wants: whether somebody wants the prediction of the row of this index.
    """
    places = {index: place for place, index in enumerate(sent)}
    if part is not None:
        own = slice(part.first, part.first + part.count)
        statuses, counted = part.result.status[own].tolist(), part.result.rows[own].tolist()
    for index, key in enumerate(rows.keys):
        place = places.get(index)
        if place is None or part is None:
            yield Answer(key, rows.numbers[index], "refused", error=rows.refused[index])
            continue
        at = part.first + place
        status = STATUSES[statuses[place]]
        if status == "refused":
            error = part.result.errors[at]
            message = error.message.replace(whole[place], str(key))
            yield Answer(key, rows.numbers[index], status, error=message, column=error.column)
        elif status == "duplicate":
            yield Answer(key, rows.numbers[index], status)
        else:
            said = part.result[at] if status == "taken" and wants(index) else None
            yield Answer(key, counted[place], status, said)


def line(answer: Answer, *, prediction: bool = True) -> bytes:
    """One line of JSON, without its end."""
    if answer.error is None and answer.number is not None and not (prediction and answer.prediction is not None):
        # nearly all lines of a client that wants speed: an encoder takes longer to begin than this
        return f'{{"key":{_JSON.encode(answer.key)},"number":{answer.number},"status":"{answer.status}"}}'.encode()
    return _JSON.encode(answer.to_dict(prediction=prediction)).encode()
