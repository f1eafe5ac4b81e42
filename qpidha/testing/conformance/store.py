"""The rules of `qpidha.interfaces.MessageStore`: what a node relies on when it acknowledges a message.

The store is made repeatedly in the same directory, as a node does at its restarts, after a close or a kill.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from uuid import UUID

from qpidha.errors import InvariantError, StoreDirty, StoreError, StoreFailed, StoreLocked, StoreMismatch
from qpidha.journal import (
    Change,
    DropQueue,
    Insert,
    PutQueue,
    PutStatus,
    Release,
    Skip,
    StoreImage,
    StoreState,
    StoreStatus,
)
from qpidha.seq import SequenceSet
from qpidha.testing.conformance.changes import (
    CLUSTER,
    CREATE,
    OTHER,
    OTHER_SPEC,
    QUEUE,
    SPEC,
    STATUS,
    batch,
    ids,
    insert,
    messages,
    payload,
    plain,
    quarantine,
    remove,
    said,
    some_commits,
)
from qpidha.testing.conformance.check import Check, Rules, Runner
from qpidha.testing.conformance.commits import commit_at_random
from qpidha.testing.conformance.storebench import Kill, MakeStore, Opened, StoreBench, copy_away
from qpidha.testing.sim.content import Content
from qpidha.types import MESSAGE_ID_MAX
from qpidha.wire.batch import Batch

RULES = Rules[StoreBench]("MessageStore")


def store_checks(
    make: MakeStore, *, kill: Kill = copy_away, runner: Runner = asyncio.run, without: Iterable[str] = ()
) -> list[Check[StoreBench]]:
    """Return one check for each rule of `MessageStore`.

    Args:
        make: Makes the store in a directory. A store without files may use the path as a key.
        kill: Kills the process or cuts its power. By default its files are copied, and the copy is opened next.
        runner: Runs the check.
        without: Names of checks to leave out.
    """
    return RULES.checks(lambda **trial: StoreBench(make, kill, **trial), runner=runner, without=without)


# --- how a store was left --------------------------------------------------------------------------


@RULES
def a_new_store_is_empty_and_keeps_its_epoch(bench: StoreBench) -> None:
    """A store that never belonged to a cluster is EMPTY, with an epoch that is never drawn again."""
    opened, image = bench.open()
    status = image.status
    bench.same(
        "state, node, cluster", (StoreState.EMPTY, "a", None), (status.state, status.node, status.cluster)
    )
    bench.true(status.epoch.int, "an epoch", status.epoch)
    bench.same("content", ([], []), (list(image.queues), list(image.quarantine)))
    opened.close(clean=False)
    _, again = bench.open()
    bench.same("state", StoreState.EMPTY, again.status.state)
    bench.same("epoch", status.epoch, again.status.epoch)


@RULES
def it_is_dirty_as_soon_as_it_is_open(bench: StoreBench) -> None:
    """Open marks the store dirty before it returns; only a clean close, as its last step, marks it clean."""
    opened, _ = bench.open()
    opened.commit(STATUS)
    opened.close(clean=True)
    opened, image = bench.open()
    bench.same("state", StoreState.CLEAN, image.status.state)
    bench.true(image.status.stop is not None, "a stop id", "none")
    bench.kill(opened)
    opened, image = bench.open()
    bench.same("state", StoreState.DIRTY, image.status.state)
    bench.same("stop id", None, image.status.stop)
    opened.close(clean=False)
    bench.same("state", StoreState.DIRTY, bench.open()[1].status.state)


@RULES
def dirty_stores_can_be_refused(bench: StoreBench) -> None:
    """With refuse_dirty, open raises StoreDirty for a store that was not closed cleanly, and opens others."""
    bench.reopened(*some_commits(), clean=False)
    with bench.raises(StoreDirty, "open('a', refuse_dirty=True)"):
        bench.make().open("a", refuse_dirty=True)
    opened, _ = bench.open()
    opened.close(clean=True)
    bench.true(bench.open(refuse_dirty=True)[1].queues, "the queues", "none")


@RULES
def a_store_belongs_to_one_node(bench: StoreBench) -> None:
    """Open raises StoreMismatch for the store of another node, and changes nothing."""
    before = bench.reopened(*some_commits())
    with bench.raises(StoreMismatch, "open('b')"):
        bench.make().open("b")
    image = bench.open()[1]
    bench.same("epoch", before.status.epoch, image.status.epoch)
    bench.same("state", StoreState.CLEAN, image.status.state)
    bench.same("content", plain(before), plain(image))


@RULES
def a_store_is_held_once(bench: StoreBench) -> None:
    """Open raises StoreLocked while the store is held, and opens it once it was closed."""
    opened, _ = bench.open()
    with bench.raises(StoreLocked, "open('a') again"):
        bench.make().open("a")
    opened.commit(STATUS)
    opened.close(clean=True)
    bench.same("state", StoreState.CLEAN, bench.open()[1].status.state)


@RULES
def closing_twice_is_fine(bench: StoreBench) -> None:
    """Close may be called twice, and before open; the first call counts."""
    opened = Opened(bench, bench.make())
    opened.close(clean=True)
    opened, _ = bench.open()
    opened.commit(STATUS)
    opened.close(clean=True)
    opened.close(clean=False)
    bench.same("state", StoreState.CLEAN, bench.open()[1].status.state)


@RULES
def commit_needs_an_open_store(bench: StoreBench) -> None:
    """Commit raises StoreFailed before open and after close."""
    with bench.raises(StoreFailed, "commit before open"):
        bench.make().commit([])
    opened, _ = bench.open()
    opened.commit()
    opened.close(clean=True)
    with bench.raises(StoreFailed, "commit after close"):
        opened.commit()


# --- what is durable -------------------------------------------------------------------------------


def _everything_is_there(bench: StoreBench, image: StoreImage) -> None:
    status = image.status
    seen = (status.cluster, status.generation, status.primary)
    bench.same("cluster, generation, primary", (CLUSTER, 3, True), seen)
    found = {q.queue: (q.spec, q.lineage, q.next, messages(q.held)) for q in image.queues}
    live = [4, *range(6, 14), *range(17, 21)]
    expected = {
        QUEUE: (SPEC, ((1, 1), (3, 4)), 21, {i: payload(i) for i in live}),
        OTHER: (OTHER_SPEC, (), 10, {i: payload(i) for i in (2, 3, 9)}),
    }
    for queue, content in expected.items():
        bench.same(f"queue {queue.hex[-2:]}", content, found.pop(queue, None))
    bench.same("other queues", {}, found)
    shelf = {(q.generation, tuple(q.ids), q.name, tuple(q.batch)) for q in image.quarantine}
    seven, forty = tuple(payload(i) for i in (7, 8, 9)), (payload(40),)
    bench.same("quarantine", {(1, (7, 8, 9), "orders", seven), (2, (40,), "orders", forty)}, shelf)


@RULES
def everything_comes_back(bench: StoreBench) -> None:
    """Open gives back the sum of all commits: status, queues, lineages, next ids, messages, quarantine."""
    for clean in (True, False):
        bench.home = bench.directory / f"closed-{clean}"
        bench.home.mkdir()
        image = bench.reopened(*some_commits(), clean=clean)
        bench.same("state", StoreState.CLEAN if clean else StoreState.DIRTY, image.status.state)
        _everything_is_there(bench, image)


@RULES
def a_commit_outlives_a_kill(bench: StoreBench) -> None:
    """A commit is durable, all of it, when it returns: a kill in the next moment takes nothing away."""
    _, image = bench.open()
    model = Content(StoreStatus(node="a", epoch=image.status.epoch))
    opened = bench._opened[-1]
    for changes in some_commits():
        opened.commit(*changes)
        model.apply(changes)
        bench.kill(opened)
        opened, image = bench.open()
        bench.agrees(model.image(), image)


@RULES
def changes_apply_in_order(bench: StoreBench) -> None:
    """The changes of one commit take effect in their order: what is removed may come back, otherwise."""
    other = Insert(QUEUE, ids(5), batch(ids(105)))
    image = bench.reopened([STATUS, CREATE, insert(ids((4, 6))), remove(ids(5)), other, remove(ids(6))])
    bench.same("messages", {4: payload(4), 5: payload(105)}, bench.held(image))
    image = bench.reopened([DropQueue(QUEUE), CREATE, insert(ids(8))])
    bench.same("messages", {8: payload(8)}, bench.held(image))


@RULES
def sets_of_ids_are_disjoint_and_ascending(bench: StoreBench) -> None:
    """The image holds disjoint sets, in the order of their first ids, also when one falls into another (C6)."""
    image = bench.reopened(
        [STATUS, CREATE, insert(ids((40, 45)))], [insert(ids(7, 30)), insert(ids((10, 20)))]
    )
    expected = [7, *range(10, 21), 30, *range(40, 46)]
    bench.same("messages", {i: payload(i) for i in expected}, bench.held(image))


@RULES
def every_column_of_a_batch_comes_back(bench: StoreBench) -> None:
    """data, props, order and origin of a message come back as they were, from queues and from quarantine."""
    full = Batch.pack([b"", b"two"], [b"p", b""], [-(2**63), 7], [(OTHER.bytes, 3, 2**64 - 2), None])
    shelved = quarantine(ids(8, 9))
    image = bench.reopened(
        [STATUS, CREATE, Insert(QUEUE, ids(4, 6), full)],
        [type(shelved)(QUEUE, SPEC.name, 1, ids(8, 9), full, shelved.fate)],
    )
    held = [b for q in image.queues for _, b in q.held] + [q.batch for q in image.quarantine]
    found = [(b.data(i), b.props(i), b.order(i), b.origin(i)) for b in held for i in range(len(b))]
    expected = [(full.data(i), full.props(i), full.order(i), full.origin(i)) for i in range(2)]
    bench.same("columns, from the queue and from quarantine", expected * 2, found)


@RULES
def next_outlives_the_messages(bench: StoreBench) -> None:
    """N2: Insert, Remove and Skip raise the next id, and it stays: an id is never given out again."""
    image = bench.reopened([STATUS, CREATE, insert(ids((4, 9))), remove(ids((4, 9)))])
    bench.same("next", 10, image.queues[0].next)
    bench.same("messages", {}, bench.held(image))
    bench.same("next", 100, bench.reopened([remove(ids(99))]).queues[0].next)
    bench.same("next", 105, bench.reopened([Skip(QUEUE, 105), Skip(QUEUE, 50)]).queues[0].next)


@RULES
def a_flip_replaces_the_tail_in_one_commit(bench: StoreBench) -> None:
    """C5: rewound ids come back with other content; lineage and next may go down, as PutQueue says."""
    image = bench.reopened(
        [STATUS, CREATE, insert(ids((4, 10)))],
        [
            quarantine(ids((8, 10)), 3),
            remove(ids((8, 10))),
            PutQueue(QUEUE, SPEC, ((1, 1), (4, 8)), 8),
            Insert(QUEUE, ids((8, 11)), batch(ids((108, 111)))),
            PutStatus(CLUSTER, 4, False),
        ],
    )
    bench.same("messages", {i: payload(i if i < 8 else i + 100) for i in range(4, 12)}, bench.held(image))
    queue, status = image.queues[0], image.status
    bench.same("lineage, next", (((1, 1), (4, 8)), 12), (queue.lineage, queue.next))
    bench.same("generation, primary", (4, False), (status.generation, status.primary))


@RULES
def dropped_queues_take_their_messages_along(bench: StoreBench) -> None:
    """DropQueue forgets a queue and its messages, and leaves quarantine alone. Unknown queues are fine."""
    image = bench.reopened(*some_commits(), [DropQueue(QUEUE), DropQueue(UUID(int=99))])
    bench.same("queues", [OTHER], [q.queue for q in image.queues])
    bench.same("in quarantine", 4, sum(len(q.ids) for q in image.quarantine))
    image = bench.reopened([CREATE, insert(ids((4, 5)))], [DropQueue(QUEUE), CREATE])
    bench.same("messages", {}, bench.held(image))


@RULES
def quarantine_is_released_by_identity(bench: StoreBench) -> None:
    """Release takes away (queue, generation, id), and nothing of another generation."""
    image = bench.reopened(*some_commits(), [Release(QUEUE, 1, ids(8, 40)), Release(QUEUE, 7, ids(9))])
    shelf = {q.generation: (tuple(q.ids), tuple(q.batch)) for q in image.quarantine}
    bench.same("quarantine", {1: ((7, 9), (payload(7), payload(9))), 2: ((40,), (payload(40),))}, shelf)
    image = bench.reopened([Release(QUEUE, 1, ids((1, 9))), Release(QUEUE, 2, ids(40))])
    bench.same("quarantine", [], list(image.quarantine))


@RULES
def ids_have_64_bits(bench: StoreBench) -> None:
    """Ids up to 2**64 - 2 are stored, and compared as unsigned numbers."""
    top = ids((MESSAGE_ID_MAX - 2, MESSAGE_ID_MAX))
    create = PutQueue(QUEUE, SPEC, ((1, 2**63),), 2**63)
    middle = ids((2**63 - 1, 2**63 + 1))
    image = bench.reopened([STATUS, create, insert(middle), insert(top)], [remove(ids(2**63))])
    bench.same("ids", [2**63 - 1, 2**63 + 1, *top], sorted(bench.held(image)))
    bench.same("next", MESSAGE_ID_MAX + 1, image.queues[0].next)


@RULES
def nothing_given_is_changed(bench: StoreBench) -> None:
    """Sets and batches of a commit are shared with the node: the store does not change them."""
    mine = ids((4, 9))
    opened, _ = bench.open()
    opened.commit(STATUS, CREATE, Insert(QUEUE, mine, batch(mine)))
    opened.commit(remove(ids((5, 6))))
    bench.same("the set that was inserted", SequenceSet.from_range(4, 9), mine)


@RULES
def a_wrong_change_kills_the_store(bench: StoreBench) -> None:
    """A change that contradicts the content raises InvariantError, applies nothing, and ends the store."""
    wrong: list[Change] = [
        insert(ids((6, 7))),
        insert(ids(1), UUID(int=99)),
        remove(ids(1), UUID(int=99)),
        Insert(QUEUE, ids((30, 40)), batch(ids(30))),
    ]
    for n, change in enumerate(wrong):
        bench.home = bench.directory / f"wrong-{n}"
        bench.home.mkdir()
        bench.done.clear()
        opened, _ = bench.open()
        opened.commit(STATUS, CREATE, insert(ids((4, 6))))
        with bench.raises(InvariantError, said([change])):
            opened.commit(remove(ids(4)), change)
        with bench.raises(StoreFailed, "commit after that"):
            opened.commit()
        opened.close(clean=True)
        try:
            image = bench.open()[1]
        except StoreError:
            continue  # Refusing is as good: another node has a copy.
        bench.same("state", StoreState.DIRTY, image.status.state)
        bench.same("ids", [4, 5, 6], sorted(bench.held(image)))


@RULES
def random_lives_agree_with_a_simple_twin(bench: StoreBench) -> None:
    """Whatever is committed, in whatever order, between closes and kills: open gives back all of it."""
    for seed in range(3):
        bench.home = bench.directory / f"random-{seed}"
        bench.home.mkdir()
        bench.done.clear()
        commit_at_random(bench, random.Random(seed))
