"""The shared directory under contention: locks held by others, slow disks, several stores, followers.

Method: the test itself holds the lock or delays fsync; time-outs are short.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from qpidha.errors import Conflict, OutcomeUnknown, Unavailable
from qpidha.records import FileRecordStore
from qpidha.types import Versioned
from tests.support.records import RECORD, create, newer


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    asyncio.run(create(tmp_path / "c"))
    return tmp_path / "c"


@contextmanager
def lock_held(directory: Path) -> Iterator[None]:
    with open(directory / "record.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_a_lock_held_for_long_is_unavailable_and_nothing_was_written(directory: Path) -> None:
    """Readers do not need the lock."""

    async def main() -> None:
        store = FileRecordStore(directory, poll_interval_s=0.005)
        with lock_held(directory):
            begun = time.monotonic()
            with pytest.raises(Unavailable, match="locked by others"):
                await store.compare_and_set(1, newer(1), timeout_s=0.5)
            assert 0.25 < time.monotonic() - begun < 20
            waiting = asyncio.ensure_future(store.compare_and_set(1, newer(1), timeout_s=20))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            other = FileRecordStore(directory, poll_interval_s=0.005)
            assert await other.read() == await anext(other.watch()) == Versioned(RECORD, 1)
            await other.close()
        assert await waiting == Versioned(newer(1), 2)
        await store.close()

    asyncio.run(main())


def test_a_slow_disk_leaves_the_outcome_unknown_and_the_loop_alive(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    real_fsync = os.fsync

    def slow(fd: int) -> None:
        gate.wait(10)
        real_fsync(fd)

    async def main() -> None:
        store = FileRecordStore(directory)
        assert await store.read() is not None
        monkeypatch.setattr(os, "fsync", slow)
        with pytest.raises(OutcomeUnknown):
            await store.compare_and_set(1, newer(1), timeout_s=0.5)
        with pytest.raises(Unavailable):  # It waits for the first write and has not begun.
            await store.compare_and_set(1, newer(2), timeout_s=0.5)
        session = await store.open_session("a", b"", ttl_s=1)  # Runs in the other thread.
        await session.close()
        gate.set()
        assert await store.compare_and_set(1, newer(1), timeout_s=20) == Versioned(newer(1), 2)
        await store.close()

    asyncio.run(main())


def test_two_stores_in_one_process_lose_no_update(directory: Path) -> None:
    async def count(store: FileRecordStore, n: int) -> int:
        won = 0
        for i in range(40):
            current = await store.read()
            assert current is not None
            try:
                new = replace(current.record, nonce=bytes((n, i)))
                await store.compare_and_set(current.version, new, timeout_s=10)
                won += 1
            except Conflict:
                continue
        return won

    async def main() -> None:
        stores = [FileRecordStore(directory) for _ in range(3)]
        won = await asyncio.gather(*(count(store, n) for n, store in enumerate(stores)))
        final = await stores[0].read()
        assert final is not None
        assert final.version == 1 + sum(won)
        for store in stores:
            await store.close()

    asyncio.run(main())


def test_closing_ends_the_watches(directory: Path) -> None:
    async def main() -> None:
        store = FileRecordStore(directory)
        watch = store.watch()
        await anext(watch)
        follower = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.01)
        await store.close()
        with pytest.raises(StopAsyncIteration):
            await follower
        with pytest.raises(StopAsyncIteration):
            await anext(store.watch_live())

    asyncio.run(main())


def test_an_exception_in_polling_reaches_the_watches(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        store = FileRecordStore(directory)

        def broken() -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(store._poller, "_glance", broken)
        for watch in (store.watch(), store.watch_live()):
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(anext(watch), 5)
        await store.close()

    asyncio.run(main())
