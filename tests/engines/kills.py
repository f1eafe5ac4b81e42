"""Kills the primary of three brokers, again and again, while a client publishes; measures until the next confirmation.

Run with ``python -m tests.engines.kills --records etcd --kills 50`` for the figures of the documentation.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from tests.engines import etcd, postgresql, zookeeper
from tests.engines.engine import Engine
from tests.support.stream import Stream

ENGINES: dict[str, Callable[[Path], AbstractContextManager[Engine]]] = {
    "etcd": etcd.running,
    "zookeeper": zookeeper.running,
    "postgresql": postgresql.running,
}
"""By name, what runs an engine in a new folder."""
PAUSE_S = 0.5
"""Between the time when all nodes are members again and the next kill."""


async def kill_primaries(stream: Stream, kills: int) -> list[float]:
    """Kill the primary so often, and start it again each time. Seconds from each kill to the next confirmation."""
    took_s = []
    for _ in range(kills):
        primary = await stream.whole()
        await stream.confirmed(100)
        await asyncio.sleep(PAUSE_S)
        at = stream[primary].kill()
        stream[primary].wait(5.0)
        before = stream.publisher.confirmed  # What was on its way to the client counts as confirmed before.
        while stream.publisher.confirmed == before:  # noqa: ASYNC110 - of a client that has no event for it
            await asyncio.sleep(0.001)
        took_s.append(time.monotonic() - at)
        stream[primary].start()
    await stream.whole()
    return took_s


async def measure(work: Path, kills: int, url: str | None) -> list[float]:
    """The same on new brokers, with their record at this URL (None: in a file). Checks all messages at the end."""
    stream = Stream(work)
    for name in stream.cluster.processes if url else ():
        stream.option(name, "--cluster", str(url))
    async with stream:
        took_s = await kill_primaries(stream, kills)
        await stream.verify()
    return took_s


def report(took_s: list[float]) -> str:
    """One line."""
    ordered = sorted(took_s)
    return (
        f"{len(ordered)} kills: median {1000 * statistics.median(ordered):.0f} ms, "
        f"9 of 10 within {1000 * ordered[int(0.9 * (len(ordered) - 1))]:.0f} ms, worst {1000 * ordered[-1]:.0f} ms"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", choices=["file", *ENGINES], default="etcd")
    parser.add_argument("--kills", type=int, default=50)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        work.chmod(0o755)  # For the user of PostgreSQL.
        if args.records == "file":
            print(report(asyncio.run(measure(work, args.kills, None))))
            return
        with ENGINES[args.records](work / args.records) as engine:
            print(report(asyncio.run(measure(work, args.kills, engine.url(work, "/qpidha/kills")))))


if __name__ == "__main__":
    main()
