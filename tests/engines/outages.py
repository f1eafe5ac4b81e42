"""Outages of the engine that keeps the record, and of the primary, while a client publishes to three brokers.

Run with ``python -m tests.engines.outages --records etcd --quorum-s 60`` for the figures of the documentation.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.engines.engine import Engine
from tests.engines.kills import ENGINES, kill_primaries
from tests.support.stream import Stream

LEADER_S = 2.5
"""How long is watched after the leader was killed: longer than an election, and than a session."""
LOOK_S = 0.002


@dataclass
class Pause:
    """How long no confirmation came, at the longest."""

    longest_s: float = 0.0


@contextlib.asynccontextmanager
async def watched(stream: Stream) -> AsyncIterator[Pause]:
    """Measure the pauses meanwhile. At the end it waits for one more confirmation."""
    pause = Pause()

    async def look() -> None:
        before, since = stream.publisher.confirmed, time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            pause.longest_s = max(pause.longest_s, now - since)
            if stream.publisher.confirmed != before:
                before, since = stream.publisher.confirmed, now

    looking = asyncio.create_task(look())
    try:
        yield pause
        await stream.confirmed(100)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def place(stream: Stream) -> tuple[str, int]:
    """The primary and its generation."""
    primary = await stream.whole()
    status = (await stream.cluster.statuses())[primary]
    assert status is not None
    return primary, status["generation"]


async def leader_killed(stream: Stream, engine: Engine) -> float:
    """The leader of the engine is killed. Returns the longest pause; the primary must be the same afterwards."""
    before = await place(stream)
    async with watched(stream) as pause:
        engine.kill(await engine.leader())
        if not engine.quorum:
            await engine.elect()
        await asyncio.sleep(LEADER_S)
    assert await place(stream) == before
    await engine.start()
    return pause.longest_s


async def without_quorum(stream: Stream, engine: Engine, down_s: float) -> float:
    """Nothing can be written for so long. Returns the longest pause; nobody may step down, then or afterwards."""
    before = await place(stream)
    async with watched(stream) as pause:
        await engine.lose_quorum()
        await asyncio.sleep(down_s)
        assert await place(stream) == before
        await engine.start()
        await asyncio.sleep(LEADER_S)
    assert await place(stream) == before
    return pause.longest_s


async def handed_over(stream: Stream) -> float:
    """The primary hands over, as ``qpidha demote`` asks it. Returns the longest pause of the publisher."""
    primary, _ = await place(stream)
    async with watched(stream) as pause:
        words = (sys.executable, "-m", "qpidha", "demote", str(stream.work / primary))
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.DEVNULL)
        assert await process.wait() == 0
        now = await stream.whole()
    assert now != primary
    return pause.longest_s


async def primary_stopped(stream: Stream) -> float:
    """The primary gets SIGSTOP: its machine answers and it does not. Seconds until another one leads without it."""
    primary = await stream.whole()
    at = time.monotonic()
    stream.signal(primary, signal.SIGSTOP)
    try:
        others = [process for name, process in stream.cluster.processes.items() if name != primary]

        async def promoted() -> bool:
            statuses = [await one.status() for one in others]
            return any(status and status["role"] == "active" for status in statuses)

        await stream.until(promoted, "another primary")
        return time.monotonic() - at
    finally:
        stream.signal(primary, signal.SIGCONT)


async def measure(work: Path, engine: Engine, quorum_s: float) -> dict[str, float]:
    """All of them on new brokers, and the check of all messages at the end. Seconds by what was done."""
    stream, url = Stream(work), engine.url(work, "/qpidha/outages")
    for name in stream.cluster.processes:
        stream.option(name, "--cluster", url)
    async with stream:
        found = {
            "leader killed": await leader_killed(stream, engine),
            "without a quorum": await without_quorum(stream, engine, quorum_s),
            "handed over": await handed_over(stream),
            "primary stopped": await primary_stopped(stream),
            "primary killed": (await kill_primaries(stream, 1))[0],
        }
        await stream.whole()
        await stream.verify()
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", choices=list(ENGINES), default="etcd")
    parser.add_argument("--quorum-s", type=float, default=60.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        work.chmod(0o755)  # For the user of PostgreSQL.
        with ENGINES[args.records](work / args.records) as engine:
            for what, seconds in asyncio.run(measure(work, engine, args.quorum_s)).items():
                print(f"{what}: {1000 * seconds:.0f} ms")


if __name__ == "__main__":
    main()
