"""Sessions on real engines: removed, lost, held by a process that is killed or stopped; watches of them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from typing import Any

import pytest

from qpidha.errors import Conflict, Unavailable
from tests.engines.case import TIMEOUT_S, Case, Run, cas, first, reaches
from tests.support.harness import until
from tests.support.records import RECORD

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


def test_a_session_that_was_removed_is_lost(run: Run) -> None:
    """Whether its owner wants to update it, or only keeps it."""

    async def main(case: Case) -> None:
        store = case.store
        session = await store.open_session("a", b"", ttl_s=case.engine.ttl_s)
        await case.engine.remove_session(store, "a")
        with pytest.raises(Unavailable, match="removed"):
            await session.update(b"x")
        assert "removed" in await asyncio.wait_for(session.wait_lost(), TIMEOUT_S)
        again = await store.open_session("a", b"", ttl_s=case.engine.ttl_s)
        await case.engine.remove_session(store, "a")
        assert "removed" in await asyncio.wait_for(again.wait_lost(), TIMEOUT_S)
        with pytest.raises(Unavailable, match="lost"):
            await again.update(b"x")
        await session.close()
        await again.close()

    run(main)


def test_a_session_that_ends_while_its_node_hangs_is_lost(run: Run) -> None:
    """The event loop hangs, and the threads of a client may not: they must not keep the session alive."""

    async def main(case: Case) -> None:
        store, seen = case.store, threading.Event()
        session = await store.open_session("a", b"", ttl_s=case.engine.short_ttl_s)

        async def watch(other: Any) -> None:
            assert dict(await first(other.watch_live())) == {"a": b""}
            seen.set()
            await reaches(other.watch_live(), lambda live: not live)
            await other.close()

        other = threading.Thread(target=lambda: asyncio.run(watch(case.engine.store(case.place))))
        other.start()
        await asyncio.to_thread(seen.wait, TIMEOUT_S)
        other.join(TIMEOUT_S)  # Until others see it: this is what is tested.
        assert case.engine.says.expired in await asyncio.wait_for(session.wait_lost(), TIMEOUT_S)
        with pytest.raises(Unavailable, match="lost"):
            await session.update(b"x")
        assert dict(await store.live()) == {}
        await session.close()

    run(main)


def test_a_session_without_an_answer_is_opened_by_the_next_try(run: Run) -> None:
    """What the first try has written is there."""

    async def main(case: Case) -> None:
        first_try = await case.store.open_session("a", b"first", ttl_s=case.engine.ttl_s)
        case.store._opener._open.clear()  # As if its answer had not come.
        session = await case.store.open_session("a", b"second", ttl_s=case.engine.ttl_s)
        assert dict(await case.store.live()) == {"a": b"second"}
        await session.close()
        await first_try.close()
        await first_try.wait_lost()

    run(main)


def test_a_killed_holder_is_noticed_and_its_node_id_is_free_after_the_ttl(run: Run) -> None:
    async def main(case: Case) -> None:
        async with case.holder() as process:
            watch = case.store.watch_live()
            assert dict(await first(watch)) == {"a": b"held"}
            process.kill()
            session = await case.store.open_session("a", b"next", ttl_s=case.engine.short_ttl_s)
            assert await reaches(watch, lambda live: dict(live) == {"a": b"next"})
            await session.close()

    run(main)


def test_the_next_holder_of_a_lock_does_not_wait_for_the_session_of_the_one_before(run: Run) -> None:
    """Its process was killed. Nobody else may take that session; and it is not taken back."""

    async def main(case: Case) -> None:
        async with case.holder("store 1") as process:
            assert dict(await case.store.live()) == {"a": b"held"}
            os.kill(process.pid, signal.SIGSTOP)  # Its session stands, and nobody renews it.
            other, heir = case.at(0), case.at(0)
            heir.succeed(b"store 1")
            watch = heir.watch_live()
            assert await reaches(watch, lambda live: dict(live) == {"a": b"held"})
            session = await heir.open_session("a", b"next", ttl_s=60.0)
            assert dict(await other.live()) == {"a": b"next"}
            other.succeed(b"store 2")
            opening = asyncio.ensure_future(other.open_session("a", b"stranger", ttl_s=case.engine.ttl_s))
            process.send_signal(
                signal.SIGCONT
            )  # A copy of the machine, if anything: the lock has one holder.
            assert process.stdout is not None
            assert "removed" in await asyncio.to_thread(process.stdout.readline)
            assert dict(await case.store.live()) == {"a": b"next"}
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            await session.close()
            assert dict(await case.store.live()) == {}

    run(main)


def test_a_session_that_was_replaced_is_not_taken_back(run: Run) -> None:
    """Two with one lock: copies of a machine that was resumed twice. The one that came first waits, or is refused."""

    async def main(case: Case) -> None:
        one, two = case.at(0), case.at(0)
        one.succeed(b"store 1")
        first_one = await one.open_session("a", b"1", ttl_s=case.engine.short_ttl_s)
        two.succeed(b"store 1")
        second = await two.open_session("a", b"2", ttl_s=case.engine.short_ttl_s)
        with pytest.raises(Unavailable, match="removed"):
            await first_one.update(b"x")
        with pytest.raises(Conflict, match="another process holds the session of node 'a'"):
            await one.open_session("a", b"1", ttl_s=case.engine.short_ttl_s)
        await first_one.close()
        assert dict(await case.store.live()) == {"a": b"2"}
        await second.close()

    run(main)


def test_a_holder_that_lives_keeps_its_node_id_and_one_that_is_stopped_loses_it(run: Run) -> None:
    async def main(case: Case) -> None:
        async with case.holder() as process:
            with pytest.raises(Conflict, match="another process holds the session of node 'a'"):
                await case.store.open_session("a", b"mine", ttl_s=case.engine.ttl_s)
            watch = case.store.watch_live()
            assert dict(await first(watch)) == {"a": b"held"}
            process.send_signal(signal.SIGSTOP)
            assert await reaches(watch, lambda live: not live) == {}
            process.send_signal(signal.SIGCONT)
            assert process.stdout is not None
            assert case.engine.says.expired in await asyncio.to_thread(process.stdout.readline)

    run(main)


def test_a_closed_store_ends_its_watches_and_a_session_may_still_be_closed(run: Run) -> None:
    async def main(case: Case) -> None:
        mine = case.at(0)
        session = await mine.open_session("a", b"", ttl_s=case.engine.ttl_s)
        watch = mine.watch_live()
        await first(watch)
        await mine.close()
        with pytest.raises(StopAsyncIteration):
            await first(watch)
        await session.close()
        assert dict(await case.store.live()) == {}
        await mine.close()
        gc.collect()

    run(main)


def test_watches_report_changes_between_two_reads(run: Run) -> None:
    """With reads that are an hour apart: the creation of the cluster, the record, a session, its end."""

    async def main(case: Case) -> None:
        watching, store = case.at(await case.engine.follower(), check_interval_s=3600.0), case.store
        record, live = watching.watch(), watching.watch_live()
        assert await first(record) is None and await first(live) == {}
        created = await store.create(RECORD)
        assert await reaches(record, lambda found: found == created)
        second = await cas(store, created.version, 1)
        assert await reaches(record, lambda found: found == second)
        session = await store.open_session("a", b"1", ttl_s=case.engine.ttl_s)
        assert await reaches(live, lambda nodes: dict(nodes) == {"a": b"1"})
        await session.update(b"2")
        assert await reaches(live, lambda nodes: dict(nodes) == {"a": b"2"})
        await session.close()
        assert await reaches(live, lambda nodes: not nodes) == {}

    run(main)


def test_a_watch_whose_connection_hangs_is_replaced(run: Run) -> None:
    """It stays open, and reports nothing: the periodic read notices."""

    async def main(case: Case) -> None:
        created = await case.store.create(RECORD)
        async with case.wires() as wires:
            watching = case.through(wires)
            watch = watching.watch()
            assert await first(watch) == created
            await until(lambda: sum(wire.sent for wire in wires) > 0)
            for wire in wires:
                wire.hang()
            second = await cas(case.store, created.version, 1)
            assert await reaches(watch, lambda found: found == second)
            third = await cas(case.store, second.version, 2)
            assert await reaches(watch, lambda found: found == third)
            await watching.close()

    run(main)
