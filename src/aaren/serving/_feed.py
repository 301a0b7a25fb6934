"""Feeds: the answers of a namespace as they happen, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aaren.serving._budget import Budget, Reader
from aaren.serving._errors import RequestError

_QUIET_SECONDS = 15.0


class Subscriber:
    """One open feed.

    Args:
        namespace: whose answers it gets.
        key: of the only stream whose answers it gets; None for all.
        most: events that may wait for the reader.
        budget: of the bytes of what waits.
    """

    def __init__(self, namespace: str, key: str | None, most: int, budget: Budget) -> None:
        self.namespace, self.key = namespace, key
        self._budget, self._reader = budget, Reader(budget, self._drop)
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue(most)
        self.dropped = False

    def put(self, event: bytes) -> None:
        """One more event; a reader that is too slow loses what waits, and is told so."""
        if self.dropped:
            return
        if self._events.full() or self._budget.used + len(event) > self._budget.limit:
            self._reader.leave()
        else:
            self._events.put_nowait(event)
            self._reader.owe(len(event))

    def end(self) -> None:
        """End the feed, since the service stops."""
        self._last(b"event: stopping\ndata: {}\n\n")

    def close(self) -> None:
        """Nobody reads any more."""
        self._reader.end()

    async def events(self) -> AsyncIterator[bytes]:
        """The events; a comment now and then while there is none, so that a reader that left is noticed."""
        yield b": the answers of your streams, as they happen\n\n"
        while True:
            try:
                async with asyncio.timeout(_QUIET_SECONDS):
                    event = await self._events.get()
            except TimeoutError:
                event = b":\n\n"
            if event is None:
                return
            self._reader.read(min(len(event), self._reader.waiting))  # a last word is not counted
            yield event

    def _drop(self) -> None:
        self._last(
            b'event: dropped\ndata: {"error":{"message":"expected a reader that keeps up, received one that is too '
            b'slow; open the feed again, or ask for one key"}}\n\n'
        )

    def _last(self, event: bytes) -> None:
        """Lose what waits, for one last word."""
        self.dropped = True
        self._reader.end()
        while not self._events.empty():
            self._events.get_nowait()
        self._events.put_nowait(event)
        self._events.put_nowait(None)


class Feeds:
    """All open feeds.

    Args:
        most: feeds that may be open.
        most_events: that may wait for one reader.
        budget: of the bytes of all that wait.
    """

    def __init__(self, most: int, most_events: int, budget: Budget) -> None:
        self._most, self._most_events, self._budget = most, max(2, most_events), budget
        self._open: set[Subscriber] = set()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, namespace: str, key: str | None) -> Subscriber:
        """A new feed.

        Raises:
            RequestError: 429, too many are open.
        """
        if len(self._open) >= self._most:
            raise RequestError(429, f"expected at most {self._most} open feeds; close one", retry_after=10)
        subscriber = Subscriber(namespace, key, self._most_events, self._budget)
        self._open.add(subscriber)
        return subscriber

    def close(self, subscriber: Subscriber) -> None:
        """Forget a feed."""
        self._open.discard(subscriber)
        subscriber.close()

    def wanted(self, namespace: str) -> list[Subscriber]:
        """The open feeds of a namespace."""
        return [one for one in self._open if one.namespace == namespace and not one.dropped]

    def end(self) -> None:
        """End all feeds."""
        for subscriber in list(self._open):
            subscriber.end()
