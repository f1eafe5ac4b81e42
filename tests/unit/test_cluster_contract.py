"""Both record stores keep the contract of `qpidha.interfaces.RecordStore` and of `Session`.

Method: the same statements for a store in memory, shared, and for two stores on one directory.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest

from qpidha.cluster import FileRecordStore, MemoryRecordStore
from qpidha.errors import Conflict, Unavailable
from qpidha.interfaces import RecordStore
from qpidha.types import Member, Record, Versioned

T = TypeVar("T")
Two = tuple[RecordStore, RecordStore]
EPOCH = UUID(int=7)
RECORD = Record(
    cluster=UUID(int=1),
    generation=3,
    primary=("a", UUID(int=2)),
    members=frozenset((Member("a", EPOCH), Member("näme/with 'all'", EPOCH))),
    nonce=b"first",
)


def changed(record: Record = RECORD, **fields: Any) -> Record:
    """Another record, with a nonce of its own."""
    return replace(record, nonce=os.urandom(16), **fields)


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, 20)


async def reaches(watch: AsyncIterator[T], condition: Callable[[T], bool]) -> T:
    """The first value of a watch that satisfies this. Watches may skip, so nothing is said of the others."""

    async def follow() -> T:
        async for value in watch:
            if condition(value):
                return value
        raise AssertionError("the watch ended")

    return await soon(follow())


Execute = Callable[[Callable[..., Awaitable[None]]], None]


@pytest.fixture(params=["memory", "file"])
def execute(request: pytest.FixtureRequest, tmp_path: Path) -> Execute:
    """Runs a scenario with two stores on the same record."""

    @asynccontextmanager
    async def two() -> AsyncIterator[Two]:
        if request.param == "memory":
            store = MemoryRecordStore()
            yield store, store
            await store.close()
        else:
            stores = FileRecordStore(tmp_path / "c"), FileRecordStore(tmp_path / "c", poll_interval_s=0.005)
            yield stores
            for each in stores:
                await each.close()
                await each.close()

    def run(scenario: Callable[..., Awaitable[None]]) -> None:
        async def main() -> None:
            async with two() as (one, other):
                await scenario(one, other)

        asyncio.run(main())

    return run


def test_there_is_no_record_at_first_then_one(execute: Execute) -> None:
    async def scenario(one: RecordStore, other: RecordStore) -> None:
        assert await one.read() is None
        created = await one.create(RECORD)
        assert created.record == RECORD
        assert await other.read() == created
        with pytest.raises(Conflict) as conflict:
            await other.create(changed())
        assert conflict.value.current == created

    execute(scenario)


def test_compare_and_set_needs_the_version(execute: Execute) -> None:
    async def scenario(one: RecordStore, other: RecordStore) -> None:
        with pytest.raises(Conflict) as conflict:
            await one.compare_and_set(1, changed(), timeout_s=20)
        assert conflict.value.current is None
        first = await one.create(RECORD)
        second = await other.compare_and_set(first.version, changed(generation=4), timeout_s=20)
        assert second.version > first.version
        for wrong in (first.version, second.version + 1):
            with pytest.raises(Conflict) as conflict:
                await one.compare_and_set(wrong, changed(generation=5), timeout_s=20)
            assert conflict.value.current == second
        assert await one.read() == second

    execute(scenario)


def test_asking_the_same_again_succeeds_once_written(execute: Execute) -> None:
    async def scenario(one: RecordStore, other: RecordStore) -> None:
        new = changed()
        first = await one.create(new)
        assert await one.create(new) == first
        newer = changed()
        second = await one.compare_and_set(first.version, newer, timeout_s=20)
        assert await one.compare_and_set(first.version, newer, timeout_s=20) == second
        assert await other.compare_and_set(first.version, newer, timeout_s=20) == second
        with pytest.raises(Conflict):  # The same nonce with other content is not the same write.
            await one.compare_and_set(first.version, replace(newer, generation=9), timeout_s=20)
        third = await other.compare_and_set(second.version, changed(), timeout_s=20)
        with pytest.raises(Conflict) as conflict:
            await one.compare_and_set(first.version, newer, timeout_s=20)
        assert conflict.value.current == third

    execute(scenario)


def test_records_without_a_nonce_are_never_taken_for_ones_own(execute: Execute) -> None:
    async def scenario(one: RecordStore, other: RecordStore) -> None:
        nameless = replace(RECORD, nonce=b"")
        await one.create(nameless)
        with pytest.raises(Conflict):
            await other.create(nameless)

    execute(scenario)


def test_a_watch_begins_with_the_current_record_and_never_goes_back(execute: Execute) -> None:
    async def scenario(one: RecordStore, other: RecordStore) -> None:
        watch = other.watch()
        assert await soon(anext(watch)) is None
        current = await one.create(RECORD)
        assert await soon(anext(watch)) == current
        seen: list[int] = []

        async def follow() -> None:
            async for found in watch:
                assert found is not None
                seen.append(found.version)
                if found.version == current.version + 20:
                    return

        follower = asyncio.ensure_future(follow())
        latest = current
        for _ in range(20):
            latest = await one.compare_and_set(latest.version, changed(), timeout_s=20)
        await soon(follower)
        assert seen == sorted(set(seen))
        assert await soon(anext(other.watch())) == latest

    execute(scenario)


@pytest.mark.parametrize("idle_s", [0.0, 0.4])
def test_a_new_watch_does_not_begin_with_an_old_value(execute: Execute, idle_s: float) -> None:
    """Whether somebody else is following (0 s) or nobody has for a while: longer than 50 looks."""

    async def scenario(one: RecordStore, other: RecordStore) -> None:
        current = await one.create(RECORD)
        follower = other.watch()
        assert await soon(anext(follower)) == current
        await asyncio.sleep(idle_s)
        for _ in range(5):
            current = await one.compare_and_set(current.version, changed(), timeout_s=20)
            assert await soon(anext(other.watch())) == current
        assert await soon(anext(follower)) == current

    execute(scenario)


def test_sessions_come_and_go_and_say_what_they_like(execute: Execute) -> None:
    async def scenario(one: RecordStore, other: RecordStore) -> None:
        watch = other.watch_live()
        assert await soon(anext(watch)) == {}
        session = await one.open_session("a", b"\0info", ttl_s=2)
        assert await other.live() == {"a": b"\0info"}
        assert await reaches(watch, bool) == {"a": b"\0info"}
        await session.update(b"news")
        assert await reaches(watch, lambda live: live["a"] == b"news") == {"a": b"news"}
        await session.close()
        await session.close()
        assert await other.live() == {}
        assert await reaches(watch, lambda live: not live) == {}
        assert await soon(session.wait_lost()) == "closed"
        with pytest.raises(Unavailable):
            await session.update(b"from the grave")
        assert await other.live() == {}

    execute(scenario)


def test_a_second_session_of_a_node_is_refused_until_the_first_is_closed(execute: Execute) -> None:
    async def scenario(one: RecordStore, other: RecordStore) -> None:
        first = await one.open_session("a", b"1", ttl_s=2)
        for store in (one, other):
            with pytest.raises(Conflict) as conflict:
                await store.open_session("a", b"2", ttl_s=2)
            assert conflict.value.current is None
        assert await one.live() == {"a": b"1"}
        neighbour = await other.open_session("b", b"3", ttl_s=2)
        await first.close()
        second = await other.open_session("a", b"2", ttl_s=2)
        assert await one.live() == {"a": b"2", "b": b"3"}
        await second.close()
        await neighbour.close()

    execute(scenario)


def test_the_deadline_moves_on_while_the_session_lives(execute: Execute) -> None:
    async def scenario(one: RecordStore, other: RecordStore) -> None:
        session = await one.open_session("a", b"", ttl_s=0.8)
        assert session.granted_ttl_s >= 0.8
        assert session.deadline() < time.monotonic() + session.granted_ttl_s
        lost = asyncio.ensure_future(session.wait_lost())
        first = session.deadline()
        await asyncio.sleep(1.0)
        assert session.deadline() > first
        assert session.deadline() > time.monotonic()
        assert not lost.done()
        assert await other.live() == {"a": b""}
        await session.close()
        await soon(lost)

    execute(scenario)


def test_node_ids_may_be_anything(execute: Execute) -> None:
    async def scenario(one: RecordStore, other: RecordStore) -> None:
        names = ["..", ".", "a/b", "a.info", "a", "%", "%hash-", "ü" * 127, "x" * 255, "\n", "A%2Fb"]
        sessions = [await one.open_session(name, name.encode(), ttl_s=5) for name in names]
        assert await other.live() == {name: name.encode() for name in names}
        for session in sessions:
            await session.close()
        assert await other.live() == {}

    execute(scenario)


def test_followers_do_not_disturb_each_other(execute: Execute) -> None:
    async def scenario(one: RecordStore, other: RecordStore) -> None:
        results: list[Mapping[str, bytes] | Versioned | None] = []

        async def follow(watch: AsyncIterator[Any]) -> None:
            results.append(await reaches(watch, bool))

        followers = [asyncio.ensure_future(follow(other.watch())) for _ in range(5)]
        followers += [asyncio.ensure_future(follow(other.watch_live())) for _ in range(5)]
        await asyncio.sleep(0.02)
        followers[0].cancel()
        followers[9].cancel()
        created = await one.create(RECORD)
        session = await one.open_session("a", b"x", ttl_s=2)
        await soon(asyncio.gather(*followers, return_exceptions=True))
        assert results.count(created) == 4
        assert results.count({"a": b"x"}) == 4
        await session.close()

    execute(scenario)
