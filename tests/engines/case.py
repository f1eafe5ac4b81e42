"""One test of a record store on an engine: a new cluster in it, stores that are closed afterwards, and wires to it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from qpidha.engines.ports import take_ports
from qpidha.errors import ClusterError
from qpidha.types import Versioned
from tests.engines.engine import Engine
from tests.engines.wire import Wire
from tests.support.records import newer

T = TypeVar("T")
TIMEOUT_S = 30.0
CASE_TIMEOUT_S = 60.0

HOLDER = """
import asyncio, sys
from qpidha.records import open_records

async def main(url, ttl_s, lock):
    records = open_records(url)
    if lock:
        records.succeed(lock.encode())
    session = await records.open_session("a", b"held", ttl_s=float(ttl_s))
    print("open", flush=True)
    print(await session.wait_lost(), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


class Case:
    """An asynchronous context manager: all members run before, and go on afterwards."""

    def __init__(self, engine: Engine, place: str, folder: Path) -> None:
        self.engine = engine
        self.place = place
        self.folder = folder
        self._opened: list[Any] = []

    async def __aenter__(self) -> Case:
        await self.engine.start()
        self.store = self.at(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for n in range(len(self.engine.ports)):
            self.engine.resume(n)
        for store in self._opened:
            for (
                session
            ) in store._opener._open.values():  # One that a failed test has left would disturb the next.
                with contextlib.suppress(ClusterError):
                    await session.close()
            await store.close()

    def at(self, first: int, **options: Any) -> Any:
        """Another store of the same cluster, whose first endpoint is this member."""
        return self.elsewhere(self.place, first=first, **options)

    def elsewhere(self, place: str, **options: Any) -> Any:
        """A store of the cluster at another place."""
        store = self.engine.store(place, **options)
        self._opened.append(store)
        return store

    # --- the network -----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def wires(self) -> AsyncIterator[list[Wire]]:
        """A wire to each member, that to the leader first."""
        leader, targets = await self.engine.leader(), self.engine.ports
        targets = [*targets[leader:], *targets[:leader]]
        async with contextlib.AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(Wire(port, target))
                for port, target in zip(take_ports(len(targets)), targets, strict=True)
            ]

    def through(self, wires: list[Wire], **options: Any) -> Any:
        """A store that knows these wires only."""
        return self.at(0, endpoints=[f"127.0.0.1:{wire.port}" for wire in wires], **options)

    # --- other processes -------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def holder(self, lock: str = "") -> AsyncIterator[subprocess.Popen[str]]:
        """A process with a session of node a, which has a lock of this name if one is given."""
        words = [self.engine.url(self.folder, self.place), str(self.engine.short_ttl_s), lock]
        process = subprocess.Popen(  # noqa: ASYNC220 - it is quick
            [sys.executable, "-c", HOLDER, *words], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            assert (await asyncio.to_thread(process.stdout.readline)).strip() == "open"
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


Main = Callable[[Case], Awaitable[None]]
Run = Callable[[Main], None]


def run(engine: Engine, place: str, folder: Path, main: Main) -> None:
    """Run a test."""

    async def wrapped() -> None:
        async with Case(engine, place, folder) as case:
            await asyncio.wait_for(main(case), CASE_TIMEOUT_S)

    asyncio.run(wrapped())


async def cas(store: Any, expected: int, n: int, timeout_s: float = TIMEOUT_S) -> Versioned:
    """Write the n-th record."""
    written: Versioned = await store.compare_and_set(expected, newer(n), timeout_s=timeout_s)
    return written


async def first(watch: AsyncIterator[T]) -> T:
    """The next value of a watch."""
    return await asyncio.wait_for(anext(watch), TIMEOUT_S)


async def reaches(watch: AsyncIterator[T], wanted: Callable[[T], bool]) -> T:
    """The first value of a watch that is wanted."""

    async def follow() -> T:
        async for value in watch:
            if wanted(value):
                return value
        raise AssertionError("the watch has ended")

    return await asyncio.wait_for(follow(), TIMEOUT_S)


def past(session: Any) -> bool:
    """Whether others may take the owner of a session for dead, as far as its owner knows."""
    return bool(session.deadline() < time.monotonic())
