"""The flip: messages that it removes, inserts and quarantines, and plans that contradict themselves (C5, W1, W2)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.backup.flip import KEYS_PER_STEP, Flip, Flipped, flip
from qpidha.core.backup.planned import Planned
from qpidha.core.births import born, configuration_id, own_id
from qpidha.core.bodies import Bodies
from qpidha.core.configuration import QueueObject
from qpidha.core.histories import Histories
from qpidha.core.keyed import CONFIGURATION, TABLE, ConfigurationQueue, KeyedQueue
from qpidha.core.lineage import Lineage
from qpidha.core.local import LocalQueues
from qpidha.core.producers import ProducerEntry, producer_key
from qpidha.core.quarantine import Quarantined
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.core.ready import Inserted, QueueAdded, QueueRemoved, Removed
from qpidha.errors import RemoteProtocolError
from qpidha.journal import Audit, DropQueue, Insert, PutQueue, Quarantine, Release, Remove
from qpidha.types import Fate, Level, Origin, QueueSpec
from qpidha.wire.events import PlanQueue

Q, DLQ = UUID(int=1), UUID(int=2)
SPEC = QueueSpec(name="q")


def held(queue: UUID, lineage: Lineage, **messages: str) -> ReplicatedQueue:
    """A backup's queue: ``held(Q, ((1, 1),), _1="one", _3="three")``."""
    made = ReplicatedQueue(queue, SPEC, lineage, 1)
    for name, value in messages.items():
        made.insert(SequenceSet([int(name[1:])]), Batch.pack([value.encode()]))
    return made


def planned(queue: UUID, lineage: Lineage, next: int, count: int) -> Planned:
    return Planned(meta=PlanQueue(queue=queue, spec=SPEC, lineage=lineage, next=next, held=count))


def stage(plan: Planned, generation: int, ids: SequenceSet, *values: str) -> None:
    plan.add(generation, ids, Batch.pack([v.encode() for v in values]))


NOWHERE = Histories(lambda _: None, None)
"""A history without queues."""
OBJECTS = configuration_id(UUID(int=9))


def content(queue: ReplicatedQueue) -> dict[int, bytes]:
    return {i: d for ids, piece in queue.select(queue.held) for i, d in zip(ids, piece, strict=True)}


def run(
    queues: list[ReplicatedQueue], plans: dict[UUID, Planned]
) -> tuple[Flipped, dict[UUID, ReplicatedQueue], Quarantined]:
    all_queues = Queues()
    all_queues.update({q.queue: q for q in queues})
    quarantined = Quarantined([])
    return flip(all_queues, plans, len(plans), quarantined, OBJECTS), all_queues, quarantined


def test_the_same_id_as_an_old_message_and_as_a_new_one() -> None:
    """T01: 2@1 goes to quarantine, 2@2 takes its place, in one transaction and in this order."""
    queue = held(Q, ((1, 1),), _1="one", _2="old")
    plan = planned(Q, ((1, 1), (2, 2)), 3, 2)
    plan.drop = SequenceSet([2])
    stage(plan, 2, SequenceSet([2]), "new")
    result, queues, _ = run([queue], {Q: plan})
    queues[Q].check()
    assert content(queues[Q]) == {1: b"one", 2: b"new"}
    kinds = [type(c) for c in result.changes]
    assert kinds.index(Quarantine) < kinds.index(Remove) < kinds.index(PutQueue) < kinds.index(Insert)
    (kept,) = [c for c in result.changes if isinstance(c, Quarantine)]
    assert (kept.generation, list(kept.ids), list(kept.batch), kept.fate) == (1, [2], [b"old"], Fate.REWOUND)


def test_what_a_flip_inserts_is_durable_with_the_flip_and_not_before() -> None:
    """Other transactions may be performed between two of its slices."""
    bodies = Bodies(1, lambda queue, ids: Batch.pack([b"read"] * len(ids)))
    bodies.loaded()
    queues = Queues(bodies=bodies)
    plans = {id: planned(id, ((1, 1),), 2, 1) for id in (Q, DLQ)}
    for plan in plans.values():
        stage(plan, 1, SequenceSet([1]), "staged")
    work = Flip(queues, LocalQueues(queues.make), plans, 2, Quarantined([]), OBJECTS, 1)
    work.advance(4)
    assert queues[Q].held and not work.done
    bodies.taken()
    bodies.performed()
    assert queues[Q].absent_bytes == 0
    work.finish()
    assert queues[Q].absent_bytes == 0
    bodies.taken()
    bodies.performed()
    assert queues[Q].absent_bytes > 0 < queues[DLQ].absent_bytes
    del queues[Q]
    assert Q not in queues and bodies.nbytes == 0


def test_a_message_that_was_staged_and_then_dequeued_is_dropped() -> None:
    plan = planned(Q, ((1, 1),), 5, 2)
    stage(plan, 1, SequenceSet([1, 2, 4]), "one", "two", "four")
    plan.staged_drop = SequenceSet([2])
    _, queues, _ = run([], {Q: plan})
    assert content(queues[Q]) == {1: b"one", 4: b"four"}
    assert queues[Q].next == 5


def test_messages_dequeued_by_the_primary_are_erased_and_those_it_never_had_are_quarantined() -> None:
    queue = held(Q, ((1, 1),), _1="settled", _2="settled too", _3="rewound")
    plan = planned(Q, ((1, 1), (2, 3)), 3, 0)
    plan.drop = SequenceSet([(1, 3)])
    result, _, quarantined = run([queue], {Q: plan})
    assert (result.erased, result.discarded) == (2, 1)
    assert [(d.id, d.generation, d.fate, d.data) for d in quarantined.due(NOWHERE)] == [
        (3, 1, Fate.REWOUND, b"rewound")
    ]
    (line,) = [c for c in result.changes if isinstance(c, Audit)]
    assert (line.event, line.generation, line.queue) == ("rewound", 1, "q")
    assert line.detail.startswith("rewound: 1 messages")


def test_messages_older_than_the_primarys_lineage_are_unknown() -> None:
    queue = held(Q, ((1, 1),), _1="old")
    plan = planned(Q, ((5, 9),), 9, 0)
    plan.drop = SequenceSet([1])
    _, _, quarantined = run([queue], {Q: plan})
    assert [d.fate for d in quarantined.due(NOWHERE)] == [Fate.UNKNOWN]


def test_a_queue_the_primary_does_not_have_is_quarantined_whole() -> None:
    """R-f: never deleted because it is absent."""
    result, queues, quarantined = run([held(Q, ((1, 1),), _1="one")], {})
    assert queues == {}
    assert len(quarantined) == 1
    assert isinstance(result.changes[-1], DropQueue)
    assert QueueRemoved(Q) in result.notices


def objects(lineage: Lineage, **keys: str) -> KeyedQueue:
    """A configuration: ``objects(((1, 1),), _1="a")`` has the key "a" with id 1."""
    spec = QueueSpec(name=CONFIGURATION, kind=CONFIGURATION)
    made = KeyedQueue(OBJECTS, spec, lineage, 1)
    for name, key in keys.items():
        made.insert(SequenceSet([int(name[1:])]), Batch.pack([b""], props=[key.encode()]))
    return made


def test_a_queue_that_was_deleted_is_erased_with_all_it_holds() -> None:
    """Its birth is in the history of the primary's objects (Q4)."""
    queue = born(1, 2)
    plan = planned(OBJECTS, ((1, 1),), 3, 0)
    plan.drop = SequenceSet([2])
    own = objects(((1, 1),), _2="queue")
    result, queues, quarantined = run([held(queue, ((1, 1),), _1="one", _2="two"), own], {OBJECTS: plan})
    assert list(queues) == [OBJECTS]
    assert not len(quarantined)
    assert result.erased == 3, "two messages, and the object"
    (audit,) = [c for c in result.changes if isinstance(c, Audit)]
    assert (audit.generation, audit.detail) == (1, "deleted: 2 messages")
    assert QueueRemoved(queue) in result.notices


def test_queues_of_a_release_without_objects_are_judged_by_the_births_in_their_objects() -> None:
    """Their uuids do not tell when they were declared (Q3); this node's configuration before the flip does."""
    olds = [UUID("12345678-1234-4678-9234-567812345678"), UUID("12345678-1234-4678-9234-567812345679")]
    own = ConfigurationQueue(OBJECTS, QueueSpec(name=CONFIGURATION, kind=CONFIGURATION), ((1, 1),), 1)
    made = [
        QueueObject(queue=old, spec=QueueSpec(name=f"{n}"), birth=(1, n + 1)) for n, old in enumerate(olds)
    ]
    own.append(Batch.pack([each.encode() for each in made], props=[each.key for each in made]))
    plan = planned(OBJECTS, ((1, 1),), 3, 0)
    plan.drop = SequenceSet([1, 2])
    result, queues, quarantined = run(
        [*(held(old, ((1, 1),), _1="one") for old in olds), own], {OBJECTS: plan}
    )
    assert list(queues) == [OBJECTS] and not len(quarantined)
    details = [change.detail for change in result.changes if isinstance(change, Audit)]
    assert details == ["deleted: 1 messages"] * 2


def test_a_queue_whose_declaration_is_undone_is_quarantined_whole() -> None:
    """Its birth is above what the primary has of the history of its objects: it was never there (Q4, R-c)."""
    queue = born(1, 2)
    plan = planned(OBJECTS, ((1, 1), (2, 2)), 3, 1)
    plan.drop = SequenceSet([2])
    stage(plan, 2, SequenceSet([2]), "another object")
    own = objects(((1, 1),), _2="queue")
    result, _, quarantined = run([held(queue, ((1, 1),), _1="one", _2="two"), own], {OBJECTS: plan})
    assert [(d.data, d.fate) for d in quarantined.due(NOWHERE)] == [
        (b"one", Fate.REWOUND),
        (b"two", Fate.REWOUND),
    ]
    assert QueueRemoved(queue) in result.notices


def test_a_table_whose_declaration_is_undone_is_erased_and_the_audit_says_so() -> None:
    """What it held are values of keys, which nobody publishes again: nothing is handed over."""
    table = KeyedQueue(born(1, 2), QueueSpec(name="t", kind=TABLE), ((1, 1),), 1)
    table.insert(SequenceSet([1]), Batch.pack([b"value"], props=[b"key"]))
    plan = planned(OBJECTS, ((1, 1), (2, 2)), 2, 0)
    plan.drop = SequenceSet([2])
    result, _, quarantined = run([table, objects(((1, 1),), _2="t")], {OBJECTS: plan})
    assert not len(quarantined)
    audits = [c.detail for c in result.changes if isinstance(c, Audit)]
    assert audits == ["undone: 1 messages", "undone: 1 puts, SequenceSet({2})"]


def test_puts_that_the_primary_replaced_are_erased_without_an_audit() -> None:
    plan = planned(OBJECTS, ((1, 1),), 4, 0)
    plan.drop = SequenceSet([2])
    result, queues, _ = run([objects(((1, 1),), _2="a")], {OBJECTS: plan})
    assert not queues[OBJECTS].held
    assert (result.erased, [c for c in result.changes if isinstance(c, Audit)]) == (1, [])


def test_a_rewound_copy_keeps_its_origin_in_quarantine() -> None:
    """The flip does not judge it: the history followed now may never be established (W2)."""
    queue = ReplicatedQueue(DLQ, SPEC, ((1, 1),), 1)
    queue.append(Batch.pack([b"moved"], origins=[(Q.bytes, 1, 7)]))
    plan = planned(DLQ, ((2, 1),), 1, 0)
    plan.drop = SequenceSet([1])
    result, _, quarantined = run([queue], {DLQ: plan})
    (kept,) = [c for c in result.changes if isinstance(c, Quarantine)]
    assert (kept.fate, kept.batch.origin(0)) == (Fate.REWOUND, (Q.bytes, 1, 7))
    (discarded,) = quarantined.due(Histories(lambda queue: (((1, 1),), 8) if queue == Q else None, None))
    assert discarded.fate is Fate.UNDONE_MOVE
    assert discarded.origin == Origin(queue=Q, generation=1, id=7)


def test_messages_of_a_later_history_leave_quarantine_silently() -> None:
    """A09: the discarded message came back with another primary."""
    queue = held(Q, ((1, 1),), _1="one")
    plan = planned(Q, ((2, 1),), 1, 0)
    plan.drop = SequenceSet([1])
    _, queues, quarantined = run([queue], {Q: plan})
    later = planned(Q, ((1, 1), (3, 2)), 2, 1)
    stage(later, 1, SequenceSet([1]), "one")
    result = flip(queues, {Q: later}, 1, quarantined, OBJECTS)
    assert [type(c) for c in result.changes].count(Release) == 1
    assert list(quarantined.due(NOWHERE)) == []
    assert len(quarantined) == 0


def test_a_message_is_handed_over_once_unless_it_was_not_taken() -> None:
    _, _, quarantined = run([held(Q, ((1, 1),), _1="one", _2="two")], {})
    first = tuple(quarantined.due(NOWHERE))
    assert [d.id for d in first] == [1, 2]
    assert list(quarantined.due(NOWHERE)) == []
    quarantined.withdraw()
    assert tuple(quarantined.due(NOWHERE)) == first
    release, audit = quarantined.taken(first[:1], 2)
    assert isinstance(release, Release)
    assert isinstance(audit, Audit)
    assert release.ids == SequenceSet([1])
    quarantined.withdraw()
    assert [d.id for d in quarantined.due(NOWHERE)] == [2]


def contradictions() -> list[tuple[str, Planned]]:
    """Plans for a backup that holds 1@1 and 2@1."""
    lineage = ((1, 1),)
    made: list[tuple[str, Planned]] = [("without a PlanQueue", Planned())]

    def add(what: str, plan: Planned) -> Planned:
        made.append((what, plan))
        return plan

    add("drops what is not held", planned(Q, lineage, 3, 2)).drop = SequenceSet([7])
    add("drops what was not staged", planned(Q, lineage, 3, 2)).staged_drop = SequenceSet([1])
    stage(add("sends what is kept", planned(Q, lineage, 3, 2)), 1, SequenceSet([1]), "x")
    add("miscounts", planned(Q, lineage, 3, 3))
    add("holds ids at or above next", planned(Q, lineage, 2, 2))
    wrong = add("sends a message of another generation", planned(Q, lineage, 4, 3))
    stage(wrong, 2, SequenceSet([3]), "x")
    return made


@pytest.mark.parametrize(("what", "plan"), contradictions(), ids=[what for what, _ in contradictions()])
def test_a_plan_that_contradicts_itself_changes_nothing(what: str, plan: Planned) -> None:
    queue = held(Q, ((1, 1),), _1="one", _2="two")
    queues, quarantined = Queues(), Quarantined([])
    queues[Q] = queue
    with pytest.raises(RemoteProtocolError):
        flip(queues, {Q: plan}, 1, quarantined, OBJECTS)
    assert content(queues[Q]) == {1: b"one", 2: b"two"}
    assert (queue.next, queue.lineage, len(quarantined)) == (3, ((1, 1),), 0)


def test_a_plan_with_fewer_queues_than_announced_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="ends with 2"):
        flip(Queues(), {Q: planned(Q, ((1, 1),), 1, 0)}, 2, Quarantined([]), OBJECTS)


def test_a_staged_batch_that_was_dequeued_whole_leaves_nothing() -> None:
    plan = planned(Q, ((1, 1),), 5, 1)
    stage(plan, 1, SequenceSet([1, 2]), "one", "two")
    stage(plan, 1, SequenceSet([4]), "four")
    plan.staged_drop = SequenceSet([1, 2])
    result, queues, _ = run([], {Q: plan})
    assert content(queues[Q]) == {4: b"four"}
    assert [c.ids for c in result.changes if isinstance(c, Insert)] == [SequenceSet([4])]


def test_the_entry_of_a_producer_is_what_the_plan_says() -> None:
    """EO2: a sequence, or a registration, that is rewound with its message is not used any more."""
    id = UUID(int=9)
    c = ConfigurationQueue(id, QueueSpec(name=CONFIGURATION, kind=CONFIGURATION), ((1, 1),), 1)
    old, rewound = ProducerEntry((1, 1), 4), ProducerEntry((1, 1), 9)
    c.append(Batch.pack([rewound.encode()], props=[producer_key("ada")]))
    c.append(Batch.pack([ProducerEntry((1, 2), 1).encode()], props=[producer_key("bob")]))
    plan = Planned(meta=PlanQueue(queue=id, spec=c.spec, lineage=((1, 1), (2, 1)), next=3, held=1))
    plan.drop = SequenceSet([1, 2])
    ids = SequenceSet([2])
    plan.add(2, ids, Batch.pack([old.encode()], props=[producer_key("ada")]))
    queues = Queues()
    queues[id] = c
    flip(queues, {id: plan}, 1, Quarantined([]), id)
    assert dict(c.producers) == {"ada": old}
    c.check()


# --- queues whose messages are not replicated ------------------------------------------------------


def test_a_table_with_many_keys_is_filled_in_many_steps_and_one_transaction() -> None:
    """One step for a table of 100,000 keys blocked the event loop for more than a second."""
    count, table = 20 * KEYS_PER_STEP + 3, QueueSpec(name="t", kind=TABLE)
    meta = PlanQueue(queue=Q, spec=table, lineage=((1, 1),), next=2 * count + 1, held=count)
    plan, ids = Planned(meta=meta), SequenceSet(range(1, 2 * count, 2))
    keys = [b"%d" % id for id in ids]
    plan.add(1, ids, Batch.pack([b"value"] * count, props=keys))
    queues = Queues()
    work = Flip(queues, LocalQueues(queues.make), {Q: plan}, 1, Quarantined([]), OBJECTS, 1)
    work.advance(1)
    for step in range(1, 21):
        work.advance(1)
        assert len(queues[Q]) == step * KEYS_PER_STEP
        assert not work.done
    result = work.finish()
    made = queues[Q]
    made.check()
    assert isinstance(made, KeyedQueue) and sorted(made.keys()) == sorted(keys) and made.held == ids
    assert [type(change) for change in result.changes] == [PutQueue, Insert]
    assert [type(notice) for notice in result.notices] == [QueueAdded, Inserted]


def test_a_flip_changes_nothing_in_queues_of_this_node_but_that_they_follow_their_objects() -> None:
    """They go with their objects and come with them, in the same transaction, and never to quarantine (LV1, LV4)."""
    specs = {name: QueueSpec(name=name) for name in ("goes", "stays", "comes", "own")}
    goes, stays, comes = (born(1, n, Level.CONFIGURATION) for n in (1, 2, 3))
    own = own_id(1, 1)
    local = LocalQueues(Queues().make)
    for id, name in ((goes, "goes"), (stays, "stays"), (own, "own")):
        local.add(Queues().make(id, specs[name], ((1, 1),), 1))
    for queue in local:
        queue.append(Batch.pack([b"mine"]))
    here = KeyedQueue(OBJECTS, QueueSpec(name=CONFIGURATION, kind=CONFIGURATION), ((1, 1),), 1)

    def put(id: UUID, name: str) -> QueueObject:
        return QueueObject(queue=id, spec=specs[name], level=Level.CONFIGURATION)

    for made in (put(goes, "goes"), put(stays, "stays")):
        here.append(Batch.pack([made.encode()], props=[made.key]))
    plan = planned(OBJECTS, ((1, 1), (2, 3)), 4, 2)
    plan.drop = SequenceSet([1])
    new = put(comes, "comes")
    plan.add(2, SequenceSet([3]), Batch.pack([new.encode()], props=[new.key]))
    queues = Queues()
    queues[OBJECTS] = here
    result = flip(queues, {OBJECTS: plan}, 1, Quarantined([]), OBJECTS, local, 2)
    assert {queue.queue: len(queue) for queue in local} == {stays: 1, comes: 0, own: 1}
    assert local[comes].lineage == ((2, 1),) and set(queues) == {OBJECTS}
    mine = [c for c in result.changes if isinstance(c, (DropQueue, PutQueue)) and c.queue != OBJECTS]
    assert mine == [DropQueue(goes), PutQueue(comes, specs["comes"], ((2, 1),), 1)]
    assert [c for c in result.changes if isinstance(c, Quarantine)] == []
    assert Audit("erased", 2, "goes", "with its object: 1 messages") in result.changes
    assert [n for n in result.notices if not isinstance(n, (Inserted, Removed))] == [
        QueueRemoved(goes),
        QueueAdded(comes, specs["comes"]),
    ]


def test_a_queue_that_is_as_planned_is_not_written() -> None:
    """Idle queues cost a flip nothing in the store, however many there are; one whose next id falls is written."""
    same, less = held(Q, ((1, 1),), _1="one"), held(DLQ, ((1, 1),), _1="one", _2="two")
    plan = planned(DLQ, ((1, 1),), 2, 1)
    plan.drop = SequenceSet([2])
    result, queues, _ = run([same, less], {Q: planned(Q, ((1, 1),), 2, 1), DLQ: plan})
    assert [c for c in result.changes if isinstance(c, PutQueue)] == [PutQueue(DLQ, SPEC, ((1, 1),), 2)]
    assert [queues[Q].next, queues[DLQ].next] == [2, 2]
