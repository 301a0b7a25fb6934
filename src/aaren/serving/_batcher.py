"""Micro-batching: requests wait in one bounded queue and are computed together, by one thread at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aaren.serving._errors import stopping, too_busy
from aaren.serving._limits import Limits
from aaren.serving._owned import OwnedStreams
from aaren.streaming import GapBudget


@dataclass(frozen=True, eq=False)
class Part:
    """The share of one request in the result of a batch.

    Args:
        result: of the batch, as the pool gave it.
        first: index of the request's first row in it.
        count: of the request's rows.
    """

    result: Any
    first: int
    count: int


@dataclass(eq=False)
class _Job:
    """Rows, or a call that changes or reads one stream; both are done in the order in which they came."""

    future: asyncio.Future[Any]
    keys: list[str] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    numbers: list[int | None] = field(default_factory=list)
    call: Callable[[OwnedStreams], Any] | None = None
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """The queue, and the worker.

    The streams belong to the event loop or to the worker, never to both. What takes but a moment is computed on the
    event loop, all requests that one turn of it has read together: to wake another thread and to wait for Python's lock
    would take longer. The rest, such as rows after a gap, rows of a store and calls, goes to the worker, and with it
    all that comes until its queue is empty.

    A batch is made of whole requests. On the worker it leaves when it has `max_batch` rows, when its first row has
    waited `max_wait_ms`, or at once if that row found the worker idle. No two requests in a batch share a key: a row
    that is refused stops only the later rows of its own request.

    Args:
        open_streams: opens what the worker owns, on the worker, which closes it too.
        limits: of batch, waiting and queue.
        on_batch: called with the rows and seconds of every batch.
    """

    def __init__(
        self, open_streams: Callable[[], OwnedStreams], limits: Limits, on_batch: Callable[[int, float], None]
    ) -> None:
        self._open, self._limits, self._on_batch = open_streams, limits, on_batch
        self._streams: OwnedStreams | None = None
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._more = threading.Condition()
        self._closing = False
        self._handed = False  # whether the streams are the worker's
        self._planned = False  # whether the event loop will compute what waits
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None

    @property
    def waiting(self) -> int:
        """Rows in the queue."""
        return self._waiting

    @property
    def streams(self) -> OwnedStreams:
        """What the worker owns. Others may only ask it for sizes."""
        assert self._streams is not None, "start first"
        return self._streams

    @property
    def alive(self) -> bool:
        """Whether the worker takes requests."""
        return self._thread is not None and self._thread.is_alive() and not self._closing

    async def start(self) -> None:
        """Start the worker; what opening the streams raises is raised here."""
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="aaren-serve", daemon=True)
        self._thread.start()
        await opened

    async def update(self, keys: list[str], rows: list[Any], numbers: list[int | None]) -> Part:
        """The result of rows, once they are computed, and durable if there is a store.

        Raises:
            RequestError: 429, the queue is full; 503, the service stops.
        """
        return await self._submit(_Job(asyncio.get_running_loop().create_future(), keys, rows, numbers))

    async def call(self, call: Callable[[OwnedStreams], Any]) -> Any:
        """What a call gives that needs the streams, after the rows that came before it."""
        return await self._submit(_Job(asyncio.get_running_loop().create_future(), call=call))

    async def close(self) -> None:
        """Compute what waits, close the streams, end the worker; what closing them raises is raised here."""
        with self._more:
            self._closing = True
            self._more.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        if self._failed is not None:
            raise self._failed

    async def _submit(self, job: _Job) -> Any:
        size = max(1, len(job.keys))
        with self._more:
            if not self.alive:
                raise stopping()
            if self._waiting and self._waiting + size > self._limits.queue_rows:  # alone it would never fit
                raise too_busy()
            self._waiting += size
            self._jobs.append(job)
            if job.call is not None or size > self.streams.rows_at_once:
                self._handed = True
            if self._handed:
                self._more.notify()
            else:
                self._plan()
        return await job.future

    def _plan(self) -> None:
        """Let the event loop compute what waits, after what else it has to do in this turn."""
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._compute_here)

    def _compute_here(self) -> None:
        """On the event loop: one batch, unless the worker has the streams or must be given them."""
        self._planned = False
        with self._more:
            if self._handed or self._closing or not self._jobs:
                return
            jobs = self._take(min(self.streams.rows_at_once, self._limits.max_batch))
        answers = self._answers(self._update_at_once, jobs)
        if answers is None:
            with self._more:
                self._jobs.extendleft(reversed(jobs))
                self._waiting += sum(len(job.keys) for job in jobs)
                self._handed = True
                self._more.notify()
            return
        _deliver(jobs, answers)
        if self._jobs:
            self._plan()

    def _run(self, opened: asyncio.Future[None]) -> None:
        """The worker."""
        loop = opened.get_loop()
        try:
            self._streams = self._open()
        except BaseException as error:
            loop.call_soon_threadsafe(opened.set_exception, error)
            return
        loop.call_soon_threadsafe(opened.set_result, None)
        try:
            self._work()
            self._streams.close()
        except BaseException as error:
            self._failed = error

    def _work(self) -> None:
        """Batch after batch, whenever it has the streams, until it is closed and the queue is empty."""
        busy = False
        while True:
            with self._more:
                while not self._closing and not (self._handed and self._jobs):
                    self._handed = busy = False
                    self._more.wait()
                if not self._jobs:
                    return
                self._handed = True
                if busy and self._jobs[0].call is None:
                    self._wait_for_more(self._jobs[0].arrived + self._limits.max_wait_ms / 1e3)
                jobs = self._take(self._limits.max_batch)
            answers = self._answers(self._do, jobs)
            assert answers is not None, "only what must be done at once may be left undone"
            loop = jobs[0].future.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_deliver, jobs, answers)
            busy = True

    def _wait_for_more(self, deadline: float) -> None:
        """Wait until there is a full batch, or the first row has waited long enough."""
        while self._waiting < self._limits.max_batch and not self._closing:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._more.wait(left)

    def _take(self, most: int) -> list[_Job]:
        """The next jobs of the queue: one call, or requests of rows, about `most`, with no key in common."""
        jobs = [self._jobs.popleft()]
        size, seen = len(jobs[0].keys), set(jobs[0].keys)
        while jobs[0].call is None and self._jobs and self._jobs[0].call is None:
            keys = self._jobs[0].keys
            if size + len(keys) > most or not seen.isdisjoint(keys):
                break
            size += len(keys)
            seen.update(keys)
            jobs.append(self._jobs.popleft())
        self._waiting -= sum(max(1, len(job.keys)) for job in jobs)
        return jobs

    def _answers(self, work: Callable[[list[_Job]], list[Any] | None], jobs: list[_Job]) -> list[Any] | None:
        """What work gives; if it fails, its error for each job: requests must be answered and others go on."""
        try:
            return work(jobs)
        except BaseException as error:
            return [error] * len(jobs)

    def _do(self, jobs: list[_Job]) -> list[Any] | None:
        """What the worker does."""
        call = jobs[0].call
        if call is not None:
            return [call(self.streams)]
        groups = [index for index, job in enumerate(jobs) for _ in job.keys]
        most = [max(0, self._limits.request_rows - len(job.keys)) for job in jobs]
        gaps = GapBudget(groups, most, self._limits.queue_rows)
        return self._update(jobs, lambda keys, rows, numbers: self.streams.update(keys, rows, numbers, gaps))

    def _update_at_once(self, jobs: list[_Job]) -> list[Any] | None:
        return self._update(jobs, self.streams.update_at_once)

    def _update(self, jobs: list[_Job], update: Callable[..., Any]) -> list[Any] | None:
        """The part of each request in what an update says; None if that says nothing and has done nothing."""
        began = time.monotonic()
        keys = [key for job in jobs for key in job.keys]
        rows = [row for job in jobs for row in job.rows]
        numbers = [number for job in jobs for number in job.numbers]
        result = update(keys, rows, numbers)
        if result is None:
            return None
        self._on_batch(len(keys), time.monotonic() - began)
        parts, first = [], 0
        for job in jobs:
            parts.append(Part(result, first, len(job.keys)))
            first += len(job.keys)
        return parts


def _deliver(jobs: list[_Job], answers: list[Any]) -> None:
    """On the event loop: wake those who wait, if their clients are still there."""
    for job, answer in zip(jobs, answers, strict=True):
        if job.future.done():
            continue
        if isinstance(answer, BaseException):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer)
