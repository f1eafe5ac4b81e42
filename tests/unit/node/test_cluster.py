"""A node's dealings with the cluster manager: watches that begin again, requests in order, promotions as decided."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest

from qpidha import Settings
from qpidha.core.ready import CompareAndSet, ReadRecord, Request
from qpidha.errors import (
    ClusterError,
    Conflict,
    InvariantError,
    LocalProtocolError,
    OutcomeUnknown,
    PromotionRefused,
    Unavailable,
)
from qpidha.events import DecisionRefused, LiveNodesUnwatched, RecordUnwatched
from qpidha.interfaces import ClusterView, Decision
from qpidha.node.cluster import Cluster
from qpidha.node.prober import Prober
from qpidha.types import NodeId, NodeInfo, Record, Versioned
from qpidha.wire.info import encode_info
from tests.support.node_parts import Seat, info, record, run, turns

LONG_S = 600.0
"""So long that every delay has reached its maximum."""


class Watched:
    """A value that is watched: a test tells each change, an error, or the end."""

    END = object()

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._news: asyncio.Queue[Any] = asyncio.Queue()
        self.begun: list[float] = []
        """When each watch began."""
        self.broken: Exception | None = None
        """What every watch raises at once."""

    def tell(self, what: Any) -> None:
        self._news.put_nowait(what)

    async def watch(self) -> AsyncIterator[Any]:
        self.begun.append(self._now())
        if self.broken is not None:
            raise self.broken
        while (told := await self._news.get()) is not self.END:
            if isinstance(told, Exception):
                raise told
            yield told


class Manager:
    """A record store that answers as a test says."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.record, self.live = Watched(now), Watched(now)
        self.asked: list[tuple[float, object]] = []
        self.answers: list[Versioned | Exception | None] = []
        """To the next questions, one each; then `answer`."""
        self.answer: Versioned | Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    def watch(self) -> AsyncIterator[Versioned | None]:
        return self.record.watch()

    def watch_live(self) -> AsyncIterator[Mapping[NodeId, bytes]]:
        return self.live.watch()

    async def read(self) -> Versioned | None:
        return await self._answer("read")

    async def create(self, new: Record) -> Versioned:
        return await self._answer(new)  # type: ignore[return-value]

    async def compare_and_set(self, expected: int, new: Record, *, timeout_s: float) -> Versioned:
        return await self._answer(expected)  # type: ignore[return-value]

    async def _answer(self, question: object) -> Versioned | None:
        self.asked.append((self._now(), question))
        await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else self.answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def pauses(self) -> list[float]:
        return [after - before for (before, _), (after, _) in pairwise(self.asked)]


class Around:
    """Presence, place and connector of the node at once: each does its work until it is told to end."""

    def __init__(self) -> None:
        self.opened: list[NodeInfo] = []
        self.closed = 0
        self.refuses: Exception | None = None
        self.stands = True
        self.did: list[str] = []
        self.ticks = 0
        self.wakes = 0
        self.ends = asyncio.Event()
        self.bug: Exception | None = None
        self.ignores_cancellation = 0
        self.returns_when_cancelled = False

    async def open(self, info: NodeInfo) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.opened.append(info)

    async def run(self) -> None:
        while True:
            try:
                await self.ends.wait()
                break
            except asyncio.CancelledError:
                if self.returns_when_cancelled:
                    return
                if not self.ignores_cancellation:
                    raise
                self.ignores_cancellation -= 1
        if self.bug is not None:
            raise self.bug

    async def close(self) -> None:
        self.closed += 1

    def tick(self, now: float) -> None:
        self.ticks += 1

    def wake(self) -> None:
        self.wakes += 1

    def claim(self) -> None:
        self.did.append("claim")
        self.stands = True

    def hand_over(self) -> None:
        self.did.append("hand over")


class Decided:
    """A promoter that decides what a test tells it to."""

    def __init__(self) -> None:
        self._next: asyncio.Queue[Decision] = asyncio.Queue()
        self.view: ClusterView | None = None

    def decide(self, *decisions: Decision) -> None:
        for decision in decisions:
            self._next.put_nowait(decision)

    async def decisions(self, view: ClusterView) -> AsyncIterator[Decision]:
        self.view = view
        while True:
            yield await self._next.get()


class Site:
    """The cluster part of node a, and all that it deals with."""

    def __init__(self, promoter: object | None = None) -> None:
        self.seat = Seat(Settings()).enter()
        self.runtime, self.settings = self.seat.runtime, self.seat.runtime.settings
        self.manager = Manager(self.runtime.now)
        self.around = Around()
        self.answers: list[tuple[Request, object]] = []
        around: Any = self.around
        self.cluster = Cluster(
            self.runtime,
            self.manager,  # type: ignore[arg-type]
            promoter,  # type: ignore[arg-type]
            presence=around,
            place=around,
            connector=around,
            prober=Prober(self.runtime, around),
        )

    def troubles(self, kind: type[RecordUnwatched | LiveNodesUnwatched | DecisionRefused]) -> list[str]:
        """What was told of this kind of trouble."""
        return [event.reason for event in self.seat.told if isinstance(event, kind)]

    @property
    def standing(self) -> list[str]:
        return [trouble.cause for trouble in self.runtime.troubles.standing()]

    def note_answers(self) -> None:
        """Remember what the core is answered."""
        core = self.seat.core
        answered = core.answered

        def noted(request: Request, answer: Any, now: float) -> None:
            self.answers.append((request, type(answer).__name__))
            answered(request, answer, now)

        core.answered = noted  # type: ignore[method-assign]


def play(main: Callable[[Site], Awaitable[None]], promoter: Callable[[], object] = lambda: None) -> None:
    """Run with a cluster part that has started."""

    async def work() -> None:
        site = Site(promoter())
        await site.cluster.start(info("a"))
        await turns()
        await main(site)
        site.around.ends.clear()
        await site.cluster.stop()
        assert site.seat.engine.errors == []

    run(work())


# --- what it sees ----------------------------------------------------------------------------------


def test_the_start_opens_the_session_with_what_the_node_publishes() -> None:
    async def main(site: Site) -> None:
        assert site.around.opened == [info("a")]

    play(main)


def test_without_a_session_there_is_no_start_and_nothing_goes_on() -> None:
    async def main() -> None:
        site = Site()
        site.around.refuses = Conflict("there is another live session of node 'a'", current=None)
        with pytest.raises(ClusterError, match="another live session"):
            await site.cluster.start(info("a"))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_a_record_that_is_seen_goes_to_the_core_and_to_all_whom_it_concerns() -> None:
    async def main(site: Site) -> None:
        site.manager.record.tell(record(3, None, "a", "b", version=1))
        await turns()
        assert site.seat.core.record is not None and site.seat.core.record.generation == 3
        assert (site.around.ticks, site.around.wakes, site.seat.engine.pokes) == (1, 1, 1)

    play(main)


def test_live_nodes_that_are_seen_are_known_to_all_whom_they_concern() -> None:
    async def main(site: Site) -> None:
        site.manager.live.tell({"b": encode_info(info("b")), "a": b""})
        await turns()
        assert site.runtime.live.names == ["a", "b"]
        assert (site.around.ticks, site.around.wakes) == (1, 1)

    play(main)


@pytest.mark.parametrize(
    ("which", "kind", "value"),
    [("record", RecordUnwatched, None), ("live", LiveNodesUnwatched, {})],
    ids=["record", "live nodes"],
)
def test_a_watch_that_breaks_is_reported_until_another_one_has_seen_something(
    which: str, kind: type[RecordUnwatched | LiveNodesUnwatched], value: object
) -> None:
    async def main(site: Site) -> None:
        watched: Watched = getattr(site.manager, which)
        watched.tell(Unavailable("no quorum"))
        await turns()
        assert site.troubles(kind) == ["no quorum"] and len(site.standing) == 1
        await asyncio.sleep(LONG_S)
        assert len(watched.begun) == 2, "one more, and it has not broken"
        assert len(site.standing) == 1, "it has seen nothing yet"
        watched.tell(value)
        await turns()
        assert site.standing == []
        watched.tell(Watched.END)
        await turns()
        assert site.troubles(kind)[-1] == "the watch has ended"
        assert asyncio.all_tasks() and len(site.standing) == 1

    play(main)


def test_a_watch_that_breaks_all_the_time_is_begun_again_at_longer_delays() -> None:
    async def main(site: Site) -> None:
        watched = site.manager.record
        watched.broken = Unavailable("no quorum")
        watched.tell(Watched.END)
        await asyncio.sleep(LONG_S)
        pauses = [after - before for before, after in pairwise(watched.begun)]
        longest_s = site.settings.record_retry_max_s
        assert pauses[1] <= 2 * site.settings.record_retry_s
        assert all(longest_s / 2 <= pause <= longest_s + 0.001 for pause in pauses[20:])

    play(main)


@pytest.mark.parametrize("lasted_s", [0.0, LONG_S])
def test_a_watch_that_lasted_is_begun_again_soon_and_one_that_works_for_a_moment_is_not(
    lasted_s: float,
) -> None:
    async def main(site: Site) -> None:
        watched = site.manager.record
        for _ in range(10):
            begun = len(watched.begun)
            watched.tell(None)
            await asyncio.sleep(lasted_s)
            watched.tell(Watched.END)
            await turns()
            await asyncio.sleep(2 * site.settings.record_retry_max_s)
            assert len(watched.begun) == begun + 1
        # From the last end to the watch after it.
        ended = site.runtime.now() - 2 * site.settings.record_retry_max_s
        assert (watched.begun[-1] - ended > site.settings.record_retry_s) == (lasted_s == 0.0)

    play(main)


def test_a_refresh_shows_the_core_the_record_of_now() -> None:
    async def main(site: Site) -> None:
        site.manager.answer = record(5, None, "a", version=9)
        await site.cluster.refresh(1.0)
        assert site.seat.core.record is not None and site.seat.core.record.generation == 5
        assert site.seat.engine.pokes == 1

    play(main)


def test_a_refresh_that_gets_no_answer_says_so() -> None:
    async def main(site: Site) -> None:
        site.manager.gate.clear()
        with pytest.raises(ClusterError, match=r"could not be read in 1\.0 s"):
            await site.cluster.refresh(1.0)
        site.manager.gate.set()
        site.manager.answer = Unavailable("no quorum")
        with pytest.raises(Unavailable):
            await site.cluster.refresh(1.0)
        assert site.seat.core.record is None

    play(main)


# --- what it asks ----------------------------------------------------------------------------------


def test_changes_are_made_one_at_a_time_and_answered_in_order() -> None:
    async def main(site: Site) -> None:
        site.note_answers()
        first = record(1, None, "a", version=1)
        create, change = CompareAndSet(None, first.record), CompareAndSet(1, first.record)
        site.manager.gate.clear()
        site.manager.answers = [first, Conflict("it was changed", current=first)]
        for request in (create, change):
            site.cluster.request(request)
        await turns()
        assert [question for _, question in site.manager.asked] == [first.record]
        site.manager.gate.set()
        await turns(20)
        assert [question for _, question in site.manager.asked] == [first.record, 1]
        assert site.answers == [(create, "Applied"), (change, "Lost")]
        assert site.around.wakes == site.seat.engine.pokes == 2
        assert site.standing == [], "to lose is no trouble"

    play(main)


def test_a_change_does_not_wait_for_a_read_that_takes_long() -> None:
    """At a hand-over the next primary would wait for what it asked when its link ended."""

    async def main(site: Site) -> None:
        site.note_answers()
        first = record(1, None, "a", version=1)
        change = CompareAndSet(1, first.record)
        site.manager.gate.clear()
        site.manager.answers = [first]
        for request in (ReadRecord(), ReadRecord(), change):
            site.cluster.request(request)
        await turns()
        assert sorted(str(question) for _, question in site.manager.asked) == ["1", "read"]
        site.manager.gate.set()
        await turns(20)
        assert [question for _, question in site.manager.asked].count("read") == 2, (
            "reads come one after the other"
        )
        assert len(site.answers) == 3

    play(main)


def test_what_the_manager_does_wrong_stands_until_it_answers() -> None:
    async def main(site: Site) -> None:
        site.note_answers()
        site.manager.answers = [Unavailable("no quorum"), OutcomeUnknown("cut off"), None]
        for standing in (["cluster manager"], ["cluster manager"], []):
            site.cluster.request(ReadRecord())
            await asyncio.sleep(LONG_S)
            assert site.standing == standing
        assert [answer for _, answer in site.answers] == ["NotSent", "Unknown", "Read"]

    play(main)


def test_a_manager_that_does_not_answer_has_an_unknown_outcome() -> None:
    async def main(site: Site) -> None:
        site.note_answers()
        site.manager.gate.clear()
        site.cluster.request(ReadRecord())
        await asyncio.sleep(LONG_S)
        assert site.answers == [(ReadRecord(), "Unknown")]
        (standing,) = site.runtime.troubles.standing()
        assert standing.text == f"no answer in {site.settings.record_timeout_s} s"

    play(main)


def test_the_core_waits_longer_for_each_answer_that_fails_and_not_after_one_that_comes() -> None:
    async def main(site: Site) -> None:
        first = record(1, None, "a", version=1)
        answered = site.seat.core.answered

        def again(request: Request, answer: Any, now: float) -> None:
            answered(request, answer, now)
            site.cluster.request(request)  # At once, so that only the delay of this part is seen.

        site.seat.core.answered = again  # type: ignore[method-assign]
        site.manager.answer = Unavailable("no quorum")
        site.cluster.request(ReadRecord())
        await asyncio.sleep(LONG_S)
        settings = site.settings
        longest_s = settings.record_retry_max_s - settings.record_retry_s
        pauses = site.manager.pauses
        assert pauses[0] < 0.001, "the core waits as long by itself"
        assert all(
            settings.record_retry_max_s / 2 - settings.record_retry_s <= pause <= longest_s + 0.001
            for pause in pauses[20:]
        )
        made = len(pauses)
        site.manager.answers = [first, Unavailable("no quorum"), Unavailable("no quorum")]
        await asyncio.sleep(2 * settings.record_retry_max_s)
        assert max(site.manager.pauses[made + 1 : made + 3]) < 0.001, "it begins with the shortest delay"

    play(main)


def test_it_says_for_how_long_a_compare_and_set_has_not_been_resolved() -> None:
    async def main(site: Site) -> None:
        core = site.seat.core
        assert site.cluster.asked_for_s is None
        core.record_seen(record(1, None, "a", version=1), site.runtime.now())
        site.manager.gate.clear()
        core.promote(found_as=core.boot)
        request = core.manager.in_flight
        assert request is not None
        site.cluster.request(request)
        await asyncio.sleep(1.0)
        assert site.cluster.asked_for_s == pytest.approx(1.0, abs=0.001)
        site.cluster.request(request)
        await asyncio.sleep(2.0)
        assert site.cluster.asked_for_s == pytest.approx(3.0, abs=0.001), "the same again is not another one"
        core.record_seen(record(2, ("b", core.boot), "a", "b", version=2), site.runtime.now())
        assert site.cluster.asked_for_s is None, "a watch has resolved it"

    play(main)


# --- what it decides -------------------------------------------------------------------------------


def with_promoter(main: Callable[[Site, Decided], Awaitable[None]]) -> None:
    made: list[Decided] = []

    def promoter() -> Decided:
        made.append(Decided())
        return made[0]

    async def work(site: Site) -> None:
        await main(site, made[0])

    play(work, promoter)


def test_the_promoter_sees_the_node_through_this_part() -> None:
    async def main(site: Site, promoter: Decided) -> None:
        assert promoter.view is site.cluster
        assert site.cluster.node == "a" and site.cluster.records is site.manager  # type: ignore[comparison-overlap]

    with_promoter(main)


def test_a_decision_to_promote_goes_to_the_core() -> None:
    async def main(site: Site, promoter: Decided) -> None:
        site.seat.core.record_seen(record(1, None, "a", version=1), site.runtime.now())
        promoter.decide("promote")
        await turns()
        flight = site.seat.core.manager.in_flight
        assert flight is not None and flight.new.generation == 2
        assert (site.around.did, site.seat.engine.pokes, site.standing) == ([], 1, [])

    with_promoter(main)


def test_a_promoter_that_decides_although_the_node_does_not_stand_claims_its_place() -> None:
    async def main(site: Site, promoter: Decided) -> None:
        site.around.stands = False
        promoter.decide("promote")
        await turns()
        assert site.around.did == ["claim"]

    with_promoter(main)


def test_a_decision_to_demote_is_a_hand_over() -> None:
    async def main(site: Site, promoter: Decided) -> None:
        promoter.decide("demote")
        await turns()
        assert site.around.did == ["hand over"] and site.seat.engine.pokes == 1

    with_promoter(main)


def test_a_refused_decision_is_reported_and_the_next_one_is_taken() -> None:
    async def main(site: Site, promoter: Decided) -> None:
        def refused() -> None:
            raise LocalProtocolError("demote while joining")

        def given_up() -> None:
            raise PromotionRefused("node 'a' has given its place up")

        site.around.hand_over = refused  # type: ignore[method-assign]
        site.around.claim = given_up  # type: ignore[method-assign]
        site.seat.core.record_seen(record(1, None, "b", version=1), site.runtime.now())
        promoter.decide("demote", "promote")
        await turns()
        site.around.stands = False
        promoter.decide("promote")
        await turns()
        demotion, promotion, claim = site.troubles(DecisionRefused)
        assert demotion == "demote while joining"
        assert "not a member" in promotion
        assert claim == "node 'a' has given its place up"
        assert len(site.standing) == 2 and site.seat.engine.pokes == 3

    with_promoter(main)


def test_a_member_that_is_not_primary_is_eligible() -> None:
    async def main() -> None:
        site = Site()
        seat, cluster = site.seat, site.cluster
        assert not cluster.eligible, "its store is of a cluster whose record is gone"
        seat.see(1, None, "b")
        assert not cluster.eligible, "it is no member"
        seat.see(2, "b", "a", "b")
        assert cluster.eligible
        site.around.stands = False
        assert not cluster.eligible, "it leaves the place to others"
        site.around.stands = True
        seat.lead("b", generation=3)
        assert not cluster.eligible, "it is primary"
        seat.core.stop()
        assert not cluster.eligible

    run(main())


def test_without_a_record_an_empty_store_may_found_the_cluster() -> None:
    async def main() -> None:
        site = Site()
        site.seat.core.state.cluster = None
        assert site.cluster.eligible

    run(main())


# --- its end ---------------------------------------------------------------------------------------


def test_a_stop_ends_every_task_and_closes_the_session() -> None:
    async def main() -> None:
        site = Site(Decided())
        await site.cluster.start(info("a"))
        await turns()
        assert len(asyncio.all_tasks()) == 10
        await site.cluster.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert (site.around.closed, site.seat.engine.errors) == (1, [])

    run(main())


def test_a_stop_without_a_start_closes_what_there_may_be() -> None:
    async def main() -> None:
        site = Site()
        await site.cluster.stop()
        assert site.around.closed == 1

    run(main())


def test_a_task_that_loses_its_cancellation_is_cancelled_again() -> None:
    async def main(site: Site) -> None:
        site.around.ignores_cancellation = 3

    play(main)


def test_a_task_that_returns_when_it_is_cancelled_is_no_fault_of_a_stop() -> None:
    async def main(site: Site) -> None:
        site.around.returns_when_cancelled = True

    play(main)


def test_tasks_that_the_end_of_the_loop_cancels_are_no_fault() -> None:
    async def main(site: Site) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await turns()
        assert site.seat.engine.errors == []

    play(main)


def test_a_request_on_its_way_does_not_keep_a_node_from_stopping() -> None:
    async def main(site: Site) -> None:
        site.manager.gate.clear()
        site.cluster.request(ReadRecord())
        await turns()

    play(main)


@pytest.mark.parametrize("bug", [None, KeyError("bug")])
def test_a_task_that_ends_by_itself_ends_the_node(bug: Exception | None) -> None:
    """A node whose watch has ended looks alive and never acts."""

    async def main() -> None:
        site = Site()
        await site.cluster.start(info("a"))
        site.around.bug = bug
        site.around.ends.set()
        await turns()
        errors = site.seat.engine.errors
        if bug is None:
            assert [type(error) for error in errors] == [InvariantError, InvariantError]
            assert {str(error) for error in errors} == {
                "qpidha-connect ended by itself",
                "qpidha-session ended by itself",
            }
        else:
            assert errors == [bug, bug]
        await site.cluster.stop()

    run(main())


@pytest.mark.parametrize("which", ["record", "live"])
def test_a_bug_of_a_record_store_ends_the_node(which: str) -> None:
    async def main() -> None:
        site = Site()
        await site.cluster.start(info("a"))
        bug = KeyError("bug")
        getattr(site.manager, which).tell(bug)
        await turns()
        assert site.seat.engine.errors == [bug]
        await site.cluster.stop()

    run(main())
