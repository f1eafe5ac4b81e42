"""What a plan brings beyond the limit is set aside, dropped from memory, and adopted where it is (C5)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.backup.flip import Flip, Flipped
from qpidha.core.backup.planned import Planned
from qpidha.core.backup.staging import Staging
from qpidha.core.births import configuration_id
from qpidha.core.bodies import Bodies
from qpidha.core.keyed import TABLE, KeyedQueue
from qpidha.core.local import LocalQueues
from qpidha.core.outbox import Outbox
from qpidha.core.quarantine import Quarantined
from qpidha.core.queues import Queues
from qpidha.core.ready import Inserted
from qpidha.errors import StoreFailed
from qpidha.journal import Adopt, Change, Insert, PutQueue, Remove, Stage, StoreStatus, Unstage
from qpidha.queues import STANDARD_TYPES
from qpidha.testing.sim.content import Content, messages, packed
from qpidha.types import QueueSpec
from qpidha.wire.events import PlanQueue

Q, OTHER = UUID(int=1), UUID(int=2)
LINEAGE = ((1, 1),)
LARGE = 10_000


class Joining:
    """What a backup with a limit has while it joins: a store, queues, and a plan."""

    def __init__(self, limit: int = 0, kind: str = "") -> None:
        self.store = Content(StoreStatus(node="b", epoch=UUID(int=7)))
        self.reads: list[tuple[str, list[int]]] = []
        self.bodies = Bodies(limit, self.read, self.read_staged)
        self.bodies.loaded()
        self.queues = Queues(STANDARD_TYPES, self.bodies)
        self.out = Outbox()
        self.staging = Staging(self.bodies, self.out)
        self.plan: dict[UUID, Planned] = {}
        self.spec = QueueSpec(name="q", kind=kind)

    def read(self, queue: UUID, ids: SequenceSet) -> Batch:
        self.reads.append(("content", list(ids)))
        return packed([self.store.queues[queue].held[id] for id in ids])

    def read_staged(self, queue: UUID, ids: SequenceSet) -> Batch:
        if ids.first not in self.store.staged.get(queue, {}):
            return self.read(queue, ids)
        self.reads.append(("aside", list(ids)))
        return packed([self.store.staged[queue][id] for id in ids])

    def has(self, *ids: int) -> None:
        """The backup has these messages already."""
        queue = self.queues[Q] = self.queues.make(Q, self.spec, LINEAGE, 1)
        self.out.persist(PutQueue(Q, self.spec, LINEAGE, 1))
        held, batch = SequenceSet(ids), Batch.pack([b"old %d" % id for id in ids])
        queue.insert(held, batch)
        self.out.persist(Insert(Q, held, batch))
        self.perform()

    def stage(self, *ids: int, queue: UUID = Q, batch: Batch | None = None, kept: bool = False) -> None:
        planned = self.plan.setdefault(queue, Planned())
        if batch is None:
            batch = Batch.pack(
                [(b"new %d " % id).ljust(1000, b".") for id in ids], [b"%d" % id for id in ids]
            )
        self.staging.add(queue, planned, 1, SequenceSet(ids), batch, kept=kept)

    def perform(self) -> list[Change]:
        """The store commits."""
        changes = self.out.take().persist
        self.bodies.taken()
        self.store.apply(changes)
        self.bodies.performed()
        return changes

    def begin_flip(self, next: int = 100) -> Flip:
        for queue, planned in self.plan.items():
            known = self.queues.get(queue)
            before = 0 if known is None else len(known.held - planned.drop)
            held = before + len(planned.staged_ids - planned.staged_drop)
            planned.meta = PlanQueue(queue=queue, spec=self.spec, lineage=LINEAGE, next=next, held=held)
        local = LocalQueues(self.queues.make)
        return Flip(
            self.queues,
            local,
            self.plan,
            len(self.plan),
            Quarantined([]),
            configuration_id(UUID(int=9)),
            1,
            staging=self.staging,
        )

    def flip(self, next: int = 100) -> Flipped:
        result = self.begin_flip(next).finish()
        self.plan = {}
        self.out.persist(*result.changes)
        return result

    def values(self, queue: UUID = Q) -> dict[int, str]:
        q = self.queues[queue]
        q.check()
        found = [
            (id, m.value.strip())
            for ids, b in q.select(q.held)
            for id, m in zip(ids, messages(b), strict=True)
        ]
        return dict(found)

    def check(self) -> None:
        """Memory and disk agree, and the bodies are counted right."""
        for name, q in self.queues.items():
            disk = {id: m.value.strip() for id, m in self.store.queues[name].held.items()}
            assert self.values(name) == disk
            assert self.store.queues[name].next == q.next
        queues = [q for q in self.queues.values() if not isinstance(q, KeyedQueue)]
        assert self.bodies.nbytes == sum(q.bytes - q.absent_bytes for q in queues)
        assert self.staging.absent_bytes == 0 and not self.store.staged


def kinds(changes: list[Change]) -> list[type[Change]]:
    return [type(change) for change in changes]


def test_what_comes_is_set_aside_dropped_and_adopted_without_being_read() -> None:
    node = Joining()
    node.stage(1, 2)
    node.stage(3, 4, 9)
    assert node.bodies.nbytes > 5000, "it is on no disk yet"
    assert kinds(node.perform()) == [Stage, Stage]
    assert node.bodies.nbytes == 0 and node.staging.absent_bytes > 5000 and not node.queues
    result = node.flip()
    assert (result.inserted, node.reads) == (5, [])
    assert kinds(result.changes) == [PutQueue, Adopt, Unstage]
    notices = [notice for notice in result.notices if isinstance(notice, Inserted)]
    assert [(list(n.ids), n.batch) for n in notices] == [([1, 2], None), ([3, 4, 9], None)]
    q = node.queues[Q]
    assert q.absent_bytes == q.bytes > 5000 and node.staging.absent_bytes == 0
    node.perform()
    assert node.values() == {id: f"new {id}" for id in (1, 2, 3, 4, 9)}
    assert {where for where, _ in node.reads} == {"content"}
    node.check()


def test_until_the_flip_is_durable_its_messages_are_read_where_they_were_set_aside() -> None:
    node = Joining()
    node.has(1, 2)
    node.stage(5, 6)
    node.stage(7)
    node.perform()
    node.flip()
    assert node.bodies.adopting
    assert node.values() == {1: "old 1", 2: "old 2", 5: "new 5", 6: "new 6", 7: "new 7"}
    assert node.reads == [("content", [1, 2]), ("aside", [5, 6]), ("aside", [7])]
    node.bodies.taken()  # A `Ready` without the flip.
    node.values()
    assert node.bodies.nbytes > 3000, "what was read again is no content of the store yet, and stays"
    node.perform()
    assert not node.bodies.adopting
    node.check()


def test_the_old_message_of_an_id_and_the_one_that_is_set_aside_are_told_apart() -> None:
    """The backup holds 2 of a generation that the primary never had: both are in the store until the flip."""
    node = Joining()
    node.has(1, 2)
    node.stage(2, 3)
    node.plan[Q].drop = SequenceSet([2])
    node.perform()
    node.flip()
    assert node.values() == {1: "old 1", 2: "new 2", 3: "new 3"}
    node.perform()
    node.check()


def test_a_plan_that_is_a_small_part_of_the_limit_is_inserted_by_the_flip() -> None:
    node = Joining(8 * LARGE)
    node.stage(1, 2)
    assert node.perform() == []
    assert node.bodies.nbytes > 2000, "it counts, so that other messages make room"
    assert kinds(node.flip().changes) == [PutQueue, Insert]
    node.perform()
    node.check()


def test_what_came_after_a_part_was_set_aside_is_inserted() -> None:
    node = Joining(8 * LARGE)
    for id in range(1, 15):
        node.stage(id)
    assert kinds(node.perform()) == [Stage] * 10
    assert kinds(node.flip().changes) == [PutQueue, *[Insert] * 4, Adopt, Unstage]
    node.perform()
    node.check()


def test_messages_that_were_dequeued_since_are_not_adopted() -> None:
    node = Joining()
    node.stage(1, 2, 3)
    node.stage(4)
    node.stage(5, queue=OTHER)
    node.perform()
    node.plan[Q].staged_drop = SequenceSet([1, 3, 4])
    node.plan[OTHER].staged_drop = SequenceSet([5])
    result = node.flip()
    assert [list(change.ids) for change in result.changes if isinstance(change, Adopt)] == [[2]]
    node.out.persist(Remove(Q, node.queues[Q].remove(SequenceSet([2, 50]))))
    node.perform()
    assert (node.values(), node.values(OTHER)) == ({}, {})
    node.check()


def test_an_index_looks_at_what_is_adopted_and_does_not_keep_it() -> None:
    node = Joining(kind="priority")
    node.stage(1, 2)
    node.stage(3)
    node.perform()
    node.flip()
    assert node.reads == [("aside", [1, 2]), ("aside", [3])]
    assert node.queues[Q].absent_bytes == node.queues[Q].bytes
    node.perform()
    node.check()


def test_what_is_read_between_two_steps_of_a_flip_stays_until_the_flip_is_durable() -> None:
    node = Joining(kind="priority")
    node.stage(1, 2)
    node.stage(3)
    node.perform()
    work = node.begin_flip()
    while 1 not in (q.held if (q := node.queues.get(Q)) is not None else ()):
        work.advance(1)
    assert not work.done and node.values()[1] == "new 1"
    node.out.persist(*work.finish().changes)
    assert node.bodies.nbytes > 1000
    node.perform()
    node.check()


def test_what_is_set_aside_is_not_read_ahead_with_what_is_content() -> None:
    node = Joining()
    node.has(1, 2)
    node.stage(5, 6)
    node.perform()
    node.flip()
    node.bodies.ahead_bytes = 1 << 20
    assert len(node.values()) == 4
    assert node.reads == [("content", [1, 2]), ("aside", [5, 6])]


def test_updated_messages_are_adopted_at_their_places() -> None:
    node = Joining()
    node.stage(1, 2)
    node.stage(8, 9, batch=Batch.pack([b"updated", b"gone"], [b"", b""], [4, 5]))
    node.perform()
    node.plan[Q].staged_drop = SequenceSet([9])
    node.flip()
    places = node.queues[Q].places
    assert places is not None and list(places.ids) == [8] and node.reads == [("aside", [8, 9])]
    node.perform()
    node.check()


def test_a_table_gets_its_messages_into_memory() -> None:
    node = Joining(kind=TABLE)
    node.stage(1, 2)
    node.perform()
    assert node.bodies.nbytes == 0, "what kind of queue it is may be told last"
    result = node.flip()
    table = node.queues[Q]
    assert isinstance(table, KeyedQueue) and table.id_of(b"2") == 2
    assert kinds(result.changes) == [PutQueue, Adopt, Unstage]
    node.perform()
    node.reads.clear()
    node.check()
    assert node.reads == []


def test_a_batch_among_those_that_are_there_is_cut_in_memory() -> None:
    node = Joining()
    node.has(1, 5, 9)
    node.stage(4, 6, 12)
    node.perform()
    node.flip()
    assert node.queues[Q].absent_bytes < node.queues[Q].bytes
    node.perform()
    node.check()
    assert sorted(node.values()) == [1, 4, 5, 6, 9, 12]


@pytest.mark.parametrize("performed", [True, False])
def test_a_plan_that_is_given_up_leaves_nothing(performed: bool) -> None:
    node = Joining()
    node.has(1)
    before = node.bodies.nbytes, node.queues[Q].bytes
    node.stage(2, 3)
    if performed:
        node.perform()
    node.stage(4, kept=True)
    node.out.persist(*node.staging.end(node.plan))
    assert kinds(node.perform())[-1] is Unstage
    assert (node.bodies.nbytes, node.queues[Q].bytes) == before
    assert node.staging.end({}) == []
    node.check()


def test_a_queue_that_is_withdrawn_is_not_set_aside_any_more() -> None:
    node = Joining(8 * LARGE)
    for id in range(1, 12):
        node.stage(id)
    node.stage(1, queue=OTHER)
    node.stage(12)
    node.staging.withdraw(Q, node.plan.pop(Q))
    node.perform()
    node.flip()
    node.perform()
    assert list(node.queues) == [OTHER]
    node.check()


def test_what_must_stay_in_memory_is_inserted() -> None:
    """The configuration: it is looked at while it comes."""
    node = Joining()
    node.stage(1, 2, kept=True)
    assert node.perform() == [] and node.bodies.nbytes == 0
    assert kinds(node.flip().changes) == [PutQueue, Insert]


def test_nothing_is_set_aside_while_a_flip_is_not_durable() -> None:
    """Else a message of the flip and a later one with the same id would be set aside for one queue."""
    node = Joining()
    node.stage(1)
    node.perform()
    node.flip()
    node.staging = Staging(node.bodies, node.out)
    node.stage(2)
    assert Stage not in kinds(node.perform())
    node.stage(3)
    assert kinds(node.perform()) == [Stage, Stage]
    node.flip()
    node.perform()
    node.check()


def test_without_a_limit_or_such_a_store_all_is_in_memory() -> None:
    out = Outbox()
    for bodies in (None, Bodies(0, lambda queue, ids: Batch.pack([b""]))):
        staging, planned = Staging(bodies, out), Planned()
        staging.add(Q, planned, 1, SequenceSet([1]), Batch.pack([bytes(LARGE)]))
        assert out.empty and not planned.staged[0].absent
        assert staging.end({Q: planned}) == []


def test_a_store_that_does_not_give_back_what_a_table_needs_ends_the_flip() -> None:
    node = Joining(kind=TABLE)
    node.stage(1, 2)
    node.perform()
    node.bodies._read_staged = lambda queue, ids: Batch.pack([b"one"])
    with pytest.raises(StoreFailed, match="gave 1 messages back instead of 2"):
        node.flip()
    assert isinstance(node.bodies.failed, StoreFailed) and not node.queues
