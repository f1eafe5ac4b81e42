"""What became of a message: each verdict, on the primary, on a backup and for a store, with the facts behind it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.births import born, configuration_id
from qpidha.core.explain import conclude, explain, queue_ref
from qpidha.core.explanation import Explanation, Owes, Place, Verdict
from qpidha.core.origins import LOOKS
from qpidha.core.producers import tagged
from qpidha.core.replica import Replica
from qpidha.core.steps import Accept, Publish, Update
from qpidha.errors import ArgumentError, InvariantError
from qpidha.journal import Quarantine, QueueImage, StoreImage, StoreStatus
from qpidha.types import Fate, Level, Origin, ProducerSequence, QueueSpec, Settle
from tests.support.cores import (
    BOOT,
    CLUSTER,
    EPOCH,
    LINK,
    ME,
    OTHER,
    QUEUE,
    SETTINGS,
    WELCOME,
    Node,
    messages,
)

BATCH = messages(SequenceSet([1]))


def why(
    node: Node | Replica, id: int, queue: UUID | str = QUEUE, generation: int | None = None
) -> Explanation:
    replica = node.replica if isinstance(node, Node) else node
    found = conclude(explain(replica, queue, id, generation))
    assert found.node == "me" and found.id == id
    assert all(found.lines) and found.text == str(found)
    return found


def leading() -> Node:
    """Primary of generation 3 whose only other member follows it."""
    node = Node(replace(SETTINGS, queues_max=9)).promoted().subscribed().work()
    node.acknowledge(1)
    return settled(node)


def settled(node: Node) -> Node:
    """All effects were performed, and the backup has acknowledged everything."""
    sent(node)
    primary = node.replica.primary
    assert primary is not None
    node.acknowledge(primary.position)
    assert primary.safe == primary.position
    return node


def sent(node: Node) -> Node:
    node.perform()
    node.replica.performed(node.clock)
    return node


def alone(node: Node) -> Node:
    """Its backup, of a release that knows no deletions, is disconnected."""
    node.replica.link_closed(LINK)
    return node


def stored(*queues: QueueImage, quarantine: tuple[Quarantine, ...] = ()) -> Replica:
    """A node that has these queues and this quarantine, and no link."""
    status = StoreStatus(node="me", epoch=EPOCH, cluster=CLUSTER, generation=3)
    return Replica(node="me", boot=BOOT, image=StoreImage(status, queues, quarantine), settings=SETTINGS)


def image(
    queue: UUID, name: str, ids: SequenceSet, batch: Batch | None = None, **options: object
) -> QueueImage:
    lineage = options.get("lineage", ((1, 1),))
    next = options.get("next", 10)
    held = [(ids, messages(ids) if batch is None else batch)] if ids else []
    return QueueImage(queue, QueueSpec(name=name), lineage, next, held)  # type: ignore[arg-type]


def shelved(
    id: int, generation: int = 2, fate: Fate = Fate.REWOUND, origin: Origin | None = None, name: str = "full"
) -> Quarantine:
    origins = None if origin is None else [(origin.queue.bytes, origin.generation, origin.id)]
    batch = Batch.pack([b"kept"], origins=origins)
    return Quarantine(QUEUE, name, generation, SequenceSet([id]), batch, fate)


# --- held ----------------------------------------------------------------------------------------


def test_a_publish_waits_for_the_disk_then_for_the_backup_and_is_safe_then() -> None:
    node = leading()
    position, _ = node.replica.enqueue(QUEUE, BATCH)
    found = why(node, 10)
    assert (found.verdict, found.position, found.publish_pending) == (Verdict.PENDING, position, True)
    assert [(w.node, w.owes) for w in found.waits_for] == [("me", Owes.DISK)]
    assert (found.generation, found.as_primary, found.queue_name) == (3, True, "full")
    found = why(sent(node), 10)
    assert [(w.node, w.owes, w.behind, w.joining) for w in found.waits_for] == [
        ("peer", Owes.FOLLOWS, 1, False)
    ]
    assert "node 'peer'" in found.to_do[0]
    found = why(settled(node), 10)
    assert (found.verdict, found.position, found.waits_for, found.to_do) == (Verdict.SAFE, 0, (), [])


def test_a_publish_waits_for_the_earlier_ones_of_its_queue() -> None:
    """The first was accepted since, so it completes with that, and the second after it."""
    node = leading()
    node.replica.enqueue(QUEUE, BATCH)
    second, _ = node.replica.enqueue(QUEUE, BATCH)
    accepted, _ = node.replica.dequeue(QUEUE, SequenceSet([10]))
    assert accepted > second
    assert why(node, 11).position == accepted


def test_a_message_of_an_older_generation_is_safe_when_the_activation_is() -> None:
    node = sent(Node().promoted())
    found = why(node, 3)
    assert (found.verdict, found.position, found.generation) == (Verdict.PENDING, 1, 1)
    assert [(w.node, w.owes) for w in found.waits_for] == [("peer", Owes.ABSENT)]
    node.subscribed().work()
    assert [w.owes for w in why(sent(node), 3).waits_for] == [Owes.CATCHES_UP]
    node.acknowledge(1)
    assert why(node, 3).verdict is Verdict.SAFE


def test_a_backup_says_what_it_holds_and_whom_to_ask() -> None:
    node = Node().following().say(WELCOME, session=0)
    found = why(node, 3)
    assert (found.verdict, found.as_primary, found.primary) == (Verdict.HELD, False, "peer")
    assert found.to_do == ["ask node 'peer' as well: it knows more"]
    assert why(Node(), 3).to_do == ["ask the primary as well: it knows more"]


def test_a_moved_message_that_is_held_says_as_what_it_was_published() -> None:
    node = leading()
    node.replica.move(QUEUE, SequenceSet([5]), OTHER)
    found = why(node, 1, OTHER)
    assert found.published_as == Origin(queue=QUEUE, generation=2, id=5)
    assert any("published as message 5" in line for line in found.lines)


def test_a_message_with_a_sequence_has_that_and_no_origin() -> None:
    """Its copy has the sequence in place of the origin: only the primary that moved it knows where it is."""
    node = leading()
    epoch = node.replica.register("ada").epoch
    sequence = ProducerSequence("ada", epoch, 1)
    node.replica.publish(QUEUE, BATCH, sequence)
    found = why(node, 10)
    assert (found.verdict, found.sequence, found.published_as) == (Verdict.PENDING, sequence, None)
    assert "it has sequence 1 of producer 'ada'" in found.lines
    node.replica.move(QUEUE, SequenceSet([10]), OTHER)
    found = why(node, 10)
    assert (found.verdict, found.place) == (Verdict.MOVED, Place(queue=OTHER, queue_name="empty", id=1))
    assert "it is now message 1 of queue 'empty'" in found.lines
    assert why(node, 1, OTHER).sequence == sequence
    node.replica.forget("ada")
    found = why(node, 1, OTHER)
    assert (found.sequence, found.published_as) == (None, None)


def test_without_backups_a_message_is_safe_when_the_disk_has_it() -> None:
    node = sent(Node().promoted(ME))
    node.replica.enqueue(QUEUE, BATCH)
    node.replica.dequeue(QUEUE, SequenceSet([3]))
    assert why(node, 10).verdict is Verdict.PENDING
    node.perform()  # The `Ready` was taken, and nobody has said that it was performed.
    for id, verdict in ((10, Verdict.PENDING), (3, Verdict.ACCEPTING)):
        found = why(node, id)
        assert (found.verdict, [(w.node, w.owes) for w in found.waits_for]) == (verdict, [("me", Owes.DISK)])
    assert why(node, 4).verdict is Verdict.SAFE
    node.replica.performed(node.clock)
    assert (why(node, 10).verdict, why(node, 3).verdict) == (Verdict.SAFE, Verdict.GONE)


def test_without_backups_a_message_of_an_older_generation_is_safe_when_the_disk_has_the_activation() -> None:
    """A backup that is promoted while its disk hangs may hold messages that are on no disk yet (seed 91000503)."""
    node = Node().promoted(ME)
    node.perform()
    found = why(node, 3)
    assert (found.verdict, found.position, found.publish_pending) == (Verdict.PENDING, 1, True)
    assert [(w.node, w.owes) for w in found.waits_for] == [("me", Owes.DISK)]
    node.replica.performed(node.clock)
    assert why(node, 3).verdict is Verdict.SAFE


# --- not held ------------------------------------------------------------------------------------


@pytest.mark.parametrize("committed", [False, True])
def test_an_accept_is_pending_until_every_member_has_it(committed: bool) -> None:
    node = leading()
    if committed:
        position = node.replica.commit([Accept(QUEUE, SequenceSet([3]))]).position
    else:
        position, _ = node.replica.dequeue(QUEUE, SequenceSet([3]))
    found = why(sent(node), 3)
    assert (found.verdict, found.position, found.publish_pending) == (Verdict.ACCEPTING, position, False)
    assert [w.node for w in found.waits_for] == ["peer"]
    assert why(node, 4).verdict is Verdict.SAFE, "of another message"
    assert why(node, 3, OTHER).verdict is Verdict.NOT_GIVEN, "of another queue"
    found = why(settled(node), 3)
    assert (found.verdict, found.generation, found.to_do) == (Verdict.GONE, 1, [])


def test_a_message_accepted_before_it_was_safe_has_a_publish_that_is_pending_too() -> None:
    node = leading()
    node.replica.enqueue(QUEUE, BATCH)
    node.replica.dequeue(QUEUE, SequenceSet([10]))
    found = why(node, 10)
    assert (found.verdict, found.publish_pending) == (Verdict.ACCEPTING, True)
    assert "its publish is not confirmed yet" in found.lines


def test_what_a_backup_does_not_hold_is_gone_as_far_as_it_knows() -> None:
    found = why(Node(), 7)
    assert (found.verdict, found.generation, found.as_primary) == (Verdict.GONE, 2, False)
    assert found.to_do == ["ask the primary as well: it knows more"]


def test_while_a_plan_is_applied_a_message_may_still_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue has its next id before its messages (simulated walk of changes 12)."""
    node = Node()
    assert not node.replica.follower.flipping
    monkeypatch.setattr(type(node.replica.follower), "flipping", True)
    assert (why(node, 7).verdict, why(node, 5).verdict) == (Verdict.NOT_HERE, Verdict.HELD)


def test_a_moved_message_is_found_where_it_is_now() -> None:
    node = leading()
    node.replica.move(QUEUE, SequenceSet([5]), OTHER)
    place = Place(queue=OTHER, queue_name="empty", id=1)
    found = why(sent(node), 5)
    assert (found.verdict, found.place) == (Verdict.MOVED, place)
    assert found.position and [w.node for w in found.waits_for] == ["peer"]
    assert "that is not safe yet: a failover may undo it" in found.lines
    assert "it is now message 1 of queue 'empty'" in found.lines
    found = why(settled(node), 5)
    assert (found.verdict, found.place, found.position) == (Verdict.MOVED, place, 0)
    assert why(node, 5, generation=2).place == place


def test_the_end_of_a_chain_of_moves_is_known_and_its_middle_only_to_the_primary_that_moved_it() -> None:
    node = leading()
    third, _ = node.replica.declare(QueueSpec(name="third"))
    node.replica.move(QUEUE, SequenceSet([5]), OTHER)
    node.replica.move(OTHER, SequenceSet([1]), third)
    settled(node)
    assert why(node, 5).place == Place(queue=third, queue_name="third", id=1)
    assert why(node, 1, OTHER).place == Place(queue=third, queue_name="third", id=1)
    node.replica.step_down("test")
    assert why(node, 5).place == Place(queue=third, queue_name="third", id=1), "by the first id"
    assert why(node, 1, OTHER).verdict is Verdict.GONE


def test_a_message_with_a_sequence_is_followed_through_moves_and_updates() -> None:
    node = leading()
    third, _ = node.replica.declare(QueueSpec(name="third"))
    sequence = ProducerSequence("ada", node.replica.register("ada").epoch, 1)
    node.replica.publish(QUEUE, Batch.pack([b"x", b"y", b"z"]), sequence)
    node.replica.move(QUEUE, SequenceSet([10, 12]), OTHER)
    node.replica.move(OTHER, SequenceSet([2]), third)
    node.replica.commit([Update(third, SequenceSet([1]), (b"seen",))])
    assert why(node, 10).place == Place(queue=OTHER, queue_name="empty", id=1)
    assert why(node, 11).verdict is Verdict.PENDING, "it was not moved"
    assert why(node, 12).place == Place(queue=third, queue_name="third", id=2)
    node.check()
    node.replica.dequeue(third, SequenceSet([2]))
    assert why(node, 12).verdict is Verdict.GONE
    node.replica.move(QUEUE, SequenceSet([11]), third)
    assert why(node, 11).place == Place(queue=third, queue_name="third", id=3)
    node.replica.delete(third)
    assert why(node, 11).verdict is Verdict.GONE
    node.replica.step_down("test")
    assert why(node, 10).verdict is Verdict.GONE, "another node than the one that moved it, or another term"


def test_an_updated_message_is_found_under_its_new_id() -> None:
    node = leading()
    node.replica.commit([Update(QUEUE, SequenceSet([3]), (b"seen",))])
    found = why(node, 3)
    assert (found.verdict, found.place) == (Verdict.REPLACED, Place(queue=QUEUE, queue_name="full", id=10))
    node.replica.commit([Update(QUEUE, SequenceSet([10]), (b"seen twice",))])
    for id in (3, 10):
        assert why(node, id).place == Place(queue=QUEUE, queue_name="full", id=11)
    node.replica.step_down("test")
    assert why(node, 3).place == Place(queue=QUEUE, queue_name="full", id=11), "on a backup, by the first id"
    assert why(node, 10).verdict is Verdict.GONE


def test_a_move_of_a_publish_that_is_pending_says_so() -> None:
    node = leading()
    node.replica.enqueue(QUEUE, BATCH)
    node.replica.move(QUEUE, SequenceSet([10]), OTHER)
    found = why(node, 10)
    assert (found.verdict, found.publish_pending) == (Verdict.MOVED, True)
    assert "its publish is not confirmed yet" in found.lines


def test_a_store_knows_moves_as_well() -> None:
    ids = SequenceSet([1])
    copy = Batch.pack([b"moved"], origins=[(QUEUE.bytes, 1, 4)])
    replica = stored(image(QUEUE, "full", SequenceSet([5])), image(OTHER, "dead", ids, copy))
    found = why(replica, 4)
    assert (found.verdict, found.place) == (Verdict.MOVED, Place(queue=OTHER, queue_name="dead", id=1))
    assert found.waits_for == () and found.position == 0


def test_what_is_older_than_the_lineage_may_be_anywhere() -> None:
    replica = stored(image(QUEUE, "full", SequenceSet([7]), lineage=((2, 6),)))
    for generation in (None, 1):
        assert why(replica, 3, generation=generation).verdict is Verdict.FORGOTTEN
    copy = Batch.pack([b"moved"], origins=[(QUEUE.bytes, 1, 4)])
    replica = stored(
        image(QUEUE, "full", SequenceSet([7]), lineage=((2, 6),)),
        image(OTHER, "dead", SequenceSet([1]), copy),
    )
    for generation in (None, 1):
        assert why(replica, 4, generation=generation).verdict is Verdict.MOVED


# --- never given out, or by another generation ---------------------------------------------------


def test_an_id_that_was_never_given_out() -> None:
    node = leading()
    for generation in (None, 3, 4):
        found = why(node, 10, generation=generation)
        assert (found.verdict, found.generation) == (Verdict.NOT_GIVEN, generation or 0)
    for generation in (None, 2, 3):
        assert why(Node(), 10, generation=generation).verdict is Verdict.NOT_HERE


def test_a_publish_that_a_failover_undid_is_known_by_its_generation() -> None:
    """Generation 1 gave ids 5 and 12 to messages that were lost; generation 2 gave 5 to another one."""
    for node in (leading(), Node()):
        for id in (5, 12):
            found = why(node, id, generation=1)
            assert (found.verdict, found.generation) == (Verdict.REWOUND, 1)
    assert why(Node(), 5, generation=2).verdict is Verdict.HELD


# --- in quarantine -------------------------------------------------------------------------------


def test_a_rewound_message_waits_in_quarantine_until_its_fate_is_certain() -> None:
    replica = stored(
        image(QUEUE, "full", SequenceSet([5])), quarantine=(shelved(12), shelved(12, generation=1))
    )
    found = why(replica, 12)
    assert (found.verdict, found.generation) == (Verdict.QUARANTINED, 2)
    assert [(kept.generation, kept.fate, kept.decided) for kept in found.kept] == [
        (2, Fate.REWOUND, False),
        (1, Fate.REWOUND, False),
    ]
    assert why(replica, 12, generation=1).generation == 1
    assert why(replica, 12, generation=3).verdict is Verdict.NOT_HERE
    assert any("until that is certain" in line for line in found.lines)


def test_another_message_with_the_id_of_one_in_quarantine_comes_first() -> None:
    replica = stored(image(QUEUE, "full", SequenceSet([5])), quarantine=(shelved(5),))
    found = why(replica, 5)
    assert (found.verdict, found.generation, len(found.kept)) == (Verdict.HELD, 1, 1)
    assert why(replica, 5, generation=2).verdict is Verdict.QUARANTINED


def test_an_undone_move_says_where_the_message_is() -> None:
    origin = Origin(queue=OTHER, generation=1, id=4)
    lost = shelved(12, origin=origin)
    place = Place(queue=OTHER, queue_name="source", id=4)
    replica = stored(
        image(QUEUE, "full", SequenceSet([5])), image(OTHER, "source", SequenceSet([4])), quarantine=(lost,)
    )
    found = why(replica, 12)
    assert (found.verdict, found.published_as, found.place) == (Verdict.QUARANTINED, origin, place)
    assert found.kept[0].fate is Fate.UNDONE_MOVE
    replica = stored(
        image(QUEUE, "full", SequenceSet([5])),
        image(OTHER, "source", SequenceSet([4]), lineage=((3, 1),)),
        quarantine=(lost,),
    )
    found = why(replica, 12)
    assert (found.kept[0].fate, found.place) == (Fate.REWOUND, None), "its publish was undone, too"


def test_what_was_offered_is_being_taken() -> None:
    replica = stored(image(QUEUE, "full", SequenceSet([5])), quarantine=(shelved(12),))
    list(replica.quarantined.due(replica.state.histories))
    assert why(replica, 12).kept[0].offered


def test_a_queue_that_is_gone_is_found_in_quarantine_by_its_name_and_its_uuid() -> None:
    replica = stored(quarantine=(shelved(5, name="lost"),))
    for queue in ("lost", QUEUE):
        found = why(replica, 5, queue)
        assert (found.verdict, found.queue, found.queue_name) == (Verdict.QUARANTINED, QUEUE, "lost")
        assert why(replica, 6, queue).verdict is Verdict.NO_QUEUE


def test_a_message_in_quarantine_has_the_sequence_of_its_producer() -> None:
    """It is no origin, so it is not taken for a message that was moved. Its producer is not known here."""
    lost = replace(shelved(12), batch=tagged(Batch.pack([b"kept"]), (2, 9), 4, in_commit=False))
    found = why(stored(image(QUEUE, "full", SequenceSet([5])), quarantine=(lost,)), 12)
    assert (found.verdict, found.kept[0].fate) == (Verdict.QUARANTINED, Fate.UNKNOWN)
    assert (found.published_as, found.sequence, found.place) == (None, None, None)


# --- the queue -----------------------------------------------------------------------------------


def test_a_deleted_queue_is_known_by_its_uuid() -> None:
    node = leading()
    queue, _ = node.replica.declare(QueueSpec(name="new"))
    node.replica.enqueue(queue, BATCH)
    alone(node).replica.delete(queue)
    assert why(node, 1, queue).verdict is Verdict.DELETED
    assert why(node, 1, "new").verdict is Verdict.NO_QUEUE
    assert why(node, 1, born(1, 77)).verdict is Verdict.NO_QUEUE, "never declared in this history"
    assert why(node, 1, UUID(int=7)).verdict is Verdict.NO_QUEUE, "of a release without a configuration"


def test_what_was_left_of_a_deleted_queue_is_found_where_it_was_moved_to() -> None:
    node = leading()
    queue, _ = node.replica.declare(QueueSpec(name="new"))
    node.replica.enqueue(queue, BATCH)
    alone(node).replica.delete(queue, move_to=OTHER)
    found = why(node, 1, queue)
    assert (found.verdict, found.place) == (Verdict.MOVED, Place(queue=OTHER, queue_name="empty", id=1))


def test_accepts_of_queues_that_are_not_replicated_may_be_covered_in_any_order() -> None:
    node = leading()
    one, _ = node.replica.declare(QueueSpec(name="one"), level=Level.CONFIGURATION)
    two, _ = node.replica.declare(QueueSpec(name="two"), level=Level.NONE)
    for queue in (one, two):
        node.replica.enqueue(queue, BATCH)
        node.replica.dequeue(queue, SequenceSet([1]))
        assert why(node, 1, queue).verdict is (Verdict.ACCEPTING if queue == one else Verdict.GONE)
    sent(node)
    assert node.replica.primary is not None
    node.replica.primary.check()


@pytest.mark.parametrize("level", [Level.CONFIGURATION, Level.NONE])
def test_messages_of_a_queue_that_are_not_replicated(level: Level) -> None:
    node = leading()
    queue, _ = node.replica.declare(QueueSpec(name="local"), level=level)
    node.replica.enqueue(queue, Batch.pack([b"1", b"2", b"3"]))
    pending = why(node, 1, queue)
    assert pending.local
    if level is Level.CONFIGURATION:
        assert (pending.verdict, pending.waits_for[0].owes) == (Verdict.PENDING, Owes.DISK)
    settled(node)
    node.replica.dequeue(queue, SequenceSet([2]))
    node.replica.commit([Update(queue, SequenceSet([3]), (b"seen",))])
    place = Place(queue=queue, queue_name="local", id=4)
    for asked in (queue, "local"):
        found = [why(node, id, asked) for id in (1, 2, 3, 4, 5)]
        assert [each.verdict for each in found] == [
            Verdict.SAFE,
            Verdict.GONE,
            Verdict.REPLACED,
            Verdict.SAFE,
            Verdict.NOT_GIVEN if level is Level.NONE else Verdict.NOT_REPLICATED,
        ]
        assert found[2].place == place and all(each.local and each.to_do == [] for each in found[:4])
        assert found[0].lines[1] == "node 'me' holds it on its disk"


def test_a_table_has_no_messages() -> None:
    node = leading()
    for table in ("$configuration", configuration_id(CLUSTER)):
        with pytest.raises(ArgumentError, match="keys, no messages"):
            explain(node.replica, table, 1)


def test_wrong_questions_are_refused_at_once() -> None:
    replica = Node().replica
    for wrong in ((QUEUE, -1), (QUEUE, "1"), (5, 1), (None, 1), (QUEUE, 1, -1), (QUEUE, 1, "3")):
        with pytest.raises(ArgumentError):
            explain(replica, *wrong)  # type: ignore[arg-type]


def test_a_queue_written_by_hand_is_a_name_or_a_uuid() -> None:
    replica = stored(image(QUEUE, str(OTHER), SequenceSet()))
    assert queue_ref(replica, str(OTHER)) == str(OTHER), "a queue has this name"
    assert queue_ref(replica, str(QUEUE)) == QUEUE
    assert queue_ref(replica, "orders") == "orders"
    assert queue_ref(replica, 7) == 7


def test_a_name_that_cannot_be_encoded_is_that_of_no_queue() -> None:
    replica = Node().promoted().replica
    assert replica.find("\ud800") is None
    assert conclude(explain(replica, "\ud800", 1)).verdict is Verdict.NO_QUEUE
    assert queue_ref(replica, "\ud800") == "\ud800"


# --- time passes while it searches ---------------------------------------------------------------


def searching(node: Node) -> Generator[None, None, Explanation]:
    """An answer that has stopped in its search."""
    node.replica.enqueue(QUEUE, BATCH)
    many = SequenceSet.from_range(1, 2 * LOOKS)
    busy, _ = node.replica.declare(QueueSpec(name="busy"))
    for first in range(0, 2 * LOOKS, 100):
        node.replica.enqueue(busy, messages(SequenceSet.from_range(1, 100)))
        ids = SequenceSet.from_range(first + 1, first + 100)
        node.replica.move(busy, ids, OTHER)
    assert len(node.replica.queues[OTHER]) == len(many)
    answer = explain(node.replica, QUEUE, 7)
    next(answer)
    return answer


def test_the_end_of_the_term_during_a_search_is_noticed() -> None:
    answer_from = leading()
    answer = searching(answer_from)
    answer_from.replica.step_down("test")
    found = conclude(answer)
    assert (found.verdict, found.as_primary) == (Verdict.GONE, False)


def test_the_deletion_of_the_queue_during_a_search_is_noticed() -> None:
    node = leading()
    answer = searching(node)
    alone(node).replica.delete(QUEUE)
    assert conclude(answer).verdict is Verdict.NO_QUEUE


def test_an_accept_that_completes_its_publish_at_once_waits_for_the_publish_before_it() -> None:
    """O6 with settle immediate: the first publish is part of a commit, which nothing completes early (TX7)."""
    node = leading()
    queue, _ = node.replica.declare(QueueSpec(name="at once", settle=Settle.IMMEDIATE))
    settled(node)
    node.replica.enqueue(queue, BATCH)
    node.replica.dequeue(queue, SequenceSet([1]))
    found = why(node, 1, queue)
    assert (found.verdict, found.publish_pending) == (Verdict.ACCEPTING, False)
    node.replica.commit([Publish((queue,), BATCH)])
    node.replica.enqueue(queue, BATCH)
    node.replica.dequeue(queue, SequenceSet([3]))
    found = why(node, 3, queue)
    assert (found.verdict, found.publish_pending) == (Verdict.ACCEPTING, True)


def test_a_check_may_be_of_some_queues_alone() -> None:
    node = leading()
    node.replica.queues[OTHER].next = 0  # Below the first id of its lineage.
    node.replica.check({QUEUE})
    with pytest.raises(InvariantError):
        node.replica.check({QUEUE, OTHER})
