"""Outages of the engine that keeps the record, and of the primary, while a client publishes to three brokers.

Run with ``python -m tests.engines.outages --records etcd --quorum-s 60`` for the figures of the documentation.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.engines.engine import Engine
from tests.engines.kills import ENGINES, kill_primaries
from tests.support.stream import Publisher, Stream

LEADER_S = 2.5
"""How long is watched after the leader was killed: longer than an election, and than a session."""
LOOK_S = 0.002
PREFERRED = -10
"""The niceness of processes that get processors first."""


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


async def undisturbed(stream: Stream) -> float:
    """Nothing happens, for as long as after the leader was killed. Returns the longest pause."""
    async with watched(stream) as pause:
        await asyncio.sleep(LEADER_S)
    return pause.longest_s


async def leader_killed(stream: Stream, engine: Engine) -> float:
    """The leader of the engine is killed. Returns the longest pause; the primary must be the same afterwards."""
    before = await place(stream)
    leader = await engine.leader()
    async with watched(stream) as pause:
        await asyncio.to_thread(engine.kill, leader)  # It waits for the end, and the publisher must not.
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


@dataclass(frozen=True)
class HandOver:
    """What the pause of the publisher is made of."""

    leaves_s: float
    """From the last confirmation of the old primary until its connection ends: the record is changed meanwhile."""
    finds_s: float
    """Until the next primary welcomes the client."""
    confirms_s: float
    """Until that has confirmed something."""

    @property
    def pause_s(self) -> float:
        """All of it."""
        return self.leaves_s + self.finds_s + self.confirms_s


async def handed_over(stream: Stream) -> HandOver:
    """The primary hands over, as ``qpidha demote`` asks it."""
    primary, _ = await place(stream)
    words = (sys.executable, "-m", "qpidha", "demote", str(stream.work / primary))
    watching = asyncio.create_task(_watch_hand_over(stream.publisher))
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    found = await watching
    assert await stream.whole() != primary
    return found


async def _watch_hand_over(publisher: Publisher) -> HandOver:
    connection, confirmed, last = publisher.connection, publisher.confirmed, time.monotonic()
    while publisher.connection is connection:
        await asyncio.sleep(LOOK_S)
        if publisher.confirmed != confirmed:
            confirmed, last = publisher.confirmed, time.monotonic()
    left = time.monotonic()
    found_at = left
    while publisher.confirmed == confirmed:
        if publisher.connection is None:
            found_at = time.monotonic()
        await asyncio.sleep(LOOK_S)
    return HandOver(left - last, found_at - left, time.monotonic() - found_at)


async def primary_stopped(stream: Stream) -> float:
    """The primary gets SIGSTOP: its machine answers and it does not. Seconds until another one leads without it.

    That is its session's time-out and what the engine needs to notice it. For a second after it goes on again, it takes
    no other node for dead: a kill of the next primary within this time is not measured.
    """
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


@dataclass
class Figures:
    """What was measured, in seconds."""

    leaders: list[tuple[float, float]] = field(default_factory=list)
    """Pairs of the longest pause: while nothing happened, and right afterwards, when the leader was killed."""
    hand_overs: list[HandOver] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    others: dict[str, float] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """For people."""
        calm, killed = zip(*self.leaders, strict=True)
        yield f"leader killed: {_spread(killed)}; while nothing happens: {_spread(calm)}"
        yield f"leader killed, by the pause while nothing happens: {median(k / c for c, k in self.leaders):.2f}"
        yield f"handed over: {_spread([each.pause_s for each in self.hand_overs])}"
        for part in ("leaves_s", "finds_s", "confirms_s"):
            yield f"    {part[:-2]}: {_spread([getattr(each, part) for each in self.hand_overs])}"
        yield f"primary killed: {_spread(self.kills)}"
        for what, seconds in self.others.items():
            yield f"{what}: {1000 * seconds:.0f} ms"


def _spread(seconds: Sequence[float]) -> str:
    return f"median {1000 * median(seconds):.0f} ms, worst {1000 * max(seconds):.0f} ms of {len(seconds)}"


def prefer(stream: Stream) -> None:
    """Give brokers and the client processors before the engine, which is on machines of its own elsewhere. Needs root."""
    os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    os.setpriority(os.PRIO_PROCESS, 0, PREFERRED)
    for process in stream.cluster.processes.values():
        process._command = ["nice", "-n", str(PREFERRED), *process._command]


async def measure(work: Path, engine: Engine, quorum_s: float, runs: int, preferred: bool) -> Figures:
    """All of them on new brokers, and the check of all messages at the end."""
    stream, url = Stream(work), engine.url(work, "/qpidha/outages")
    for name in stream.cluster.processes:
        stream.option(name, "--cluster", url)
    if preferred:
        prefer(stream)
    found = Figures()
    async with stream:
        for _ in range(runs):
            found.leaders.append((await undisturbed(stream), await leader_killed(stream, engine)))
        for _ in range(runs):
            found.hand_overs.append(await handed_over(stream))
        found.kills = await kill_primaries(stream, runs)  # Before any is stopped: see `primary_stopped`.
        found.others = {
            "without a quorum": await without_quorum(stream, engine, quorum_s),
            "primary stopped": await primary_stopped(stream),
        }
        await stream.whole()
        await stream.verify()
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", choices=list(ENGINES), default="etcd")
    parser.add_argument("--quorum-s", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=10, help="kills of the leader, and hand-overs")
    parser.add_argument(
        "--preferred",
        action="store_true",
        help="brokers and client have processors before the engine, as root",
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        work.chmod(0o755)  # For the user of PostgreSQL.
        with ENGINES[args.records](work / args.records) as engine:
            found = asyncio.run(measure(work, engine, args.quorum_s, args.runs, args.preferred))
    print("\n".join(found.lines()))
    print(f"load average {os.getloadavg()[0]:.0f}")


if __name__ == "__main__":
    main()
