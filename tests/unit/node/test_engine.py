"""The engine of a node: effects once in each turn, transactions through its disk, and any bug ends the node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from qpidha import Role, Settings
from qpidha.core.births import born
from qpidha.driver import Done
from qpidha.errors import ArgumentError, InDoubt, QpidhaError, StoreFailed, StoreLocked
from qpidha.journal import Change, StoreImage, StoreStatus
from qpidha.node.engine import Engine
from qpidha.types import QueueSpec
from tests.support.node_parts import Seat, member, run, turns

QUEUE = born(1, 1)


class Store:
    """A store that notes what it is asked for, and fails when a test says so."""

    blocking = False

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.opened: list[tuple[str, bool]] = []
        self.commits: list[list[Change]] = []
        self.closed: list[bool] = []
        self.verified = 0

    def open(self, node: str, *, refuse_dirty: bool = False) -> StoreImage:
        self._fail()
        self.opened.append((node, refuse_dirty))
        return StoreImage(StoreStatus(node=node, epoch=member(node).epoch))

    def commit(self, changes: Sequence[Change]) -> None:
        self._fail()
        self.commits.append(list(changes))

    def close(self, *, clean: bool) -> None:
        self.closed.append(clean)

    def verify_files(self) -> None:
        self._fail()
        self.verified += 1

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


class Disk:
    """A disk whose transactions end when a test says so."""

    def __init__(self) -> None:
        self.busy_s: float | None = None
        self.waiting: Done | None = None
        self.waits: list[float] = []
        self.closed: list[bool | None] = []
        self._idle = asyncio.Event()

    def commit(self, changes: list[Change], done: Done, around: object) -> None:
        self.waiting = done
        self._idle.clear()

    def answer(self, error: Exception | None = None) -> None:
        done, self.waiting = self.waiting, None
        self._idle.set()
        assert done is not None
        done(error)

    async def wait_idle(self, timeout_s: float) -> bool:
        self.waits.append(timeout_s)
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        return True

    async def close(self, *, clean: bool | None) -> None:
        self.closed.append(clean)


class Collected:
    """A queue that has something to publish at the end of a turn."""

    def __init__(self, at_end: Callable[[], None] = lambda: None) -> None:
        self.flushes = 0
        self.ends = 0
        self._at_end = at_end

    def flush(self) -> None:
        self.flushes += 1

    def end_of_turn(self) -> None:
        self.ends += 1
        self._at_end()


class Site:
    """The engine of node a, its store and its core."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.seat = Seat(settings).enter()
        self.store = Store()
        self.failed: list[tuple[str, BaseException]] = []
        self.engine = Engine(
            self.seat.runtime, self.store, lambda why, error: self.failed.append((why, error))
        )
        self.seat.runtime.connect(self.engine)
        self.runs = 0

    async def start(self) -> Site:
        """The store is open, and the core is driven."""
        await self.engine.open()
        self.engine.start(self.seat.core, self.seat.effects, self._ran)
        return self

    def _ran(self) -> None:
        self.runs += 1

    async def leading(self) -> Site:
        """The only member is primary."""
        await self.start()
        self.seat.lead()
        return self

    async def on_slow_disk(self) -> Disk:
        """One transaction is under way."""
        await self.leading()
        disk = Disk()
        self.engine.disk = disk  # type: ignore[assignment]
        self.declare()
        await turns()
        assert disk.waiting is not None
        return disk

    def declare(self) -> None:
        self.seat.core.declare(QueueSpec(name="q"))
        self.engine.poke()

    @property
    def store_errors(self) -> list[BaseException]:
        """What the node was told to stop for."""
        return self.seat.engine.errors


def play(main: Callable[[Site], Awaitable[None]], settings: Settings | None = None) -> None:
    async def work() -> None:
        await main(Site(settings))

    run(work())


# --- opening and closing ---------------------------------------------------------------------------


@pytest.mark.parametrize("dirty_start", ["verify", "refuse"])
def test_the_store_is_opened_for_this_node_as_the_settings_say(dirty_start: Any) -> None:
    async def main(site: Site) -> None:
        image = await site.engine.open()
        assert image.status.node == "a"
        assert site.store.opened == [("a", dirty_start == "refuse")]
        assert site.engine.busy_s is None

    play(main, Settings(dirty_start=dirty_start))


class Locked(Store):
    name: object = b"lock"

    def lock_name(self) -> Any:
        return self.name


def test_the_name_of_a_lock_is_bytes() -> None:
    async def main(site: Site) -> None:
        assert site.engine.lock_name == b"", "this store has no lock"
        store = Locked()
        site.engine._store = store
        for store.name in (b"lock", bytearray(b"lock"), memoryview(b"lock")):
            found = site.engine.lock_name
            assert found == b"lock" and type(found) is bytes
        for store.name in ("lock", None, 7):
            with pytest.raises(ArgumentError, match=r"the result of lock_name\(\) must be"):
                _ = site.engine.lock_name

    play(main)


def test_a_store_that_cannot_be_opened_is_an_error_and_is_not_closed() -> None:
    async def main(site: Site) -> None:
        site.store.error = StoreLocked("another process has it")
        with pytest.raises(StoreLocked):
            await site.engine.open()
        await site.engine.close()
        assert site.store.closed == [] and site.failed == []

    play(main)


def test_long_work_of_a_start_is_done_where_the_store_is() -> None:
    async def main(site: Site) -> None:
        await site.engine.open()
        assert await site.engine.work(lambda: 3 * 7) == 21

    play(main)


def test_before_the_store_is_open_there_is_nothing_to_end() -> None:
    async def main(site: Site) -> None:
        engine = site.engine
        engine.cease()
        engine.bypass()
        engine.verify_files()
        engine.give_up_commit()
        await engine.idle()
        await engine.close()
        assert (engine.busy_s, engine.hangs, engine.disk_hangs, site.failed) == (None, False, False, [])

    play(main)


def test_a_store_of_a_start_that_was_given_up_stays_as_it_was() -> None:
    """It is neither marked clean nor dirty by somebody who has written nothing: here it was dirty."""

    async def main(site: Site) -> None:
        await site.engine.open()
        await site.engine.close()
        assert site.store.closed == [False]

    play(main)


def test_a_store_is_closed_clean_after_an_end_in_good_order_and_only_once() -> None:
    async def main(site: Site) -> None:
        await site.leading()
        site.declare()
        site.engine.cease()
        await site.engine.idle()
        await site.engine.close()
        await site.engine.close()
        assert site.store.closed == [True]

    play(main)


def test_a_store_is_not_closed_clean_after_a_failure() -> None:
    async def main(site: Site) -> None:
        await site.leading()
        site.engine.broken(KeyError("bug"))
        await site.engine.close()
        assert site.store.closed == [False]

    play(main)


def test_a_store_is_not_closed_clean_while_something_is_undone() -> None:
    async def main(site: Site) -> None:
        disk = await site.on_slow_disk()
        await site.engine.close()
        assert disk.closed == [False]

    play(main)


# --- effects ---------------------------------------------------------------------------------------


def test_several_inputs_of_one_turn_are_one_transaction() -> None:
    async def main(site: Site) -> None:
        await site.leading()
        for n in range(3):
            site.seat.core.declare(QueueSpec(name=f"q{n}"))
            site.engine.poke()
        assert site.store.commits == [], "not before the turn ends"
        await turns()
        assert len(site.store.commits) == 1 and site.runs == 1
        assert len(site.seat.handles) == 3, "it was performed"

    play(main)


def test_what_comes_alone_is_performed_at_once() -> None:
    async def main(site: Site) -> None:
        await site.leading()
        site.seat.core.declare(QueueSpec(name="q"))
        site.engine.act()
        assert len(site.store.commits) == 1 and site.runs == 1
        site.engine.poke()
        site.seat.core.declare(QueueSpec(name="p"))
        site.engine.act()
        assert len(site.store.commits) == 1, "with all else of this turn"
        await turns()
        assert len(site.store.commits) == 2 and site.runs == 2

    play(main)


def test_before_the_core_is_driven_a_poke_does_nothing() -> None:
    async def main(site: Site) -> None:
        await site.engine.open()
        site.engine.poke()
        await turns()
        assert site.store.commits == [] and site.failed == []

    play(main)


def test_what_was_collected_in_a_turn_is_published_at_its_end_and_performed_with_it() -> None:
    async def main(site: Site) -> None:
        await site.leading()
        queue = Collected(site.declare)
        site.engine.flush_later(queue)
        site.engine.flush()
        assert (queue.flushes, queue.ends) == (1, 0), "on demand before that"
        await turns(1)
        assert queue.ends == 1 and len(site.store.commits) == 1
        await turns()
        assert queue.ends == 1

    play(main)


def test_what_is_published_in_the_course_of_that_has_another_turn() -> None:
    """So a queue whose watcher publishes again and again does not keep the loop."""

    async def main(site: Site) -> None:
        await site.leading()
        later = Collected()
        first = Collected(lambda: site.engine.flush_later(later))
        site.engine.flush_later(first)
        await turns(1)
        assert (first.ends, later.ends) == (1, 0)
        await turns()
        assert (first.ends, later.ends) == (1, 1)

    play(main)


def test_work_for_another_turn_is_done_in_one_and_looked_after() -> None:
    async def main(site: Site) -> None:
        await site.leading()
        done: list[int] = []
        assert site.engine.driver is not None and site.engine.driver._later is not None
        site.engine.driver._later(lambda: done.append(site.runs))
        assert done == []
        await turns()
        assert done == [0] and site.runs == 1

    play(main)


def test_while_a_transaction_is_under_way_nothing_is_performed_and_then_all_of_it() -> None:
    async def main(site: Site) -> None:
        disk = await site.on_slow_disk()
        site.seat.core.declare(QueueSpec(name="r"))
        site.engine.poke()
        await turns()
        assert len(site.seat.handles) == 0
        disk.answer()
        assert len(site.seat.handles) == 1
        disk.answer()
        assert len(site.seat.handles) == 2

    play(main)


# --- failures --------------------------------------------------------------------------------------


def test_a_bug_before_the_core_is_driven_fails_the_start() -> None:
    async def main(site: Site) -> None:
        bug = KeyError("bug")
        site.engine.broken(bug)
        assert site.failed == [("failed: KeyError('bug')", bug)]

    play(main)


def raised_by_publishing(site: Site, bug: Callable[[], None]) -> None:
    site.engine.flush_later(Collected(bug))


def raised_by_performing(site: Site, bug: Callable[[], None]) -> None:
    site.seat.effects.notify = lambda notice: bug()  # type: ignore[method-assign]
    site.declare()


def raised_in_another_turn(site: Site, bug: Callable[[], None]) -> None:
    site.engine._later(bug)


def raised_by_the_last_flush(site: Site, bug: Callable[[], None]) -> None:
    queue = Collected()
    queue.flush = bug  # type: ignore[method-assign]
    site.engine._unflushed.append(queue)
    site.engine.cease()
    site.engine._unflushed.clear()


def raised_by_bypassing(site: Site, bug: Callable[[], None]) -> None:
    assert site.engine.driver is not None
    site.engine.driver.bypass = bug  # type: ignore[method-assign]
    site.engine.bypass()


@pytest.mark.parametrize(
    "raised",
    [
        raised_by_publishing,
        raised_by_performing,
        raised_in_another_turn,
        raised_by_the_last_flush,
        raised_by_bypassing,
    ],
)
def test_a_bug_ends_the_role_and_the_node(raised: Callable[[Site, Callable[[], None]], None]) -> None:
    async def main(site: Site) -> None:
        await site.leading()
        error = ZeroDivisionError("bug")
        told: list[BaseException] = []
        site.seat.effects.store_failed = told.append  # type: ignore[method-assign]
        notify = site.seat.effects.notify

        def bug() -> None:
            site.seat.effects.notify = notify  # type: ignore[method-assign]
            raise error

        raised(site, bug)
        await turns()
        assert told == [error]
        assert site.seat.core.role is Role.STOPPED
        assert site.seat.runtime.serving_generation == 0
        assert site.failed == [], "the driver tells it, with what is in doubt"

    play(main)


def test_a_store_that_fails_ends_the_node_and_what_waited_is_in_doubt() -> None:
    async def main(site: Site) -> None:
        await site.leading()
        site.declare()
        await turns()
        op = site.seat.handles.of(QUEUE).enqueue(b"1")
        site.store.error = StoreFailed("disk full")
        with pytest.raises(InDoubt):
            await op
        assert site.store_errors == [site.store.error]
        assert len(site.store.commits) == 1

    play(main)


def test_after_the_store_was_closed_nothing_is_stored() -> None:
    async def main(site: Site) -> None:
        await site.leading()
        await site.engine.close()
        site.declare()
        await turns()
        (error,) = site.store_errors
        assert isinstance(error, StoreFailed) and "closed" in str(error)
        assert site.store.commits == []

    play(main)


def test_what_the_store_finds_wrong_with_its_files_ends_the_node() -> None:
    async def main(site: Site) -> None:
        await site.leading()
        site.engine.verify_files()
        assert site.store.verified == 1 and site.store_errors == []
        site.store.error = StoreFailed("the file is gone")
        site.engine.verify_files()
        assert site.store_errors == [site.store.error]

    play(main)


# --- its end ---------------------------------------------------------------------------------------


def test_the_end_publishes_what_was_collected_and_stops_the_core() -> None:
    async def main(site: Site) -> None:
        await site.leading()
        site.declare()
        await turns()
        op = site.seat.handles.of(QUEUE).enqueue(b"1")
        site.engine.cease()
        assert site.seat.core.stopped
        await site.engine.idle()
        assert len(site.store.commits) == 2, "it was stored"
        with pytest.raises(InDoubt):
            await op
        await turns()

    play(main)


def test_the_end_waits_for_a_transaction_and_for_what_follows_from_it() -> None:
    async def main(site: Site) -> None:
        disk = await site.on_slow_disk()
        site.engine.cease()
        idle = asyncio.ensure_future(site.engine.idle())
        await turns()
        assert not idle.done() and site.engine.hangs, "it is under way"
        disk.answer()
        await turns()
        while disk.waiting is not None:
            disk.answer()
            await turns()
        await idle
        assert not site.engine.hangs

    play(main)


def test_the_end_does_not_wait_for_a_disk_that_hangs() -> None:
    async def main(site: Site) -> None:
        disk = await site.on_slow_disk()
        disk.busy_s = 0.0
        site.engine.cease()
        await site.engine.idle()
        assert disk.waits == [site.seat.runtime.settings.commit_timeout_s]
        site.engine.give_up_commit()
        (error,) = site.store_errors
        assert isinstance(error, QpidhaError) and "did not answer in time" in str(error)
        disk.answer()
        assert site.store_errors == [error] and len(site.seat.handles) == 0, "too late: nothing follows"

    play(main)


def test_waiting_for_the_end_can_be_cancelled() -> None:
    async def main(site: Site) -> None:
        await site.on_slow_disk()
        idle = asyncio.ensure_future(site.engine.idle())
        await turns()
        idle.cancel()
        await asyncio.wait({idle})
        assert idle.cancelled() and site.store_errors == []

    play(main)


def test_a_commit_that_is_done_is_not_given_up() -> None:
    async def main(site: Site) -> None:
        await site.leading()
        site.engine.give_up_commit()
        assert site.store_errors == []

    play(main)


# --- a disk that hangs -----------------------------------------------------------------------------


def test_a_disk_hangs_when_it_is_at_work_for_too_long() -> None:
    async def main(site: Site) -> None:
        disk = Disk()
        site.engine.disk = disk  # type: ignore[assignment]
        settings = site.seat.runtime.settings
        for busy_s, silent, hangs in (
            (None, False, False),
            (settings.heartbeat_timeout_s, False, False),
            (settings.heartbeat_timeout_s + 0.1, True, False),
            (settings.commit_timeout_s + 0.1, True, True),
        ):
            disk.busy_s = busy_s
            assert (site.engine.busy_s, site.engine.disk_hangs, site.engine.hangs) == (busy_s, silent, hangs)

    play(main)


def test_a_primary_hands_over_although_its_disk_hangs() -> None:
    async def main(site: Site) -> None:
        await site.start()
        site.seat.lead("b")
        disk = Disk()
        site.engine.disk = disk  # type: ignore[assignment]
        site.declare()
        await turns()
        site.seat.core.demote()
        site.engine.poke()
        await turns()
        assert site.seat.requests == [], "all that is due waits for the disk"
        site.engine.bypass()
        assert len(site.seat.requests) == 1, "but the hand-over"

    play(main)
