"""What the answers of ZooKeeper, and the lack of one, mean for a request. The ensemble here is in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from kazoo import exceptions

from qpidha.errors import ClusterError, Conflict, ManagerRefused, OutcomeUnknown, Unavailable
from qpidha.records import ZooKeeperRecordStore
from qpidha.records.zookeeper import requests
from qpidha.records.zookeeper.layout import encode_session
from qpidha.types import Versioned
from tests.support.records import RECORD, newer
from tests.unit.records.zookeeper.ensemble import DONE, HANGS, LOST, UNSENT, Ensemble, MemoryLink

Main = Callable[[Ensemble, ZooKeeperRecordStore], Awaitable[None]]
Run = Callable[[Main], None]
ENDPOINTS = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
UNANSWERED_S = 0.3
"""For requests that get no answer."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a test with an ensemble that has nothing in it, and a store on it."""

    def run(main: Main) -> None:
        async def wrapped() -> None:
            ensemble = Ensemble()
            monkeypatch.setattr(
                requests, "Link", lambda *args, **options: MemoryLink(ensemble, *args, **options)
            )
            store = ZooKeeperRecordStore(ENDPOINTS)
            try:
                await asyncio.wait_for(main(ensemble, store), 30)
            finally:
                await store.close()

        asyncio.run(wrapped())

    return run


async def write(store: ZooKeeperRecordStore, expected: int, n: int = 1, timeout_s: float = 5.0) -> Versioned:
    return await store.compare_and_set(expected, newer(n), timeout_s=timeout_s)


# --- with answers ----------------------------------------------------------------------------------


def test_nothing_is_there_until_a_cluster_is_created(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        assert await store.read() is None and dict(await store.live()) == {}
        assert ensemble.znodes == {}
        with pytest.raises(Conflict, match="there is no record"):
            await write(store, 1)
        created = await store.create(RECORD)
        assert await store.read() == created
        assert len(ensemble.znodes["/qpidha"][0]) == 16, "its identity"
        with pytest.raises(Conflict, match=f"the record has version {created.version}, not None"):
            await store.create(newer(1))
        ensemble.znodes["/qpidha/sessions/a"] = (
            encode_session(bytes(16), 1.0, b"info"),
            ensemble.znodes["/qpidha"][1],
        )
        assert dict(await store.live()) == {"a": b"info"}

    run(main)


def test_of_two_writers_one_wins(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        other = ZooKeeperRecordStore(ENDPOINTS)
        theirs = await write(other, created.version, 1)
        with pytest.raises(Conflict) as caught:
            await write(store, created.version, 2)
        assert caught.value.current == theirs == await store.read()
        assert (await write(store, theirs.version, 3)).version > theirs.version
        await other.close()

    run(main)


def test_a_record_that_was_created_again_has_another_version(run: Run) -> None:
    """The znode's own counter is the same."""

    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        del ensemble.znodes["/qpidha/record"]
        again = await ZooKeeperRecordStore(ENDPOINTS).create(newer(7))
        assert await store.read() == again
        with pytest.raises(Conflict):
            await write(store, created.version)
        assert await store.read() == again

    run(main)


def test_an_older_version_is_not_remembered(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        await store.create(RECORD)
        old = ensemble.znodes["/qpidha/record"][1]
        newest = await write(store, old.mzxid)
        assert store._requests.remember(old).mzxid == old.mzxid
        assert store._requests.known is not None and store._requests.known.mzxid == newest.version

    run(main)


def test_what_another_node_creates_meanwhile_is_used(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        await store.read()
        link = ensemble.links[0]
        asked = link.batch

        async def batch(given: Any, timeout_s: float) -> list[Any]:
            given = list(given)
            if given and given[0][0] == "create" and given[0][1][0] not in ensemble.znodes:
                link._answer(*given[0])
            return await asked(given, timeout_s)

        link.batch = batch  # type: ignore[method-assign]
        assert (await store.create(RECORD)).record == RECORD

    run(main)


# --- without an answer -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [LOST, DONE, UNSENT])
def test_a_write_is_repeated_over_the_next_connection(run: Run, fault: str) -> None:
    """Also one that was done counts once (M2). The next connection begins with another server."""

    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        ensemble.faults.append(fault)
        written = await write(store, created.version)
        assert written.record == newer(1) and await store.read() == written
        first, second = ensemble.links
        assert first.over and [a.port for a in first.addresses] == [1, 2, 3]
        assert [a.port for a in second.addresses] == [2, 3, 1]
        await store.close()
        assert first.closed and second.closed

    run(main)


def test_the_creation_of_a_record_is_repeated_too(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        await store._requests.run(store._requests.ensure, 5.0)
        ensemble.faults += ["", DONE]
        assert (await store.create(RECORD)).record == RECORD

    run(main)


@pytest.mark.parametrize("fault", [LOST, HANGS])
def test_without_an_answer_a_write_is_open_and_a_read_is_not_done(run: Run, fault: str) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        ensemble.faults.append(fault)
        ensemble.connects = fault == HANGS
        with pytest.raises(OutcomeUnknown, match=r"ended before the answer.*it refuses|no answer in"):
            await write(store, created.version, timeout_s=UNANSWERED_S)
        ensemble.faults.append(fault)
        with pytest.raises(Unavailable, match="no member of ZooKeeper answers"):
            await store._read_all(UNANSWERED_S)

    run(main)


def test_a_later_failure_that_sent_nothing_does_not_hide_that_it_was_sent(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        ensemble.faults += [LOST, UNSENT]
        ensemble.links_max = 2
        with pytest.raises(OutcomeUnknown):
            await write(store, created.version, timeout_s=UNANSWERED_S)

    run(main)


def test_without_a_connection_nothing_was_sent(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        ensemble.connects = False
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1: it refuses; 127\.0\.0\.1:2: it refuses"):
            await write(store, 1, timeout_s=UNANSWERED_S)
        assert ensemble.batches == 0
        with pytest.raises(Unavailable, match=r"it refuses"):
            await write(store, 1, timeout_s=0)

    run(main)


def test_without_time_there_is_no_attempt(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        with pytest.raises(Unavailable, match="no connection in 0 s"):
            await write(store, 1, timeout_s=0)
        assert ensemble.links == []

    run(main)


def test_a_connection_that_ends_while_it_is_waited_for_is_replaced(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        await store.read()

        async def wait_connected(timeout_s: float) -> bool:
            ensemble.links[0].over = "its ZooKeeper session has expired"
            return False

        ensemble.links[0].wait_connected = wait_connected  # type: ignore[method-assign]
        assert await store.read() is None
        assert len(ensemble.links) == 2

    run(main)


# --- refusals --------------------------------------------------------------------------------------


def test_a_refusal_was_surely_not_done(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        ensemble.faults.append(exceptions.NoAuthError())
        with pytest.raises(ManagerRefused, match=r"NoAuthError\. What to do: .*give a user and a password"):
            await write(store, created.version)
        ensemble.faults.append(exceptions.NoAuthError())
        with pytest.raises(ManagerRefused):
            await store.read()
        assert await store.read() == created

    run(main)


def test_a_refusal_does_not_speak_for_an_attempt_that_has_no_answer(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        ensemble.faults += [DONE, exceptions.NoAuthError()]
        with pytest.raises(OutcomeUnknown, match="NoAuthError"):
            await write(store, created.version)
        found = await store.read()
        assert found is not None and found.record == newer(1), "it was done"

    run(main)


# --- another ensemble ------------------------------------------------------------------------------


def test_an_ensemble_that_was_reset_is_not_believed(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        ensemble.znodes.clear()
        with pytest.raises(ClusterError, match="another ZooKeeper ensemble") as caught:
            await store.read()
        assert not isinstance(caught.value, (Conflict, Unavailable))
        theirs = await ZooKeeperRecordStore(ENDPOINTS).create(newer(9))
        with pytest.raises(ClusterError, match="another ZooKeeper ensemble"):
            await write(store, created.version)
        with pytest.raises(ClusterError, match="another ZooKeeper ensemble"):
            await write(store, theirs.version)

    run(main)


def test_each_new_connection_is_checked_before_anything_is_written(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        value, stat = ensemble.znodes["/qpidha"]
        ensemble.znodes["/qpidha"] = value[::-1] + b"x", stat
        ensemble.links[0].dismiss("the connection was lost")
        with pytest.raises(ClusterError, match="another ZooKeeper ensemble"):
            await write(store, created.version)
        assert ensemble.znodes["/qpidha/record"][1].mzxid == created.version

    run(main)


def test_an_ensemble_that_went_back_is_not_believed(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        copy = dict(ensemble.znodes), ensemble.zxid
        written = await write(store, created.version)
        ensemble.znodes, ensemble.zxid = copy
        ensemble.links[0].dismiss("the connection was lost")
        with pytest.raises(ClusterError, match=f"went back from transaction {written.version:#x}"):
            await store.read()
        with pytest.raises(ClusterError, match="rebuild the record"):
            await write(store, created.version, 2)

    run(main)


def test_closed_twice_and_never_used(run: Run) -> None:
    async def main(ensemble: Ensemble, store: ZooKeeperRecordStore) -> None:
        assert store._requests.server is None
        await store.close()
        await store.read()
        server = store._requests.server
        assert server is not None and server.port == 1
        await store.close()

    run(main)
