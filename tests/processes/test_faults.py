"""Brokers as processes, killed and stopped at bad moments under a stream of publishes: nothing confirmed is lost.

Each test ends with `Stream.verify`: every confirmed message is delivered once, in order and unchanged, and
all stores have the same content.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qpidha.journal import PutStatus
from qpidha.stores import SqliteStore
from qpidha.stores.offline import read_status
from qpidha.types import QueueId
from tests.support.rush import rush
from tests.support.stream import ROOT, LoyalPublisher, SettlingConsumer, Stream, run

pytestmark = pytest.mark.timeout(180)


def test_the_primary_is_killed_again_and_again(tmp_path: Path) -> None:
    async def main(stream: Stream) -> None:
        for _ in range(5):
            primary = await stream.whole()
            await stream.confirmed(500)
            stream.kill(primary)
            await stream.confirmed(
                500
            )  # Another primary confirms them, before the killed one is started again.
            stream[primary].start()  # The store is as the kill left it.
        await stream.whole()

    run(tmp_path, main)


def test_backups_are_killed_and_come_back(tmp_path: Path) -> None:
    """Also while they catch up; the publishes held at that moment are confirmed by the remaining members."""

    async def main(stream: Stream) -> None:
        primary = await stream.whole()
        one, other = [n for n in stream.cluster.processes if n != primary]
        for _ in range(3):
            stream.kill(one)
            stream[one].start()
            await asyncio.sleep(0.3)  # Often in the middle of catching up.
        stream.kill(one)
        stream.kill(other)
        await stream.confirmed(100)  # The primary has removed both from the record, and goes on alone.
        stream[one].start()
        stream[other].start()
        await stream.whole()
        await stream.confirmed(100)

    run(tmp_path, main)


def test_all_are_killed_at_once(tmp_path: Path) -> None:
    """Like a power cut: everything acknowledged is on every member's disk."""

    async def main(stream: Stream) -> None:
        await stream.confirmed(2000)
        for name in stream.cluster.processes:
            stream[name].kill()
        for name in stream.cluster.processes:
            stream[name].wait(10)
            stream[name].start()
        await stream.whole()
        await stream.confirmed(500)

    run(tmp_path, main)


def test_a_paused_primary_that_continues_confirms_nothing(tmp_path: Path) -> None:
    """T04: SIGSTOP for longer than every time-out, then SIGCONT. After that the old primary must confirm nothing."""

    async def main(stream: Stream) -> None:
        primary = await stream.whole()
        await stream.confirmed(500)
        stream.signal(primary, signal.SIGSTOP)
        await stream.until(lambda: promoted(stream, primary), "another primary")
        await stream.confirmed(500)
        stream.signal(primary, signal.SIGCONT)
        await stream.whole()
        await stream.confirmed(500)

    run(tmp_path, main)


def test_what_a_zombie_confirms_is_not_lost(tmp_path: Path) -> None:
    """T04, F3: the clients of the paused primary stay with it, and publish before, during and after the pause."""

    async def main(stream: Stream) -> None:
        primary = await stream.whole()
        loyal = LoyalPublisher()
        await loyal.open(stream[primary])
        listening = asyncio.create_task(loyal.listen())
        loyal.publish(10)
        await stream.until(lambda: _confirmed(loyal, 10), "confirmation")
        loyal.publish(1000)
        stream.signal(primary, signal.SIGSTOP)
        loyal.publish(1000)
        await stream.until(lambda: promoted(stream, primary), "another primary")
        await stream.confirmed(500)
        loyal.publish(1000)
        stream.signal(primary, signal.SIGCONT)
        await stream.until(lambda: _done(listening), "the zombie to hang up")
        await stream.verify()
        assert 10 <= loyal.confirmed <= loyal.published
        assert stream.others[: loyal.confirmed] == [b"loyal %d" % (n + 1) for n in range(loyal.confirmed)]

    run(tmp_path, main, verify=False)


async def _confirmed(loyal: LoyalPublisher, count: int) -> bool:
    return loyal.confirmed >= count


async def _done(task: asyncio.Task[None]) -> bool:
    return task.done()


@pytest.mark.parametrize("late_s", [0.0, 0.3])
def test_nothing_settled_is_delivered_again(tmp_path: Path, late_s: float) -> None:
    """S3: a consumer accepts messages while the primary is killed; settled messages stay settled (settle=replicated).

    A publisher that reaches the next primary late may resend a message that was already settled there.
    It is a new message with the same number.
    """

    async def main(stream: Stream) -> None:
        stream.publisher.late_s = late_s
        async with SettlingConsumer(stream) as consumer:

            async def consume() -> None:
                while True:
                    stream.take(consumer, await consumer.receive())

            consuming = asyncio.create_task(consume())
            for _ in range(3):
                primary = await stream.whole()
                goal = len(consumer.settled) + 1000
                await stream.until(lambda goal=goal: _settled(consumer, goal), "settled messages")
                stream.kill(primary)
                await stream.confirmed(200)
                stream[primary].start()
            await stream.whole()
            assert not consuming.done()
            consuming.cancel()
            await asyncio.wait([consuming])
        assert consumer.connections >= 3
        assert consumer.again == []

    run(tmp_path, main)


async def _settled(consumer: SettlingConsumer, count: int) -> bool:
    return len(consumer.settled) >= count


async def promoted(stream: Stream, old: str) -> bool:
    statuses = {n: await p.status() for n, p in stream.cluster.processes.items() if n != old}
    return any(s and s["role"] in ("active", "recovering") for s in statuses.values())


def test_a_paused_backup_is_removed_and_comes_back(tmp_path: Path) -> None:
    """T44, H42: publishes are held for at most the member's time-out, until the record removes the member."""

    async def main(stream: Stream) -> None:
        primary = await stream.whole()
        await stream.confirmed(500)
        paused = next(n for n in stream.cluster.processes if n != primary)
        stream.signal(paused, signal.SIGSTOP)
        await stream.until(lambda: removed(stream, primary, paused), "removal of the paused backup")
        await stream.confirmed(500)
        stream.signal(paused, signal.SIGCONT)
        await stream.whole()
        await stream.confirmed(500)

    run(tmp_path, main)


async def removed(stream: Stream, primary: str, backup: str) -> bool:
    status = await stream[primary].status()
    return status is not None and backup not in status["members"]


def test_an_empty_store_joins_as_a_new_member(tmp_path: Path) -> None:
    """T16: a primary that lost its disk may not erase the others, and may not be primary before it has everything."""

    async def main(stream: Stream) -> None:
        primary = await stream.whole()
        await stream.confirmed(1000)
        stream.kill(primary)
        for file in (stream.work / primary).iterdir():
            file.unlink()
        stream[primary].start()
        await stream.whole()
        await stream.confirmed(500)

    run(tmp_path, main)


def refused(tmp_path: Path, directory: Path) -> str:
    """Start a broker that must refuse to start; return its output."""
    command = [sys.executable, str(ROOT / "examples" / "simple" / "broker.py"), "--id", "a", "--dir", str(directory),
               "--cluster", str(tmp_path / "cluster"), "--client", "127.0.0.1:9"]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30, cwd=ROOT,
                          env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})  # fmt: skip
    assert done.returncode != 0
    return done.stderr


def test_a_store_of_another_cluster_is_refused_and_not_touched(tmp_path: Path) -> None:
    foreign = SqliteStore(tmp_path / "foreign")
    foreign.open("a")
    foreign.commit([PutStatus(QueueId(int=1), 3, primary=True)])
    foreign.close(clean=True)

    async def main(stream: Stream) -> None:
        before = read_status(tmp_path / "foreign")
        assert "belongs to cluster" in refused(tmp_path, tmp_path / "foreign")
        after = read_status(tmp_path / "foreign")
        assert (after.cluster, after.generation, after.state) == (before.cluster, 3, before.state)
        await stream.confirmed(100)

    run(tmp_path, main)


def test_a_second_process_on_a_store_is_refused(tmp_path: Path) -> None:
    async def main(stream: Stream) -> None:
        said = refused(tmp_path, tmp_path / "a")
        assert "in use by process" in said
        assert "Traceback" not in said
        await stream.confirmed(100)

    run(tmp_path, main)


def test_all_clients_connect_at_once(tmp_path: Path) -> None:
    async def main(stream: Stream) -> None:
        primary = stream[await stream.whole()]
        assert primary._process is not None
        rush(primary._process.pid, primary.client)
        await stream.confirmed(100)

    run(tmp_path, main)
