"""What is peculiar to PostgreSQL: two roles, promotions, and rows that others can change."""

from __future__ import annotations

import asyncio

import pytest

from qpidha.errors import ClusterError, ManagerRefused, OutcomeUnknown, Unavailable
from qpidha.records.postgresql import layout
from tests.engines.case import TIMEOUT_S, Case, Run, cas, first, reaches
from tests.support.harness import until
from tests.support.records import RECORD, newer

pytestmark = [
    pytest.mark.network, pytest.mark.processes, pytest.mark.external,
    pytest.mark.parametrize("engine", ["postgresql"], indirect=True),
]  # fmt: skip


def test_without_its_standby_the_record_stays_and_sessions_go_on(run: Run) -> None:
    """What the primary has written counts when the standby is back, and then only."""

    async def main(case: Case) -> None:
        store, engine = case.store, case.engine
        created = await store.create(RECORD)
        session = await store.open_session("a", b"1", ttl_s=engine.short_ttl_s)
        watch = case.at(0).watch()
        assert await first(watch) == created
        engine.kill(await engine.follower())
        with pytest.raises(OutcomeUnknown):
            await cas(store, created.version, 1, 0.5)
        with pytest.raises(Unavailable):
            await engine.read(case.at(0), 0.5)
        before = session.deadline()
        await until(lambda: session.deadline() > before, timeout_s=TIMEOUT_S)
        await session.update(b"2")
        assert dict(await store.live()) == {"a": b"2"}
        other = await store.open_session("b", b"3", ttl_s=engine.short_ttl_s)
        await engine.start()
        written = await cas(store, created.version, 1)
        assert await store.read() == written
        assert await reaches(case.at(0).watch(), lambda found: found == written)
        await session.close()
        await other.close()

    run(main)


def test_a_primary_that_was_replaced_confirms_nothing_and_is_refused(run: Run) -> None:
    """It runs on beside the new one, as when step 1 of a promotion was left out."""

    async def main(case: Case) -> None:
        engine = case.engine
        old = await engine.leader()
        stale = case.at(0, endpoints=[engine.endpoints[old]])
        created = await case.store.create(RECORD)
        assert await stale.read() == created
        await engine.elect()
        for store, n in ((stale, 5), (case.store, 1)):  # Both over a connection to the old primary.
            with pytest.raises(OutcomeUnknown):
                await cas(store, created.version, n, 0.5)
        second = await cas(case.store, created.version, 1)
        with pytest.raises(Unavailable):
            await engine.read(stale, 0.5)
        session = await stale.open_session("a", b"", ttl_s=engine.ttl_s)  # Of nodes that reach only it.
        await session.close()
        fresh = case.at(old)
        assert await fresh.read() == second, "a new node takes the newer one of two primaries"
        stale._records._servers._timeline = (
            fresh._records._servers._timeline
        )  # As if it had seen the new one.
        with pytest.raises(
            ManagerRefused, match=r"a primary that was replaced \(timeline .* was seen\): stop it"
        ):
            await stale.read()
        assert await case.store.read() == second

    run(main)


def test_the_connection_that_listens_is_ended_and_the_watch_goes_on(run: Run) -> None:
    async def main(case: Case) -> None:
        created = await case.store.create(RECORD)
        watch = case.at(0).watch()
        assert await first(watch) == created
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'qpidha'"
        assert len(await case.engine.sql(ended)) > 1
        second = await cas(case.store, created.version, 1)
        assert await reaches(watch, lambda found: found == second)

    run(main)


def test_a_clock_that_jumps_may_end_a_session_and_it_is_opened_again(run: Run) -> None:
    """The times of the rows move back by an hour, as seen from a clock that has jumped forward by an hour."""

    async def main(case: Case) -> None:
        engine, other = case.engine, case.at(0)
        assert await other.live() == {}  # Its connection gets older than the session's TTL.
        session = await case.store.open_session("a", b"1", ttl_s=engine.short_ttl_s)
        ended = asyncio.ensure_future(session.wait_lost())
        jump = "UPDATE qpidha_sessions SET expires_at = expires_at - interval '1 hour' WHERE name = $1"
        while not ended.done():
            await engine.sql(jump, other._name)
            await other.live()
            await asyncio.sleep(0.01)
        assert "row was removed" in ended.result()
        again = await case.store.open_session("a", b"2", ttl_s=engine.short_ttl_s)
        assert dict(await other.live()) == {"a": b"2"}
        await again.close()

    run(main)


def test_an_older_copy_of_the_record_is_not_taken_for_the_record(run: Run) -> None:
    """The same servers, with the table as it was before: it was restored, or lost."""

    async def main(case: Case) -> None:
        store, engine = case.store, case.engine
        created = await store.create(RECORD)
        second = await cas(store, created.version, 1)
        copy = "UPDATE qpidha_records SET version = $2 WHERE name = $1"
        await engine.sql(copy, store._name, created.version)
        for _ in range(2):
            with pytest.raises(ClusterError, match=r"went back from version 2 to 1.*qpidha record rebuild"):
                await store.read()
            with pytest.raises(ClusterError, match="went back from version"):
                await cas(store, second.version, 2)
        await engine.sql("DELETE FROM qpidha_records WHERE name = $1", store._name)
        with pytest.raises(ClusterError, match="went back from version 2 to 0"):
            await store.read()
        with pytest.raises(ClusterError, match="went back from version 2 to 0"):
            await store.create(newer(9))

    run(main)


def test_an_update_that_is_done_late_does_not_undo_a_later_one(run: Run) -> None:
    async def main(case: Case) -> None:
        session = await case.store.open_session("a", b"0", ttl_s=case.engine.ttl_s)
        await session.update(b"1")
        await session.update(b"2")
        late = (*session._key, 1, b"1")
        assert await session._pool.run(layout.UPDATE_SESSION, *late, timeout_s=5.0, changes=True)
        assert dict(await case.store.live()) == {"a": b"2"}
        await session.close()

    run(main)


def test_a_user_who_may_not_write_is_told_what_to_grant(run: Run) -> None:
    async def main(case: Case) -> None:
        created, tables = await case.store.create(RECORD), "qpidha_records, qpidha_sessions"
        await case.engine.sql(f"REVOKE UPDATE ON {tables} FROM qpidha")
        try:
            with pytest.raises(
                ManagerRefused, match="GRANT SELECT, INSERT, UPDATE, DELETE ON qpidha_records"
            ):
                await cas(case.store, created.version, 1)
        finally:
            await case.engine.sql(f"GRANT UPDATE ON {tables} TO qpidha")
        assert (await cas(case.store, created.version, 1)).record == newer(1)

    run(main)
