"""A store that takes long to open or close does not block the loop; a start can be cancelled or stopped meanwhile.

Method: the calls of a store wait, in the worker thread, until the test lets them go on. No times are measured.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from qpidha import Batch, Node, SequenceSet
from qpidha.errors import LocalProtocolError, StoreFailed
from qpidha.journal import Change, StoreImage
from qpidha.records.memory import MemoryRecordStore
from qpidha.stores import MemoryStore
from qpidha.transports import TcpTransport
from qpidha.types import QueueId, QueueSpec
from tests.support.harness import Recorder, until


class SlowStore(MemoryStore):
    """A store that waits in `open` and `close` until the test lets it go on. Records the calling threads."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.calls: list[tuple[str, int]] = []
        self.closed_clean: list[bool] = []

    def _call(self, what: str) -> None:
        self.calls.append((what, threading.get_ident()))

    def open(self, node: str, *, refuse_dirty: bool = False) -> StoreImage:
        self._call("open")
        if not self.go_on.wait(20.0):
            raise StoreFailed("the test has forgotten the store")
        return super().open(node, refuse_dirty=refuse_dirty)

    def commit(self, changes: Sequence[Change]) -> None:
        self._call("commit")
        super().commit(changes)

    def close(self, *, clean: bool) -> None:
        self._call("close")
        self.go_on.wait(20.0)
        self.closed_clean.append(clean)
        super().close(clean=clean)


def make(store: MemoryStore, broker: Any = None, records: MemoryRecordStore | None = None) -> Node:
    return Node(
        "a",
        broker=broker or Recorder(),
        store=store,
        transport=TcpTransport(),
        records=records or MemoryRecordStore(),
    )


async def begun(work: Awaitable[Any], store: SlowStore) -> asyncio.Task[Any]:
    """Start the work as a task; wait until the store was called and the loop has run many more turns."""
    task = asyncio.ensure_future(work)
    await until(lambda: store.calls)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not task.done()
    return task


def test_the_loop_goes_on_while_a_store_opens_and_closes() -> None:
    """All calls come from one thread, which is not the loop's."""

    async def run() -> None:
        store = SlowStore()
        node = make(store)
        start = await begun(node.start(), store)
        store.go_on.set()
        await start
        store.go_on.clear()
        store.calls.clear()
        stop = await begun(node.stop(), store)
        store.go_on.set()
        await stop
        assert store.closed_clean == [True]
        (thread,) = {thread for _, thread in store.calls}
        assert thread != threading.get_ident()

    asyncio.run(run())


def test_all_calls_of_a_blocking_store_come_from_one_thread() -> None:
    async def run() -> None:
        store = SlowStore()
        store.go_on.set()
        node = make(store)
        async with node:
            await node.promote()
            await node.declare("q").enqueue(b"m")
        assert {what for what, _ in store.calls} == {"open", "commit", "close"}
        assert len({thread for _, thread in store.calls}) == 1

    asyncio.run(run())


def test_a_start_that_is_cancelled_leaves_the_store_as_it_was() -> None:
    """The store is released when the cancelled start ends, and another node can then use it."""

    async def run() -> None:
        store, records = SlowStore(), MemoryRecordStore()
        store.go_on.set()
        async with make(store, records=records) as node:
            await node.promote()
        store.go_on.clear()
        store.calls.clear()
        store.closed_clean.clear()
        start = await begun(make(store, records=records).start(), store)
        start.cancel()
        for _ in range(100):
            await asyncio.sleep(0)
        assert not start.done(), "the store is not released yet"
        store.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await start
        assert store.closed_clean == [True], "it was clean, and nothing was changed"

    asyncio.run(run())


def test_a_node_is_stopped_while_its_store_opens() -> None:
    """The caller that waits for the start gets an error, and the store is released before `stop` returns."""

    async def run() -> None:
        store = SlowStore()
        node = make(store)
        start = await begun(node.start(), store)
        stop = asyncio.ensure_future(node.stop())
        await asyncio.sleep(0)
        store.go_on.set()
        await stop
        assert [what for what, _ in store.calls] == ["open", "close"]
        with pytest.raises(LocalProtocolError, match="stopped while it was starting"):
            await start

    asyncio.run(run())


def test_a_store_that_does_not_open_is_not_closed() -> None:
    async def run() -> None:
        store = SlowStore()
        store.go_on.set()
        store.damage()
        store.calls.clear()
        await make(store).stop()
        assert store.calls == [], "a node that was never started has not used its store"

    asyncio.run(run())


class Follower(Recorder):
    """Follows all queues, and counts the loop turns between the first and the last notification."""

    def __init__(self) -> None:
        super().__init__()
        self.content: dict[QueueId, list[bytes]] = {}

    def on_queue(self, queue: QueueId, spec: QueueSpec) -> Any:
        content = self.content[queue] = []

        class Listener:
            def inserted(self, ids: SequenceSet, batch: Batch) -> None:
                content.extend(batch)

            def removed(self, ids: SequenceSet) -> None:
                raise AssertionError("nothing is removed here")

        return Listener()


def test_content_of_the_store_is_reported_once_and_in_order() -> None:
    async def run() -> None:
        store, records = MemoryStore(), MemoryRecordStore()
        async with make(store, records=records) as node:
            await node.promote()
            await until(lambda: node.serving)
            for n in range(50):
                queue = node.declare(f"q{n}")
                await queue.enqueue_many([b"1", b"2"])
                await queue.enqueue(b"3")
        broker = Follower()
        async with make(store, broker, records):
            assert list(broker.content.values()) == [[b"1", b"2", b"3"]] * 50

    asyncio.run(run())
