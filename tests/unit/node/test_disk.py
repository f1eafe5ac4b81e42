"""A long commit of a store without a disk leaves the loop time for others, and ends before the store is closed."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID
from weakref import ref

import pytest

from qpidha import Settle
from qpidha.durations import Durations
from qpidha.journal import Change, PutQueue
from qpidha.node.disk import STEPPED_MIN, Disk
from qpidha.stores import MemoryStore, SqliteStore
from qpidha.types import QueueSpec

SPEC = QueueSpec(name="q", settle=Settle.REPLICATED)
MANY: list[Change] = [PutQueue(UUID(int=n), SPEC, ((1, 1),), 1) for n in range(STEPPED_MIN + 1)]


class Slow(MemoryStore):
    """Of which every step takes the time of a slice."""

    def commit_in_steps(self, changes: Sequence[Change]) -> Iterator[None]:
        clock = asyncio.get_running_loop().time
        for step in super().commit_in_steps(changes):
            begun = clock()
            while clock() < begun + 0.021:
                pass
            yield step


def unexpected(error: Exception) -> None:
    raise error


async def opened(store: MemoryStore) -> Disk:
    disk = Disk(store, broken=unexpected, commits=Durations())
    await disk.open("a", refuse_dirty=False)
    return disk


def test_many_changes_take_several_turns_and_are_stored_before_the_store_is_closed() -> None:
    async def main() -> None:
        store = Slow()
        disk = await opened(store)
        answers: list[Exception | None] = []
        disk.commit(MANY, answers.append)
        assert answers == [] and disk.busy_s is not None
        await asyncio.sleep(0)
        assert answers == []
        await disk.close(clean=True)
        assert answers == [None] and disk.busy_s is None
        assert len(store.open("a").queues) == len(MANY)

    asyncio.run(main())


def test_few_changes_are_made_at_once() -> None:
    async def main() -> None:
        disk = await opened(Slow())
        answers: list[Exception | None] = []
        disk.commit(MANY[:1], answers.append)
        assert answers == [None]

    asyncio.run(main())


def test_a_commit_that_fails_in_between_says_so() -> None:
    async def main() -> None:
        store = Slow()
        disk = await opened(store)
        store.fail()
        answers: list[Exception | None] = []
        disk.commit(MANY, answers.append)
        assert await disk.wait_idle(5.0)
        assert "closed, or an earlier commit failed" in str(answers[0])

    asyncio.run(main())


def test_a_wait_ends_with_the_commit_also_if_another_one_follows_at_once() -> None:
    """A node that stops must not take that for a disk that does not answer."""

    async def main() -> None:
        store = MemoryStore()
        store.blocking = True  # type: ignore[misc]
        disk = await opened(store)
        answers: list[Exception | None] = []
        gates = [threading.Event(), threading.Event()]

        @contextmanager
        def held(gate: threading.Event) -> Iterator[None]:
            gate.wait(60.0)
            yield

        def first(error: Exception | None) -> None:
            answers.append(error)
            disk.commit([PutQueue(UUID(int=0xFFFF), SPEC, ((1, 1),), 1)], answers.append, held(gates[1]))

        disk.commit(MANY, first, held(gates[0]))
        waiting = asyncio.ensure_future(disk.wait_idle(60.0))
        for _ in range(5):
            await asyncio.sleep(0)
        gates[0].set()
        assert await waiting
        assert answers == [None] and disk.busy_s is not None
        assert not await disk.wait_idle(0.01), "the second one hangs"
        gates[1].set()
        assert await disk.wait_idle(60.0)
        assert answers == [None, None] and disk.busy_s is None
        await disk.close(clean=True)

    asyncio.run(main())


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_around_a_commit_is_left_whatever_becomes_of_it(fails: bool) -> None:
    entered: list[str] = []

    @contextmanager
    def around() -> Iterator[None]:
        entered.append("in")
        try:
            yield
        finally:
            entered.append("out")

    async def main() -> None:
        store = MemoryStore()
        store.blocking = True  # type: ignore[misc]
        disk = await opened(store)
        if fails:
            store.fail()
        answers: list[Exception | None] = []
        disk.commit(MANY, answers.append, around())
        assert await disk.wait_idle(5.0)
        assert (answers == [None]) is not fails and len(answers) == 1
        await disk.close(clean=False)

    asyncio.run(main())
    assert entered == ["in", "out"]


def test_what_a_store_had_is_freed_without_a_collection(tmp_path: Path) -> None:
    """A node may freeze what is alive: an image that were garbage in a cycle would then stay for ever."""

    async def main() -> None:
        disk = Disk(SqliteStore(tmp_path), broken=unexpected, commits=Durations())
        gc.disable()
        try:
            kept = ref((await disk.open("a", refuse_dirty=False)).queues)
            for _ in range(100):  # The thread lets go of it, too.
                await asyncio.sleep(0.01)
                if kept() is None:
                    break
            assert kept() is None
        finally:
            gc.enable()
            await disk.close(clean=True)

    asyncio.run(main())
