"""What is peculiar to etcd: leases, compactions, tokens, and permissions for ranges of keys."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from qpidha.errors import ClusterError, ManagerRefused, Unavailable
from tests.engines.case import TIMEOUT_S, Case, Run, cas, first, reaches
from tests.support.harness import until
from tests.support.records import RECORD, newer

pytestmark = [
    pytest.mark.network, pytest.mark.processes, pytest.mark.external,
    pytest.mark.parametrize("engine", ["etcd"], indirect=True),
]  # fmt: skip


def test_a_watch_goes_on_after_a_compaction_and_a_restart(run: Run) -> None:
    async def main(case: Case) -> None:
        store, other = case.store, case.at(0)
        current = await store.create(RECORD)
        watch = store.watch()
        assert await first(watch) == current
        for n in range(3):
            case.engine.kill(n)
        with pytest.raises(ClusterError):
            await reaches(watch, lambda found: found is None)
        await case.engine.start()
        for n in range(1, 4):
            current = await cas(other, current.version, n)
        await case.engine.compact()
        assert await reaches(store.watch(), lambda found: found == current)

    run(main)


def test_a_compacted_watch_begins_again(run: Run) -> None:
    """As if this process had been paused between its read and its watch."""

    async def main(case: Case) -> None:
        store = case.store
        current = await store.create(RECORD)
        for n in range(1, 4):
            current = await cas(store, current.version, n)
        await case.engine.compact()
        lines = store._gateway.stream("/v3/watch", store._layout.watches(1))
        seen = []
        async with contextlib.aclosing(lines):
            async for line in lines:
                seen.append(line)
                if line.get("canceled"):
                    break
        assert seen[-1].get("compact_revision")
        store._follower._revision = 1
        store._follower._known.set()
        watch = store.watch()
        assert await first(watch) == current
        later = await cas(store, current.version, 9)
        assert await reaches(watch, lambda found: found == later)

    run(main)


def test_a_session_whose_lease_was_revoked_is_lost(run: Run) -> None:
    async def main(case: Case) -> None:
        session = await case.store.open_session("a", b"", ttl_s=case.engine.ttl_s)
        await case.engine.as_root("/v3/lease/revoke", {"ID": str(session._lease)})
        with pytest.raises(Unavailable, match="key was removed"):
            await session.update(b"x")
        await session.wait_lost()
        again = await case.store.open_session("a", b"", ttl_s=case.engine.ttl_s)
        await again.close()
        await session.close()

    run(main)


def test_an_update_without_an_answer_does_not_undo_a_later_one(run: Run) -> None:
    async def main(case: Case) -> None:
        session = await case.store.open_session("a", b"0", ttl_s=case.engine.ttl_s)
        seen = session._revision
        await session.update(b"1")
        session._revision = seen  # As if the answer had not come.
        await session.update(b"2")
        session._revision = seen
        await session.update(b"2")
        assert dict(await case.store.live()) == {"a": b"2"}
        await session.close()

    run(main)


@contextlib.asynccontextmanager
async def leaderless(case: Case, n: int) -> AsyncIterator[list[int]]:
    """The leader is killed, until there is another one. Counts the connections to it that members try: each is reset."""
    found = [0]

    def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found[0] += 1
        writer.transport.abort()

    case.engine.kill(n)
    server = await asyncio.start_server(reset, "127.0.0.1", case.engine.peer_ports[n])
    try:
        yield found
        await case.engine.leader()
    finally:
        server.close()
        await server.wait_closed()
        await case.engine.start()


def test_no_keep_alive_is_sent_while_etcd_elects_a_leader(run: Run) -> None:
    """A member of etcd 3.4 passes one on to the leader that was killed, again and again without a pause."""

    async def main(case: Case) -> None:
        leader = await case.engine.leader()
        session = await case.store.open_session("a", b"", ttl_s=case.engine.ttl_s)
        before = session.deadline()
        await until(lambda: session.deadline() > before, timeout_s=TIMEOUT_S)
        async with leaderless(case, leader) as calm:
            await asyncio.sleep(session.granted_ttl_s / 2)  # One is due meanwhile.
        body, leader = {"ID": str(session._lease)}, await case.engine.leader()
        other = case.at((leader + 1) % len(case.engine.ports))
        await other.read()
        async with leaderless(case, leader) as spinning:
            asked: asyncio.Future[Any] = asyncio.ensure_future(
                other._gateway.ask("/v3/lease/keepalive", body, TIMEOUT_S)
            )
            await asyncio.sleep(session.granted_ttl_s / 2)
        assert spinning[0] > 8 * calm[0], "so much for what it would do"
        await asked
        before = session.deadline()
        await until(lambda: session.deadline() > before, timeout_s=TIMEOUT_S)
        assert not session.lost
        await session.close()

    run(main)


def test_a_session_of_an_earlier_try_that_nobody_renews_is_replaced(run: Run) -> None:
    """The key of that try is there, and its lease lives for a minute."""

    async def main(case: Case) -> None:
        from qpidha.records.etcd.layout import put_if, revision_is

        store = case.store
        lease, _ = await store._opener._grant(60)
        body = put_if(
            store._layout.session("a"), [revision_is(0)], bytes(store._opener.name) + b"first", lease
        )
        await store._gateway.ask("/v3/kv/txn", body, TIMEOUT_S)
        session = await store.open_session("a", b"second", ttl_s=case.engine.ttl_s)
        assert dict(await store.live()) == {"a": b"second"}
        await session.close()

    run(main)


def test_a_token_that_has_expired_is_renewed(run: Run) -> None:
    async def main(case: Case) -> None:
        store = case.store
        created = await store.create(RECORD)
        watch = store.watch()
        assert await first(watch) == created
        store._gateway._token = "expired.1"
        second = await cas(store, created.version, 1)
        assert store._gateway._token != "expired.1"
        assert await reaches(watch, lambda found: found == second)
        await case.engine.as_root("/v3/auth/user/add", {"name": f"new-{os.getpid()}", "password": "x"})
        assert (await cas(store, second.version, 2)).record == newer(2)

    run(main)


def test_a_prefix_without_permission_is_named(run: Run) -> None:
    async def main(case: Case) -> None:
        elsewhere = case.elsewhere("/elsewhere")
        with pytest.raises(
            ManagerRefused, match="readwrite permission for the keys from /elsewhere/ to /elsewhere0"
        ):
            await elsewhere.create(RECORD)

    run(main)
