"""The work of a node for many queues is linear in their number, and no single call does all of it.

Method: work is counted, not timed: visits of queues, events of a slice, visits of guards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet, Settings, Settle
from qpidha.core.groups import digest, divided, joined
from qpidha.core.histories import Histories
from qpidha.core.legality import SessionState
from qpidha.core.primary.completion import Guards, QueueGuard
from qpidha.core.primary.session import BackupSession
from qpidha.core.quarantine import Quarantined
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import CloseLink, Doubtful, HandOver, ReadRecord, RoleChanged, Safe, Settled
from qpidha.core.replica import Replica
from qpidha.driver import PORTION, SLICE_MIN, SLICE_S, Done, Driver
from qpidha.journal import (
    Audit,
    Change,
    DropQueue,
    Insert,
    PutQueue,
    PutStatus,
    Quarantine,
    QueueImage,
    Release,
    StoreImage,
    StoreStatus,
)
from qpidha.node.freezing import kept_by
from qpidha.types import Discarded, Fate, Member, QueueId, QueueSpec, Record, Role, Versioned
from qpidha.wire.events import (
    Declare,
    Dequeue,
    Drop,
    Enqueue,
    Established,
    Event,
    Frame,
    Hello,
    Operations,
    PlanDrop,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    PlanWithdraw,
    Progress,
    Refused,
    Resubscribe,
    Subscribe,
    SubscribeQueue,
    Welcome,
)
from qpidha.wire.groups import GroupsDiffer, SubscribeGroups, SubscribeRest

SLICE = 10
SETTINGS = Settings(queues_per_slice=SLICE, queues_per_digest=1000)
"""Every queue is described by itself."""
CLUSTER, A, B = UUID(int=1), UUID(int=10), UUID(int=11)


def queue(n: int, messages: int = 1) -> ReplicatedQueue:
    made = ReplicatedQueue(
        UUID(int=1000 + n), QueueSpec(name=f"q{n}", settle=Settle.REPLICATED), ((1, 1),), 1
    )
    if messages:
        made.append(Batch.pack([b"m"] * messages))
    return made


def queues(count: int, messages: int = 1) -> dict[QueueId, ReplicatedQueue]:
    return {q.queue: q for q in (queue(n, messages) for n in range(count))}


class Session(BackupSession):
    """Counts its visits."""

    def __init__(self) -> None:
        super().__init__(1, "b", UUID(int=7), SETTINGS)
        self.visits = self.staged = 0
        self.subscribe(1, Subscribe(epoch=UUID(int=8), stored_generation=0, queues=0))

    def _of(self, queue: ReplicatedQueue):  # type: ignore[no-untyped-def]
        self.visits += 1
        return super()._of(queue)

    def call(self, content: dict[QueueId, ReplicatedQueue], position: int = 5) -> list[Event]:
        """One slice, whose chunks the backup stages at once."""
        events = list(self.catch_up(content, position))
        chunks = sum(isinstance(e, PlanMessages) for e in events)
        if chunks:
            self.staged += chunks
            self.progress(self.staged)
        return events


def caught_up(count: int) -> tuple[Session, list[list[Event]]]:
    session, content, calls = Session(), queues(count), list[list[Event]]()
    while session.state is SessionState.CATCHING_UP:
        calls.append(session.call(content))
    return session, calls


def test_a_catch_up_visits_each_queue_a_fixed_number_of_times() -> None:
    few, many = caught_up(50)[0], caught_up(400)[0]
    assert many.visits <= 9 * few.visits


def test_no_slice_of_a_catch_up_visits_more_queues_than_it_may() -> None:
    session, calls = caught_up(95)
    planned = [[e.queue for e in call if isinstance(e, PlanQueue)] for call in calls]
    assert all(len(call) <= SLICE for call in planned)
    assert [queue for call in planned for queue in call] == list(queues(95)), "each once, in order"
    assert isinstance(calls[-1][-1], PlanEnd) and calls[-1][-1].queues == 95
    assert not session.unfinished


def test_a_queue_that_changes_after_its_visit_is_planned_again() -> None:
    """The last PlanQueue counts and drops add up: at PlanEnd the plan describes the queues as they are then (C4)."""
    session, content = Session(), queues(25)
    first, *_, last = content.values()
    events = session.call(content)
    ids = first.append(Batch.pack([b"new"]))
    more = Operations(
        first=6, operations=((Enqueue(queue=first.queue, first=ids.first, batch=Batch.pack([b"new"])),),)
    )
    assert list(session.stream(more, 10)) == [], "nothing is streamed before PlanEnd"
    first.remove(SequenceSet([1]))
    late = queue(99)
    content[late.queue] = late
    declared = Declare(queue=late.queue, spec=late.spec, lineage=late.lineage, next=1)
    list(session.stream(Operations(first=7, operations=((declared,),)), 10))
    while session.state is SessionState.CATCHING_UP:
        events += session.call(content, 7)
    planned = [e for e in events if isinstance(e, PlanQueue)]
    assert Counter(e.queue for e in planned) == {**dict.fromkeys(content, 1), first.queue: 2}
    final = {e.queue: e for e in planned}
    assert {q: (e.next, e.held) for q, e in final.items()} == {
        q.queue: (q.next, len(q)) for q in content.values()
    }
    drops = [e for e in events if isinstance(e, PlanDrop)]
    assert [(e.queue, list(e.ids), e.staged) for e in drops] == [(first.queue, [1], True)]
    assert events[-1] == PlanEnd(position=7, queues=26)
    assert final[last.queue].held == 1


def test_a_queue_that_only_lost_messages_after_its_visit_is_planned_again_without_a_copy() -> None:
    session, content = Session(), queues(25)
    first = next(iter(content.values()))
    events = session.call(content)
    first.remove(SequenceSet([1]))
    gone = Dequeue(queue=first.queue, ids=SequenceSet([1]))
    list(session.stream(Operations(first=6, operations=((gone,),)), 10))
    while session.state is SessionState.CATCHING_UP:
        events += session.call(content, 6)
    assert sum(isinstance(e, PlanMessages) and e.queue == first.queue for e in events) == 1
    assert [(list(e.ids), e.staged) for e in events if isinstance(e, PlanDrop)] == [([1], True)]


def test_queues_that_change_all_the_time_do_not_keep_a_catch_up_from_its_end() -> None:
    """A slice visits twice as many queues as have changed since the last one."""
    session, content = Session(), queues(200, messages=0)
    session.call(content)
    hot = list(content.values())[:30]
    calls = 0
    while session.state is SessionState.CATCHING_UP and calls < 100:
        calls += 1
        for q in hot:
            ids = q.append(Batch.pack([b"x"]))
            part = Enqueue(queue=q.queue, first=ids.first, batch=Batch.pack([b"x"]))
            list(session.stream(Operations(first=6, operations=((part,),)), 10))
        session.call(content)
    assert session.state is SessionState.STREAMING
    assert calls < 30


# --- completions ---------------------------------------------------------------------------------------


def test_a_watermark_that_rises_looks_only_at_the_queues_that_it_reaches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = Counter[int]()
    real = QueueGuard.advance

    def advance(self: QueueGuard, safe: int) -> int | None:
        looks[safe] += 1
        return real(self, safe)

    monkeypatch.setattr(QueueGuard, "advance", advance)
    guards = Guards()
    for n in range(1, 1001):
        guards.published(UUID(int=n), Settle.REPLICATED, 1, 1, n)
    for safe in range(1, 1001):
        assert [(q.int, upto) for q, upto, _ in guards.advance(safe)] == [(safe, 1)]
        guards.check(safe)
    assert set(looks.values()) == {1}


@pytest.mark.parametrize("settle", list(Settle))
def test_a_publish_that_was_consumed_or_moved_is_found_when_it_completes(settle: Settle) -> None:
    one, two = UUID(int=1), UUID(int=2)
    guards = Guards()
    guards.published(one, settle, 1, 1, 2)
    guards.published(two, settle, 1, 1, 3)
    guards.moved(one, SequenceSet([1]), two)
    guards.published(one, settle, 2, 2, 4)
    guards.dequeued(one, SequenceSet([2]), 9)
    assert list(guards.advance(2)) == []
    guards.check(2)
    found = {(q, upto) for safe in range(3, 10) for q, upto, _ in guards.advance(safe)}
    assert (one, 2) in found and (two, 1) in found
    guards.check(9)
    guards.dequeued(UUID(int=3), SequenceSet([1]), 10)
    guards.moved(UUID(int=3), SequenceSet([1]), two)
    assert list(guards.advance(10)) == [], "nothing is pending there"


class Counting(UUID):
    """A queue's name that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counting.compared += 1
        return super().__eq__(other)

    __hash__ = UUID.__hash__


def compared_to_take(count: int) -> int:
    """How often ids of queues are compared when one message of each of ``count`` queues leaves quarantine."""
    shelf = [
        Quarantine(Counting(int=n + 1), f"q{n}", 1, SequenceSet([1]), Batch.pack([b"m"]), Fate.REWOUND)
        for n in range(count)
    ]
    kept = Quarantined(shelf)
    messages = tuple(kept.due(Histories(lambda _: None, None)))
    Counting.compared = 0
    assert sum(isinstance(change, Release) for change in kept.taken(messages, 2)) == count == len(messages)
    assert len(kept) == 0
    return Counting.compared


def test_taking_messages_out_of_quarantine_does_not_visit_all_of_it() -> None:
    assert compared_to_take(200) <= 4 * compared_to_take(50) + 200


# --- discarded messages --------------------------------------------------------------------------------


def shelf(count: int, *, alive: int = 0) -> list[Quarantine]:
    """A message in quarantine of each of so many queues; the first ``alive`` of them are known to `queues`."""
    return [
        Quarantine(
            UUID(int=1000 + n if n < alive else 9000 + n), f"q{n}", 1, SequenceSet([1]),
            Batch.pack([b"m"]), Fate.REWOUND,
        )
        for n in range(count)
    ]  # fmt: skip


def promoted(kept: list[Quarantine], **settings: Any) -> Turns:
    """The only member, with 30 queues and this quarantine, at the beginning of its promotion."""
    node = Turns("a", 30, kept=kept, **settings)
    alone = Record(cluster=CLUSTER, generation=2, primary=("a", A), members=frozenset({Member("a", A)}))
    node.replica.record_seen(Versioned(alone, 2), 0.0)
    node.driver.run()
    return node


def handed(node: Turns) -> list[HandOver]:
    return [e for e in node.effects if isinstance(e, HandOver)]


def test_discarded_messages_are_handed_over_in_portions_after_living_ones_were_released() -> None:
    """Both take several turns, and no message that lives is ever handed over (W2)."""
    node = promoted(shelf(45, alive=30))
    releases: list[int] = []
    while node.turn():
        if node.replica.discards._releasing is not None:
            node.replica.discards.hand_over()  # A call for another reason hands over nothing before the releases end.
            assert handed(node) == []
        releases.append(sum(isinstance(c, Release) for commit in node.commits for c in commit))
    assert max(b - a for a, b in pairwise([0, *releases])) <= SLICE
    assert releases[-1] == 30
    found: list[Discarded] = []
    for n in range(2):
        assert len(handed(node)) == n + 1
        portion = handed(node)[n]
        assert len(portion.messages) <= SLICE
        found += portion.messages
        node.replica.handed_over(portion.messages)
        node.driver.run()
        node.turns()
    assert [m.queue.int for m in found] == [9000 + n for n in range(30, 45)]
    assert len(node.replica.quarantined) == 0 and node.replica.still


def test_a_portion_that_the_broker_does_not_take_stops_the_hand_over() -> None:
    node = promoted(shelf(45))
    node.turns()
    (first,) = handed(node)
    node.replica.hand_over_failed(node.clock)
    node.driver.run()
    node.turns()
    assert len(handed(node)) == 1
    node.clock += 100.0
    node.driver.run()
    node.turns()
    again = handed(node)[1]
    assert again.messages == first.messages and len(handed(node)) == 2


def test_discarded_messages_that_are_dropped_are_dropped_in_portions() -> None:
    node = promoted(shelf(45), discard_policy="drop")
    node.turns()
    dropped = [sum(isinstance(c, Release) for c in commit) for commit in node.commits]
    assert sum(dropped) == 45 and max(dropped) <= 2 * SLICE
    assert handed(node) == [] and len(node.replica.quarantined) == 0 and node.replica.still


def test_a_primary_that_steps_down_while_it_releases_messages_hands_nothing_over() -> None:
    node = promoted(shelf(45, alive=30))
    while node.replica.primary is None or not node.replica.primary.established:
        assert node.turn()
    node.see(3, "b")
    node.turns()
    assert handed(node) == [] and node.replica.still


# --- a whole node --------------------------------------------------------------------------------------


class Turns:
    """A replica and its driver, with turns of a loop that are taken one by one."""

    def __init__(
        self,
        node: str,
        count: int,
        *,
        generation: int = 1,
        empty: bool = False,
        kept: Sequence[Quarantine] = (),
        **settings: Any,
    ) -> None:
        content = queues(count)
        self.epoch = A if node == "a" else B
        image = StoreImage(
            StoreStatus(node=node, epoch=self.epoch, cluster=CLUSTER, generation=generation),
            [
                QueueImage(
                    q.queue,
                    q.spec,
                    q.lineage,
                    q.next,
                    [] if empty else [(SequenceSet([1]), Batch.pack([b"m"]))],
                )
                for q in content.values()
            ],
            list(kept),
        )
        self.replica = Replica(
            node=node, boot=self.epoch, image=image, settings=replace(SETTINGS, **settings)
        )
        self.commits: list[list[Change]] = []
        self.sent: list[Frame] = []
        self.effects: list[object] = []
        self.later: list[Callable[[], None]] = []
        self.clock = 0.0
        self.clock_per_send = 0.0
        self.error: BaseException | None = None
        self.driver = Driver(self.replica, self._commit, self, lambda: self.clock, self.later.append)

    def _commit(self, changes: list[Change], done: Done) -> None:
        self.commits.append(changes)
        done(None)

    def send(self, frames) -> None:  # type: ignore[no-untyped-def]
        self.clock += self.clock_per_send
        self.sent += [frame for _, frame in frames]

    def request(self, request: object) -> None: ...

    def complete(self, completion: object) -> None:
        self.clock += 0.001
        self.effects.append(completion)

    def notify(self, notice: object) -> None:
        self.clock += 0.001
        self.effects.append(notice)

    def store_failed(self, error: BaseException) -> None:
        self.error = error

    def turn(self) -> bool:
        """Take one turn of the loop; False: none was requested."""
        works, self.later[:] = list(self.later), []
        for work in works:
            work()
        return bool(works)

    def turns(self) -> int:
        count = 0
        while self.turn():
            count += 1
        return count

    def see(self, generation: int, primary: str) -> None:
        boot = A if primary == "a" else B
        members = frozenset({Member("a", A), Member("b", B)})
        record = Record(cluster=CLUSTER, generation=generation, primary=(primary, boot), members=members)
        self.replica.record_seen(Versioned(record, generation), self.clock)
        self.driver.run()

    def receive(self, event: Event, session: int = 0, generation: int = 1) -> None:
        self.replica.received(1, Frame(generation, session, event), self.clock)
        self.driver.run()


def test_a_promotion_prepares_a_slice_of_the_queues_in_each_turn_and_begins_in_one_transaction() -> None:
    node = Turns("b", 95)
    node.see(2, "b")
    assert node.replica.primary is None and node.replica.activation is not None and node.commits == []
    assert not node.replica.still
    node.replica.promote(found_as=CLUSTER)
    assert node.replica.manager.in_flight is None, "it has won already"
    assert node.turns() >= 8
    assert node.replica.primary is not None and node.replica.generation == 2
    (commit,) = node.commits
    assert [type(change) for change in commit].count(PutQueue) == 1, "the configuration, which is new"
    assert all(q.lineage == ((1, 1),) for q in node.replica.message_queues)


def test_a_record_that_is_seen_again_does_not_begin_a_promotion_again() -> None:
    node = Turns("b", 95)
    node.see(2, "b")
    node.turn()
    begun = node.replica.activation
    node.see(2, "b")
    assert node.replica.activation is begun is not None
    node.turns()
    assert node.replica.generation == 2 and len(node.commits) == 1


def test_a_promotion_that_is_overtaken_while_it_is_prepared_changes_nothing() -> None:
    node = Turns("b", 95)
    node.see(2, "b")
    node.turn()
    node.see(3, "a")
    node.turns()
    assert node.replica.primary is None and node.replica.activation is None and node.commits == []
    assert all(q.lineage == ((1, 1),) for q in node.replica.queues.values())
    node.see(4, "b")
    node.replica.stop()
    node.turns()
    assert node.commits == []


def following(count: int) -> Turns:
    """A backup in its handshake with the primary."""
    node = Turns("b", count)
    node.see(1, "a")
    node.replica.link_opened(1, to="a")
    node.driver.run()
    assert isinstance(node.sent[-1].event, Hello)
    node.receive(Welcome(version=welcomed_version(), cluster=CLUSTER, node="a", boot=A))
    return node


def welcomed_version() -> int:
    from qpidha.wire.version import PROTOCOL_MAX

    return PROTOCOL_MAX


def test_a_backup_describes_a_slice_of_its_queues_in_each_turn() -> None:
    node = following(95)
    described = [sum(isinstance(f.event, SubscribeQueue) for f in node.sent)]
    while node.turn():
        described.append(sum(isinstance(f.event, SubscribeQueue) for f in node.sent))
    assert described[-1] == 95
    assert all(after - before <= 2 * SLICE for before, after in pairwise(described))
    (subscribe,) = [f.event for f in node.sent if isinstance(f.event, Subscribe)]
    assert subscribe.queues == 95


def given_out(count: int) -> dict[QueueId, ReplicatedQueue]:
    """The same queues, after an id of each was skipped: a flip has to write them."""
    content = queues(count)
    for q in content.values():
        q.skip(2)
    return content


def planned(node: Turns, content: dict[QueueId, ReplicatedQueue]) -> None:
    for q in content.values():
        node.receive(PlanQueue(queue=q.queue, spec=q.spec, lineage=q.lineage, next=q.next, held=len(q)), 1)


def test_a_flip_takes_a_slice_in_each_turn_and_is_one_transaction() -> None:
    node = following(40)
    node.turns()
    planned(node, given_out(40))
    node.receive(PlanEnd(position=7, queues=40), 1)
    assert node.commits == [], "it is under way"
    ids, batch = SequenceSet([3]), Batch.pack([b"behind the plan"])
    some = next(iter(node.replica.queues))
    node.receive(Operations(first=8, operations=((Enqueue(queue=some, first=3, batch=batch),),)), 1)
    assert node.turns() > 3
    assert sum(isinstance(change, PutQueue) for change in node.commits[0]) == 40
    assert Insert(some, ids, batch) in [change for commit in node.commits for change in commit]
    assert node.replica.role is Role.READY


def test_frames_that_wait_for_a_flip_are_checked_as_if_they_came_after_it() -> None:
    """Frames after a Resubscribe are of an earlier session and ignored, even if they were held back with it (C3)."""
    node = following(40)
    node.turns()
    planned(node, given_out(40))
    node.receive(PlanEnd(position=7, queues=40), 1)
    node.receive(Resubscribe(), 1)
    node.receive(Established(), 1)
    node.turns()
    assert sum(isinstance(f.event, Subscribe) for f in node.sent) == 2
    assert node.replica.role is Role.CATCH_UP
    assert node.replica.follower.link == 1 and not node.replica.follower.established


@pytest.mark.parametrize("end", ["closed", "replaced", "stopped"])
def test_a_flip_that_has_begun_is_completed_whatever_ends_its_session(end: str) -> None:
    node = following(40)
    node.turns()
    planned(node, given_out(30))
    node.receive(PlanEnd(position=7, queues=30), 1)
    node.turn()
    assert node.commits == []
    if end == "closed":
        node.replica.link_closed(1)
    elif end == "replaced":
        node.replica.link_opened(2, to="a")
    else:
        node.replica.stop()
    node.driver.run()
    assert len(node.replica.queues) == 30
    assert sum(isinstance(change, PutQueue) for change in node.commits[0]) == 30


def test_a_plan_that_contradicts_itself_is_refused_in_whichever_slice_that_is_found() -> None:
    for interrupted in (False, True):
        node = following(40)
        node.turns()
        planned(node, queues(39))
        wrong = list(queues(40).values())[-1]
        node.receive(PlanQueue(queue=wrong.queue, spec=wrong.spec, lineage=wrong.lineage, next=9, held=5), 1)
        node.receive(PlanEnd(position=7, queues=40), 1)
        if interrupted:
            node.replica.link_closed(1)
            node.driver.run()
        node.turns()
        assert node.commits == [] and node.replica.follower.link is None
        assert all(q.next == 2 for q in node.replica.queues.values())


def test_the_queues_of_a_plan_are_counted_until_the_flip() -> None:
    node = following(30)
    node.turns()
    planned(node, queues(30))
    assert node.replica.follower.staged == 30
    node.receive(PlanEnd(position=7, queues=30), 1)
    node.turns()
    assert (node.replica.follower.staged, len(node.replica.queues)) == (0, 30)
    node.replica.link_closed(1)
    assert node.replica.follower.staged == 0


def test_a_plan_ends_only_after_the_queues_were_described() -> None:
    node = following(95)
    node.receive(PlanEnd(position=7, queues=0), 1)
    assert node.replica.follower.link is None


def test_a_primary_catches_a_backup_up_in_slices() -> None:
    node = Turns("a", 95, generation=0, empty=True)
    node.see(1, "a")
    node.turns()
    node.replica.link_opened(1)
    node.receive(
        Hello(version_min=1, version_max=welcomed_version(), cluster=CLUSTER, node="b", boot=B, wanted="a"),
        generation=0,
    )
    node.receive(Subscribe(epoch=B, stored_generation=0, queues=0), 1)
    assert node.turns() >= 8
    assert sum(isinstance(f.event, PlanQueue) for f in node.sent) == 96
    assert isinstance(node.sent[-1].event, PlanEnd)


# --- effects -------------------------------------------------------------------------------------------


def test_operations_that_become_safe_together_are_completed_in_slices_in_order() -> None:
    """A slice leaves the rest incomplete: it is always safe to complete an operation later (O4)."""
    node = Turns("a", 0, generation=0)
    alone = Record(cluster=CLUSTER, generation=1, primary=("a", A), members=frozenset({Member("a", A)}))
    node.replica.record_seen(Versioned(alone, 1), 0.0)
    node.driver.run()
    node.turns()
    primary, at_once = node.replica.primary, 10 * SLICE
    assert primary is not None and primary.safe == 1
    names = []
    for n in range(3 * at_once):
        name, _ = node.replica.declare(QueueSpec(name=f"q{n}", settle=Settle.REPLICATED))
        node.replica.enqueue(name, Batch.pack([b"m"]))
        names.append(name)
    node.effects.clear()
    node.driver.run()
    assert primary.safe == 1 + at_once and not node.replica.still
    primary.check()
    while node.turn():
        primary.check()
    assert primary.safe == primary.position == 1 + 6 * at_once and node.replica.still
    assert [e.upto for e in node.effects if isinstance(e, Settled)] == [1 + n * at_once for n in range(1, 7)]
    assert [e.queue for e in node.effects if isinstance(e, Safe)] == names
    assert len(node.commits) == 2, "what is durable is not stored again"


def many_effects() -> Turns:
    node = Turns("a", 0)
    for n in range(300):
        node.replica.out.complete(Safe(UUID(int=n), 1, 1, frozenset()))
        node.replica.out.notify(RoleChanged(Role.JOINING, n))
    node.driver.run()
    return node


def test_many_effects_are_performed_in_several_turns_in_order() -> None:
    node = many_effects()
    assert SLICE_MIN <= len(node.effects) < 600 and not node.driver.idle
    node.replica.out.notify(RoleChanged(Role.READY, 1000))
    node.driver.run()
    assert node.turns() > 3
    assert [type(e) for e in node.effects[:600]] == [Safe] * 300 + [RoleChanged] * 300
    assert RoleChanged(Role.READY, 1000) not in node.effects[:600]
    assert RoleChanged(Role.READY, 1000) in node.effects[600:], "effects of later inputs come after"
    assert node.driver.idle


def test_a_node_that_fails_between_two_turns_performs_only_effects_that_need_no_disk() -> None:
    node = many_effects()
    before = len(node.effects)
    node.driver.fail(RuntimeError("no more"), node.replica.out.take())
    after = node.effects[before:]
    assert not any(isinstance(e, Safe) for e in after)
    assert sum(isinstance(e, RoleChanged) for e in after) >= 300
    node.turns()
    assert not any(isinstance(e, Safe) for e in node.effects[before:])
    assert isinstance(node.error, RuntimeError)


class Slow(Turns):
    """A node that needs a whole slice for each portion that it sends."""

    def __init__(self) -> None:
        super().__init__("a", 0)
        self.performed_at: list[int] = []
        """After how many effects the core was told that a `Ready` was performed."""
        told = self.replica.performed

        def performed(now: float) -> None:
            self.performed_at.append(len(self.effects))
            told(now)

        self.replica.performed = performed  # type: ignore[method-assign]
        self.driver.run()  # It reports its role.
        self.effects.clear()
        self.performed_at.clear()

    def send(self, frames) -> None:  # type: ignore[no-untyped-def]
        self.clock += SLICE_S + 0.001
        self.effects.append(frames)

    def request(self, request: object) -> None:
        self.effects.append(request)

    def publish(self, frames: int, operations: int) -> None:
        """A `Ready` with an effect of each kind, and so many frames of so many operations on each of two links."""
        part = Enqueue(queue=UUID(int=1), first=1, batch=Batch.pack([b"m"]))
        out = self.replica.out
        for n in range(frames):
            event = Operations(first=1 + n * operations, operations=((part,),) * operations)
            for link in (1, 2):
                out.send(link, Frame(1, 1, event))
        out.request(ReadRecord())
        out.complete(Safe(UUID(int=1), 1, 1, frozenset()))
        out.close(1, "over")
        self.driver.run()

    @property
    def portions(self) -> list[list[tuple[int, Frame]]]:
        return [e for e in self.effects if isinstance(e, list)]


def test_many_operations_are_sent_in_several_turns_before_anything_that_follows() -> None:
    node = Slow()
    node.publish(frames=20, operations=PORTION // 4)
    assert len(node.portions) == 1 and not node.driver.idle and node.performed_at == []
    node.replica.out.send(3, Frame(1, 1, Established()))
    node.driver.run()
    assert node.turns() >= 9
    sent = [frame for portion in node.portions for frame in portion]
    for link in (1, 2):
        firsts = [f.event.first for at, f in sent if at == link and isinstance(f.event, Operations)]
        assert firsts == sorted(firsts) and len(firsts) == 20
    assert all(sum(len(f.event.operations) for _, f in p) <= PORTION for p in node.portions[:-1])
    assert [type(e) for e in node.effects] == [list] * 10 + [ReadRecord, Safe, CloseLink] + [list]
    assert node.performed_at == [13, 14], "the core is told when the last of it has left"
    assert isinstance(sent[-1][1].event, Established), "frames of later inputs come after"
    assert node.driver.idle


def test_the_frames_of_one_slice_leave_in_one_write() -> None:
    """Large batches are few operations, so slices cost no additional system calls."""
    node = Slow()
    node.publish(frames=200, operations=1)
    assert [len(portion) for portion in node.portions] == [400]
    assert node.performed_at == [len(node.effects)] and node.driver.idle


def test_a_node_that_fails_between_two_portions_sends_and_requests_nothing_more() -> None:
    node = Slow()
    node.publish(frames=20, operations=PORTION // 4)
    node.driver.fail(RuntimeError("no more"), node.replica.out.take())
    node.turns()
    assert [type(e) for e in node.effects[:2]] == [list, CloseLink]
    assert not any(isinstance(e, (list, ReadRecord, Safe)) for e in node.effects[1:])
    assert isinstance(node.error, RuntimeError) and node.driver.idle


def test_a_primary_that_steps_down_between_two_portions_reports_it_after_the_effects_taken_before() -> None:
    node = Turns("a", 0, generation=0)
    node.see(1, "a")
    node.turns()
    for n in range(3 * PORTION):
        node.replica.out.send(1, Frame(1, 1, Progress(chunks=n)))
    node.clock_per_send = SLICE_S + 0.001
    node.driver.run()
    assert len(node.sent) == PORTION
    node.see(2, "b")
    assert not any(isinstance(e, Doubtful) for e in node.effects)
    node.turns()
    assert len(node.sent) == 3 * PORTION
    assert any(isinstance(e, Doubtful) for e in node.effects)


def test_changes_in_preparation_are_counted() -> None:
    node = following(40)
    node.turns()
    planned(node, given_out(40))
    assert kept_by(node.replica) == 80
    node.receive(PlanEnd(position=7, queues=40), 1)
    counts = [kept_by(node.replica)]
    while node.turn():
        counts.append(kept_by(node.replica))
    assert max(counts) > 80 and counts[-1] == 40, "changes that are made"


def test_queue_descriptions_of_backups_are_counted() -> None:
    node = Turns("a", 5, generation=0)
    node.see(1, "a")
    node.turns()
    node.replica.link_opened(1)
    node.receive(
        Hello(version_min=1, version_max=welcomed_version(), cluster=CLUSTER, node="b", boot=B, wanted="a"),
        generation=0,
    )
    node.receive(Subscribe(epoch=B, stored_generation=0, queues=2), 1)
    node.receive(SubscribeQueue(queue=UUID(int=1000), lineage=((1, 1),), next=1, held=SequenceSet()), 1)
    assert kept_by(node.replica) == 7


# --- groups of queues (C8) ----------------------------------------------------------------------------

KEY = b"k" * 16


def compared(count: int, **settings: object) -> Turns:
    """A backup that has this many queues, welcomed in version 5, and compares them one by one."""
    node = Turns("b", count, queues_per_digest=1, **settings)
    node.see(1, "a")
    node.replica.link_opened(1, to="a")
    node.driver.run()
    node.receive(Welcome(version=welcomed_version(), cluster=CLUSTER, node="a", boot=A))
    return node


def told(node: Turns) -> list[SubscribeGroups]:
    return [f.event for f in node.sent if isinstance(f.event, SubscribeGroups)]


def test_a_backup_makes_its_digests_in_slices() -> None:
    node = compared(500)
    assert not told(node) and node.turns() >= 500 * 2 // (8 * SLICE) - 2
    assert [len(event.digests) for event in told(node)] == [500]
    assert not any(isinstance(f.event, SubscribeQueue) for f in node.sent)


def test_a_flip_does_not_look_at_queues_of_equal_groups() -> None:
    node = compared(500)
    node.turns()
    node.receive(GroupsDiffer(groups=SequenceSet([1000 % 500, 1001 % 500])), 1)
    described = [f.event for f in node.sent if isinstance(f.event, SubscribeQueue)]
    assert {e.queue.int for e in described} == {1000, 1001}
    some = node.replica.queues[UUID(int=1000)]
    node.receive(PlanQueue(queue=some.queue, spec=some.spec, lineage=some.lineage, next=9, held=len(some)), 1)
    node.receive(PlanWithdraw(queue=UUID(int=1400)), 1)
    node.receive(PlanEnd(position=7, queues=498), 1)
    node.turns()
    (commit,) = node.commits
    assert {type(change) for change in commit} == {PutQueue, DropQueue, Quarantine, Audit, PutStatus}
    assert {change.queue.int for change in commit if isinstance(change, DropQueue)} == {1001, 1400}
    assert len(node.replica.queues) == 498 and node.replica.role is Role.READY


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([GroupsDiffer(groups=SequenceSet())], "GroupsDiffer before SubscribeGroups"),
        ([None, GroupsDiffer(groups=SequenceSet([500]))], "group 500 of 500"),
        ([None, GroupsDiffer(groups=SequenceSet()), GroupsDiffer(groups=SequenceSet())], "while STAGING"),
        ([None, PlanEnd(position=7, queues=500)], "PlanEnd while COMPARING"),
        ([None, GroupsDiffer(groups=SequenceSet()), PlanEnd(position=7, queues=499)], "500 queues and ends with 499"),
        ([None, GroupsDiffer(groups=SequenceSet([0])), PlanWithdraw(queue=UUID(int=1000))], "does not name"),
    ],
)  # fmt: skip
def test_an_answer_that_contradicts_itself_is_refused(events: list[Event | None], why: str) -> None:
    node = compared(500)
    for event in events:
        if event is None:
            node.turns()
        else:
            node.receive(event, 1)
    node.turns()
    assert why in [f.event.reason for f in node.sent if isinstance(f.event, Refused)][-1]
    assert node.commits == []


def test_a_backup_that_falls_behind_compares_its_queues_again() -> None:
    node = compared(50)
    for session in (1, 2):
        node.turns()
        node.receive(GroupsDiffer(groups=SequenceSet()), session)
        node.receive(PlanEnd(position=7, queues=50), session)
        node.turns()
        assert node.replica.role is Role.READY
        node.receive(Resubscribe(), session)
    node.turns()
    first, second, third = told(node)
    assert len({first.key, second.key, third.key}) == 3 and first.digests != second.digests
    assert node.replica.role is Role.CATCH_UP


def test_a_primary_compares_groups_in_slices() -> None:
    content = {q.queue: q for q in (queue(n) for n in range(500))}
    session = BackupSession(1, "b", UUID(int=7), replace(SETTINGS, queues_per_digest=1))
    digests = tuple(digest(KEY, joined(group)) for group in divided(content.values(), 500))
    session.subscribe_groups(
        1, SubscribeGroups(epoch=UUID(int=8), stored_generation=0, key=KEY, digests=digests)
    )
    calls = 0
    sent: list[Event] = []
    while not sent:
        calls += 1
        sent += session.catch_up(content, 5)
        assert session.unfinished or sent
    assert calls >= 500 * 2 // (8 * SLICE) and sent == [GroupsDiffer(groups=SequenceSet())]
    assert list(session.catch_up(content, 5)) == [] and not session.unfinished, "it waits for the backup"
    session.subscribe_rest(SubscribeRest(queues=0))
    assert list(session.catch_up(content, 5)) == [PlanEnd(position=5, queues=500)]


def test_a_queue_of_an_equal_group_that_is_deleted_is_withdrawn_once() -> None:
    """Q9: whether it was deleted before its group was compared, or after."""
    content = queues(500)
    session = BackupSession(1, "b", UUID(int=7), SETTINGS)
    digests = tuple(digest(KEY, joined(group)) for group in divided(content.values(), 500))
    session.subscribe_groups(
        1, SubscribeGroups(epoch=UUID(int=8), stored_generation=0, key=KEY, digests=digests)
    )
    first, *_, last = content
    sent = list(session.catch_up(content, 5))
    for gone in (first, last):
        del content[gone]
        list(session.stream(Operations(first=6, operations=((Drop(queue=gone),),)), 10))
    while not sent:
        sent += session.catch_up(content, 7)
    session.subscribe_rest(SubscribeRest(queues=0))
    sent += session.catch_up(content, 7)
    assert sent == [
        GroupsDiffer(groups=SequenceSet()), PlanWithdraw(queue=first), PlanWithdraw(queue=last),
        PlanEnd(position=7, queues=498),
    ]  # fmt: skip
