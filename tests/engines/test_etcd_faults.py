"""What `EtcdRecordStore` does when members of a real ensemble fail, and when the network between is bad."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
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
from qpidha.records import EtcdRecordStore, TlsFiles
from qpidha.types import Member, Versioned
from tests.engines.certificates import Authority, Identity
from tests.engines.etcd import PASSWORD, USER, Ensemble
from tests.engines.server import free_ports
from tests.engines.wire import Wire
from tests.support.harness import until
from tests.support.records import RECORD, newer

pytestmark = [pytest.mark.network, pytest.mark.processes, pytest.mark.external]

T = TypeVar("T")
TIMEOUT_S = 30.0
TTL_S = 2.0
"""What etcd grants at least, with its default election time-out."""
Faulty = Callable[[Callable[[EtcdRecordStore], Awaitable[None]]], None]


@pytest.fixture
def faulty(ensemble: Ensemble, request: pytest.FixtureRequest) -> Faulty:
    """Run a test with a store of a new cluster; afterwards all members run again."""

    def run(main: Callable[[EtcdRecordStore], Awaitable[None]]) -> None:
        async def wrapped() -> None:
            await ensemble.start()
            store = ensemble.store(prefix_of(request))
            try:
                await asyncio.wait_for(main(store), 60)
            finally:
                for member in ensemble.members:
                    member.resume()
                await store.close()

        asyncio.run(wrapped())

    return run


def prefix_of(request: pytest.FixtureRequest) -> str:
    return f"/qpidha/{request.node.name.replace('[', '-').replace(']', '')}"


async def leader_first(ensemble: Ensemble, store: EtcdRecordStore) -> int:
    """Make the leader the member that the store asks first. Returns its number."""
    leader = await ensemble.leader()
    while store._gateway._endpoints[0].port != ensemble.ports[leader]:
        store._gateway.avoid()
    return leader


async def first(watch: AsyncIterator[T]) -> T:
    return await asyncio.wait_for(anext(watch), TIMEOUT_S)


async def cas(store: EtcdRecordStore, expected: int, n: int, timeout_s: float = TIMEOUT_S) -> Versioned:
    return await store.compare_and_set(expected, newer(n), timeout_s=timeout_s)


async def reaches(watch: AsyncIterator[T], wanted: Callable[[T], bool]) -> T:
    async def follow() -> T:
        async for value in watch:
            if wanted(value):
                return value
        raise AssertionError("the watch has ended")

    return await asyncio.wait_for(follow(), TIMEOUT_S)


# --- members fail --------------------------------------------------------------------------------


def test_a_killed_leader_delays_a_write_and_ends_no_session(ensemble: Ensemble, faulty: Faulty) -> None:
    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        session = await store.open_session("a", b"info", ttl_s=TTL_S)
        watch = store.watch()
        assert await first(watch) == created
        leader = await leader_first(ensemble, store)
        ensemble.members[leader].kill()
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

    faulty(main)


def test_a_leader_that_hangs_during_a_write_does_not_make_it_count_twice(
    ensemble: Ensemble, faulty: Faulty
) -> None:
    """The write is asked of another member as well; what the leader does with it when it goes on has no effect."""

    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        leader = await leader_first(ensemble, store)
        ensemble.members[leader].pause()
        second = await cas(store, created.version, 1)
        third = await cas(store, second.version, 2)
        ensemble.members[leader].resume()
        await ensemble.members[leader].wait_ready()
        direct = ensemble.store(store._layout.prefix, first=leader)
        assert await direct.read() == third == await store.read()
        await direct.close()

    faulty(main)


def test_a_write_to_a_hung_leader_alone_has_an_unknown_outcome(ensemble: Ensemble, faulty: Faulty) -> None:
    """And it is resolved by the same write again (M2)."""

    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        leader = await ensemble.leader()
        alone = ensemble.store(store._layout.prefix, endpoints=[ensemble.endpoints[leader]])
        assert await alone.read() == created
        ensemble.members[leader].pause()
        with pytest.raises(OutcomeUnknown, match=r"no answer in 0\.5 s"):
            await cas(alone, created.version, 1, 0.5)
        with pytest.raises(Unavailable, match="no member of etcd answers"):
            await alone._read_all(0.3)
        ensemble.members[leader].resume()
        again = await cas(store, created.version, 1)
        assert again.record == newer(1)
        assert await alone.read() == again
        await alone.close()

    faulty(main)


def test_without_a_majority_nothing_is_written_and_sessions_go_on_afterwards(
    ensemble: Ensemble, faulty: Faulty
) -> None:
    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        session = await store.open_session("a", b"1", ttl_s=TTL_S)
        ended = asyncio.ensure_future(session.wait_lost())
        for member in ensemble.members[1:]:
            member.kill()
        with pytest.raises((OutcomeUnknown, Unavailable)):
            await cas(store, created.version, 1, 1.0)
        with pytest.raises(Unavailable, match="no member of etcd answers"):
            await store._read_all(0.5)
        await until(lambda: session.deadline() < time.monotonic(), timeout_s=TIMEOUT_S)
        assert not ended.done(), "nobody can have ended it"
        await ensemble.start()
        await until(lambda: session.deadline() > time.monotonic(), timeout_s=TIMEOUT_S)
        await session.update(b"2")
        assert dict(await store.live()) == {"a": b"2"}
        found = await store.read()
        assert found is not None
        assert await cas(store, found.version, 2)
        await session.close()

    faulty(main)


def test_a_watch_at_a_hung_member_is_replaced(ensemble: Ensemble, faulty: Faulty) -> None:
    """Its connection stays open, and it reports nothing: the periodic read notices."""

    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        watch = store.watch()
        assert await first(watch) == created
        other = ensemble.store(store._layout.prefix)
        leader = await ensemble.leader()
        follower = (leader + 1) % 3
        while store._gateway._endpoints[0].port != ensemble.ports[follower]:
            store._gateway.avoid()
        await until(lambda: store._follower._stream is not None)
        ensemble.members[follower].pause()
        second = await cas(other, created.version, 1)
        assert await reaches(watch, lambda found: found == second)
        third = await cas(other, second.version, 2)
        assert await reaches(watch, lambda found: found == third)
        await other.close()

    faulty(main)


def test_a_watch_goes_on_after_a_compaction_and_a_restart(ensemble: Ensemble, faulty: Faulty) -> None:
    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        watch = store.watch()
        assert await first(watch) == created
        other = ensemble.store(store._layout.prefix)
        for member in ensemble.members:
            member.kill()
        with pytest.raises(ClusterError):
            await reaches(watch, lambda found: found is None)
        await ensemble.start()
        current = created
        for n in range(1, 4):
            current = await cas(other, current.version, n)
        await ensemble.compact()
        assert await reaches(store.watch(), lambda found: found == current)
        await other.close()

    faulty(main)


def test_a_compacted_watch_begins_again(ensemble: Ensemble, faulty: Faulty) -> None:
    """As if this process had been paused between its read and its watch."""

    async def main(store: EtcdRecordStore) -> None:
        current = await store.create(RECORD)
        for n in range(1, 4):
            current = await cas(store, current.version, n)
        await ensemble.compact()
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

    faulty(main)


def test_an_engine_that_was_reset_is_not_taken_for_an_empty_cluster(
    tmp_path: Path,
) -> None:
    """The revision went back, or the ensemble has another identity. A write does not reach what others begin there."""

    async def main() -> None:
        ensemble = Ensemble.make(tmp_path)
        try:
            await ensemble.start()
            store = ensemble.store()
            created = await store.create(RECORD)
            session = await store.open_session("a", b"", ttl_s=TTL_S)
            watch = store.watch()
            assert await first(watch) == created
            await ensemble.wipe()
            # Its token may be of the future of the new one, which waits for it.
            with contextlib.suppress(ClusterError):
                await store._read_all(1.0)
            with pytest.raises(ClusterError, match="another etcd ensemble") as caught:
                await store.read()
            assert not isinstance(caught.value, (Unavailable, Conflict))
            assert await asyncio.wait_for(session.wait_lost(), TIMEOUT_S)
            with pytest.raises(ClusterError, match="qpidha record rebuild"):
                await reaches(watch, lambda found: found is None)
            founder = ensemble.store()
            foreign = await founder.create(replace(RECORD, cluster=UUID(int=99)))
            store._gateway._cluster = None  # The same identity, as after a restore from a copy.
            with pytest.raises(ClusterError, match="went back from revision"):
                store._gateway._revision = 10**6
                await store.read()
            store._gateway._revision, store._seen = 0, (foreign.version, b"what this version was before")
            with pytest.raises(Conflict):
                await cas(store, foreign.version, 1)
            assert await founder.read() == foreign
            with contextlib.suppress(ClusterError):
                await session.close()
            await founder.close()
            await store.close()
        finally:
            ensemble.stop()

    asyncio.run(main())


# --- sessions --------------------------------------------------------------------------------------


def test_a_session_whose_key_was_removed_is_lost(ensemble: Ensemble, faulty: Faulty) -> None:
    async def main(store: EtcdRecordStore) -> None:
        session = await store.open_session("a", b"", ttl_s=TTL_S)
        from qpidha.records.etcd.layout import text

        await ensemble.as_root("/v3/kv/deleterange", {"key": text(store._layout.session("a"))})
        assert "removed" in await asyncio.wait_for(session.wait_lost(), TIMEOUT_S)
        with pytest.raises(Unavailable, match="lost"):
            await session.update(b"x")
        await session.close()

    faulty(main)


def test_a_session_whose_lease_was_revoked_is_lost(ensemble: Ensemble, faulty: Faulty) -> None:
    async def main(store: EtcdRecordStore) -> None:
        session = await store.open_session("a", b"", ttl_s=TTL_S)
        await ensemble.as_root("/v3/lease/revoke", {"ID": str(session._lease)})
        with pytest.raises(Unavailable, match="key was removed"):
            await session.update(b"x")
        await session.wait_lost()
        again = await store.open_session("a", b"", ttl_s=TTL_S)
        await again.close()
        await session.close()

    faulty(main)


def test_a_session_without_an_answer_is_opened_by_the_next_try(ensemble: Ensemble, faulty: Faulty) -> None:
    """The key of the first try is there, and its lease lives; nobody renews it."""

    async def main(store: EtcdRecordStore) -> None:
        opener = store._opener
        lease, _ = await opener._grant(60)
        from qpidha.records.etcd.layout import put_if, revision_is

        body = put_if(store._layout.session("a"), [revision_is(0)], opener._name + b"first", lease)
        await store._gateway.ask("/v3/kv/txn", body, TIMEOUT_S)
        session = await store.open_session("a", b"second", ttl_s=TTL_S)
        assert dict(await store.live()) == {"a": b"second"}
        await session.close()

    faulty(main)


def test_an_update_without_an_answer_does_not_undo_a_later_one(ensemble: Ensemble, faulty: Faulty) -> None:
    async def main(store: EtcdRecordStore) -> None:
        session = await store.open_session("a", b"0", ttl_s=TTL_S)
        seen = session._revision
        await session.update(b"1")
        session._revision = seen  # As if the answer had not come.
        await session.update(b"2")
        session._revision = seen
        await session.update(b"2")
        assert dict(await store.live()) == {"a": b"2"}
        await session.close()

    faulty(main)


HOLDER = """
import asyncio, json, sys
from qpidha.records import EtcdRecordStore, TlsFiles

async def main():
    given = json.loads(sys.argv[1])
    store = EtcdRecordStore(given["endpoints"], prefix=given["prefix"], tls=TlsFiles(**given["tls"]),
                            user=given["user"], password=given["password"])
    session = await store.open_session("a", b"held", ttl_s=2)
    print("open", flush=True)
    print(await session.wait_lost(), flush=True)

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def holder(ensemble: Ensemble, prefix: str) -> AsyncIterator[subprocess.Popen[str]]:
    """A process with a session of node a."""
    import json

    identity = ensemble.authority.issue("holder")
    tls = {"ca": ensemble.authority.ca, "certificate": identity.certificate, "key": identity.key}
    given = {
        "endpoints": ensemble.endpoints,
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
    ensemble: Ensemble, faulty: Faulty
) -> None:
    async def main(store: EtcdRecordStore) -> None:
        async with holder(ensemble, store._layout.prefix) as process:
            watch = store.watch_live()
            assert dict(await first(watch)) == {"a": b"held"}
            process.kill()
            session = await store.open_session("a", b"next", ttl_s=TTL_S)
            assert await reaches(watch, lambda live: dict(live) == {"a": b"next"})
            await session.close()

    faulty(main)


def test_a_paused_holder_learns_that_its_session_is_lost(ensemble: Ensemble, faulty: Faulty) -> None:
    async def main(store: EtcdRecordStore) -> None:
        async with holder(ensemble, store._layout.prefix) as process:
            watch = store.watch_live()
            assert dict(await first(watch)) == {"a": b"held"}
            process.send_signal(signal.SIGSTOP)
            assert await reaches(watch, lambda live: not live) == {}
            process.send_signal(signal.SIGCONT)
            assert process.stdout is not None
            assert "lease has ended" in await asyncio.to_thread(process.stdout.readline)

    faulty(main)


# --- the network -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def wires(ensemble: Ensemble) -> AsyncIterator[list[Wire]]:
    """A wire to each member."""
    ports = free_ports(len(ensemble.ports))
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Wire(port, target))
            for port, target in zip(ports, ensemble.ports, strict=True)
        ]


def through(
    ensemble: Ensemble, store: EtcdRecordStore, between: list[Wire], **options: Any
) -> EtcdRecordStore:
    endpoints = [f"127.0.0.1:{wire.port}" for wire in between]
    return ensemble.store(store._layout.prefix, endpoints=endpoints, **options)


def test_endpoints_that_refuse_are_passed_over_and_named(ensemble: Ensemble, faulty: Faulty) -> None:
    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        async with wires(ensemble) as between:
            wired = through(ensemble, store, between)
            for wire in between[:2]:
                await wire.refuse()
            assert await wired.read() == created
            second = await cas(wired, created.version, 1)
            await between[2].refuse()
            with pytest.raises(Unavailable) as caught:
                await cas(wired, second.version, 2)
            assert all(f"127.0.0.1:{wire.port}" in str(caught.value) for wire in between)
            assert await store.read() == second
            await between[0].mend()
            assert (await cas(wired, second.version, 2)).record == newer(2)
            await wired.close()

    faulty(main)


def test_slow_connections_are_only_slow(ensemble: Ensemble, faulty: Faulty) -> None:
    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        async with wires(ensemble) as between:
            wired = through(ensemble, store, between)
            watch = wired.watch()
            assert await first(watch) == created
            for wire in between:
                wire.delay_s = 0.1
            second = await cas(wired, created.version, 1)
            third = await cas(store, second.version, 2)
            assert await reaches(watch, lambda found: found == third)
            await wired.close()

    faulty(main)


@pytest.mark.parametrize("sent", [1, 400])
def test_a_connection_that_is_cut_within_a_write_leaves_its_outcome_open(
    ensemble: Ensemble, faulty: Faulty, sent: int
) -> None:
    """Another member answers for it; with no other one, the outcome is unknown."""

    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        async with wires(ensemble) as between:
            wired, alone = through(ensemble, store, between), through(ensemble, store, between[:1])
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


def test_a_silent_network_delays_and_then_fails(ensemble: Ensemble, faulty: Faulty) -> None:
    """Nothing was sent while no connection could be made; with a connection, nobody knows."""

    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        async with wires(ensemble) as between:
            wired = through(ensemble, store, between)
            assert await wired.read() == created
            for wire in between[:1]:
                wire.silence()
            second = await cas(wired, created.version, 1)
            for wire in between:
                wire.silence()
            with pytest.raises(OutcomeUnknown):
                await cas(wired, second.version, 2, 0.5)
            fresh = through(ensemble, store, between)
            with pytest.raises(Unavailable, match="no connection in"):
                await cas(fresh, second.version, 2, 0.5)
            for wire in between:
                await wire.mend()
            assert (await cas(wired, second.version, 2)).record == newer(2)
            await wired.close()
            await fresh.close()

    faulty(main)


def test_wrong_certificates_are_named_and_nothing_is_sent(
    ensemble: Ensemble, faulty: Faulty, tmp_path: Path
) -> None:
    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        other = Authority(tmp_path / "other")
        stranger, mine = other.issue("stranger"), ensemble.authority.issue("mine")
        ours = ensemble.authority.ca
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
            wrong = ensemble.store(store._layout.prefix, tls=tls)
            with pytest.raises(Unavailable, match=why):
                await cas(wrong, created.version, 1, 2.0)
            await wrong.close()
        named = ensemble.authority.issue("elsewhere", "elsewhere.example")
        server = await asyncio.start_server(
            lambda reader, writer: None, "127.0.0.1", 0, ssl=server_context(named.certificate, named.key)
        )
        port = server.sockets[0].getsockname()[1]
        wrong = ensemble.store(store._layout.prefix, endpoints=[f"127.0.0.1:{port}"])
        with pytest.raises(Unavailable, match="names this host"):
            await wrong.read()
        await wrong.close()
        server.close()
        assert await store.read() == created

    faulty(main)


def test_a_renewed_certificate_is_shown_without_a_restart(
    ensemble: Ensemble, faulty: Faulty, tmp_path: Path
) -> None:
    """The one that etcd does not accept is there first: the answers show which one a connection was made with."""

    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        stranger, mine = Authority(tmp_path / "other").issue("stranger"), ensemble.authority.issue("mine")
        certificate, key = tmp_path / "node.pem", tmp_path / "node.key"

        def renew(identity: Identity) -> None:
            """Key first, certificate last, as the documentation says."""
            for file, source in ((key, identity.key), (certificate, identity.certificate)):
                new = file.with_suffix(".new")
                new.touch(mode=0o600)
                new.write_bytes(source.read_bytes())
                new.rename(file)

        renew(stranger)
        tls = TlsFiles(ca=ensemble.authority.ca, certificate=certificate, key=key)
        renewed = ensemble.store(store._layout.prefix, tls=tls)
        with pytest.raises(Unavailable, match="certificate of this node"):
            await renewed.read()
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
    ensemble: Ensemble, faulty: Faulty
) -> None:
    async def main(store: EtcdRecordStore) -> None:
        plain = ensemble.store(store._layout.prefix, tls=None)
        with pytest.raises(ClusterError, match=ensemble.endpoints[0]):
            await plain._read_all(0.5)
        await plain.close()

    faulty(main)


# --- users -----------------------------------------------------------------------------------------


def test_refusals_say_what_to_do_and_no_password(ensemble: Ensemble, faulty: Faulty, tmp_path: Path) -> None:
    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        secret = tmp_path / "password"
        secret.touch(mode=0o600)
        secret.write_text("wrong horse\n")
        for options, why in (
            ({"password": "wrong horse"}, "user 'qpidha' or the password is wrong"),
            ({"password": secret}, "user 'qpidha' or the password is wrong"),
            ({"user": None, "password": None}, "give a user and a password"),
        ):
            refused = ensemble.store(store._layout.prefix, **options)
            with pytest.raises(ManagerRefused, match=why) as caught:
                await cas(refused, created.version, 1)
            assert "wrong horse" not in f"{caught.value!r} {refused!r} {caught.value.__cause__!r}"
            await refused.close()
        elsewhere = ensemble.store("/elsewhere")
        with pytest.raises(
            ManagerRefused, match="readwrite permission for the keys from /elsewhere/ to /elsewhere0"
        ):
            await elsewhere.create(RECORD)
        await elsewhere.close()
        secret.write_text(PASSWORD)
        good = ensemble.store(store._layout.prefix, password=secret)
        assert await good.read() == created
        secret.chmod(0o644)
        good._gateway._token = None
        with pytest.raises(Unavailable, match=r"password file .* has mode 0644"):
            await good.read()
        await good.close()
        assert PASSWORD not in repr(store)

    faulty(main)


def test_a_token_that_has_expired_is_renewed(ensemble: Ensemble, faulty: Faulty) -> None:
    async def main(store: EtcdRecordStore) -> None:
        created = await store.create(RECORD)
        watch = store.watch()
        assert await first(watch) == created
        store._gateway._token = "expired.1"
        second = await cas(store, created.version, 1)
        assert store._gateway._token != "expired.1"
        assert await reaches(watch, lambda found: found == second)
        await ensemble.as_root("/v3/auth/user/add", {"name": f"new-{os.getpid()}", "password": "x"})
        assert (await cas(store, second.version, 2)).record == newer(2)

    faulty(main)


# --- the rest --------------------------------------------------------------------------------------


def test_a_large_record_and_large_sessions(ensemble: Ensemble, faulty: Faulty) -> None:
    async def main(store: EtcdRecordStore) -> None:
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
        with pytest.raises(ManagerRefused, match="raise --max-request-bytes"):
            await store.compare_and_set(created.version, huge, timeout_s=TIMEOUT_S)

    faulty(main)


def test_two_clusters_in_one_engine_do_not_see_each_other(ensemble: Ensemble, faulty: Faulty) -> None:
    async def main(store: EtcdRecordStore) -> None:
        inner = ensemble.store(f"{store._layout.prefix}/record")
        beside = ensemble.store(f"{store._layout.prefix}-2")
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
        with pytest.raises(SettingsError, match="'sessions'"):
            ensemble.store(f"{store._layout.prefix}/sessions")

    faulty(main)


def test_a_record_that_was_edited_by_hand_is_damaged(ensemble: Ensemble, faulty: Faulty) -> None:
    async def main(store: EtcdRecordStore) -> None:
        from qpidha.records.etcd.layout import text

        await store.create(RECORD)
        watch = store.watch()
        await first(watch)
        await ensemble.as_root("/v3/kv/put", {"key": text(store._layout.record), "value": text(b"{}")})
        with pytest.raises(ClusterError, match="damaged"):
            await store.read()
        with pytest.raises(ClusterError, match="damaged"):
            await reaches(watch, lambda found: found is None)

    faulty(main)


def test_a_closed_store_ends_its_watches_and_a_session_may_still_be_closed(
    ensemble: Ensemble, faulty: Faulty
) -> None:
    async def main(store: EtcdRecordStore) -> None:
        mine = ensemble.store(store._layout.prefix)
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
