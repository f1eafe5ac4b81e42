"""The record store in memory fails on request, in each of the three ways that rule M2 distinguishes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest

from qpidha.errors import Conflict, OutcomeUnknown, Unavailable
from qpidha.records.memory import Fault, MemoryRecordStore
from qpidha.types import Record

RECORD = Record(cluster=UUID(int=1), generation=1, primary=None, members=frozenset(), nonce=b"1")
OTHER = replace(RECORD, generation=2, nonce=b"2")


def test_each_fault_affects_one_write() -> None:
    async def main() -> None:
        store = MemoryRecordStore()
        first = await store.create(RECORD)
        store.fail_next(Fault.UNAVAILABLE, Fault.LOST, Fault.APPLIED)
        with pytest.raises(Unavailable):
            await store.compare_and_set(first.version, OTHER, timeout_s=1)
        with pytest.raises(OutcomeUnknown):
            await store.compare_and_set(first.version, OTHER, timeout_s=1)
        assert await store.read() == first
        with pytest.raises(OutcomeUnknown):
            await store.compare_and_set(first.version, OTHER, timeout_s=1)
        second = await store.read()
        assert second is not None
        assert second.record == OTHER
        assert await store.compare_and_set(first.version, OTHER, timeout_s=1) == second
        assert store.writes == 2

    asyncio.run(main())


def test_a_late_write_is_applied_on_request_unless_another_came_first() -> None:
    async def main() -> None:
        store = MemoryRecordStore()
        first = await store.create(RECORD)
        store.fail_next(Fault.LATE)
        with pytest.raises(OutcomeUnknown):
            await store.compare_and_set(first.version, OTHER, timeout_s=1)
        assert await store.read() == first
        store.apply_late()
        second = await store.read()
        assert second is not None
        assert second.record == OTHER
        store.fail_next(Fault.LATE)
        with pytest.raises(OutcomeUnknown):
            await store.compare_and_set(second.version, replace(OTHER, nonce=b"late"), timeout_s=1)
        third = await store.compare_and_set(second.version, replace(OTHER, nonce=b"3"), timeout_s=1)
        store.apply_late()
        assert await store.read() == third

    asyncio.run(main())


def test_calls_to_an_unreachable_store_are_unavailable() -> None:
    async def main() -> None:
        store = MemoryRecordStore()
        session = await store.open_session("a", b"", ttl_s=1)
        store.reachable = False
        opening = store.open_session("b", b"", ttl_s=1)
        for attempt in (store.read(), store.live(), store.create(RECORD), opening):
            with pytest.raises(Unavailable):
                await attempt
        store.reachable = True
        assert await store.read() is None
        assert await store.live() == {"a": b""}
        await session.close()

    asyncio.run(main())


def test_an_expired_session_is_lost_and_may_be_opened_again() -> None:
    async def main() -> None:
        store = MemoryRecordStore()
        session = await store.open_session("a", b"1", ttl_s=1)
        store.expire("a")
        assert await session.wait_lost() == "expired"
        before = session.deadline()
        await asyncio.sleep(0.01)
        assert session.deadline() == before
        again = await store.open_session("a", b"2", ttl_s=1)
        await session.close()
        assert await store.live() == {"a": b"2"}
        with pytest.raises(Conflict):
            await store.open_session("a", b"3", ttl_s=1)
        await again.close()

    asyncio.run(main())
