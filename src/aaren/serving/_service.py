"""The service without HTTP: namespaces, the worker, feeds, numbers; all of it on one event loop."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aaren.errors import DataError, ModelFileError
from aaren.models import Forecaster, Model
from aaren.serving._activity import Activity
from aaren.serving._answers import STATUSES, Answer, answers, line
from aaren.serving._batcher import Batcher
from aaren.serving._budget import Budget
from aaren.serving._description import cache_bytes_per_token, describe, prediction_bytes
from aaren.serving._errors import RequestError
from aaren.serving._feed import Feeds
from aaren.serving._limits import Limits
from aaren.serving._metrics import Metrics, Recent
from aaren.serving._owned import OwnedStreams
from aaren.serving._rows import Rows
from aaren.serving._tokens import LOCAL, Tokens
from aaren.streaming import FleetDrift

_AT_ONCE = 64
_STREAMS_AT_ONCE = 1024
_STATUS_BYTES = 256


@dataclass
class _Namespace:
    """What is known of the streams of one name."""

    activity: Activity
    streams: int = 0
    recent: Recent = field(default_factory=Recent)


class Service:
    """What the routes call.

    Args:
        model: a trained model that streams.
        open_streams: opens the streams; called on the worker.
        tokens: who may come; None: everybody who can reach the address, for all streams there are.
        limits: of requests and waiting.
    """

    def __init__(
        self,
        model: Model[Any, Any],
        open_streams: Callable[[], OwnedStreams],
        tokens: Tokens | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.model, self.tokens, self.limits = model, tokens, limits or Limits()
        self.schema = model.stream().schema
        self.stopping = asyncio.Event()
        self.budget = Budget(self.limits.queue_bytes)
        self.feeds = Feeds(self.limits.feeds, self.limits.feed_rows, self.budget)
        self.batcher = Batcher(open_streams, self.limits, lambda rows, seconds: self.metrics.batch(rows, seconds))
        self.metrics = Metrics(
            {
                "queue_rows": ("Rows that wait", lambda: self.batcher.waiting),
                "queue_bytes": (
                    "Bytes of requests that wait and of answers that were not read",
                    lambda: self.budget.used,
                ),
                "streams": ("Streams in memory", lambda: len(self.batcher.streams.pool)),
                "state_bytes": ("Bytes of their records", lambda: self.batcher.streams.pool.nbytes()),
                "feeds": ("Open feeds", lambda: len(self.feeds)),
            }
        )
        self._answer_bytes = (_STATUS_BYTES, _STATUS_BYTES + prediction_bytes(model))  # without predictions, with them
        self._target = self.schema.targets[0] if isinstance(model, Forecaster) else None
        self._drift = asyncio.Lock()
        self.unseen = 0  # streams of the store that no token can see
        self._namespaces: defaultdict[str, _Namespace] = defaultdict(lambda: _Namespace(Activity(self._target)))
        self._began = time.monotonic()

    async def start(self) -> None:
        """Open the streams; what that raises is raised here."""
        await self.batcher.start()
        for key in await self.batcher.call(OwnedStreams.keys):
            if self.tokens is None:
                self._namespaces[LOCAL].streams += 1
            elif "/" in key and (name := key.split("/", 1)[0]) in self.tokens.names:
                self._namespaces[name].streams += 1
            else:
                self.unseen += 1
        self.description = describe(self.model, self.schema, self.batcher.streams.pool.record_bytes)

    def begin_stop(self) -> None:
        """Take nothing new; open feeds and bodies of lines end."""
        self.stopping.set()
        self.feeds.end()

    async def close(self) -> None:
        """Compute what waits, and close the streams."""
        self.begin_stop()
        await self.batcher.close()

    @property
    def ready(self) -> bool:
        """Whether a request would be taken now."""
        room = self.batcher.waiting < self.limits.queue_rows and self.budget.used < self.budget.limit
        return self.batcher.alive and not self.stopping.is_set() and room

    def namespace_of(self, token: str | None) -> str:
        """The namespace of a token.

        Raises:
            RequestError: 401, there is none, or nobody knows it.
        """
        if self.tokens is None:
            return LOCAL
        name = None if token is None else self.tokens.name_of(token)
        if name is None:
            raise RequestError(401, "expected the header `Authorization: Bearer TOKEN` with a token of this service")
        return name

    def whole_key(self, namespace: str, key: str) -> str:
        """A key as the streams have it: without tokens as the client wrote it, and as Python's pools have it."""
        return key if self.tokens is None else f"{namespace}/{key}"

    async def take(self, namespace: str, rows: Rows, stopped: set[str], *, predictions: bool) -> list[bytes]:
        """The answers to rows, each as JSON.

        Args:
            namespace: whose streams they are for.
            rows: as they came.
            stopped: keys of which a row was refused, of which no later row of the same request is taken; added to.
            predictions: whether the answers hold them.

        Raises:
            RequestError: 413, the answers would be too long; 429, the queue is full, or there is no room for them;
                503, the service stops, or its store cannot be written.
        """
        most = self.most_rows(predictions=predictions)
        if len(rows) > most:
            raise RequestError(
                413,
                f"rows: expected at most {most}, whose predictions fill the memory for answers, received {len(rows)}; "
                "send less at once, lines (NDJSON), or ask for predictions=false",
            )
        room = len(rows) * self._answer_bytes[predictions]
        self.budget.take(room)
        try:
            return await self._answers(namespace, rows, stopped, predictions=predictions)
        finally:
            self.budget.give_back(room)  # from now on the answers themselves are counted

    def most_rows(self, *, predictions: bool) -> int:
        """How many rows may be answered together, so that the answers have room."""
        limits = self.limits
        room = max(limits.queue_bytes - limits.body_bytes, limits.queue_bytes // 2)
        return max(1, room // self._answer_bytes[predictions])

    async def _answers(self, namespace: str, rows: Rows, stopped: set[str], *, predictions: bool) -> list[bytes]:
        began = time.monotonic()
        sent = _sendable(rows, stopped)
        whole = [self.whole_key(namespace, str(rows.keys[index])) for index in sent]
        part = None
        if sent:
            numbers = [rows.numbers[index] for index in sent]
            try:
                part = await self.batcher.update(whole, [rows.cells[index] for index in sent], numbers)
            except ModelFileError:
                raise RequestError(
                    503,
                    "expected a store that can be written, it cannot be; send the rows again later",
                    retry_after=10,
                ) from None
            except DataError as error:
                raise RequestError(507, str(error)) from None
        seconds = time.monotonic() - began
        activity, subscribers = self._namespaces[namespace].activity, self.feeds.wanted(namespace)
        drawn = activity.drawn(rows.keys, sent)

        def wants(index: int) -> bool:
            key = rows.keys[index]
            if predictions or index in drawn:
                return True
            return bool(subscribers) and any(one.key is None or one.key == key for one in subscribers)

        found, taken = [], []
        for index, answer in enumerate(answers(rows, part, sent, whole, wants)):
            text = line(answer, prediction=predictions)
            found.append(text)
            if answer.status == "refused" and answer.key is not None:
                stopped.add(answer.key)
            elif answer.status in ("taken", "skipped"):
                taken.append(answer)
            if subscribers:
                event = b"data: " + (text if predictions else line(answer)) + b"\n\n"
                for one in subscribers:
                    if one.key is None or one.key == answer.key:
                        one.put(event)
            if answer.prediction is not None and index in drawn:
                activity.record(answer, rows.cells[index])
            if index % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)  # others must not wait for a long answer to be written
        self._count(namespace, rows, part, taken, seconds)
        return found

    def _count(self, namespace: str, rows: Rows, part: Any, taken: list[Answer], seconds: float) -> None:
        statuses = [] if part is None else part.result.status[part.first : part.first + part.count].tolist()
        counts = {name: statuses.count(number) for number, name in enumerate(STATUSES)}
        counts["refused"] += len(rows) - len(statuses)
        self.metrics.rows(counts, seconds)
        known = self._namespaces[namespace]
        known.recent.add(len(rows), seconds)
        known.streams += sum([one.number == 1 for one in taken])
        known.activity.saw([str(one.key) for one in taken], [one.number or 0 for one in taken])

    async def drift(self, namespace: str, bound: float, most: int) -> dict[str, Any]:
        """Which streams have moved most from the training data, looked at piece by piece between the rows.

        Raises:
            RequestError: 409, the model has no such report; 429, one is being made.
        """
        if self._drift.locked():
            raise RequestError(429, "expected one report at a time; ask again when the other is done", retry_after=5)
        async with self._drift:
            prefix = self.whole_key(namespace, "")
            whole = sorted(key for key in await self.batcher.call(OwnedStreams.keys) if key.startswith(prefix))
            try:
                report = FleetDrift(self.batcher.streams.pool, bound=bound, most=most)
            except ValueError as error:
                raise RequestError(409, str(error)) from None
            for first in range(0, len(whole), _STREAMS_AT_ONCE):
                await self.batcher.call(partial(_look, report, whole[first : first + _STREAMS_AT_ONCE]))
        found = report.to_dict()
        for one in found["worst"]:
            one["key"] = one["key"].removeprefix(prefix)
        return found

    async def stream_call(self, namespace: str, key: str, call: Callable[[OwnedStreams, str], Any]) -> Any:
        """What a call gives that needs the streams and the whole key.

        Raises:
            RequestError: 404, the key has no stream; 409, the call cannot be done; 400, what it was given is bad.
        """
        whole, prefix = self.whole_key(namespace, key), self.whole_key(namespace, "")
        try:
            return await self.batcher.call(lambda streams: call(streams, whole))
        except KeyError:
            raise RequestError(404, f"key: expected one that has a stream, received {key!r}") from None
        except DataError as error:
            raise RequestError(409, str(error).replace(prefix, "")) from None
        except ModelFileError as error:
            raise RequestError(400, str(error).replace(prefix, "")) from None

    def changed(self, namespace: str, key: str, streams: int = 0) -> None:
        """A stream changed without a row: the page must not go on from what it has drawn; `streams` came or went."""
        self._namespaces[namespace].activity.forget(key)
        self._namespaces[namespace].streams += streams

    def live(self, namespace: str, key: str | None) -> dict[str, Any]:
        """What the live page shows."""
        known, pool = self._namespaces[namespace], self.batcher.streams.pool
        found = known.recent.to_dict()
        found["streams"] = known.streams
        found["top"] = known.activity.top(12)
        found["queue_rows"] = self.batcher.waiting
        found["uptime_seconds"] = round(time.monotonic() - self._began, 1)
        found["stream_bytes"] = pool.stream_bytes
        found["cache_bytes_per_token"] = cache_bytes_per_token(self.model)
        found["kind"] = self.model.kind
        found["target"] = self._target
        found["stream"] = None if key is None else {"key": key, **known.activity.history(key)}
        return found


def _look(report: FleetDrift, keys: Sequence[str], streams: OwnedStreams) -> None:
    report.add(keys)


def _sendable(rows: Rows, stopped: set[str]) -> list[int]:
    """The indices of rows that go to the pool: no later row of a key of which one was refused before."""
    sent = []
    for index, key in enumerate(rows.keys):
        if index in rows.refused:
            if key is not None:
                stopped.add(key)
        elif key in stopped:
            rows.refused[index] = (
                "expected no row of this key after one that was refused in the same request; mend that one and send "
                "the rows from it on again"
            )
        else:
            sent.append(index)
    return sent
