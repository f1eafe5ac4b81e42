"""What a primary does with messages that are not replicated: alone, and answered from its own disk (LV2, LV3, LV5)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.births import birth_of, born, own_id
from qpidha.core.configuration import queue_object
from qpidha.core.explain import conclude, explain
from qpidha.core.explanation import Verdict
from qpidha.core.keyed import TABLE
from qpidha.core.limits import limits_of
from qpidha.core.ready import Completion, QueueAdded, QueueRemoved, Safe, Settled, Stored
from qpidha.core.steps import (
    Accept,
    DeclareQueue,
    DeleteQueue,
    Erase,
    Forget,
    Move,
    Publish,
    Put,
    Register,
    Step,
)
from qpidha.core.unconfirmed import unconfirmed
from qpidha.errors import ArgumentError, CallerError, NotEnoughMembers, UnknownQueue
from qpidha.journal import DropQueue, Insert, PutQueue, Remove, Skip
from qpidha.types import Level, Position, ProducerSequence, QueueId, QueueSpec, Settle, level_of
from qpidha.wire.events import Copy, Dequeue, Drop, Enqueue, Operation, PlanQueue, Progress, Subscribe
from tests.support.cores import GENERATION, HELLO, OTHER, PEER_EPOCH, QUEUE, SETTINGS, Node

ONE, TWO = Batch.pack([b"one"]), Batch.pack([b"1", b"2"])
ROOM = replace(SETTINGS, window_bytes_max=1 << 20, queues_max=9, operations_bytes=1 << 16)
ME = frozenset({"me"})
SHARED, NONE = Level.CONFIGURATION, Level.NONE


class Room:
    """A primary and one backup, which streams and acknowledges when a test says so."""

    def __init__(self, *, acknowledged: bool = True, min_in_sync: int = 1) -> None:
        self.settings = replace(ROOM, min_in_sync=min_in_sync)
        self.node = Node(self.settings).promoted()
        self.core = self.node.replica
        self.node.say(replace(HELLO, version_max=3, limits=limits_of(ROOM)), session=0)
        self.node.say(Subscribe(epoch=PEER_EPOCH, stored_generation=2, queues=0))
        self.node.say(Progress(chunks=1), Progress(chunks=2))
        if acknowledged:
            self.node.acknowledge(1)
        self.node.forget()

    @property
    def position(self) -> Position:
        assert self.core.primary is not None
        return self.core.primary.position

    def declare(
        self, name: str, level: Level, settle: Settle = Settle.REPLICATED, kind: str = "fifo"
    ) -> QueueId:
        queue, _ = self.core.declare(QueueSpec(name=name, settle=settle, kind=kind), b"", level)
        return queue

    def declared(self, name: str, level: Level, settle: Settle = Settle.REPLICATED) -> QueueId:
        """The same, complete and with nothing left to perform."""
        queue = self.declare(name, level, settle)
        self.node.perform()
        self.node.acknowledge(self.position)
        self.node.forget()
        return queue

    def done(self) -> list[Completion]:
        """What the next `Ready` completes. What it stores is durable then, what it sends is not acknowledged."""
        self.node.forget()
        self.node.perform()
        self.node.replica.primary.check()  # type: ignore[union-attr]
        return self.node.completed

    def operation(self) -> Operation:
        """The newest operation, which was not sent yet."""
        assert self.core.primary is not None
        return self.core.primary._unsealed[-1]

    def ids(self, queue: QueueId) -> list[int]:
        return list(self.core.local[queue].held)


def test_a_queue_of_level_configuration_is_its_object_and_a_queue_here() -> None:
    room = Room()
    queue, position = room.core.declare(QueueSpec(name="s"), b"args", SHARED)
    assert position == room.position == 2 and [type(p) for p in room.operation()] == [Enqueue]
    assert birth_of(queue) is not None and level_of(queue) is SHARED and queue not in room.core.queues
    objects = room.core.state.configuration
    assert objects is not None
    found = queue_object(objects, "s")
    assert found is not None and (found.queue, found.level, found.arguments) == (queue, SHARED, b"args")
    assert room.core.find("s") == queue and room.core.queue(queue) is room.core.local[queue]
    room.node.perform()
    assert PutQueue(queue, QueueSpec(name="s"), ((GENERATION, 1),), 1) in room.node.persisted[-1]
    assert QueueAdded(queue, QueueSpec(name="s")) in room.node.notices


def test_a_queue_of_level_none_is_here_only() -> None:
    room = Room()
    queue, position = room.core.declare(QueueSpec(name="n"), b"", NONE)
    other = room.declare("m", NONE)
    assert (
        (position, room.position) == (0, 1)
        and queue == own_id(GENERATION, 1)
        and other == own_id(GENERATION, 2)
    )
    assert room.core.find("n") == queue and room.core.find("x") is None
    assert room.done() == [Stored(2, GENERATION, ME)] and room.node.sent == []
    assert [type(c) for c in room.node.persisted[0]] == [PutQueue, PutQueue]
    room.core.delete(queue)
    again = room.declare("n", NONE)
    assert again == own_id(GENERATION, 3), "an id is not used again"
    assert room.done() == [Stored(4, GENERATION, ME)]
    assert [type(c) for c in room.node.persisted[0]] == [DropQueue, PutQueue]
    assert QueueRemoved(queue) in room.node.notices and room.core.find("n") == again


@pytest.mark.parametrize("level", [SHARED, NONE])
def test_messages_that_are_not_replicated_are_stored_here_and_answered_from_this_disk(level: Level) -> None:
    """The backup is told of nothing, and nothing waits for it (LV2, LV5)."""
    room = Room()
    q = room.declared("q", level)
    before = room.position
    _, ids = room.core.enqueue(q, TWO)
    assert list(ids) == [1, 2]
    made = room.done()
    assert made == [Stored(1 + (level is NONE), GENERATION, ME), Safe(q, 2, GENERATION, ME)]
    assert room.node.persisted == [[Insert(q, ids, TWO)]] and room.node.sent == []
    _, gone = room.core.dequeue(q, SequenceSet([1, 2]))
    assert list(gone) == [1, 2]
    room.core.skip(q, 3)
    assert [type(c) for c in room.done()] == [Stored]
    assert [type(c) for c in room.node.persisted[0]] == [Remove, Skip] and room.node.sent == []
    assert room.core.dequeue(q, SequenceSet([1]))[1] == SequenceSet()
    assert room.done() == [], "nothing was held, so nothing was done"
    assert room.position == before and room.core.local[q].next == 6
    with pytest.raises(CallerError, match="never given out"):
        room.core.dequeue(q, SequenceSet([99]))


def test_an_answer_waits_until_the_declaration_of_the_queue_is_complete() -> None:
    """Else one history undoes the declaration, and erases what was stored, and the next has it again (LV5)."""
    room = Room()
    q = room.declare("q", SHARED)
    position, _ = room.core.enqueue(q, TWO)
    accepted, _ = room.core.dequeue(q, SequenceSet([1]))
    assert position == accepted == room.position == 2
    assert [type(c) for c in room.done()] == [Stored], "on this disk, and not answered"
    room.node.acknowledge(2)
    assert Settled(2, GENERATION, frozenset({"me", "peer"})) in room.node.completed
    assert Safe(q, 2, GENERATION, ME, SequenceSet([1])) in room.node.completed
    assert room.core.enqueue(q, ONE)[0] < 2, "nothing more waits for the declaration"
    assert Safe(q, 3, GENERATION, ME) in room.done()


def test_after_a_promotion_it_waits_until_the_plan_is_acknowledged() -> None:
    room = Room()
    q, n = room.declared("q", SHARED), room.declared("n", NONE)
    image = Node(room.settings)
    image.replica.local.add(room.core.local[q])
    image.replica.local.add(room.core.local[n])
    for queue in image.replica.local:
        image.replica.out.persist(PutQueue(queue.queue, queue.spec, queue.lineage, queue.next))
    image.promoted()
    image.forget()
    position, _ = image.replica.enqueue(q, ONE)
    image.replica.enqueue(n, ONE)
    assert position == 1
    image.perform()
    assert [c.queue for c in image.completed if isinstance(c, Safe)] == [n], (
        "of level none: it has no declaration"
    )
    image.subscribed()
    image.say(Progress(chunks=1))
    image.acknowledge(1)
    assert Safe(q, 1, GENERATION, ME) in image.completed


def test_with_settle_immediate_what_is_consumed_completes_at_once() -> None:
    room = Room()
    q = room.declare("q", SHARED, Settle.IMMEDIATE)
    room.core.enqueue(q, ONE)
    room.core.dequeue(q, SequenceSet([1]))
    assert Safe(q, 1, GENERATION, ME, SequenceSet([1])) in room.done()


def test_of_a_commit_the_parts_about_local_messages_are_not_sent() -> None:
    """All of it is one transaction here, and one answer (LV2, TX5)."""
    room = Room()
    q, n, t = room.declared("q", SHARED), room.declared("n", NONE), room.declare("t", SHARED, kind=TABLE)
    room.core.enqueue(n, TWO)
    made = room.core.commit(
        [Publish((q, QUEUE), ONE), Accept(n, SequenceSet([1])), Publish((n,), ONE), Put(t, b"k", b"v")]
    )
    assert not made.local and made.position == room.position
    assert [(type(p), p.queue) for p in room.operation()] == [(Enqueue, QUEUE)], (
        "with its content: q is not there"
    )
    assert [list(m.ids) for m in made.made] == [[1], [1], [3], []]
    assert (room.ids(n), room.ids(q), room.ids(t)) == ([2, 3], [1], [1])
    completed = room.done()
    assert [c.queue for c in completed if isinstance(c, Safe)] == [], "the commit has one outcome"
    room.node.acknowledge(room.position)
    answered = [(c.queue, c.upto) for c in room.node.completed if isinstance(c, Safe)]
    assert sorted(answered) == sorted([(n, 3), (q, 1), (QUEUE, 10)])


def test_a_fan_out_to_replicated_queues_is_copied_among_these_only() -> None:
    room = Room()
    n = room.declared("n", NONE)
    room.core.commit([Publish((QUEUE, n, OTHER), ONE)])
    assert [(type(p), p.queue) for p in room.operation()] == [(Enqueue, QUEUE), (Copy, OTHER)]
    assert room.ids(n) == [1]


def test_a_commit_about_local_messages_only_is_not_sent() -> None:
    room = Room()
    q, n = room.declared("q", SHARED), room.declared("n", NONE)
    before = room.position
    made = room.core.commit([Publish((n, q), TWO), Accept(n, SequenceSet())])
    assert (made.local, made.position, room.position) == (True, 1, before), (
        "q has been there since position 1 at least"
    )
    assert room.core.commit([Accept(n, SequenceSet())]).position == 0, (
        "nothing to do, and nothing to wait for"
    )
    assert room.core.commit([Accept(n, SequenceSet())]).local
    done = room.done()
    assert [(c.queue, c.upto) for c in done if isinstance(c, Safe)] == [(n, 2), (q, 2)]
    echo = room.core.commit([Publish((n,), ONE), Accept(QUEUE, SequenceSet())])
    assert (echo.local, echo.position) == (True, before), (
        "an answer about a replicated queue waits for the present (Q7)"
    )
    assert not room.core.commit([Accept(QUEUE, SequenceSet())]).local
    with pytest.raises(ArgumentError, match="by an earlier call"):
        room.core.commit([Publish((n,), ONE), Accept(n, SequenceSet([1])), Accept(n, SequenceSet([1]))])


@pytest.mark.parametrize("level", [SHARED, NONE])
def test_a_move_across_levels_is_an_accept_and_a_publish(level: Level) -> None:
    """A message that comes back is a new one: its origin would say nothing (LV3)."""
    room = Room()
    q = room.declared("q", level)
    position, ids = room.core.move(QUEUE, SequenceSet([1, 2]), q)
    assert list(ids) == [1, 2] and position == room.position
    assert [(type(p), p.queue) for p in room.operation()] == [(Dequeue, QUEUE)]
    assert [b.origin(0) for _, b in room.core.local[q].select(SequenceSet([1]))] == [None]
    assert [c.queue for c in room.done() if isinstance(c, Safe)] == [], "with the accept, not before"
    room.node.acknowledge(room.position)
    position, ids = room.core.move(q, SequenceSet([1]), OTHER)
    (part,) = room.operation()
    assert isinstance(part, Enqueue) and (part.queue, part.batch.origin(0)) == (OTHER, None)
    assert list(part.batch) == [b"message 1"] and room.ids(q) == [2]


def test_a_message_that_leaves_loses_the_place_and_the_origin_that_it_had() -> None:
    room = Room()
    n = room.declared("n", NONE)
    room.core.queues[OTHER].append(Batch.pack([b"m"], [b"p"], [7], [(QUEUE.bytes, 1, 1)]))
    room.core.move(OTHER, SequenceSet([1]), n)
    ((_, batch),) = room.core.local[n].select(SequenceSet([1]))
    assert (list(batch), batch.props(0), batch.order(0), batch.origin(0)) == ([b"m"], b"p", 0, None)


def test_a_publish_that_moves_out_completes_with_the_move_also_with_settle_immediate() -> None:
    """Its message is on this disk only: what the publisher was promised ends with the accept, which is replicated."""
    room = Room()
    q, n = room.declared("q", Level.MESSAGES, Settle.IMMEDIATE), room.declared("n", NONE)
    room.core.enqueue(q, ONE)
    room.core.move(q, SequenceSet([1]), n)
    assert [c for c in room.done() if isinstance(c, Safe)] == []
    room.node.acknowledge(room.position)
    assert Safe(q, 1, GENERATION, frozenset({"me", "peer"}), SequenceSet([1])) in room.node.completed


def test_moves_between_local_queues_stay_here() -> None:
    room = Room()
    q, n = room.declared("q", SHARED), room.declared("n", NONE)
    room.core.enqueue(n, TWO)
    before = room.position
    assert list(room.core.move(n, SequenceSet([2]), q)[1]) == [1]
    assert room.position == before and (room.ids(n), room.ids(q)) == ([1], [1])
    made = room.core.commit([Move(q, SequenceSet([1]), n)])
    assert made.local and (room.ids(n), room.ids(q)) == ([1, 3], [])


def test_a_queue_of_level_configuration_is_deleted_with_its_object() -> None:
    room = Room()
    q = room.declared("q", SHARED)
    room.core.enqueue(q, ONE)
    room.core.delete(q, OTHER)
    assert [type(p) for p in room.operation()] == [Enqueue, Dequeue], (
        "the message, and the object: no queue to drop"
    )
    assert room.core.find("q") is None and q not in room.core.local
    room.node.perform()
    assert DropQueue(q) in room.node.persisted[-1] and QueueRemoved(q) in room.node.notices
    with pytest.raises(UnknownQueue):
        room.core.enqueue(q, ONE)


def test_a_deletion_of_a_replicated_queue_may_keep_its_messages_here() -> None:
    room = Room()
    n = room.declared("n", NONE)
    room.core.delete(QUEUE, n)
    assert [type(p) for p in room.operation()] == [Dequeue, Dequeue, Drop]
    assert len(room.ids(n)) == 8


def test_names_are_shared_by_all_levels() -> None:
    room = Room()
    taken = {"m": Level.MESSAGES, "s": SHARED, "n": NONE}
    queues = {name: room.declared(name, level) for name, level in taken.items()}
    for name in taken:
        for level in Level:
            with pytest.raises(CallerError, match=f"queue '{name}' exists already"):
                room.declare(name, level)
    made = room.core.commit([DeleteQueue(queues["n"]), DeclareQueue(QueueSpec(name="n"))])
    assert level_of(made.declared(1)) is Level.MESSAGES
    made = room.core.commit([DeleteQueue(made.declared(1)), DeclareQueue(QueueSpec(name="n"), level=NONE)])
    assert level_of(made.declared(1)) is NONE and made.declared(1) != queues["n"]
    with pytest.raises(CallerError, match="queue 'x' exists already"):
        room.core.commit([DeclareQueue(QueueSpec(name="x"), level=level) for level in (NONE, Level.MESSAGES)])
    assert room.core.find("x") is None


def test_queues_that_a_commit_declares_take_its_messages() -> None:
    room = Room()
    steps: list[Step] = [DeclareQueue(QueueSpec(name="n"), level=NONE), Publish((0,), ONE)]
    made = room.core.commit(steps)
    assert made.local and room.ids(made.declared(0)) == [1] and room.position == 1
    made = room.core.commit([DeclareQueue(QueueSpec(name="s"), level=SHARED), Publish((0,), ONE)])
    assert not made.local and [type(p) for p in room.operation()] == [Enqueue]
    assert room.ids(made.declared(0)) == [1]
    with pytest.raises(UnknownQueue, match="deleted by the same commit"):
        room.core.commit([DeleteQueue(made.declared(0)), Publish((made.declared(0),), ONE)])


def test_tables_of_every_level_have_keys() -> None:
    room = Room()
    t = room.declare("t", NONE, kind=TABLE)
    assert room.core.commit([Put(t, b"k", b"1"), Put(t, b"k", b"2"), Erase(t, b"other")]).local
    assert room.ids(t) == [2] and room.position == 1
    with pytest.raises(ArgumentError, match="keys"):
        room.core.enqueue(t, ONE)


def test_too_few_members_refuse_nothing_that_no_member_gets() -> None:
    """Nothing waits for another node but a declaration (LV5, J4)."""
    room = Room(min_in_sync=3)
    primary = room.core.primary
    assert primary is not None and primary.minimum.short
    n, m = room.declare("n", NONE), room.declare("m", NONE)
    room.core.enqueue(n, TWO)
    room.core.commit([Accept(n, SequenceSet([1])), Publish((m,), ONE)])
    room.core.move(n, SequenceSet([2]), m)
    room.core.delete(n)
    assert next(type(c) for c in room.done()) is Stored and room.ids(m) == [1, 2]
    refused: list[list[Step]] = [[], [Accept(QUEUE, SequenceSet())], [Publish((m, QUEUE), ONE)]]
    refused += [[Publish((0,), ONE)], [Move(m, SequenceSet([1]), QUEUE)], [DeclareQueue(QueueSpec(name="x"))]]
    refused += [[DeleteQueue(m, QUEUE)], [DeleteQueue(QUEUE)], [Put(QUEUE, b"", b"")]]
    for steps in refused:
        with pytest.raises(NotEnoughMembers):
            room.core.commit(steps)
    with pytest.raises(NotEnoughMembers):
        room.core.enqueue([], ONE)  # type: ignore[arg-type]
    assert primary.position == 1


def test_too_few_members_refuse_what_members_get_of_queues_that_are_not_replicated() -> None:
    """An object that goes with its queue, messages that are moved out of a queue that is deleted, and so on (J4)."""
    room = Room(min_in_sync=3)
    primary = room.core.primary
    assert primary is not None and primary.minimum.short
    n, shared = room.declare("n", NONE), room.declare("shared", SHARED)
    room.core.enqueue(n, TWO)
    declaration, position = DeclareQueue(QueueSpec(name="x"), b"", SHARED), primary.position
    for queue, to in ((n, QUEUE), (shared, None), (shared, n)):
        with pytest.raises(NotEnoughMembers):
            room.core.delete(queue, to)
        with pytest.raises(NotEnoughMembers):
            room.core.commit([DeleteQueue(queue, to)])
    for step in (declaration, Register("ada"), Forget("ada")):
        with pytest.raises(NotEnoughMembers):
            room.core.commit([Accept(n, SequenceSet([1])), step])
    assert primary.position == position and room.ids(n) == [1, 2] and shared in room.core.local
    room.core.commit([Accept(n, SequenceSet([1])), replace(declaration, level=NONE), DeleteQueue(n, shared)])
    assert primary.position == position and room.ids(shared) == [1]


def test_a_backup_is_told_of_the_object_only() -> None:
    """No description, plan or frame names a queue whose messages are not replicated (LV1)."""
    room = Room()
    room.declared("q", SHARED)
    room.declared("n", NONE)
    room.node.forget()
    room.node.say(Subscribe(epoch=PEER_EPOCH, stored_generation=2, queues=0), session=2)
    planned = [e.queue for e in room.node.sent if isinstance(e, PlanQueue)]
    room.node.say(Progress(chunks=1), Progress(chunks=2), Progress(chunks=3), session=2)
    planned += [e.queue for e in room.node.sent if isinstance(e, PlanQueue)]
    objects = room.core.state.configuration
    assert objects is not None
    assert set(planned) <= {QUEUE, OTHER, objects.queue} and planned


def test_no_queue_is_found_by_a_wrong_id() -> None:
    room = Room()
    for wrong in (own_id(GENERATION, 9), born(GENERATION, 9, SHARED), UUID(int=0)):
        with pytest.raises(UnknownQueue):
            room.core.enqueue(wrong, ONE)
        with pytest.raises(UnknownQueue):
            room.core.commit([Publish((wrong,), ONE)])


def test_an_accept_here_does_not_wait_for_a_commit_that_was_made_before() -> None:
    room = Room()
    n = room.declared("n", NONE)
    room.core.enqueue(n, TWO)
    room.done()
    commit = room.core.commit([Accept(n, SequenceSet([1])), Publish((QUEUE,), ONE)])
    position, _ = room.core.dequeue(n, SequenceSet([2]))
    assert position == 0 < commit.position
    assert room.core.primary is not None
    room.core.primary.check()  # Also while what was made waits for the next `Ready`.
    assert [type(c) for c in room.done()] == [Stored]
    assert room.core.primary is not None
    guards = room.core.primary.guards_of(n)
    assert (
        guards.recent.accepted_at(n, 1, room.core.primary.safe),
        guards.recent.accepted_at(n, 2, room.core.primary.safe),
    ) == (commit.position, None)
    assert room.core.primary.guards_of(QUEUE) is not guards
    room.node.acknowledge(commit.position)
    room.node.check()


def test_accepts_that_wait_for_several_declarations_are_kept_in_order() -> None:
    room = Room()
    first, second = room.declare("a", SHARED), room.declare("b", SHARED)
    for queue in (first, second):
        room.core.enqueue(queue, ONE)
    for queue in (second, first):
        room.core.dequeue(queue, SequenceSet([1]))
    assert room.core.primary is not None
    guards = room.core.primary.guards_of(first)
    assert (
        guards.recent.accepted_at(first, 1, room.core.primary.safe),
        guards.recent.accepted_at(second, 1, room.core.primary.safe),
    ) == (2, 3)
    room.done()
    room.node.acknowledge(2)
    assert (
        guards.recent.accepted_at(first, 1, room.core.primary.safe),
        guards.recent.accepted_at(second, 1, room.core.primary.safe),
    ) == (None, 3)
    room.node.check()


def test_a_sequence_of_a_producer_is_used_once_for_a_publish_that_is_not_replicated() -> None:
    """The use is replicated, the message is here (EO1, LV2): its repetition is answered with it."""
    room = Room()
    q = room.declared("q", SHARED)
    epoch = room.core.register("ada").epoch
    first = room.core.publish(q, ONE, ProducerSequence("ada", epoch, 1))
    again = room.core.publish(q, ONE, ProducerSequence("ada", epoch, 1))
    assert (again.queue, list(again.ids), again.repeated) == (q, list(first.ids), 1), "it is pending"
    assert room.ids(q) == [1] and q not in [p.queue for p in room.operation()]
    room.done()
    room.node.acknowledge(room.position)
    assert room.core.publish(q, ONE, ProducerSequence("ada", epoch, 1)).queue is None
    room.node.check()


def test_why_a_message_here_is_safe_or_waits() -> None:
    room = Room()
    q, n = room.declare("q", SHARED), room.declare("n", NONE)
    for queue in (q, n):
        room.core.enqueue(queue, ONE)
    room.done()
    room.core.performed(room.node.clock)

    def verdict(queue: QueueId) -> Verdict:
        return conclude(explain(room.core, queue, 1, None)).verdict

    assert (verdict(q), verdict(n)) == (Verdict.PENDING, Verdict.SAFE)
    found = unconfirmed(room.core)
    assert [(p.queue_name, p.position) for p in found.publishes] == [("q", 2)] and found.queue_count == 1
    assert unconfirmed(room.core, "n").publishes == ()
    room.node.acknowledge(2)
    assert (verdict(q), verdict(n)) == (Verdict.SAFE, Verdict.SAFE)
    room.core.dequeue(q, SequenceSet([1]))
    room.done()
    assert verdict(q) is Verdict.GONE


def test_a_message_of_level_none_waits_for_no_activation() -> None:
    room = Room(acknowledged=False)
    q, n = room.declare("q", SHARED), room.declare("n", NONE)
    room.core.enqueue(n, ONE)
    room.core.enqueue(q, ONE)
    room.done()
    assert conclude(explain(room.core, n, 1, None)).verdict is Verdict.SAFE
    assert conclude(explain(room.core, q, 1, None)).verdict is Verdict.PENDING
