"""A catch-up that compares groups of queues ends as one that describes every queue: digests change no plan (C8, C4).

Method: hypothesis draws a few queues, each with the history of a primary and of a backup, most of them equal. The real
sessions of both ends catch up, slice by slice, once by groups and once queue by queue. Meanwhile the primary publishes,
consumes, declares and deletes, at any point between two slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from qpidha import Batch, SequenceSet, Settings
from qpidha.core.backup.applying import Flow
from qpidha.core.backup.session import FollowerSession
from qpidha.core.legality import FollowerState
from qpidha.core.local import LocalQueues
from qpidha.core.outbox import Outbox
from qpidha.core.primary.session import BackupSession, SessionState
from qpidha.core.quarantine import Quarantined
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.journal import Change
from qpidha.types import QueueSpec
from qpidha.wire.events import (
    Declare,
    Drop,
    Event,
    Operations,
    PlanDrop,
    PlanEnd,
    PlanMessages,
    PlanQueue,
    PlanWithdraw,
    Progress,
    Subscribe,
    SubscribeQueue,
)
from qpidha.wire.groups import GroupsDiffer, SubscribeGroups, SubscribeRest
from tests.property.test_core_twins import Twin, change, diverged

GENERATION = 1000
EPOCH = UUID(int=9)
ONE_BY_ONE = 1 << 20
"""More queues for a digest than there are."""


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Twin | None, Twin | None]:
    """One queue, as the primary and as the backup has it; None: it has not."""
    primary, backup = draw(diverged())
    return draw(
        st.sampled_from(
            [(primary, primary)] * 6 + [(primary, backup)] * 2 + [(primary, None), (None, backup)]
        )
    )


PAIRS = st.lists(pairs(), min_size=1, max_size=10)
CHANGES = st.lists(
    st.tuples(st.sampled_from(["publish", "consume", "declare", "delete"]), st.integers(0, 20)), max_size=8
)


def filled(queues: Queues, number: int, twin: Twin) -> None:
    made = queues.make(UUID(int=number), QueueSpec(name=f"q{number}"), twin.lineage, twin.next)
    for generation, id in sorted(twin.held, key=lambda identity: identity[1]):
        made.insert(SequenceSet([id]), Batch.pack([b"%d@%d" % (id, generation)]))
    queues[made.queue] = made


@dataclass
class Pair:
    """The sessions of a primary and a backup, and the link between them."""

    pairs: list[tuple[Twin | None, Twin | None]]
    queues_per_digest: int
    sent: list[Event] = field(default_factory=list)
    persisted: list[Change] = field(default_factory=list)
    position: int = 1

    def __post_init__(self) -> None:
        settings = Settings(
            queues_per_digest=self.queues_per_digest, queues_per_slice=1, plan_chunk_bytes=8,
            plan_chunks_in_flight_max=1, ids_runs_per_chunk_max=2,
        )  # fmt: skip
        self.primary, self.backup = Queues(), Queues()
        for number, (here, there) in enumerate(self.pairs, 1):
            for queues, twin in ((self.primary, here), (self.backup, there)):
                if twin is not None:
                    filled(queues, number, twin)
        self.session = BackupSession(1, "b", UUID(int=8), settings)
        self.out, self.quarantined = Outbox(), Quarantined([])
        self.follower = FollowerSession(
            link=1, node="b", primary="p", generation=GENERATION, cluster=UUID(int=7), queues=self.backup,
            local=LocalQueues(self.backup.make), quarantined=self.quarantined, outbox=self.out, settings=settings,
            flow=Flow(),
        )  # fmt: skip

    def run(self, changes: list[tuple[str, int]]) -> Pair:
        """Catch up, with one of the changes after each slice; what is left of them is streamed."""
        self.follower.subscribe(1, EPOCH, 1, b"k" * 16)
        self.to_primary()
        left = list(changes)
        while self.follower.state is not FollowerState.FOLLOWING or left:
            self.to_backup(self.session.catch_up(self.primary, self.position))
            self.to_primary()
            if self.follower.unfinished:
                self.follower.advance()
                self.to_primary()
            if left:
                self.position += 1
                self.to_backup(self.session.stream(self.changed(*left.pop(0)), 10))
        assert self.session.state is SessionState.STREAMING
        return self

    def to_primary(self) -> None:
        ready = self.out.take()
        self.persisted += ready.persist
        for _, frame in ready.send:
            match frame.event:
                case Subscribe() as event:
                    self.session.subscribe(1, event)
                case SubscribeGroups() as event:
                    self.session.subscribe_groups(1, event)
                case SubscribeRest() as event:
                    self.session.subscribe_rest(event)
                case SubscribeQueue() as event:
                    self.session.subscribe_queue(event)
                case Progress() as event:
                    self.session.progress(event.chunks)
            self.sent.append(frame.event)

    def to_backup(self, events: Iterator[Event]) -> None:
        handlers = {
            GroupsDiffer: self.follower.groups_differ, PlanQueue: self.follower.plan_queue,
            PlanDrop: self.follower.plan_drop, PlanMessages: self.follower.plan_messages,
            PlanWithdraw: self.follower.plan_withdraw, PlanEnd: self.follower.plan_end,
            Operations: self.follower.apply,
        }  # fmt: skip
        for event in list(events):
            self.sent.append(event)
            if type(event) is Operations:
                while self.follower.unfinished:
                    self.follower.advance()
            handlers[type(event)](event)  # type: ignore[operator]

    def changed(self, what: str, choice: int) -> Operations:
        """One operation of the primary."""
        queues = self.primary
        if what == "declare" or not queues:
            number = 100 + self.position
            made = queues.make(UUID(int=number), QueueSpec(name=f"q{number}"), ((GENERATION, 1),), 1)
            queues[made.queue] = made
            part = Declare(queue=made.queue, spec=made.spec, lineage=made.lineage, next=1)
            return Operations(first=self.position, operations=((part,),))
        queue = list(queues.values())[choice % len(queues)]
        if what == "delete":
            del queues[queue.queue]
            return Operations(first=self.position, operations=((Drop(queue=queue.queue),),))
        if what == "publish" or not queue.held:  # Else no id is given out.
            entered(queue)
        return change(queue, self.position, what == "publish", choice)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.sent if isinstance(event, kind)]


def entered(queue: ReplicatedQueue) -> None:
    if not queue.lineage or queue.lineage[-1][0] < GENERATION:
        queue.lineage = (*queue.lineage, (GENERATION, queue.next))


def content(queues: Queues) -> dict[UUID, object]:
    return {
        q.queue: (
            q.lineage,
            q.next,
            [(i, bytes(d)) for ids, b in q.select(q.held) for i, d in zip(ids, b, strict=True)],
        )
        for q in queues.values()
    }


@given(PAIRS, st.integers(1, 4))
def test_digests_and_descriptions_make_the_same_flip(
    pairs: list[tuple[Twin | None, Twin | None]], queues_per_digest: int
) -> None:
    """Without changes meanwhile both catch-ups are about the same instant: the store is given the same changes."""
    by_groups, one_by_one = Pair(pairs, queues_per_digest).run([]), Pair(pairs, ONE_BY_ONE).run([])
    assert content(by_groups.backup) == content(by_groups.primary) == content(one_by_one.backup)
    assert sorted(map(repr, by_groups.persisted)) == sorted(map(repr, one_by_one.persisted))
    assert not one_by_one.of(SubscribeGroups)
    if len(by_groups.of(SubscribeGroups)) and all(here is there for here, there in pairs):
        assert not by_groups.of(PlanQueue) and not by_groups.of(SubscribeQueue)


@given(PAIRS, CHANGES, st.integers(1, 4))
def test_what_changes_meanwhile_is_planned(
    pairs: list[tuple[Twin | None, Twin | None]], changes: list[tuple[str, int]], queues_per_digest: int
) -> None:
    """C4: at PlanEnd, and after what follows it, the backup equals the primary, whatever changed between two slices."""
    pair = Pair(pairs, queues_per_digest).run(changes)
    assert content(pair.backup) == content(pair.primary)
