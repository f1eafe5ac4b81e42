"""The traces of `tests/scenarios` over real processes, over TCP and over TLS.

All run on one cluster for each transport, one after the other, under a publisher that does not stop. After
each, `Stream.judge` checks that every confirmed message was delivered once, in order and unchanged, and that
all brokers are members; after the last, that all stores are equal. Processes cannot be controlled frame by
frame: each test says what it *forces* and what is then only *likely* to happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import shutil
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from qpidha import SequenceSet
from qpidha.node.ask import ask
from qpidha.records.format import decode_record, encode_record
from qpidha.types import Versioned
from tests.support.stream import (
    Consumer,
    LoyalConsumer,
    LoyalPublisher,
    SettlingConsumer,
    Stream,
    protocol,
    read_stamps,
)

pytestmark = [pytest.mark.timeout(120), pytest.mark.processes]

Trace = Callable[[Stream], Awaitable[None]]
RunTrace = Callable[[Trace], None]


class SharedCluster:
    """One cluster, shared by all traces until one of them fails."""

    def __init__(self, work: Callable[[], Path], *, tls: bool) -> None:
        self._work = work
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._stream: Stream | None = None

    def run(self, trace: Trace) -> None:
        try:
            self._loop.run_until_complete(self._run(trace))
        except BaseException:
            self._loop.run_until_complete(self._close())
            raise

    async def _run(self, trace: Trace) -> None:
        if self._stream is None:
            self._stream = prepared(
                self._work(), tls=self._tls
            )  # Before it starts, so that it is ended if it cannot.
            await self._stream.__aenter__()
        self._stream.go_on()
        await self._stream.confirmed(100)
        await trace(self._stream)
        self._stream.network.mend()
        await self._stream.judge()

    async def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.__aexit__()

    def end(self) -> None:
        """Stop the cluster and check that all stores are equal."""
        try:
            if self._stream is not None:
                self._loop.run_until_complete(self._stream.verify())
        finally:
            self._loop.run_until_complete(self._close())
            self._loop.close()


def prepared(work: Path, *, tls: bool) -> Stream:
    stream = Stream(work, pace_s=0.01)
    stream.interpose()
    (work / "cluster").mkdir(mode=0o700)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(work / "ca.pem"))
    for name in stream.cluster.processes:
        (work / f"record-of-{name}").symlink_to(
            "cluster"
        )  # Without this link the broker cannot reach the record.
        stream.option(name, "--cluster", str(work / f"record-of-{name}"), "--ack-timeout", "2.5")
        if tls:
            pem = work / f"{name}.pem"
            authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(pem))
            pem.chmod(0o600)
            stream.option(name, "--tls-ca", str(work / "ca.pem"), "--tls-certificate", str(pem))
    return stream


@pytest.fixture(scope="module", params=["tcp", pytest.param("tls", marks=pytest.mark.slow)])
def run_trace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunTrace]:
    shared = SharedCluster(lambda: tmp_path_factory.mktemp(request.param), tls=request.param == "tls")
    yield shared.run
    shared.end()


# --- steps of traces -------------------------------------------------------------------------------


async def brokers(stream: Stream) -> tuple[str, str, str]:
    """Return the primary, the backup that is to be promoted next, and the other backup."""
    primary = await stream.whole()
    first, second = [name for name in stream.cluster.processes if name != primary]
    return primary, first, second


async def next_id(stream: Stream, name: str) -> int:
    status = await stream[name].status()
    return int(status["queues"][0]["next_id"]) if status and status["queues"] else 0


async def ahead(stream: Stream, one: str, other: str) -> None:
    """Wait until the first broker has messages that the other does not have."""

    async def reached() -> bool:
        return await next_id(stream, other) < await next_id(stream, one)

    await stream.until(reached, f"{one} ahead of {other}")


async def role(stream: Stream, name: str, *roles: str) -> None:
    async def reached() -> bool:
        status = await stream[name].status()
        return status is not None and status["role"] in roles

    await stream.until(reached, f"{name} {roles}")


async def alone(stream: Stream, primary: str, *members: str) -> None:
    """Wait until the record lists only the primary and these members."""

    async def reached() -> bool:
        status = await stream[primary].status()
        return status is not None and set(status["members"]) == {primary, *members}

    await stream.until(reached, f"{primary} with {members}")


def machine_dies(stream: Stream, *names: str) -> None:
    """Kill the brokers, and drop the data that they had sent or that was held back."""
    for name in names:
        stream[name].kill()
    for name in names:
        stream[name].wait(10)
        stream.network.lose(name)


def back(stream: Stream, *names: str) -> None:
    stream.network.mend()
    for name in names:
        stream[name].start()


async def not_promotable(stream: Stream, name: str) -> None:
    """Try to promote the broker and check that it refuses because it is not a member (P1)."""
    await role(stream, name, "joining", "catch-up")
    answer = await ask(stream.work / name / "control.sock", "promote")
    assert not answer["ok"] and "(P1)" in answer["error"], answer


async def refuses_to_start(stream: Stream, name: str, why: str) -> None:
    stream[name].start()

    async def ended() -> bool:
        return stream[name].exit_code is not None

    await stream.until(ended, f"{name} to refuse its store")
    stream[name].wait(10)
    assert why in stream[name].tail()


def discards(stream: Stream, name: str) -> int:
    return stream[name].log.read_text().count("messages discarded")


def wipe(stream: Stream, name: str) -> None:
    shutil.rmtree(stream.work / name)


def damage(stream: Stream, name: str) -> None:
    """Overwrite bytes of one message batch in the broker's store."""
    with contextlib.closing(sqlite3.connect(stream.work / name / "store.db", isolation_level=None)) as db:
        changed = db.execute(
            "UPDATE batches SET data = zeroblob(length(data)) WHERE key = (SELECT max(key) FROM batches)"
        )
        assert changed.rowcount == 1


@contextlib.asynccontextmanager
async def consuming(stream: Stream, consumer: Consumer):  # type: ignore[no-untyped-def]
    async def consume() -> None:
        while True:
            stream.take(consumer, await consumer.receive())

    async with consumer:
        task = asyncio.create_task(consume())
        yield
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])


# --- reused ids, tails -------------------------------------------------------------------------------


def test_T01_reused_id(run_trace: RunTrace) -> None:
    """Forced: only the backup that is not promoted has the tail. Likely: its ids are used again at once."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        before = discards(stream, b2)
        stream.network.hold(p, b1)
        await ahead(stream, b2, b1)
        machine_dies(stream, p)
        await role(stream, b1, "active", "recovering")
        await stream.confirmed(200)

        async def rewound() -> bool:
            return discards(stream, b2) > before

        await stream.until(rewound, "the hand-over of the rewound tail")
        back(stream, p)

    run_trace(trace)


def test_T02_common_point(run_trace: RunTrace) -> None:
    """Forced: two primaries in a row die with messages that no other node has; both come back to a third."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        stream.network.hold(p, b1)
        await ahead(stream, b2, b1)
        machine_dies(stream, p)
        stream.network.mend()
        await stream.whole(without=p)
        await stream.confirmed(100)
        stream.network.hold(b1, b2)
        await ahead(stream, b1, b2)
        machine_dies(stream, b1)
        await role(stream, b2, "active")
        await stream.confirmed(100)
        back(stream, p, b1)

    run_trace(trace)


# --- removed members, zombies ------------------------------------------------------------------------


def test_T03_removed_member(run_trace: RunTrace) -> None:
    """Forced: a half-open link loses what the primary sends; later the removed backup is the only broker left."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        stream.network.swallow(p, b1)
        await alone(stream, p, b2)
        await stream.confirmed(200)
        machine_dies(stream, p, b2)
        await not_promotable(stream, b1)
        back(stream, b2)
        await role(stream, b2, "active")
        back(stream, p)

    run_trace(trace)


def test_T04_zombie(run_trace: RunTrace) -> None:
    """Forced: the primary is stopped until another broker is primary; one client stays with the old one."""

    async def trace(stream: Stream) -> None:
        p, b1, _ = await brokers(stream)
        loyal = LoyalPublisher()
        await loyal.open(stream[p])
        listening = asyncio.create_task(loyal.listen())
        stream.signal(p, signal.SIGSTOP)
        loyal.publish(1000)
        await role(stream, b1, "active")
        await stream.confirmed(200)
        stream.signal(p, signal.SIGCONT)
        await asyncio.wait_for(listening, 30)
        assert loyal.confirmed == 0

    run_trace(trace)


def test_T05_cut_from_manager(run_trace: RunTrace) -> None:
    """Forced: the primary cannot reach the record, but its links and clients work.

    It confirms nothing more, though it answers its clients; when it sees the record again it steps down.
    """

    async def trace(stream: Stream) -> None:
        p, b1, _ = await brokers(stream)
        loyal = LoyalPublisher()
        await loyal.open(stream[p])
        listening = asyncio.create_task(loyal.listen())
        view = stream.work / f"record-of-{p}"
        view.unlink()
        await role(stream, b1, "active")
        loyal.publish(100)
        status = await stream[p].status()
        assert status is not None and status["role"] == "active"
        view.symlink_to("cluster")
        await asyncio.wait_for(listening, 30)
        assert loyal.confirmed == 0

    run_trace(trace)


def test_T07_two_promotions(run_trace: RunTrace) -> None:
    """Forced: both backups are asked to promote at the same time, while their promoters try as well."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        stream.kill(p)
        await asyncio.gather(
            *(ask(stream.work / name / "control.sock", "promote", timeout_s=2.0) for name in (b1, b2)),
            return_exceptions=True,
        )
        await stream.whole(without=p)
        found = [s for s in (await stream.cluster.statuses()).values() if s is not None]
        assert [s["role"] for s in found].count("active") == 1
        back(stream, p)

    run_trace(trace)


def test_T46_zombie_with_a_consumer(run_trace: RunTrace) -> None:
    """Forced: the accept is sent to a primary that is stopped until it has a successor."""

    async def trace(stream: Stream) -> None:
        p, b1, _ = await brokers(stream)
        loyal = LoyalConsumer()
        await loyal.open(stream[p])
        ids = await loyal.take(10)
        stream.signal(p, signal.SIGSTOP)
        loyal.accept(ids)
        await role(stream, b1, "active")
        stream.signal(p, signal.SIGCONT)
        assert not await asyncio.wait_for(loyal.settled(), 30)

    run_trace(trace)


# --- sets, dequeues, consumers -----------------------------------------------------------------------


def test_T09_many_holes(run_trace: RunTrace) -> None:
    """Forced: a selective consumer leaves more than 8,192 ranges of ids, which a returning backup receives."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        await stream.until(lambda: _reached(stream, 17_000), "a backlog", timeout_s=60)
        machine_dies(stream, b1)
        async with Consumer(stream.cluster.addresses, credit=17_000) as consumer:
            holes = 0
            while holes < 8_300:
                delivery = await asyncio.wait_for(consumer.receive(), 30)
                stream.take(consumer, delivery, accept=False)
                even = SequenceSet([id for id in SequenceSet.decode(delivery.ids) if id % 2 == 0])
                delivery.connection.send(protocol.ACCEPT, even.encode())
                holes += len(even)
            await stream.until(lambda: _true(consumer.settled_batches > 0), "settles")
        await alone(stream, p, b2)
        back(stream, b1)

    run_trace(trace)


async def _reached(stream: Stream, backlog: int) -> bool:
    return stream.publisher.confirmed - stream.seen >= backlog


async def _true(value: bool) -> bool:
    return value


def test_T10_dequeue_on_one(run_trace: RunTrace) -> None:
    """Forced: dequeues reach only the backup that is not promoted. Settled messages are not delivered again."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        consumer = SettlingConsumer(stream)
        async with consuming(stream, consumer):
            await stream.until(lambda: _true(len(consumer.settled) > 100), "settled messages")
            stream.network.hold(p, b1)
            await ahead(stream, b2, b1)
            machine_dies(stream, p)
            await role(stream, b1, "active", "recovering")
            back(stream, p)
            await stream.whole()
            goal = len(consumer.settled) + 100
            await stream.until(lambda: _true(len(consumer.settled) > goal), "settled messages")
        assert consumer.again == []

    run_trace(trace)


def test_T45_acquired(run_trace: RunTrace) -> None:
    """Forced: messages are delivered but not accepted when the primary dies. The next primary delivers them first."""

    async def trace(stream: Stream) -> None:
        p, _, _ = await brokers(stream)
        async with Consumer(stream.cluster.addresses, credit=100) as consumer:
            first = await asyncio.wait_for(consumer.receive(), 30)
            machine_dies(stream, p)
            again = first
            while again.connection is first.connection:
                again = await asyncio.wait_for(consumer.receive(), 30)
            assert read_stamps(again.batch)[1] == read_stamps(first.batch)[1]
        back(stream, p)

    run_trace(trace)


# --- who may be promoted -----------------------------------------------------------------------------


def test_T14_hole(run_trace: RunTrace) -> None:
    """Forced: a backup with an empty store, in the middle of catching up, is the only one left."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        machine_dies(stream, b2)
        wipe(stream, b2)
        stream.network.delay(p, b2, 0.5)
        stream[b2].start()
        await role(stream, b2, "catch-up")
        stream.network.hold(p, b2)
        machine_dies(stream, p, b1)
        await not_promotable(stream, b2)
        back(stream, p, b1)

    run_trace(trace)


def test_T15_crash_before_sync(run_trace: RunTrace) -> None:
    """Forced: a removed backup is killed while it catches up, and then the other brokers too."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        machine_dies(stream, b1)
        await alone(stream, p, b2)
        stream.network.delay(p, b1, 0.5)
        stream[b1].start()
        await role(stream, b1, "catch-up")
        machine_dies(stream, b1, p, b2)
        back(stream, b1)
        await not_promotable(stream, b1)
        back(stream, p, b2)

    run_trace(trace)


def test_T16_empty_primary(run_trace: RunTrace) -> None:
    """Forced: the primary loses its store and is started again at once."""

    async def trace(stream: Stream) -> None:
        p, _, _ = await brokers(stream)
        machine_dies(stream, p)
        wipe(stream, p)
        back(stream, p)
        assert await stream.whole() != p

    run_trace(trace)


def test_T17_last_standing(run_trace: RunTrace) -> None:
    """Forced: the last member dies, and the others start without it."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        machine_dies(stream, b1, b2)
        await alone(stream, p)
        await stream.confirmed(200)
        machine_dies(stream, p)
        back(stream, b1, b2)
        await not_promotable(stream, b1)
        await not_promotable(stream, b2)
        back(stream, p)

    run_trace(trace)


def test_T33_old_or_new(run_trace: RunTrace) -> None:
    """Forced: the new primary is killed as soon as it shows its promotion. Likely: while it writes its status."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        stream.kill(p)
        record = stream.work / "cluster" / "record.json"

        async def won() -> bool:
            primary = decode_record(record.read_bytes(), "record").record.primary
            return primary is not None and primary[0] == b1

        await stream.until(won, "a promotion")
        machine_dies(stream, b1)
        await role(stream, b2, "active", "recovering")
        back(stream, p, b1)

    run_trace(trace)


def test_T39_old_image(run_trace: RunTrace) -> None:
    """Forced: a broker starts with an older copy of its store, from before its removal."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        machine_dies(stream, b1)
        image = stream.work / "image"
        shutil.copytree(stream.work / b1, image, ignore=shutil.ignore_patterns("*.sock"))
        await alone(stream, p, b2)
        back(stream, b1)
        await stream.whole()
        await stream.confirmed(200)
        machine_dies(stream, b1)
        await alone(stream, p, b2)
        wipe(stream, b1)
        image.rename(stream.work / b1)
        back(stream, b1)

    run_trace(trace)


def test_T40_cloned_node(run_trace: RunTrace) -> None:
    """Forced: a second process runs on a copy of the store under the same name. It does not become that node."""

    async def trace(stream: Stream) -> None:
        _, b1, _ = await brokers(stream)
        machine_dies(stream, b1)
        clone = stream.work / "clone"
        shutil.copytree(stream.work / b1, clone, ignore=shutil.ignore_patterns("*.sock"))
        back(stream, b1)
        await stream.whole()
        command = [str(clone) if word == str(stream.work / b1) else word for word in stream[b1]._command]
        for option, value in (("--listen", "127.0.0.1:0"), ("--client", "127.0.0.1:9")):
            for place in (place for place, word in enumerate(command) if word == option):
                command[place + 1] = (
                    value  # The address for clients is never used: the broker does not get that far.
                )
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert process.stdin is not None and process.stderr is not None
        said = await asyncio.wait_for(process.stderr.read(), 30)
        assert await process.wait() != 0
        process.stdin.close()
        assert b"session" in said, said
        shutil.rmtree(clone)

    run_trace(trace)


# --- the manager -------------------------------------------------------------------------------------


def test_T30_no_answer(run_trace: RunTrace) -> None:
    """Forced: no node can change the record while a backup is dead. Publishes are confirmed only once one can."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        log = stream[p].log
        before = log.read_text().count("removing a member")
        lock = os.open(stream.work / "cluster" / "record.lock", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            machine_dies(stream, b1)

            async def tried() -> bool:
                return log.read_text().count("removing a member") > before

            await stream.until(tried, "a try to remove the dead backup")
            confirmed = stream.publisher.confirmed
            await stream.until(lambda: _true(stream.publisher.unconfirmed >= 1_900), "a full window")
            status = await stream[p].status()
            assert status is not None and b1 in status["members"]
            assert stream.publisher.confirmed == confirmed
        finally:
            os.close(lock)
        await alone(stream, p, b2)
        await stream.confirmed(100)
        back(stream, b1)

    run_trace(trace)


def test_T31_reset_manager(run_trace: RunTrace) -> None:
    """Forced: the record is gone; then there is one of an older generation; then the right one."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        stream.kill(p)
        await role(stream, b1, "active")
        machine_dies(stream, b1, b2)
        file = stream.work / "cluster" / "record.json"
        right = file.read_bytes()
        file.unlink()
        await refuses_to_start(stream, b1, "no record")
        found = decode_record(right, "record")
        older = Versioned(replace(found.record, generation=found.record.generation - 1), 1)
        file.write_bytes(encode_record(older))
        await refuses_to_start(stream, b1, "was reset")
        file.write_bytes(right)
        back(stream, p, b1, b2)

    run_trace(trace)


# --- disks -------------------------------------------------------------------------------------------


def no_space(stream: Stream, name: str) -> None:
    """Make each write of this process beyond the first 4 KiB of a file fail from now on."""
    resource.prlimit(stream.pids()[name], resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))


def test_T29_damaged_primary(run_trace: RunTrace) -> None:
    """Forced: a batch in the primary's store is overwritten."""

    async def trace(stream: Stream) -> None:
        p, b1, _ = await brokers(stream)
        machine_dies(stream, p)
        damage(stream, p)
        await refuses_to_start(stream, p, "[batch]")
        await role(stream, b1, "active")
        wipe(stream, p)
        back(stream, p)

    run_trace(trace)


def test_T34_full_disk(run_trace: RunTrace) -> None:
    """Forced: writes of a backup fail. The publishes it does not acknowledge are held until it is removed."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        no_space(stream, b1)
        await alone(stream, p, b2)
        await stream.confirmed(100)
        machine_dies(stream, b1)
        back(stream, b1)

    run_trace(trace)


def test_T35_failed_write(run_trace: RunTrace) -> None:
    """Forced: a write of the primary fails (a failed fsync takes the same path). It gives up its role at once."""

    async def trace(stream: Stream) -> None:
        p, b1, _ = await brokers(stream)
        no_space(stream, p)
        await role(stream, b1, "active")
        await stream.confirmed(100)
        machine_dies(stream, p)
        back(stream, p)

    run_trace(trace)


def test_T36_torn_write(run_trace: RunTrace) -> None:
    """Forced: the write-ahead log ends with half a frame that was never synced."""

    async def trace(stream: Stream) -> None:
        _, b1, _ = await brokers(stream)
        machine_dies(stream, b1)
        (log,) = (stream.work / b1).glob("*-wal")
        with log.open("ab") as file:
            file.write(b"\x5a" * 2000)
        back(stream, b1)

    run_trace(trace)


def test_T37_bit_flip(run_trace: RunTrace) -> None:
    """Forced: the only broker left is a backup with a damaged store. It does not serve."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        machine_dies(stream, p, b1, b2)
        damage(stream, b1)
        await refuses_to_start(stream, b1, "[batch]")
        back(stream, p, b2)
        await stream.confirmed(100)
        wipe(stream, b1)
        back(stream, b1)

    run_trace(trace)


# --- time --------------------------------------------------------------------------------------------


def test_T42_everybody_paused(run_trace: RunTrace) -> None:
    """Forced: the machine sleeps for longer than every time-out of a link. No member is removed before it can answer."""

    async def trace(stream: Stream) -> None:
        await stream.whole()
        for name in stream.cluster.processes:
            stream.signal(name, signal.SIGSTOP)
        await asyncio.sleep(2.7)
        for name in stream.cluster.processes:
            stream.signal(name, signal.SIGCONT)
        await stream.whole()
        await stream.confirmed(200)

    run_trace(trace)


def test_T44_slow_backup(run_trace: RunTrace) -> None:
    """Forced: a backup's acknowledgements come late, then not at all. The record removes it, and it returns."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        stream.network.delay(b1, p, 0.1)
        await stream.confirmed(200)
        stream.network.hold(b1, p)
        await alone(stream, p, b2)
        await stream.confirmed(200)

    run_trace(trace)


def test_T48_recovering(run_trace: RunTrace) -> None:
    """Forced: links to the new primary break again and again. Likely: while it waits for its backups."""

    async def trace(stream: Stream) -> None:
        p, b1, b2 = await brokers(stream)
        machine_dies(stream, p)
        await role(stream, b1, "recovering", "active")
        for _ in range(5):
            stream.network.reset(b1, b2)
            await asyncio.sleep(0.05)
        await stream.whole(without=p)
        await stream.confirmed(200)
        back(stream, p)

    run_trace(trace)
