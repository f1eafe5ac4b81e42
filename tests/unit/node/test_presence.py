"""A node's session: kept open while the node wants to be seen, published anew when that changes, opened again if lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from qpidha import Settings
from qpidha.errors import Unavailable
from qpidha.events import NodeEvent, SessionTimeoutRaised
from qpidha.node.presence import Presence
from qpidha.node.runtime import Runtime
from qpidha.records import MemoryRecordStore
from qpidha.types import NodeInfo
from qpidha.wire.info import decode_info

INFO = NodeInfo(peer=("127.0.0.1", 5671), client=None, boot=UUID(int=1), score=3)


def run(main: Callable[[MemoryRecordStore, Presence], Awaitable[None]]) -> None:
    async def work() -> None:
        records, runtime = MemoryRecordStore(), Runtime("a", Settings(record_retry_s=0.01), None)
        runtime.enter_loop()
        presence = Presence(runtime, records)
        await presence.open(INFO)
        running = asyncio.ensure_future(presence.run())
        try:
            await asyncio.wait_for(main(records, presence), 20)
        finally:
            running.cancel()
            await asyncio.wait({running})
            await presence.close()
            await records.close()

    asyncio.run(work())


async def published(records: MemoryRecordStore) -> NodeInfo | None:
    live = await records.live()
    return decode_info(live["a"]) if "a" in live else None


async def sees(records: MemoryRecordStore, wanted: NodeInfo | None) -> None:
    async for live in records.watch_live():
        if (decode_info(live["a"]) if "a" in live else None) == wanted:
            return


def test_the_node_is_seen_with_what_it_published() -> None:
    async def main(records: MemoryRecordStore, presence: Presence) -> None:
        assert await published(records) == INFO

    run(main)


def test_a_node_that_does_not_stand_publishes_no_score() -> None:
    async def main(records: MemoryRecordStore, presence: Presence) -> None:
        presence.stand(False)
        await sees(records, replace(INFO, score=None))
        presence.stand(True)
        await sees(records, INFO)

    run(main)


def test_a_node_that_left_comes_back_when_it_is_told_to() -> None:
    async def main(records: MemoryRecordStore, presence: Presence) -> None:
        presence.leave()
        await sees(records, None)
        presence.come_back()
        await sees(records, INFO)

    run(main)


def test_a_lost_session_is_opened_again() -> None:
    async def main(records: MemoryRecordStore, presence: Presence) -> None:
        records.expire("a")
        assert await published(records) is None
        await sees(records, INFO)

    run(main)


@pytest.mark.parametrize("said", ["the TTL has passed", "", None, 7])
def test_a_session_is_lost_whatever_its_store_says_of_it(said: object) -> None:
    """An implementer may forget the reason: the node must neither go on without a session nor ask again and again."""

    class Curt:
        def __init__(self, session: Any) -> None:
            self._session = session

        def __getattr__(self, name: str) -> Any:
            return getattr(self._session, name)

        async def wait_lost(self) -> Any:
            await self._session.wait_lost()
            return said

    class Store(MemoryRecordStore):
        opened = 0

        async def open_session(self, node: str, info: bytes, *, ttl_s: float) -> Any:
            self.opened += 1
            return Curt(await super().open_session(node, info, ttl_s=ttl_s))

    async def work() -> None:
        troubles: list[NodeEvent] = []
        records, runtime = Store(), Runtime("a", Settings(record_retry_s=0.01), None, troubles.append)
        runtime.enter_loop()
        presence = Presence(runtime, records)
        await presence.open(INFO)
        running = asyncio.ensure_future(presence.run())
        await asyncio.sleep(0)
        records.expire("a")
        await asyncio.wait_for(sees(records, INFO), 20)
        assert records.opened == 2
        assert any(f"lost: {said or 'its record store says no reason'}" in told.line for told in troubles)
        running.cancel()
        await asyncio.wait({running})
        await presence.close()

    asyncio.run(work())


def test_the_first_session_must_be_opened() -> None:
    class Silent(MemoryRecordStore):
        async def open_session(self, *_: object, **__: object) -> object:
            raise Unavailable("no answer")

    async def main() -> None:
        runtime = Runtime("a", Settings(), None)
        with pytest.raises(Unavailable):
            await Presence(runtime, Silent()).open(INFO)

    asyncio.run(main())


def test_closing_twice_is_fine() -> None:
    async def main(records: MemoryRecordStore, presence: Presence) -> None:
        await presence.close()
        await presence.close()
        assert await published(records) is None

    run(main)


def test_a_longer_time_out_than_was_asked_for_is_told_once() -> None:
    class Generous(MemoryRecordStore):
        async def open_session(self, node: str, info: bytes, *, ttl_s: float) -> Any:
            return await super().open_session(node, info, ttl_s=ttl_s * factors.pop(0))

    async def work() -> None:
        told: list[NodeEvent] = []
        records, runtime = Generous(), Runtime("a", Settings(session_ttl_s=2.0), None, told.append)
        runtime.enter_loop()
        presence = Presence(runtime, records)
        while factors:
            await presence.open(INFO)
            await presence.close()
        assert told == [SessionTimeoutRaised(2.0, 4.0), SessionTimeoutRaised(2.0, 6.0)]
        assert told[0].line == "session time-out raised: 4 s instead of 2 s"

    factors = [1.0, 2.0, 2.0, 3.0]
    asyncio.run(work())


@pytest.mark.parametrize("lock", [b"lock", b""])
def test_the_record_store_is_told_which_lock_this_node_holds(lock: bytes) -> None:
    class Engine(MemoryRecordStore):
        told: bytes | None = None

        def succeed(self, lock: bytes) -> None:
            self.told = lock

    runtime = Runtime("a", Settings(), None)
    engine = Engine()
    Presence(runtime, engine).succeed(lock)
    assert engine.told == (lock or None)
    Presence(runtime, MemoryRecordStore()).succeed(lock)
