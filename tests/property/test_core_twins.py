"""The optimised parts of the core agree with simple twins that keep a Python object for every message.

Method: hypothesis draws whole histories. Two nodes follow the same primaries for a while and then
different ones, so that lineages share a beginning, ids are reused, and generations are empty. The twins
know every message by (generation, id) and need no lineage at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qpidha import Batch, SequenceSet, Settings, Settle
from qpidha.core.lineage import advance, by_generation, generation_of, trim
from qpidha.core.primary.completion import QueueGuard
from qpidha.core.primary.session import BackupSession, SessionState
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.resync import History, judge_all, plan_resync
from qpidha.types import QueueId, QueueSpec
from qpidha.wire.events import (
    Dequeue,
    Enqueue,
    Operations,
    Part,
    PlanDrop,
    PlanMessages,
    Subscribe,
    SubscribeQueue,
)

Identity = tuple[int, int]


# --- resynchronisation ---------------------------------------------------------------------------


@dataclass
class Twin:
    """One node's queue, message by message, beside the lineage form of the same."""

    lineage: tuple[tuple[int, int], ...] = ()
    next: int = 1
    ever: set[Identity] = field(default_factory=set)
    held: set[Identity] = field(default_factory=set)

    def serve(self, generation: int, publishes: int, dequeues: list[int]) -> None:
        """Be primary for a while."""
        self.lineage = advance(self.lineage, generation, self.next)
        for _ in range(publishes):
            self.ever.add((generation, self.next))
            self.held.add((generation, self.next))
            self.next += 1
        for choice in dequeues:
            if self.held:
                self.held.discard(sorted(self.held)[choice % len(self.held)])

    def copy(self) -> Twin:
        return Twin(self.lineage, self.next, set(self.ever), set(self.held))

    @property
    def history(self) -> History:
        return History(self.lineage, self.next, SequenceSet(i for _, i in self.held))


TERM = st.tuples(st.integers(0, 6), st.lists(st.integers(0, 20), max_size=6))


@st.composite
def diverged(draw: st.DrawFn) -> tuple[Twin, Twin]:
    """A primary and a backup whose histories share a beginning."""
    start = draw(st.sampled_from([1, 2**32 - 4, 2**63]))
    generation = 0
    common = Twin(next=start)
    for publishes, dequeues in draw(st.lists(TERM, max_size=3)):
        generation += draw(st.integers(1, 2))
        common.serve(generation, publishes, dequeues)
    pair = common.copy(), common.copy()
    for side, publishes, dequeues in draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.integers(0, 5), st.lists(st.integers(0, 9), max_size=3)),
            max_size=5,
        )
    ):
        generation += 1
        pair[side].serve(generation, publishes, dequeues)
    primary, backup = pair
    if draw(st.booleans()):  # The backup dequeued more, or less, of what both had.
        for identity in sorted(backup.held)[:: draw(st.integers(1, 3))]:
            backup.held.discard(identity)
    return primary, backup


@given(diverged())
def test_the_lineage_plan_is_the_identity_plan(pair: tuple[Twin, Twin]) -> None:
    """C4, G2: keep, drop and send are what comparing (generation, id) pairs would give."""
    primary, backup = pair
    plan = plan_resync(primary.history, backup.history)
    assert set(plan.keep) == {i for _, i in backup.held & primary.held}
    assert set(plan.drop) == {i for _, i in backup.held - primary.held}
    assert set(plan.send) == {i for _, i in primary.held - backup.held}


WHILE_CATCHING_UP = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=8)


@given(diverged(), WHILE_CATCHING_UP)
def test_the_frames_of_a_catch_up_add_up_to_the_plan_at_its_end(
    pair: tuple[Twin, Twin], changes: list[tuple[bool, int]]
) -> None:
    """C4: the chunks that a session sends while the queue changes add up to `plan_resync` at the instant of PlanEnd."""
    primary, backup = pair
    name, settings = (
        UUID(int=7),
        Settings(plan_chunk_bytes=64, plan_chunks_in_flight_max=1, ids_runs_per_chunk_max=2),
    )
    queue = ReplicatedQueue(name, QueueSpec(name="q"), primary.lineage, primary.next)
    for _, id in sorted(primary.held):
        queue.insert(SequenceSet([id]), Batch.pack([b"x" * 40]))
    held = backup.history.held.copy()
    session = BackupSession(1, "B", UUID(int=8), settings)
    session.subscribe(1, Subscribe(epoch=UUID(int=9), stored_generation=0, queues=1))
    session.subscribe_queue(
        SubscribeQueue(queue=name, lineage=backup.lineage, next=backup.next, held=held.copy())
    )
    dropped, staged, chunks, position = SequenceSet(), SequenceSet(), 0, 1
    while session.state is SessionState.CATCHING_UP:
        for event in session.catch_up({name: queue}, position):
            match event:
                case PlanDrop(staged=True):
                    staged -= event.ids
                case PlanDrop():
                    dropped |= event.ids
                case PlanMessages():
                    staged |= event.ids
                    chunks += 1
        if changes and session.state is SessionState.CATCHING_UP:
            publish, choice = changes.pop()
            position += 1
            session_event = change(queue, position, publish, choice)
            list(session.stream(session_event, 100))
        session.progress(chunks)
    plan = plan_resync(queue.history, History(backup.lineage, backup.next, held))
    assert held - dropped == plan.keep
    assert staged == plan.send


def change(queue: ReplicatedQueue, position: int, publish: bool, choice: int) -> Operations:
    """Publish one message, or dequeue one of those held; the operation that says so."""
    if publish or not queue.held:
        batch = Batch.pack([b"y"])
        ids = queue.append(batch)
        part: Part = Enqueue(queue=queue.queue, first=ids.first, batch=batch)
    else:
        gone = SequenceSet([list(queue.held)[choice % len(queue.held)]])
        queue.remove(gone)
        part = Dequeue(queue=queue.queue, ids=gone)
    return Operations(first=position, operations=((part,),))


@given(diverged())
def test_the_verdict_is_what_the_primary_ever_had(pair: tuple[Twin, Twin]) -> None:
    """W1: a message that the backup must drop was dequeued if the primary ever had it; otherwise it is rewound."""
    primary, backup = pair
    gone = SequenceSet(i for _, i in backup.held - primary.held)
    for generation, verdict in judge_all(primary.lineage, primary.next, backup.lineage, gone):
        assert not verdict.unknown
        for id in verdict.dequeued:
            assert (generation, id) in primary.ever
        for id in verdict.rewound:
            assert (generation, id) not in primary.ever


@given(diverged())
def test_a_lineage_names_the_generation_of_every_id(pair: tuple[Twin, Twin]) -> None:
    """Lineage and id together are an identity (N1)."""
    for twin in pair:
        for generation, id in twin.ever:
            assert generation_of(twin.lineage, id) == generation
        everything = SequenceSet(i for _, i in twin.ever)
        assert {(g, i) for g, ids in by_generation(twin.lineage, everything) for i in ids} == twin.ever


@given(st.lists(st.integers(0, 2), min_size=300, max_size=400), st.integers(0, 400))
def test_trimming_changes_no_generation_of_a_held_id(steps: list[int], lowest: int) -> None:
    """G1: after trimming every id from the lowest held one on still has its generation."""
    lineage: tuple[tuple[int, int], ...] = ()
    next = 1
    for generation, publishes in enumerate(steps, 1):
        lineage = advance(lineage, generation, next)
        next += publishes
    lowest = min(lowest + 1, next)
    trimmed = trim(lineage, lowest)
    assert trimmed[-1] == lineage[-1]
    assert len(trimmed) <= len(lineage)
    for id in range(lowest, next):
        assert generation_of(trimmed, id) == generation_of(lineage, id)


# --- delayed completion --------------------------------------------------------------------------


class GuardMatchesTwin(RuleBasedStateMachine):
    """QueueGuard completes exactly the publishes that a list of single messages says, in order (O4–O6)."""

    @initialize(settle=st.sampled_from(list(Settle)))
    def start(self, settle: Settle) -> None:
        self.settle = settle
        self.guard = QueueGuard(settle, 0)
        self.position = 0
        self.safe = 0
        self.next = 1
        self.upto = 0
        self.publishes: list[tuple[list[int], list[int]]] = []
        """(ids, [covering position]) of every publish that the twin has not completed."""
        self.consumed: set[int] = set()

    @rule(count=st.integers(1, 5))
    def publish(self, count: int) -> None:
        self.position += 1
        ids = list(range(self.next, self.next + count))
        self.next += count
        self.guard.published(ids[0], ids[-1], self.position)
        self.publishes.append((ids, [self.position]))

    @rule(choice=st.sets(st.integers(0, 12), min_size=1))
    def dequeue(self, choice: set[int]) -> None:
        ids = {self.next - 1 - c for c in choice if self.next - 1 - c >= 1} - self.consumed
        if not ids:
            return
        self.position += 1
        self.consumed |= ids
        self.guard.dequeued(SequenceSet(ids), self.position)
        if self.settle is Settle.REPLICATED:
            for members, cover in self.publishes:
                if ids & set(members):
                    cover[0] = self.position

    @rule(steps=st.integers(0, 4))
    def advance(self, steps: int) -> None:
        self.safe = min(self.position, self.safe + steps)
        while self.publishes:
            ids, (cover,) = self.publishes[0]
            early = self.settle is Settle.IMMEDIATE and self.consumed.issuperset(ids)
            if cover > self.safe and not early:
                break
            self.upto = ids[-1]
            self.publishes.pop(0)
        before = self.guard.upto
        moved = self.guard.advance(self.safe)
        assert self.guard.upto == self.upto
        assert moved == (self.upto if self.upto != before else None)
        self.guard.check(self.safe)

    @invariant()
    def same_number_pending(self) -> None:
        if hasattr(self, "guard"):
            assert len(self.guard) == len(self.publishes)


TestGuard = GuardMatchesTwin.TestCase


# --- the content of a queue ----------------------------------------------------------------------


class QueueMatchesDict(RuleBasedStateMachine):
    """ReplicatedQueue holds and returns what a dict from id to bytes does, holes and re-used ids included."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = ReplicatedQueue(QueueId(int=1), QueueSpec(name="q"), ((1, 1),), 1)
        self.model: dict[int, bytes] = {}
        self.serial = 0

    def batch(self, count: int) -> tuple[list[bytes], Batch]:
        self.serial += 1
        data = [b"%d.%d" % (self.serial, i) * (400 if self.serial % 3 == 0 else 1) for i in range(count)]
        return data, Batch.pack(data)

    @rule(count=st.integers(1, 8))
    def append(self, count: int) -> None:
        data, batch = self.batch(count)
        ids = self.queue.append(batch)
        self.model.update(zip(ids, data, strict=True))

    @rule(ids=st.sets(st.integers(1, 60), min_size=1, max_size=12))
    def insert_into_holes(self, ids: set[int]) -> None:
        """As a flip does: the ids may be between others, and may have been used before."""
        fresh = sorted(ids - set(self.model))
        if fresh:
            data, batch = self.batch(len(fresh))
            self.queue.insert(SequenceSet(fresh), batch)
            self.model.update(zip(fresh, data, strict=True))

    @rule(ids=st.sets(st.integers(1, 60), min_size=1, max_size=20))
    def remove(self, ids: set[int]) -> None:
        gone = self.queue.remove(SequenceSet(ids))
        assert set(gone) == ids & set(self.model)
        for id in gone:
            del self.model[id]

    @rule(first=st.integers(0, 60), messages=st.integers(1, 10), size=st.integers(1, 3000))
    def read(self, first: int, messages: int, size: int) -> None:
        pieces = list(self.queue.read(first, messages_max=messages, bytes_max=size))
        got = [(id, data) for ids, batch in pieces for id, data in zip(ids, batch, strict=True)]
        expected = sorted((i, d) for i, d in self.model.items() if i >= first)
        assert got == expected[: len(got)]
        assert len(got) <= messages
        assert bool(got) == bool(expected)

    @precondition(lambda self: self.model)
    @rule(step=st.integers(1, 4))
    def select(self, step: int) -> None:
        wanted = sorted(self.model)[::step]
        got = [
            (id, data)
            for ids, batch in self.queue.select(SequenceSet(wanted))
            for id, data in zip(ids, batch, strict=True)
        ]
        assert got == [(id, self.model[id]) for id in wanted]

    @invariant()
    def sound(self) -> None:
        self.queue.check()
        assert list(self.queue.held) == sorted(self.model)


TestQueue = QueueMatchesDict.TestCase
