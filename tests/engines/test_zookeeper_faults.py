"""What `ZooKeeperRecordStore` does when members of a real ensemble fail, and when the network between is bad."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest

from qpidha.errors import ClusterError, Conflict, ManagerRefused, OutcomeUnknown, SettingsError, Unavailable
from qpidha.records import TlsFiles, ZooKeeperRecordStore
from qpidha.types import Member, Versioned
from tests.engines.certificates import Authority, Identity
from tests.engines.server import free_ports
from tests.engines.wire import Wire
from tests.engines.zookeeper import PASSWORD, USER, Ensemble
from tests.support.harness import until
from tests.support.records import RECORD, newer

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]

T = TypeVar("T")
TIMEOUT_S = 30.0
TTL_S = 2.5
"""Longer than an election."""
SHORT_TTL_S = 1.0
"""For sessions that are to expire."""
Faulty = Callable[[Callable[[ZooKeeperRecordStore], Awaitable[None]]], None]


@pytest.fixture
def faulty(zookeeper: Ensemble, request: pytest.FixtureRequest) -> Faulty:
    """Run a test with a store of a new cluster; afterwards all members run again."""

    def run(main: Callable[[ZooKeeperRecordStore], Awaitable[None]]) -> None:
        async def wrapped() -> None:
            await zookeeper.start()
            store = zookeeper.store(prefix_of(request))
            try:
                await asyncio.wait_for(main(store), 60)
            finally:
                for member in zookeeper.members:
                    member.resume()
                await store.close()

        asyncio.run(wrapped())

    return run


def prefix_of(request: pytest.FixtureRequest) -> str:
    return f"/qpidha/{request.node.name.replace('[', '-').replace(']', '')}"


def at(zookeeper: Ensemble, store: ZooKeeperRecordStore, first: int, **options: Any) -> ZooKeeperRecordStore:
    """Another store of the same cluster, whose first endpoint is this member."""
    return zookeeper.store(store._layout.prefix, first=first, **options)


async def first(watch: AsyncIterator[T]) -> T:
    return await asyncio.wait_for(anext(watch), TIMEOUT_S)


async def cas(store: ZooKeeperRecordStore, expected: int, n: int, timeout_s: float = TIMEOUT_S) -> Versioned:
    return await store.compare_and_set(expected, newer(n), timeout_s=timeout_s)


async def reaches(watch: AsyncIterator[T], wanted: Callable[[T], bool]) -> T:
    async def follow() -> T:
        async for value in watch:
            if wanted(value):
                return value
        raise AssertionError("the watch has ended")

    return await asyncio.wait_for(follow(), TIMEOUT_S)


# --- members fail --------------------------------------------------------------------------------


def test_a_killed_leader_delays_a_write_and_ends_no_session(zookeeper: Ensemble, faulty: Faulty) -> None:
    async def main(given: ZooKeeperRecordStore) -> None:
        leader = await zookeeper.leader()
        store = at(zookeeper, given, leader)
        created = await store.create(RECORD)
        session = await store.open_session("a", b"info", ttl_s=TTL_S)
        watch = store.watch()
        assert await first(watch) == created
        zookeeper.members[leader].kill()
        written = await cas(store, created.version, 1)
        assert await store.read() == written
        assert await reaches(watch, lambda found: found == written)
        ended = asyncio.ensure_future(session.wait_lost())
        before = session.deadline()
        await until(lambda: session.deadline() > before, timeout_s=TIMEOUT_S)
        assert not ended.done()
        assert dict(await store.live()) == {"a": b"info"}
        await session.close()
        await ended
        await store.close()

    faulty(main)


def test_a_leader_that_hangs_during_a_write_does_not_make_it_count_twice(
    zookeeper: Ensemble, faulty: Faulty
) -> None:
    """The write is asked of another member as well; what the leader does with it when it goes on has no effect."""

    async def main(given: ZooKeeperRecordStore) -> None:
        leader = await zookeeper.leader()
        store, direct = at(zookeeper, given, leader), at(zookeeper, given, leader)
        created = await store.create(RECORD)
        assert store._requests.server is not None and store._requests.server.port == zookeeper.ports[leader]
        zookeeper.members[leader].pause()
        second = await cas(store, created.version, 1)
        third = await cas(store, second.version, 2)
        zookeeper.members[leader].resume()
        await zookeeper.members[leader].wait_ready()
        assert await direct.read() == third == await store.read()
        await direct.close()
        await store.close()

    faulty(main)


def test_a_write_to_a_hung_member_alone_has_an_unknown_outcome(zookeeper: Ensemble, faulty: Faulty) -> None:
    """And it is resolved by the same write again (M2)."""

    async def main(store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        follower = (await zookeeper.leader() + 1) % 3
        alone = at(zookeeper, store, 0, endpoints=[zookeeper.endpoints[follower]])
        assert await alone.read() == created
        zookeeper.members[follower].pause()
        with pytest.raises(OutcomeUnknown, match="no answer in"):
            await cas(alone, created.version, 1, 0.7)
        with pytest.raises(Unavailable, match="no member of ZooKeeper answers"):
            await alone._read_all(0.3)
        zookeeper.members[follower].resume()
        again = await cas(store, created.version, 1)
        assert again.record == newer(1)
        assert await alone.read() == again
        await alone.close()

    faulty(main)


def test_without_a_majority_nothing_is_written_and_sessions_go_on_afterwards(
    zookeeper: Ensemble, faulty: Faulty
) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        session = await store.open_session("a", b"1", ttl_s=TTL_S)
        ended = asyncio.ensure_future(session.wait_lost())
        for member in zookeeper.members[1:]:
            member.kill()
        with pytest.raises((OutcomeUnknown, Unavailable)):
            await cas(store, created.version, 1, 1.0)
        with pytest.raises(Unavailable, match="no member of ZooKeeper answers"):
            await store._read_all(0.5)
        await until(lambda: session.deadline() < time.monotonic(), timeout_s=TIMEOUT_S)
        assert not ended.done(), "nobody can have ended it"
        await zookeeper.start()
        await until(lambda: session.deadline() > time.monotonic(), timeout_s=TIMEOUT_S)
        await session.update(b"2")
        assert dict(await store.live()) == {"a": b"2"}
        found = await store.read()
        assert found is not None
        assert await cas(store, found.version, 2)
        await session.close()

    faulty(main)


def test_a_frozen_ensemble_is_noticed_by_the_deadline(zookeeper: Ensemble, faulty: Faulty) -> None:
    """The client says that a session is lost only when a server answers again. Its owner knows before."""

    async def main(store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        session = await store.open_session("a", b"", ttl_s=SHORT_TTL_S)
        for member in zookeeper.members:
            member.pause()
        await until(lambda: session.deadline() < time.monotonic(), timeout_s=TIMEOUT_S)
        with pytest.raises((Unavailable, OutcomeUnknown)):
            await session.update(b"x")
        with pytest.raises((Unavailable, OutcomeUnknown)):
            await cas(store, created.version, 1, 0.5)
        for member in zookeeper.members:
            member.resume()
        assert (await cas(store, created.version, 1)).record == newer(1)
        with contextlib.suppress(Unavailable, OutcomeUnknown):
            await session.close()

    faulty(main)


def test_a_watch_goes_on_at_another_member(zookeeper: Ensemble, faulty: Faulty) -> None:
    """Its connection stays open, and it reports nothing: the periodic read notices."""

    async def main(store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        follower = (await zookeeper.leader() + 1) % 3
        watching = at(zookeeper, store, follower)
        other = at(zookeeper, store, await zookeeper.leader())
        watch = watching.watch()
        assert await first(watch) == created
        zookeeper.members[follower].pause()
        second = await cas(other, created.version, 1)
        assert await reaches(watch, lambda found: found == second)
        third = await cas(other, second.version, 2)
        assert await reaches(watch, lambda found: found == third)
        await other.close()
        await watching.close()

    faulty(main)


def test_watches_report_changes_between_two_reads(zookeeper: Ensemble, faulty: Faulty) -> None:
    """With reads that are an hour apart: the creation of the cluster, the record, a session, its end."""

    async def main(store: ZooKeeperRecordStore) -> None:
        watching = at(zookeeper, store, 1, check_interval_s=3600.0)
        record, live = watching.watch(), watching.watch_live()
        assert await first(record) is None and await first(live) == {}
        created = await store.create(RECORD)
        assert await reaches(record, lambda found: found == created)
        second = await cas(store, created.version, 1)
        assert await reaches(record, lambda found: found == second)
        session = await store.open_session("a", b"1", ttl_s=TTL_S)
        assert await reaches(live, lambda nodes: dict(nodes) == {"a": b"1"})
        await session.update(b"2")
        assert await reaches(live, lambda nodes: dict(nodes) == {"a": b"2"})
        await session.close()
        assert await reaches(live, lambda nodes: not nodes) == {}
        await watching.close()

    faulty(main)


def test_an_engine_that_was_reset_is_not_taken_for_an_empty_cluster(
    zookeeper: Ensemble, faulty: Faulty
) -> None:
    """Its prefix has another identity, or its transactions went back. No write reaches what others begin there."""

    async def main(store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        session = await store.open_session("a", b"", ttl_s=SHORT_TTL_S)
        watch = store.watch()
        assert await first(watch) == created
        await zookeeper.wipe()
        with pytest.raises(ClusterError, match="another ZooKeeper ensemble") as caught:
            await store.read()
        assert not isinstance(caught.value, (Unavailable, Conflict))
        with pytest.raises(ClusterError, match="another ZooKeeper ensemble"):
            await cas(store, created.version, 1)
        assert await asyncio.wait_for(session.wait_lost(), TIMEOUT_S)
        with pytest.raises(ClusterError, match="qpidha record rebuild"):
            await reaches(watch, lambda found: found is None)
        founder = at(zookeeper, store, 0)
        foreign = await founder.create(replace(RECORD, cluster=UUID(int=99)))
        with pytest.raises(ClusterError, match="another ZooKeeper ensemble"):
            await cas(store, created.version, 1)
        store._requests._identity = founder._requests._identity  # As after a restore from a copy.
        store._requests._zxid = 2**40
        with pytest.raises(ClusterError, match="went back from transaction"):
            await store.read()
        assert await founder.read() == foreign
        with contextlib.suppress(ClusterError):
            await session.close()
        await founder.close()

    faulty(main)


# --- sessions --------------------------------------------------------------------------------------


def test_a_session_whose_znode_was_removed_is_lost(zookeeper: Ensemble, faulty: Faulty) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        session = await store.open_session("a", b"", ttl_s=TTL_S)
        await zookeeper.as_root(lambda client: client.delete(store._layout.session("a")))
        with pytest.raises(Unavailable, match="removed"):
            await session.update(b"x")
        assert "removed" in await asyncio.wait_for(session.wait_lost(), TIMEOUT_S)
        again = await store.open_session("a", b"", ttl_s=TTL_S)
        await zookeeper.as_root(lambda client: client.delete(store._layout.session("a")))
        assert "removed" in await asyncio.wait_for(again.wait_lost(), TIMEOUT_S)
        await session.close()
        await again.close()

    faulty(main)


def test_a_session_that_ends_while_its_node_hangs_is_lost(zookeeper: Ensemble, faulty: Faulty) -> None:
    """The event loop hangs, and the threads of kazoo do not: they must not keep the session alive."""

    async def main(store: ZooKeeperRecordStore) -> None:
        session = await store.open_session("a", b"", ttl_s=SHORT_TTL_S)
        time.sleep(session.granted_ttl_s + 1.0)  # noqa: ASYNC251 - this is what is tested
        assert "expired" in await asyncio.wait_for(session.wait_lost(), TIMEOUT_S)
        with pytest.raises(Unavailable, match="lost"):
            await session.update(b"x")
        assert dict(await store.live()) == {}
        await session.close()

    faulty(main)


def test_a_session_without_an_answer_is_opened_by_the_next_try(zookeeper: Ensemble, faulty: Faulty) -> None:
    """The znode of the first try is there, and its ZooKeeper session lives; nobody keeps it."""

    async def main(store: ZooKeeperRecordStore) -> None:
        first_try = await store.open_session("a", b"first", ttl_s=TTL_S)
        store._opener._open.clear()  # As if its answer had not come.
        session = await store.open_session("a", b"second", ttl_s=TTL_S)
        assert dict(await store.live()) == {"a": b"second"}
        await session.close()
        first_try._link.dismiss()
        await first_try.wait_lost()

    faulty(main)


def test_time_outs_are_told_as_the_server_grants_them(zookeeper: Ensemble, faulty: Faulty) -> None:
    """Not less than two ticks, not more than twenty."""

    async def main(store: ZooKeeperRecordStore) -> None:
        for wanted_s, granted_s in ((0.1, 0.4), (1.0, 1.0), (60.0, 4.0)):
            session = await store.open_session("a", b"", ttl_s=wanted_s)
            assert session.granted_ttl_s == pytest.approx(granted_s)
            assert session.deadline() < time.monotonic() + granted_s
            with contextlib.suppress(Unavailable):  # Two ticks are short on a busy machine.
                await session.close()

    faulty(main)


HOLDER = """
import asyncio, json, sys
from qpidha.records import TlsFiles, ZooKeeperRecordStore

async def main():
    given = json.loads(sys.argv[1])
    store = ZooKeeperRecordStore(given["endpoints"], prefix=given["prefix"], tls=TlsFiles(**given["tls"]),
                                 user=given["user"], password=given["password"])
    session = await store.open_session("a", b"held", ttl_s=1)
    print("open", flush=True)
    print(await session.wait_lost(), flush=True)

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def holder(zookeeper: Ensemble, prefix: str) -> AsyncIterator[subprocess.Popen[str]]:
    """A process with a session of node a."""
    import json

    identity = zookeeper.authority.issue("holder")
    tls = {"ca": zookeeper.authority.ca, "certificate": identity.certificate, "key": identity.key}
    given = {
        "endpoints": zookeeper.endpoints,
        "prefix": prefix,
        "user": USER,
        "password": PASSWORD,
        "tls": tls,
    }
    process = subprocess.Popen(  # noqa: ASYNC220 - it is quick
        [sys.executable, "-c", HOLDER, json.dumps(given, default=str)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert (await asyncio.to_thread(process.stdout.readline)).strip() == "open"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_killed_holder_is_noticed_and_its_node_id_is_free_after_the_ttl(
    zookeeper: Ensemble, faulty: Faulty
) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        async with holder(zookeeper, store._layout.prefix) as process:
            watch = store.watch_live()
            assert dict(await first(watch)) == {"a": b"held"}
            process.kill()
            session = await store.open_session("a", b"next", ttl_s=SHORT_TTL_S)
            assert await reaches(watch, lambda live: dict(live) == {"a": b"next"})
            await session.close()

    faulty(main)


def test_a_holder_that_lives_keeps_its_node_id(zookeeper: Ensemble, faulty: Faulty) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        async with holder(zookeeper, store._layout.prefix):
            with pytest.raises(Conflict, match="another process holds the session of node 'a'"):
                await store.open_session("a", b"mine", ttl_s=TTL_S)
            assert dict(await store.live()) == {"a": b"held"}

    faulty(main)


def test_a_paused_holder_learns_that_its_session_is_lost(zookeeper: Ensemble, faulty: Faulty) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        async with holder(zookeeper, store._layout.prefix) as process:
            watch = store.watch_live()
            assert dict(await first(watch)) == {"a": b"held"}
            process.send_signal(signal.SIGSTOP)
            assert await reaches(watch, lambda live: not live) == {}
            process.send_signal(signal.SIGCONT)
            assert process.stdout is not None
            assert "expired" in await asyncio.to_thread(process.stdout.readline)

    faulty(main)


# --- the network -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def wires(zookeeper: Ensemble) -> AsyncIterator[list[Wire]]:
    """A wire to each member."""
    ports = free_ports(len(zookeeper.ports))
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Wire(port, target))
            for port, target in zip(ports, zookeeper.ports, strict=True)
        ]


def through(
    zookeeper: Ensemble, store: ZooKeeperRecordStore, between: list[Wire], **options: Any
) -> ZooKeeperRecordStore:
    endpoints = [f"127.0.0.1:{wire.port}" for wire in between]
    return zookeeper.store(store._layout.prefix, endpoints=endpoints, **options)


def test_endpoints_that_refuse_are_passed_over_and_named(zookeeper: Ensemble, faulty: Faulty) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        async with wires(zookeeper) as between:
            wired = through(zookeeper, store, between)
            for wire in between[:2]:
                await wire.refuse()
            assert await wired.read() == created
            second = await cas(wired, created.version, 1)
            await between[2].refuse()
            link = wired._requests._link
            await until(lambda: link is None or not link.connected)
            with pytest.raises(Unavailable) as caught:
                await cas(wired, second.version, 2, 1.0)
            assert all(f"127.0.0.1:{wire.port}" in str(caught.value) for wire in between)
            assert await store.read() == second
            await between[0].mend()
            assert (await cas(wired, second.version, 2)).record == newer(2)
            await wired.close()

    faulty(main)


def test_slow_connections_are_only_slow(zookeeper: Ensemble, faulty: Faulty) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        async with wires(zookeeper) as between:
            wired = through(zookeeper, store, between)
            watch = wired.watch()
            assert await first(watch) == created
            for wire in between:
                wire.delay_s = 0.05
            second = await cas(wired, created.version, 1)
            third = await cas(store, second.version, 2)
            assert await reaches(watch, lambda found: found == third)
            await wired.close()

    faulty(main)


@pytest.mark.parametrize("sent", [1, 400])
def test_a_connection_that_is_cut_within_a_write_leaves_its_outcome_open(
    zookeeper: Ensemble, faulty: Faulty, sent: int
) -> None:
    """Another member answers for it; with no other one, the outcome is unknown."""

    async def main(store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        async with wires(zookeeper) as between:
            wired, alone = through(zookeeper, store, between), through(zookeeper, store, between[:1])
            assert await wired.read() == await alone.read() == created
            between[0].cut_after(sent)
            second = await cas(wired, created.version, 1)
            assert second.record == newer(1)
            assert await alone.read() == second
            await asyncio.sleep(0.1)
            between[0].silence(there=False)
            with pytest.raises(OutcomeUnknown):
                await cas(alone, second.version, 2, 0.5)
            await between[0].mend()
            third = await cas(alone, second.version, 2)
            assert third.record == newer(2) and await store.read() == third
            await wired.close()
            await alone.close()

    faulty(main)


def test_a_silent_network_delays_and_then_fails(zookeeper: Ensemble, faulty: Faulty) -> None:
    """Nothing was sent while no connection could be made; with a connection, nobody knows."""

    async def main(store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        async with wires(zookeeper) as between:
            wired = through(zookeeper, store, between)
            assert await wired.read() == created
            for wire in between[:1]:
                wire.silence()
            second = await cas(wired, created.version, 1)
            for wire in between:
                wire.silence()
            with pytest.raises(OutcomeUnknown):
                await cas(wired, second.version, 2, 0.5)
            fresh = through(zookeeper, store, between)
            with pytest.raises(Unavailable, match="no member of ZooKeeper answers"):
                await cas(fresh, second.version, 2, 0.5)
            for wire in between:
                await wire.mend()
            assert (await cas(wired, second.version, 2)).record == newer(2)
            await wired.close()
            await fresh.close()

    faulty(main)


def test_wrong_certificates_are_named_and_nothing_is_sent(
    zookeeper: Ensemble, faulty: Faulty, tmp_path: Path
) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        other = Authority(tmp_path / "other")
        stranger, mine = other.issue("stranger"), zookeeper.authority.issue("mine")
        ours = zookeeper.authority.ca
        for tls, why in (
            (
                TlsFiles(ca=other.ca, certificate=mine.certificate, key=mine.key),
                "its certificate is not accepted",
            ),
            (
                TlsFiles(ca=ours, certificate=stranger.certificate, key=stranger.key),
                "certificate of this node",
            ),
            (TlsFiles(ca=ours), "certificate of this node"),
        ):
            wrong = zookeeper.store(store._layout.prefix, tls=tls)
            with pytest.raises(Unavailable, match=why):
                await cas(wrong, created.version, 1, 0.7)
            await wrong.close()
        named = zookeeper.authority.issue("elsewhere", "elsewhere.example")
        server = await asyncio.start_server(
            lambda reader, writer: None, "127.0.0.1", 0, ssl=server_context(named.certificate, named.key)
        )
        port = server.sockets[0].getsockname()[1]
        wrong = zookeeper.store(store._layout.prefix, endpoints=[f"127.0.0.1:{port}"])
        with pytest.raises(Unavailable, match="names this host"):
            await wrong._read_all(0.7)
        await wrong.close()
        server.close()
        assert await store.read() == created

    faulty(main)


def test_a_renewed_certificate_is_shown_without_a_restart(
    zookeeper: Ensemble, faulty: Faulty, tmp_path: Path
) -> None:
    """The one that ZooKeeper does not accept is there first: the answers show which one a connection was made with."""

    async def main(store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        stranger, mine = Authority(tmp_path / "other").issue("stranger"), zookeeper.authority.issue("mine")
        certificate, key = tmp_path / "node.pem", tmp_path / "node.key"

        def renew(identity: Identity) -> None:
            """Key first, certificate last, as the documentation says."""
            for file, source in ((key, identity.key), (certificate, identity.certificate)):
                new = file.with_suffix(".new")
                new.touch(mode=0o600)
                new.write_bytes(source.read_bytes())
                new.rename(file)

        renew(stranger)
        tls = TlsFiles(ca=zookeeper.authority.ca, certificate=certificate, key=key)
        renewed = zookeeper.store(store._layout.prefix, tls=tls)
        with pytest.raises(Unavailable, match="certificate of this node"):
            await renewed._read_all(0.7)
        renew(mine)
        deadline = time.monotonic() + 20.0
        while True:
            try:
                assert await renewed.read() == created
                break
            except Unavailable:
                assert time.monotonic() < deadline, "the renewed certificate is not used"
                await asyncio.sleep(0.1)
        await renewed.close()

    faulty(main)


def server_context(certificate: Path, key: Path) -> Any:
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def test_plain_text_to_a_server_with_tls_is_an_error_of_the_endpoint(
    zookeeper: Ensemble, faulty: Faulty
) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        plain = zookeeper.store(store._layout.prefix, tls=None)
        with pytest.raises(ClusterError, match=zookeeper.endpoints[0]):
            await plain._read_all(0.5)
        await plain.close()

    faulty(main)


# --- users -----------------------------------------------------------------------------------------


def test_another_password_is_refused_and_not_shown(
    zookeeper: Ensemble, faulty: Faulty, tmp_path: Path
) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        secret = tmp_path / "password"
        secret.touch(mode=0o600)
        secret.write_text("wrong horse\n")
        for options, why in (
            ({"password": "wrong horse"}, "all permissions to user 'qpidha' with this password"),
            ({"password": secret}, "all permissions to user 'qpidha' with this password"),
            ({"user": None, "password": None}, "or give a user and a password"),
        ):
            refused = at(zookeeper, store, 0, **options)
            with pytest.raises(ManagerRefused, match=why) as caught:
                await cas(refused, created.version, 1)
            with pytest.raises(ManagerRefused):
                await refused.open_session("b", b"", ttl_s=TTL_S)
            assert "wrong horse" not in f"{caught.value!r} {refused!r} {caught.value.__cause__!r}"
            await refused.close()
        secret.write_text(PASSWORD)
        good = at(zookeeper, store, 0, password=secret)
        assert await good.read() == created
        await good.close()
        secret.chmod(0o644)
        with pytest.raises(Unavailable, match=r"password file .* has mode 0644"):
            await good.read()
        await good.close()
        assert PASSWORD not in repr(store)

    faulty(main)


# --- the rest --------------------------------------------------------------------------------------


def test_a_large_record_and_large_sessions(zookeeper: Ensemble, faulty: Faulty) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        members = frozenset(Member(f"node-{n}-{'x' * 200}", UUID(int=n)) for n in range(2000))
        large = replace(RECORD, members=members)
        watch = store.watch()
        assert await first(watch) is None
        created = await store.create(large)
        assert await reaches(watch, lambda found: found == created)
        sessions = [await store.open_session(f"n{n}", bytes(32 * 1024), ttl_s=10) for n in range(8)]
        assert {node: len(info) for node, info in (await store.live()).items()} == {
            f"n{n}": 32768 for n in range(8)
        }
        for session in sessions:
            await session.close()
        huge = replace(RECORD, members=frozenset(Member(f"{n:0>250}", UUID(int=n)) for n in range(8000)))
        with pytest.raises(ManagerRefused, match="shorten the node ids"):
            await store.compare_and_set(created.version, huge, timeout_s=TIMEOUT_S)

    faulty(main)


def test_two_clusters_in_one_engine_do_not_see_each_other(zookeeper: Ensemble, faulty: Faulty) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        inner = zookeeper.store(f"{store._layout.prefix}/inner")
        beside = zookeeper.store(f"{store._layout.prefix}-2")
        watch = store.watch_live()
        assert await first(watch) == {}
        sessions = []
        for n, one in enumerate((store, inner, beside)):
            assert await one.read() is None
            await one.create(newer(n))
            sessions.append(await one.open_session("a", bytes([n]), ttl_s=TTL_S))
        for n, one in enumerate((store, inner, beside)):
            found = await one.read()
            assert found is not None and found.record == newer(n)
            assert dict(await one.live()) == {"a": bytes([n])}
        assert await reaches(watch, lambda live: dict(live) == {"a": b"\0"})
        for session in sessions:
            await session.close()
        await inner.close()
        await beside.close()
        for name in ("record", "sessions", "claims"):
            with pytest.raises(SettingsError, match=f"'{name}'"):
                zookeeper.store(f"{store._layout.prefix}/{name}")

    faulty(main)


def test_a_record_that_was_edited_by_hand_is_damaged(zookeeper: Ensemble, faulty: Faulty) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        await store.create(RECORD)
        watch = store.watch()
        await first(watch)
        await zookeeper.as_root(lambda client: client.set(store._layout.record, b"{}"))
        with pytest.raises(ClusterError, match="damaged"):
            await store.read()
        with pytest.raises(ClusterError, match="damaged"):
            await reaches(watch, lambda found: found is None)

    faulty(main)


def test_a_record_that_was_created_again_is_not_taken_for_the_one_before(
    zookeeper: Ensemble, faulty: Faulty
) -> None:
    """The counter of a new znode begins again at the same number. That of the transactions does not."""

    async def main(store: ZooKeeperRecordStore) -> None:
        created = await store.create(RECORD)
        other = at(zookeeper, store, 1)
        await zookeeper.as_root(lambda client: client.delete(store._layout.record))
        assert await other.read() is None
        again = await other.create(newer(7))
        assert again.version > created.version
        assert await store.read() == again
        with pytest.raises(Conflict):
            await cas(store, created.version, 1)
        assert await other.read() == again
        await other.close()

    faulty(main)


def test_a_closed_store_ends_its_watches_and_a_session_may_still_be_closed(
    zookeeper: Ensemble, faulty: Faulty
) -> None:
    async def main(store: ZooKeeperRecordStore) -> None:
        mine = zookeeper.store(store._layout.prefix)
        session = await mine.open_session("a", b"", ttl_s=TTL_S)
        watch = mine.watch_live()
        await first(watch)
        await mine.close()
        with pytest.raises(StopAsyncIteration):
            await first(watch)
        await session.close()
        assert dict(await store.live()) == {}
        await mine.close()
        gc.collect()

    faulty(main)
