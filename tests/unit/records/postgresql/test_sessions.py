"""Sessions and watches on PostgreSQL. The servers here are played, and their clock is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from qpidha.errors import ClusterError, Conflict, Unavailable
from qpidha.records import PostgreSqlRecordStore
from qpidha.records.format import encode_value
from qpidha.records.postgresql import follower, layout
from qpidha.types import Versioned
from tests.support.harness import until
from tests.support.records import RECORD, newer
from tests.unit.records.postgresql.fake import RESET, Fake

TTL_S = 0.4


def run(fake: Fake, main: Callable[[PostgreSqlRecordStore], Awaitable[None]], **options: Any) -> None:
    async def wrapped() -> None:
        store = fake.store(**options)
        try:
            await asyncio.wait_for(main(store), 30)
        finally:
            await store.close()

    asyncio.run(wrapped())


async def stopped(session: Any) -> None:
    """As if its process hung."""
    session._task.cancel()
    await asyncio.gather(session._task, return_exceptions=True)


def test_a_session_is_renewed_and_a_second_one_is_refused(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        session = await store.open_session("a", b"1", ttl_s=TTL_S)
        before = session.deadline()
        with pytest.raises(Conflict, match="holds the session of node 'a'"):
            await store.open_session("a", b"2", ttl_s=TTL_S)
        other = fake.store()

        async def clock() -> None:
            while True:
                fake.now += 0.01
                await asyncio.sleep(0.01)

        ticking = asyncio.ensure_future(clock())
        with pytest.raises(Conflict, match="holds the session of node 'a'"):
            await other.open_session("a", b"3", ttl_s=TTL_S)
        ticking.cancel()
        assert session.deadline() > before and not session.lost
        await session.update(b"4")
        assert dict(await other.live()) == {"a": b"4"}
        await session.close()
        await session.close()
        assert dict(await store.live()) == {} and session.lost
        await other.close()

    run(fake, main)


def test_a_session_of_a_dead_owner_ends_only_at_a_server_that_it_could_have_reached(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        owner = fake.store()
        session = await owner.open_session("a", b"1", ttl_s=TTL_S)
        await stopped(session)
        fake.now += 2 * TTL_S  # As if the server had been down for so long.
        assert dict(await store.live()) == {"a": b"1"}
        fake.now += 2 * TTL_S
        assert dict(await store.live()) == {}
        again = await store.open_session("a", b"2", ttl_s=TTL_S)
        await again.close()
        await owner.close()

    run(fake, main)


def test_open_session_waits_for_the_one_of_a_dead_owner(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        owner = fake.store()
        await stopped(await owner.open_session("a", b"1", ttl_s=TTL_S))
        opening = asyncio.ensure_future(store.open_session("a", b"2", ttl_s=TTL_S))
        await until(lambda: fake.count(layout.LOOK_AT_SESSION) >= 2)
        fake.sessions["qpidha", b"a"]["expires_at"] += 0.01  # One renewal that was late.
        count = fake.count(layout.LOOK_AT_SESSION)
        await until(lambda: fake.count(layout.LOOK_AT_SESSION) > count)
        fake.sessions["qpidha", b"a"]["token"] = b"another owner"
        count = fake.count(layout.LOOK_AT_SESSION)
        await until(lambda: fake.count(layout.LOOK_AT_SESSION) > count)
        del fake.sessions["qpidha", b"a"]
        session = await opening
        await session.close()
        await owner.close()

    run(fake, main)


def test_a_row_that_goes_between_two_looks_is_opened(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        fake.script[layout.OPEN_SESSION] = [[]]
        session = await store.open_session("a", b"2", ttl_s=TTL_S)
        fake.script[layout.CLOSE_SESSION] = [RESET]
        await session.close()
        assert not fake.sessions

    run(fake, main)


def test_a_session_whose_row_is_gone_is_lost(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        for ask in (False, True):
            session = await store.open_session("a", b"1", ttl_s=TTL_S)
            fake.sessions.clear()
            if ask:
                with pytest.raises(Unavailable, match="its row was removed"):
                    await session.update(b"2")
            else:
                assert "its row was removed" in await session.wait_lost()
                with pytest.raises(Unavailable, match="the session is lost"):
                    await session.update(b"2")
            await session.close()

    run(fake, main)


def test_a_session_survives_a_server_that_does_not_answer_and_not_another_cluster(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        session = await store.open_session("a", b"1", ttl_s=TTL_S)
        fake.script[layout.RENEW_SESSION] = [asyncpg.DiskFullError("full")]
        count = fake.count(layout.RENEW_SESSION)
        await until(lambda: fake.count(layout.RENEW_SESSION) >= count + 3)
        assert not session.lost
        for server in fake.servers:
            server.facts["identity"] = 8
            for connection in server.connections:
                connection.terminate()
        assert "another cluster" in await session.wait_lost()
        with pytest.raises(ClusterError):
            await session.close()

    run(fake, main)


# --- watches ---------------------------------------------------------------------------------------


def put(fake: Fake, n: int, version: int) -> Versioned:
    fake.records["qpidha"] = (version, encode_value(newer(n)).decode())
    return Versioned(newer(n), version)


def test_a_notification_makes_a_watch_read_and_that_of_another_cluster_does_not(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        watch = store.watch()
        assert await anext(watch) is None
        await until(lambda: any(one.listeners for server in fake.servers for one in server.connections))
        await asyncio.sleep(0.05)
        count = fake.count(layout.READ_RECORD)
        fake.notify("other")
        await asyncio.sleep(0.05)
        assert fake.count(layout.READ_RECORD) == count
        other = fake.store()
        created = await other.create(RECORD)
        assert await anext(watch) == created, "its writer has notified"
        await other.close()

    run(fake, main, check_interval_s=60.0)


def test_without_a_notification_a_watch_learns_at_the_next_check(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        watch = store.watch()
        assert await anext(watch) is None
        assert await anext(watch) == put(fake, 1, 1) if put(fake, 1, 1) else None
        surely = fake.count(layout.READ_RECORD_SURELY)
        count = fake.count(layout.READ_RECORD)
        await until(lambda: fake.count(layout.READ_RECORD) > count + 2)
        assert fake.count(layout.READ_RECORD_SURELY) == surely, "what is known needs no lock"

    run(fake, main, check_interval_s=0.02)


def test_a_watch_reports_only_what_a_standby_has(fake: Fake) -> None:
    """Without a standby the read of a new record has no answer; the live nodes are reported nevertheless."""

    async def main(store: PostgreSqlRecordStore) -> None:
        first = put(fake, 1, 1)
        assert await store.read() == first
        watch = store.watch()
        assert await anext(watch) == first
        put(fake, 2, 2)
        refused = asyncpg.DiskFullError("no standby")
        fake.script[layout.READ_RECORD_SURELY] = [refused] * 3
        with pytest.raises(Unavailable, match="no standby"):
            await anext(watch)
        assert dict(await anext(store.watch_live())) == {}
        fake.script.clear()
        store.poll_soon()

    run(fake, main, check_interval_s=0.02)


def test_a_watch_of_the_live_nodes_ends_with_the_error_of_its_read(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        fake.script[layout.READ_SESSIONS] = [asyncpg.DiskFullError("full")] * 2
        with pytest.raises(Unavailable, match="full"):
            await anext(store.watch_live())
        fake.script.clear()
        watch = store.watch_live()
        session = await store.open_session("a", b"1", ttl_s=TTL_S)
        while dict(await anext(watch)) != {"a": b"1"}:
            pass
        await stopped(session)
        fake.now += 5 * TTL_S
        store.poll_soon()
        while await anext(watch):
            pass

    run(fake, main)


def test_the_connection_that_listens_is_replaced_when_it_ends_and_in_time(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        def listening() -> list[Any]:
            found = [one for server in fake.servers for one in server.connections if one.listeners]
            return [one for one in found if not one.closed]

        watch = store.watch()
        assert await anext(watch) is None
        await until(listening)
        first = listening()[0]
        first.terminate()
        await until(lambda: listening() and listening()[0] is not first)
        second = listening()[0]
        monkeypatch.setattr(follower, "LISTEN_FOR_S", 0.01)
        second.terminate()
        await until(lambda: listening() and listening()[0] is not second)
        third = listening()[0]
        await until(lambda: third.closed)
        for server in fake.servers:
            server.fails = OSError("down")
        await asyncio.sleep(0.2)
        for server in fake.servers:
            server.fails = None
        await until(listening)

    run(fake, main)


def test_a_watch_ends_with_its_store(fake: Fake) -> None:
    async def main(store: PostgreSqlRecordStore) -> None:
        watch = store.watch()
        await anext(watch)
        await store.create(RECORD)
        await store.close()
        with pytest.raises(StopAsyncIteration):
            while True:
                await anext(watch)

    run(fake, main)


def test_the_session_of_a_process_that_held_the_same_lock_is_replaced_once(fake: Fake) -> None:
    async def main() -> None:
        one, two, other = fake.store(), fake.store(), fake.store()
        for store, lock in ((one, b"lock"), (two, b"lock"), (other, b"another")):
            store.succeed(lock)
        await one.open_session("a", b"1", ttl_s=60)
        await two.open_session("a", b"2", ttl_s=60)
        assert dict(await one.live()) == {"a": b"2"}
        for store in (one, other):
            with pytest.raises(asyncio.TimeoutError):
                store._opener._open.clear()
                await asyncio.wait_for(store.open_session("a", b"3", ttl_s=60), 0.3)
        assert dict(await one.live()) == {"a": b"2"}
        for store in (one, two, other):
            await store.close()

    asyncio.run(main())
