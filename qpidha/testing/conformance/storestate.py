"""Rules for what the whole state of a broker needs of a store: keyed queues, deletions, large operations, many queues."""

from __future__ import annotations

from uuid import UUID

from qpidha.interfaces import SteppedStore
from qpidha.journal import Change, DropQueue, Insert, PutQueue, PutStatus, Quarantine, Remove, StoreImage
from qpidha.testing.conformance.changes import (
    CLUSTER,
    CREATE,
    OTHER,
    QUEUE,
    SPEC,
    STATUS,
    batch,
    ids,
    insert,
    messages,
    payload,
    remove,
)
from qpidha.testing.conformance.store import RULES
from qpidha.testing.conformance.storebench import Opened, StoreBench
from qpidha.types import Fate, Level, QueueSpec, level_of
from qpidha.wire.batch import Batch

TABLE = QueueSpec(name="offsets", kind="$table")
CONFIGURATION = QueueSpec(name="$configuration", kind="$configuration")
MANY = 1000
"""Queues of one commit."""
LARGE = 20_000
"""Messages of one commit."""


def _orders(image: StoreImage, queue: UUID = QUEUE) -> dict[int, tuple[int, bytes]]:
    """By id: order key and props."""
    held = next(q.held for q in image.queues if q.queue == queue)
    return {id: (b.order(n), bytes(b.props(n))) for of, b in held for n, id in enumerate(of)}


@RULES
def a_keyed_queue_keeps_the_last_value_of_each_key(bench: StoreBench) -> None:
    """Q1: a put is an Insert and a Remove in one commit; all keys come back, each with its last value as its message."""
    opened, _ = bench.open()
    opened.commit(STATUS, PutQueue(QUEUE, CONFIGURATION, ((1, 1),), 1), PutQueue(OTHER, TABLE, ((1, 1),), 1))
    at: dict[int, int] = {}
    for id in range(1, 121):
        key = id % 7
        new = Batch.pack([b"value %d" % id], [b"key %d" % key])
        changes: list[Change] = [Insert(queue, ids(id), new) for queue in (QUEUE, OTHER)]
        if key in at:
            changes += [Remove(queue, ids(at[key])) for queue in (QUEUE, OTHER)]
        opened.commit(*changes)
        at[key] = id
    bench.kill(opened)
    opened, image = bench.open()
    for queue, spec in ((QUEUE, CONFIGURATION), (OTHER, TABLE)):
        bench.same(
            "spec of a keyed queue", spec, next((q.spec for q in image.queues if q.queue == queue), None)
        )
        bench.same("values", {id: b"value %d" % id for id in sorted(at.values())}, bench.held(image, queue))
        keys = {id: props for id, (_, props) in _orders(image, queue).items()}
        bench.same("keys", {id: b"key %d" % (id % 7) for id in sorted(at.values())}, keys)


@RULES
def a_history_is_kept_however_long(bench: StoreBench) -> None:
    """Q4: the history of the configuration has an entry for each promotion, and all come back."""
    lineage = tuple((generation, 10 * generation) for generation in range(1, 2001))
    image = bench.reopened([PutStatus(CLUSTER, 2000, False), PutQueue(QUEUE, CONFIGURATION, lineage, 30_000)])
    bench.same("lineage", lineage, image.queues[0].lineage)


@RULES
def ids_of_queues_come_back(bench: StoreBench) -> None:
    """LV1, Q3: the id of a queue says its level and when it was declared; any 128 bits come back as they were."""
    birth = (7 << 64) | 9
    made = [UUID(int=n) for n in (birth, birth | 1 << 127, birth | 3 << 62, 1, 2**128 - 1)]
    bench.same("levels", set(Level), {level_of(queue) for queue in made})
    changes: list[Change] = [
        PutQueue(queue, QueueSpec(name=f"q{n}"), ((1, 1),), 1) for n, queue in enumerate(made)
    ]
    image = bench.reopened([STATUS, *changes], [insert(ids(n + 1), q) for n, q in enumerate(made)])
    bench.same(
        "messages",
        {queue: {n + 1: payload(n + 1)} for n, queue in enumerate(made)},
        {q.queue: messages(q.held) for q in image.queues},
    )


@RULES
def names_and_kinds_come_back(bench: StoreBench) -> None:
    """Names and kinds of queues are any text that a node takes, up to its longest."""
    specs = [
        QueueSpec(name=name, kind=kind)
        for name in ("é" * 100, "a/b c'\"\\%", "x" * 255)
        for kind in ("k", "Ü")
    ]
    made = {UUID(int=n + 1): spec for n, spec in enumerate(specs)}
    image = bench.reopened([STATUS, *(PutQueue(queue, spec, ((1, 1),), 1) for queue, spec in made.items())])
    bench.same("specs", made, {q.queue: q.spec for q in image.queues})


@RULES
def a_deleted_queue_goes_with_its_content(bench: StoreBench) -> None:
    """Q2, Q6: what is moved away and the deletion are one commit; a queue of the same name is another one."""
    again = UUID(int=0xA3)
    opened, _ = bench.open()
    opened.commit(STATUS, CREATE, PutQueue(OTHER, QueueSpec(name="audit"), (), 1), insert(ids((4, 400))))
    opened.commit(
        insert(ids((1, 100)), OTHER),
        remove(ids((4, 103))),
        DropQueue(QUEUE),
        PutQueue(again, SPEC, ((3, 1),), 1),
        insert(ids((1, 3)), again),
    )
    bench.kill(opened)
    image = bench.open()[1]
    bench.same("queues", {OTHER, again}, {q.queue for q in image.queues})
    bench.same("messages of the new queue", {i: payload(i) for i in (1, 2, 3)}, bench.held(image, again))
    bench.same("messages moved", {i: payload(i) for i in range(1, 101)}, bench.held(image, OTHER))


@RULES
def a_queue_that_was_undone_is_kept_in_quarantine(bench: StoreBench) -> None:
    """Q5: the content of a dropped queue may be put into quarantine in the same commit, and outlives the queue."""
    of = ids((4, 60))
    image = bench.reopened(
        [STATUS, CREATE, insert(of)],
        [Quarantine(QUEUE, SPEC.name, 3, of, batch(of), Fate.REWOUND), DropQueue(QUEUE)],
    )
    bench.same("queues", [], list(image.queues))
    shelf = {i: data for q in image.quarantine for i, data in messages([(q.ids, q.batch)]).items()}
    bench.same("quarantine", {i: payload(i) for i in of}, shelf)


@RULES
def a_fan_out_shares_nothing_that_is_changed(bench: StoreBench) -> None:
    """One batch may be inserted into several queues by one commit: what one of them loses, the others keep."""
    made = [UUID(int=n) for n in range(1, 6)]
    shared = batch(ids((1, 20)))
    bench.reopened(
        [STATUS, *(PutQueue(q, QueueSpec(name=f"q{q.int}"), (), 1) for q in made)],
        [Insert(q, ids((1, 20)), shared) for q in made],
        [Remove(made[0], ids((1, 20))), Remove(made[1], ids((2, 19))), DropQueue(made[2])],
    )
    image = bench.open()[1]
    found = {q.queue.int: sorted(messages(q.held)) for q in image.queues}
    bench.same("ids", {1: [], 2: [1, 20], 4: list(range(1, 21)), 5: list(range(1, 21))}, found)


@RULES
def updated_messages_keep_their_order_keys(bench: StoreBench) -> None:
    """U1: order keys and props belong to their messages, also when most of their batch is gone."""
    of = ids((101, 160))
    updated = Batch.pack([payload(i) for i in of], [b"delivered %d" % i for i in of], [id - 100 for id in of])
    create = PutQueue(QUEUE, SPEC, ((1, 1),), 1)
    image = bench.reopened(
        [STATUS, create, insert(ids((1, 60)))],
        [Insert(QUEUE, of, updated), remove(ids((1, 60)))],
        [remove(ids((101, 148), 150, (152, 159)))],
        clean=False,
    )
    expected = {id: (id - 100, b"delivered %d" % id) for id in (149, 151, 160)}
    bench.same("order keys and props", expected, _orders(image))


@RULES
def many_queues_come_back(bench: StoreBench) -> None:
    """One commit may create and fill thousands of queues, and another delete most of them."""
    made = [UUID(int=n) for n in range(1, MANY + 1)]
    opened, _ = bench.open()
    bench.did(f"commit: create {MANY} queues, each with a message")
    creating: list[Change] = [PutQueue(q, QueueSpec(name=f"q{q.int}"), ((1, 1),), 1) for q in made]
    _quietly(opened, [STATUS, *creating, *(insert(ids(1), q) for q in made)])
    bench.did("commit: delete nine of ten")
    _quietly(opened, [DropQueue(q) for q in made if q.int % 10])
    bench.kill(opened)
    image = bench.open()[1]
    bench.same("number of queues", MANY // 10, len(image.queues))
    bench.same(
        "messages", {(1, payload(1))}, {item for q in image.queues for item in messages(q.held).items()}
    )


@RULES
def a_large_operation_is_whole(bench: StoreBench) -> None:
    """TX1: a commit of many messages, and of large ones, is there as a whole after a kill."""
    big = Batch.pack([bytes([n]) * 1_000_000 for n in range(8)])
    opened, _ = bench.open()
    bench.did(f"commit: {LARGE} messages in batches of 50, and 8 of 1 MB")
    changes: list[Change] = [
        STATUS,
        PutQueue(QUEUE, SPEC, (), 1),
        PutQueue(OTHER, QueueSpec(name="big"), (), 1),
    ]
    changes += [insert(ids((first, first + 49))) for first in range(1, LARGE, 50)]
    _quietly(opened, [*changes, Insert(OTHER, ids((1, 8)), big)])
    bench.did("commit: remove every second batch")
    _quietly(opened, [remove(ids((first, first + 49))) for first in range(1, LARGE, 100)])
    bench.kill(opened)
    image = bench.open()[1]
    left = [id for id in range(1, LARGE + 1) if (id - 1) // 50 % 2]
    bench.same("ids", left, sorted(bench.held(image)))
    bench.true(bench.held(image)[left[-1]] == payload(left[-1]), "the data of the last message", "other data")
    sizes = {id: (len(data), data[:1]) for id, data in bench.held(image, OTHER).items()}
    bench.same("large messages", {n + 1: (1_000_000, bytes([n])) for n in range(8)}, sizes)


@RULES
def a_commit_in_steps_is_one_commit(bench: StoreBench) -> None:
    """`commit_in_steps` of a store that has it does what `commit` does; what is called meanwhile sees all of it."""
    for finish in (True, False):
        bench.home = bench.directory / f"steps-{finish}"
        bench.home.mkdir()
        opened, _ = bench.open()
        if not isinstance(opened.store, SteppedStore):
            return
        opened.commit(STATUS, CREATE)
        changes = [insert(ids(id)) for id in range(4, 1504)]
        bench.did(f"commit_in_steps(1500 inserts){'' if finish else ', one step'}")
        steps = opened.store.commit_in_steps(changes)
        if finish:
            for _ in steps:
                pass
        else:
            next(steps, None)
            opened.commit(remove(ids(4)))
        opened.close(clean=True)
        held = sorted(bench.held(bench.open()[1]))
        bench.same("ids", list(range(4 if finish else 5, 1504)), held)


def _quietly(opened: Opened, changes: list[Change]) -> None:
    """Commit, without a description that has thousands of changes."""
    opened._call(lambda: opened.store.commit(changes))
