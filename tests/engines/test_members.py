"""What a record store does when members of its engine fail: one list for all engines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from qpidha.errors import ClusterError, Conflict, OutcomeUnknown, Unavailable
from tests.engines.case import TIMEOUT_S, Case, Run, cas, first, past, reaches
from tests.support.harness import until
from tests.support.records import RECORD, newer

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]


async def leader_is_lost(case: Case, store: Any, expected: int) -> None:
    """Where nobody else makes another member lead, nothing is written until an operator does."""
    if not case.engine.quorum:
        with pytest.raises((OutcomeUnknown, Unavailable)):
            await cas(store, expected, 1, 0.5)
        await case.engine.elect()


async def reaches_in_the_end(store: Any, watch: AsyncIterator[Any], wanted: Callable[[Any], bool]) -> None:
    """An outage may end a watch. Its reader begins another one, as a node does."""
    while True:
        try:
            await reaches(watch, wanted)
            return
        except Unavailable:
            await asyncio.sleep(0.05)
            watch = store.watch()


async def watched_to_its_end(store: Any) -> None:
    """Raises what ends a watch, unless it is that nobody answers yet."""
    while True:
        try:
            await reaches(store.watch(), lambda found: found is None)
        except Unavailable:
            await asyncio.sleep(0.05)


def test_a_killed_leader_delays_a_write_and_ends_no_session(run: Run) -> None:
    async def main(case: Case) -> None:
        leader = await case.engine.leader()
        store = case.at(leader)
        session = await store.open_session("a", b"info", ttl_s=case.engine.ttl_s)
        created = await store.create(RECORD)
        watch = store.watch()
        assert await first(watch) == created
        case.engine.kill(leader)
        await leader_is_lost(case, store, created.version)
        written = await cas(store, created.version, 1)
        assert await store.read() == written
        await reaches_in_the_end(store, watch, lambda found: found == written)
        ended = asyncio.ensure_future(session.wait_lost())
        before = session.deadline()
        await until(lambda: session.deadline() > before, timeout_s=TIMEOUT_S)
        assert not ended.done()
        assert dict(await store.live()) == {"a": b"info"}
        await session.close()
        await ended

    run(main)


def test_a_leader_that_hangs_during_a_write_does_not_make_it_count_twice(run: Run) -> None:
    """The write is asked of another member as well; what the leader does with it when it goes on has no effect."""

    async def main(case: Case) -> None:
        leader = await case.engine.leader()
        store, direct = case.at(leader), case.at(leader)
        created = await store.create(RECORD)
        case.engine.pause(leader)
        await leader_is_lost(case, store, created.version)
        second = await cas(store, created.version, 1)
        third = await cas(store, second.version, 2)
        case.engine.resume(leader)
        await case.engine.answers(leader)
        assert await direct.read() == third == await store.read()

    run(main)


def test_a_write_to_a_hung_member_alone_has_an_unknown_outcome(run: Run) -> None:
    """And it is resolved by the same write again (M2)."""

    async def main(case: Case) -> None:
        created = await case.store.create(RECORD)
        hung = await case.engine.leader()
        alone = case.at(0, endpoints=[case.engine.endpoints[hung]])
        assert await alone.read() == created
        case.engine.pause(hung)
        with pytest.raises(OutcomeUnknown, match="no answer in"):
            await cas(alone, created.version, 1, case.engine.hung_s)
        with pytest.raises(Unavailable, match=case.engine.says.unreachable):
            await case.engine.read(alone, 0.3)
        case.engine.resume(hung)
        again = await cas(case.store, created.version, 1)
        assert again.record == newer(1)
        assert await alone.read() == again

    run(main)


def test_without_a_quorum_nothing_is_written_and_sessions_go_on_afterwards(run: Run) -> None:
    async def main(case: Case) -> None:
        store = case.store
        created = await store.create(RECORD)
        session = await store.open_session("a", b"1", ttl_s=case.engine.ttl_s)
        ended = asyncio.ensure_future(session.wait_lost())
        await case.engine.lose_quorum()
        with pytest.raises((OutcomeUnknown, Unavailable)):
            await cas(store, created.version, 1, 1.0)
        with pytest.raises(Unavailable, match=case.engine.says.unreachable):
            await case.engine.read(store, 0.5)
        await until(lambda: past(session), timeout_s=TIMEOUT_S)
        assert not ended.done(), "nobody can have ended it"
        await case.engine.start()
        await until(lambda: not past(session), timeout_s=TIMEOUT_S)
        await session.update(b"2")
        assert dict(await store.live()) == {"a": b"2"}
        found = await store.read()
        assert found is not None
        assert await cas(store, found.version, 2)
        await session.close()

    run(main)


def test_a_frozen_engine_is_noticed_by_the_deadline(run: Run) -> None:
    """Nobody tells that the session is over. Its owner knows when others may think so."""

    async def main(case: Case) -> None:
        store, members = case.store, range(len(case.engine.ports))
        created = await store.create(RECORD)
        session = await store.open_session("a", b"", ttl_s=case.engine.short_ttl_s)
        for n in members:
            case.engine.pause(n)
        await until(lambda: past(session), timeout_s=TIMEOUT_S)
        with pytest.raises((Unavailable, OutcomeUnknown)):
            await session.update(b"x")
        with pytest.raises((Unavailable, OutcomeUnknown)):
            await cas(store, created.version, 1, 0.5)
        for n in members:
            case.engine.resume(n)
        assert (await cas(store, created.version, 1)).record == newer(1)
        with contextlib.suppress(Unavailable, OutcomeUnknown):
            await session.close()

    run(main)


@pytest.mark.parametrize("engine", ["etcd", "zookeeper"], indirect=True)
def test_a_watch_at_a_member_that_hangs_goes_on_at_another_one(run: Run) -> None:
    """Its connection stays open, and it reports nothing: the periodic read notices."""

    async def main(case: Case) -> None:
        created = await case.store.create(RECORD)
        follower = await case.engine.follower()
        watching, other = case.at(follower), case.at(await case.engine.leader())
        watch = watching.watch()
        assert await first(watch) == created
        await until(lambda: getattr(watching._follower, "_stream", True) is not None)
        case.engine.pause(follower)
        second = await cas(other, created.version, 1)
        assert await reaches(watch, lambda found: found == second)
        third = await cas(other, second.version, 2)
        assert await reaches(watch, lambda found: found == third)

    run(main)


def test_a_watch_goes_on_after_a_restart_of_all_members(run: Run) -> None:
    """It reports that nothing can be read, and what has changed meanwhile."""

    async def main(case: Case) -> None:
        created = await case.store.create(RECORD)
        watch = case.store.watch()
        assert await first(watch) == created
        for n in range(len(case.engine.ports)):
            case.engine.kill(n)
        with pytest.raises(ClusterError):
            await reaches(watch, lambda found: found is None)
        await case.engine.start()
        current, other = created, case.at(0)
        for n in range(1, 4):
            current = await cas(other, current.version, n)
        assert await reaches(case.store.watch(), lambda found: found == current)

    run(main)


def test_an_engine_that_was_reset_is_not_taken_for_an_empty_cluster(run: Run) -> None:
    """It has another identity, or has forgotten something. No write reaches what others begin there."""

    async def main(case: Case) -> None:
        store, says = case.store, case.engine.says
        created = await store.create(RECORD)
        session = await store.open_session("a", b"", ttl_s=case.engine.short_ttl_s)
        watch = store.watch()
        assert await first(watch) == created
        await case.engine.wipe()
        # A token of etcd may be of the future of the new one, which waits for it.
        with contextlib.suppress(ClusterError):
            await case.engine.read(store, 1.0)
        with pytest.raises(ClusterError, match=says.another) as caught:
            await store.read()
        assert not isinstance(caught.value, (Unavailable, Conflict))
        with pytest.raises(ClusterError, match=says.another):
            await cas(store, created.version, 1)
        assert await asyncio.wait_for(session.wait_lost(), TIMEOUT_S)
        with pytest.raises(ClusterError):
            await reaches(watch, lambda found: found is None)
        with pytest.raises(ClusterError, match="qpidha record rebuild"):
            await watched_to_its_end(store)
        founder = case.at(0)
        foreign = await founder.create(replace(RECORD, cluster=UUID(int=99)))
        with pytest.raises(ClusterError, match=says.another):
            await cas(store, created.version, 1)
        await case.engine.forget(store, founder)
        with pytest.raises(ClusterError, match=says.went_back):
            await store.read()
        assert await founder.read() == foreign
        with contextlib.suppress(ClusterError):
            await session.close()

    run(main)
