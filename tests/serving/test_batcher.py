"""Who computes what: what takes but a moment on the event loop, the rest on the worker, all of it in order."""

from __future__ import annotations

import asyncio
import threading

import pytest

from aaren.serving import Limits, open_streams
from aaren.serving._batcher import Batcher
from aaren.serving._protocol import _Joining


class Owned:
    """The streams of a model, and the name of the thread that took each batch of rows; None for what was not done."""

    def __init__(self, streams):
        self.streams, self.pool, self.rows_at_once, self.close = streams, streams.pool, 8, streams.close
        self.batches = []

    def update(self, keys, rows, numbers, gaps):
        """As the streams."""
        self.batches.append((threading.current_thread().name, keys))
        return self.streams.update(keys, rows, numbers, gaps)

    def update_at_once(self, keys, rows, numbers):
        """As the streams."""
        said = self.streams.update_at_once(keys, rows, numbers)
        self.batches.append((threading.current_thread().name if said is not None else None, keys))
        return said


def batches(model, work, store=None, **limits):
    """What a batcher made of some work with it: who took which rows."""
    owned = []

    def opened():
        owned.append(Owned(open_streams(model, 100, store)))
        if store is not None:
            owned[0].rows_at_once = owned[0].streams.rows_at_once
        return owned[0]

    async def main():
        batcher = Batcher(opened, Limits(**limits), lambda rows, seconds: None)
        await batcher.start()
        await work(batcher)
        await batcher.close()

    asyncio.run(main())
    return owned[0].batches


HERE, WORKER = "MainThread", "aaren-serve"


def test_requests_of_one_turn_are_one_batch_on_the_event_loop(model, rows):
    """Small requests that come together are computed together, where they came, up to a moment's rows or a batch's."""

    async def work(batcher):
        await asyncio.gather(*(batcher.update([key], rows[:1], [None]) for key in "abcdefghijk"))

    assert batches(model, work) == [(HERE, list("abcdefgh")), (HERE, list("ijk"))]
    assert batches(model, work, max_batch=6) == [(HERE, list("abcdef")), (HERE, list("ghijk"))]


def test_a_row_after_a_gap_goes_to_the_worker_and_all_behind_it(model, rows):
    """What is not done in a moment is left to the worker with what waits, then the event loop computes again."""
    numbers = []

    async def work(batcher):
        await batcher.update(["a"], rows[:1], [None])
        parts = await asyncio.gather(*(batcher.update(["a"], [row], [None]) for row in (rows[3], rows[4], rows[5])))
        numbers.extend(int(part.result.rows[part.first]) for part in parts)
        await batcher.update(["a"], rows[6:7], [None])

    found = batches(model, work)
    assert found[:3] == [(HERE, ["a"]), (None, ["a"]), (WORKER, ["a"])]
    assert found[-1] in [(HERE, ["a"]), (WORKER, ["a"])]
    assert [thread for thread, _ in found if thread is not None] == [HERE, WORKER, WORKER, WORKER, found[-1][0]]
    assert numbers == [2, 3, 4]


def test_the_event_loop_has_the_streams_back(model, rows):
    """Once the worker's queue is empty, what takes but a moment is the event loop's again."""

    async def work(batcher):
        assert await batcher.call(lambda streams: threading.current_thread().name) == WORKER
        while batcher._handed:
            await asyncio.sleep(0.001)
        await batcher.update(["a"], rows[:1], [None])

    assert batches(model, work) == [(HERE, ["a"])]


def test_long_requests_and_stores_are_the_workers(model, rows, tmp_path):
    """More rows than those of a moment, and rows that must be on the disk, never hold the event loop up."""

    async def work(batcher):
        await batcher.update(list("abcdefghi"), rows[:1] * 9, [None] * 9)

    assert batches(model, work) == [(WORKER, list("abcdefghi"))]
    assert batches(model, work, tmp_path / "store") == [(WORKER, list("abcdefghi"))]


def test_what_waits_is_computed_at_the_end(model, rows):
    """Requests that the event loop has not come to when the service stops are computed by the worker."""

    async def work(batcher):
        waiting = [asyncio.ensure_future(batcher.update([key], rows[:1], [None])) for key in "abc"]
        await asyncio.sleep(0)  # they are in the queue now, and this goes on before what computes them
        await batcher.close()
        parts = await asyncio.gather(*waiting)
        assert [int(part.result.rows[part.first]) for part in parts] == [1, 1, 1]

    assert sorted(key for _, keys in batches(model, work) for key in keys) == ["a", "b", "c"]


@pytest.mark.parametrize("end", ["release", "close"])
def test_what_is_held_back_is_written_once(end):
    """Head and body of an answer leave in one piece, also where the connection is closed behind them."""
    written = []

    class Transport:
        write = staticmethod(written.append)
        close = staticmethod(lambda: written.append("closed"))

    joining = _Joining(Transport())
    joining.write(b"0")
    joining.hold()
    joining.write(b"head")
    joining.write(b"body")
    assert written == [b"0"]
    getattr(joining, end)()
    joining.release()
    assert written == [b"0", b"headbody", *(["closed"] if end == "close" else [])]
    joining.write(b"1")
    assert written[-1] == b"1"
