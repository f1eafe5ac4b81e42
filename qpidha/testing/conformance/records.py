"""The rules of `qpidha.interfaces.RecordStore` and `Session`, on which the choice of one primary depends."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from qpidha.errors import Conflict, Unavailable
from qpidha.interfaces import RecordStore
from qpidha.testing.conformance.check import Check, Rules, Runner, Trial
from qpidha.types import Member, Record, Versioned

T = TypeVar("T")
Two: TypeAlias = tuple[RecordStore, RecordStore]
MakeRecords: TypeAlias = Callable[[Path], "Two | Awaitable[Two]"]
"""Makes two stores on one new record, as two nodes have them. They may be the same object."""

TIMEOUT_S = 20.0
RECORD = Record(
    cluster=UUID(int=1),
    generation=3,
    primary=("a", UUID(int=2)),
    members=frozenset((Member("a", UUID(int=7)), Member("näme/with 'all'", UUID(int=7)))),
    nonce=b"first",
)


def changed(record: Record = RECORD, **fields: Any) -> Record:
    """Return the record with these fields, and a new nonce."""
    return replace(record, nonce=os.urandom(16), **fields)


class RecordBench(Trial):
    """Two record stores, opened when a check begins."""

    one: RecordStore
    other: RecordStore

    def __init__(self, make: MakeRecords, **trial: Any) -> None:
        super().__init__(**trial)
        self._make = make
        self._open: tuple[RecordStore, ...] = ()

    async def open(self) -> Two:
        """Make and return the two stores."""
        made = self._make(self.directory)
        self.one, self.other = await made if inspect.isawaitable(made) else made
        self._open = (self.one, self.other)
        return self.one, self.other

    async def cas(self, store: RecordStore, expected: int, new: Record) -> Versioned:
        """Write a record to a store if the version is the expected one."""
        self.did(f"compare_and_set({expected}, generation {new.generation})")
        return await store.compare_and_set(expected, new, timeout_s=TIMEOUT_S)

    async def conflict(self, write: Awaitable[Versioned], current: Versioned | None, step: str) -> None:
        """Check that a write raises `Conflict` with the current record."""
        with self.raises(Conflict, step) as caught:
            await write
        [error] = caught
        assert isinstance(error, Conflict)
        self.same("current", current, error.current)

    async def reaches(self, watch: AsyncIterator[T], condition: Callable[[T], bool], expected: str) -> T:
        """Return the first value of a watch that meets the condition. Others are ignored: watches may skip values."""
        seen: list[T] = []

        async def follow() -> T:
            async for value in watch:
                seen.append(value)
                if condition(value):
                    return value
            return self.broken(f"a watch that tells {expected}", f"its end, after {seen}")

        try:
            return await asyncio.wait_for(follow(), TIMEOUT_S)
        except asyncio.TimeoutError:
            self.broken(f"a watch that tells {expected}", f"only {seen}")

    async def release(self) -> None:
        """Close both stores twice: a second close must do no harm."""
        for store in self._open:
            await store.close()
            await store.close()


RULES = Rules[RecordBench]("RecordStore")


def record_checks(
    make: MakeRecords, *, runner: Runner = asyncio.run, without: Iterable[str] = ()
) -> list[Check[RecordBench]]:
    """Return one check for each rule of `RecordStore` and `Session`.

    Args:
        make: Two stores on one new record. May be a coroutine function; the checks close both.
        runner: Runs the check.
        without: Names of checks to leave out.
    """
    return RULES.checks(lambda **trial: RecordBench(make, **trial), runner=runner, without=without)


# --- the record ------------------------------------------------------------------------------------


@RULES
async def create_founds_once(bench: RecordBench) -> None:
    """Read tells None until create, then the record; create raises Conflict, with it, if there is one."""
    one, other = await bench.open()
    bench.same("read", None, await one.read())
    created = await one.create(RECORD)
    bench.did("create")
    bench.same("record", RECORD, created.record)
    bench.same("read by another node", created, await other.read())
    await bench.conflict(other.create(changed()), created, "create again")


@RULES
async def compare_and_set_needs_the_version(bench: RecordBench) -> None:
    """compare_and_set writes only over the version it names, else it raises Conflict with what is there (M1)."""
    one, other = await bench.open()
    await bench.conflict(bench.cas(one, 1, changed()), None, "compare_and_set without a record")
    first = await one.create(RECORD)
    second = await bench.cas(other, first.version, changed(generation=4))
    bench.true(second.version > first.version, f"a version above {first.version}", second.version)
    for wrong in (first.version, second.version + 1):
        await bench.conflict(bench.cas(one, wrong, changed(generation=5)), second, f"over version {wrong}")
    bench.same("read", second, await one.read())


@RULES
async def of_many_writers_one_wins(bench: RecordBench) -> None:
    """compare_and_set is atomic: of any number of writers over one version exactly one succeeds."""
    one, other = await bench.open()
    current = await one.create(RECORD)
    for _ in range(10):
        writers = [one if n % 2 else other for n in range(8)]
        wishes = [changed(generation=current.record.generation + 1) for _ in writers]
        bench.did(f"8 writers over version {current.version}")
        writes = [
            store.compare_and_set(current.version, wish, timeout_s=TIMEOUT_S)
            for store, wish in zip(writers, wishes, strict=True)
        ]
        results = await asyncio.gather(*writes, return_exceptions=True)
        won = [result for result in results if isinstance(result, Versioned)]
        bench.same("writers that won", 1, len(won))
        lost = [result for result in results if not isinstance(result, Versioned)]
        bench.true(all(isinstance(e, Conflict) for e in lost), "Conflict for all others", lost)
        bench.same("read", won[0], await other.read())
        current = won[0]


@RULES
async def asking_the_same_again_succeeds_once_written(bench: RecordBench) -> None:
    """A write whose answer was lost may be asked again: it succeeds if the record is the one asked for."""
    one, other = await bench.open()
    new = changed()
    first = await one.create(new)
    bench.same("create again", first, await one.create(new))
    newer = changed()
    second = await bench.cas(one, first.version, newer)
    bench.same("the same again", second, await bench.cas(one, first.version, newer))
    bench.same("the same by another", second, await bench.cas(other, first.version, newer))
    forged = replace(newer, generation=9)
    await bench.conflict(bench.cas(one, first.version, forged), second, "the same nonce, other content")
    third = await bench.cas(other, second.version, changed())
    await bench.conflict(bench.cas(one, first.version, newer), third, "the same again, too late")


@RULES
async def records_without_a_nonce_are_never_taken_for_ones_own(bench: RecordBench) -> None:
    """Without a nonce a store cannot know whose write it was: asking again raises Conflict."""
    one, other = await bench.open()
    nameless = replace(RECORD, nonce=b"")
    first = await one.create(nameless)
    await bench.conflict(other.create(nameless), first, "create again, without a nonce")


@RULES
async def a_watch_begins_with_the_record_and_never_goes_back(bench: RecordBench) -> None:
    """Watch tells the current record, then changes; it may skip versions, and never goes back."""
    one, other = await bench.open()
    watch = other.watch()
    bench.same("first value", None, await asyncio.wait_for(anext(watch), TIMEOUT_S))
    current = await one.create(RECORD)
    bench.same("next value", current, await asyncio.wait_for(anext(watch), TIMEOUT_S))
    seen: list[int] = []

    def last(found: Versioned | None) -> bool:
        bench.true(found is not None, "a record", None)
        assert found is not None
        seen.append(found.version)
        bench.same("versions told", sorted(set(seen)), seen)
        return found.version == goal

    goal = current.version + 20
    follower = asyncio.ensure_future(bench.reaches(watch, last, f"version {goal}"))
    latest = current
    for _ in range(20):
        latest = await bench.cas(one, latest.version, changed())
        goal = max(goal, latest.version)
    bench.same("last value", latest, await follower)
    bench.same("of a new watch", latest, await asyncio.wait_for(anext(other.watch()), TIMEOUT_S))


@RULES
async def a_new_watch_does_not_begin_with_an_old_value(bench: RecordBench) -> None:
    """A watch begins with what is there when it is opened, or later, however long it was not read."""
    one, other = await bench.open()
    current = await one.create(RECORD)
    follower = other.watch()
    bench.same("first value", current, await asyncio.wait_for(anext(follower), TIMEOUT_S))
    for idle_s in (0.0, 0.4):
        await asyncio.sleep(idle_s)
        for _ in range(5):
            current = await bench.cas(one, current.version, changed())
            seen = await asyncio.wait_for(anext(other.watch()), TIMEOUT_S)
            bench.same("first value of a new watch", current, seen)
    bench.same(
        "next value", current, await bench.reaches(follower, lambda v: v == current, "the last record")
    )


# --- sessions --------------------------------------------------------------------------------------


@RULES
async def sessions_come_and_go_and_say_what_they_like(bench: RecordBench) -> None:
    """Others see a session's info while it lives; close ends it at once, and wait_lost says so."""
    one, other = await bench.open()
    watch = other.watch_live()
    bench.same("live nodes at first", {}, dict(await asyncio.wait_for(anext(watch), TIMEOUT_S)))
    session = await one.open_session("a", b"\0info", ttl_s=2)
    bench.did("open_session('a')")
    bench.same("live", {"a": b"\0info"}, dict(await other.live()))
    bench.same("watched", {"a": b"\0info"}, dict(await bench.reaches(watch, bool, "node a")))
    await session.update(b"news")
    await bench.reaches(watch, lambda live: dict(live) == {"a": b"news"}, "the news of a")
    await session.close()
    await session.close()
    bench.did("update; close twice")
    bench.same("live", {}, dict(await other.live()))
    await bench.reaches(watch, lambda live: not live, "no live nodes")
    why: object = await asyncio.wait_for(session.wait_lost(), TIMEOUT_S)
    bench.true(isinstance(why, str) and why, "a reason, as text, from wait_lost", why)
    with bench.raises(Unavailable, "update of a closed session"):
        await session.update(b"from the grave")
    bench.same("live", {}, dict(await other.live()))


@RULES
async def a_second_session_of_a_node_is_refused(bench: RecordBench) -> None:
    """open_session raises Conflict while another session of this node id lives (T40)."""
    one, other = await bench.open()
    first = await one.open_session("a", b"1", ttl_s=2)
    for store in (one, other):
        with bench.raises(Conflict, "open_session('a') again") as caught:
            await store.open_session("a", b"2", ttl_s=2)
        assert isinstance(caught[0], Conflict)
        bench.same("current", None, caught[0].current)
    bench.same("live", {"a": b"1"}, dict(await one.live()))
    neighbour = await other.open_session("b", b"3", ttl_s=2)
    await first.close()
    second = await other.open_session("a", b"2", ttl_s=2)
    bench.same("live", {"a": b"2", "b": b"3"}, dict(await one.live()))
    await second.close()
    await neighbour.close()


@RULES
async def the_deadline_moves_on_while_the_session_lives(bench: RecordBench) -> None:
    """A session keeps itself alive: its deadline stays ahead, less than a TTL, and it is not lost."""
    one, other = await bench.open()
    session = await one.open_session("a", b"", ttl_s=0.8)
    bench.true(session.granted_ttl_s >= 0.8, "a TTL of at least 0.8 s", session.granted_ttl_s)
    first = session.deadline()
    bench.true(first < time.monotonic() + session.granted_ttl_s, "a deadline within the TTL", first)
    lost = asyncio.ensure_future(session.wait_lost())
    await asyncio.sleep(session.granted_ttl_s + 0.2)
    bench.true(session.deadline() > first, f"a deadline after {first}", session.deadline())
    bench.true(not lost.done(), "a session that lives", "lost")
    bench.same("live", {"a": b""}, dict(await other.live()))
    await session.close()
    await asyncio.wait_for(lost, TIMEOUT_S)


@RULES
async def node_ids_may_be_anything(bench: RecordBench) -> None:
    """Each node id of up to 255 bytes has a separate session."""
    one, other = await bench.open()
    names = ["..", ".", "a/b", "a.info", "a", "%", "%hash-", "ü" * 127, "x" * 255, "\n", "A%2Fb"]
    sessions = [await one.open_session(name, name.encode(), ttl_s=5) for name in names]
    bench.same("live", {name: name.encode() for name in names}, dict(await other.live()))
    for session in sessions:
        await session.close()
    bench.same("live", {}, dict(await other.live()))


@RULES
async def followers_do_not_disturb_each_other(bench: RecordBench) -> None:
    """Any number of watches go on when one of them is cancelled."""
    one, other = await bench.open()
    records = [asyncio.ensure_future(bench.reaches(other.watch(), bool, "a record")) for _ in range(5)]
    lives = [asyncio.ensure_future(bench.reaches(other.watch_live(), bool, "a node")) for _ in range(5)]
    await asyncio.sleep(0.02)
    records[0].cancel()
    lives[-1].cancel()
    created = await one.create(RECORD)
    session = await one.open_session("a", b"x", ttl_s=2)
    bench.same("records told", [created] * 4, await asyncio.gather(*records[1:]))
    bench.same("nodes told", [{"a": b"x"}] * 4, [dict(live) for live in await asyncio.gather(*lives[:-1])])
    await asyncio.gather(records[0], lives[-1], return_exceptions=True)
    await session.close()
