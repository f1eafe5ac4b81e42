"""What both stores promise: the rules of `MessageStore`, case by case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from store_cases import (
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
    plain,
    quarantine,
    release_stores,
    remove,
    some_life,
)

from qpidha.errors import InvariantError, StoreDirty, StoreError, StoreFailed, StoreLocked, StoreMismatch
from qpidha.interfaces import MessageStore
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
)
from qpidha.seq import SequenceSet
from qpidha.stores import MemoryStore, SqliteStore
from qpidha.types import MESSAGE_ID_MAX

__all__ = ["release_stores"]
Maker = Callable[[], MessageStore]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Maker:
    """Makes the same store again and again, as restarts of a node do."""
    memory = MemoryStore()
    return (lambda: memory) if request.param == "memory" else (lambda: SqliteStore(tmp_path / "store"))


def run(make: Maker, *commits: list[Change], clean: bool = True) -> StoreImage:
    """Open, commit, close, open again: what the next life sees."""
    store = make()
    store.open("a")
    for changes in commits:
        store.commit(changes)
    store.close(clean=clean)
    store = make()
    image = store.open("a")
    store.close(clean=clean)
    return image


def held(image: StoreImage, queue: UUID = QUEUE) -> dict[int, bytes]:
    return messages(next(q.held for q in image.queues if q.queue == queue))


def test_a_new_store_is_empty_and_has_an_epoch(make: Maker) -> None:
    store = make()
    image = store.open("a")
    assert (image.status.state, image.status.node, image.status.cluster) == (StoreState.EMPTY, "a", None)
    assert image.status.epoch.int and not image.queues and not image.quarantine
    store.close(clean=False)
    again = make().open("a")
    assert again.status.state is StoreState.EMPTY, "never belonged to a cluster, whatever the mark says"
    assert again.status.epoch == image.status.epoch


@pytest.mark.parametrize("clean", [True, False])
def test_everything_comes_back(make: Maker, clean: bool) -> None:
    image = run(make, *some_life(), clean=clean)
    status = image.status
    assert status.state is (StoreState.CLEAN if clean else StoreState.DIRTY)
    assert (status.stop is not None) == clean
    assert (status.cluster, status.generation, status.primary) == (CLUSTER, 3, True)
    queue, other = sorted(image.queues, key=lambda q: q.queue)
    assert (queue.spec, queue.lineage, queue.next) == (SPEC, ((1, 1), (3, 4)), 21)
    assert (other.spec.name, other.spec.kind, other.next) == ("mails", "ring", 10)
    live = [4, *range(6, 14), *range(17, 21)]
    assert messages(queue.held) == {i: payload(i) for i in live}
    assert messages(other.held) == {i: payload(i) for i in (2, 3, 9)}
    assert {(q.generation, tuple(q.ids), q.name) for q in image.quarantine} == {
        (1, (7, 8, 9), "orders"),
        (2, (40,), "orders"),
    }


def test_it_is_dirty_as_soon_as_it_is_open(make: Maker) -> None:
    store = make()
    store.open("a")
    store.commit([STATUS])
    store.close(clean=True)
    store = make()
    assert store.open("a").status.state is StoreState.CLEAN
    store.close(clean=False)
    assert make().open("a").status.state is StoreState.DIRTY


def test_dirty_stores_can_be_refused(make: Maker) -> None:
    run(make, *some_life(), clean=False)
    with pytest.raises(StoreDirty):
        make().open("a", refuse_dirty=True)
    store = make()
    store.open("a")
    store.close(clean=True)
    assert make().open("a", refuse_dirty=True).queues


def test_a_store_belongs_to_one_node(make: Maker) -> None:
    before = run(make, *some_life())
    with pytest.raises(StoreMismatch):
        make().open("b")
    assert make().open("a").status.epoch == before.status.epoch


def test_a_store_is_held_once(make: Maker) -> None:
    first = make()
    first.open("a")
    with pytest.raises(StoreLocked):
        make().open("a")
    first.close(clean=True)
    make().open("a")


def test_closing_twice_is_fine(make: Maker) -> None:
    store = make()
    store.close(clean=True)
    store.open("a")
    store.commit([STATUS])
    store.close(clean=True)
    store.close(clean=False)
    assert make().open("a").status.state is StoreState.CLEAN


def test_commit_needs_an_open_store(make: Maker) -> None:
    store = make()
    with pytest.raises(StoreFailed):
        store.commit([])
    store.open("a")
    store.commit([])
    store.close(clean=True)
    with pytest.raises(StoreFailed):
        store.commit([])


def test_next_outlives_the_messages(make: Maker) -> None:
    """N2: ids of messages that came and went are never given out again."""
    image = run(make, [STATUS, CREATE, insert(ids((4, 9))), remove(ids((4, 9)))])
    assert (image.queues[0].next, image.queues[0].held) == (10, [])
    image = run(make, [remove(ids(99))])
    assert image.queues[0].next == 100
    image = run(make, [Skip(QUEUE, 105), Skip(QUEUE, 50)])
    assert image.queues[0].next == 105


def test_a_flip_replaces_the_tail_in_one_commit(make: Maker) -> None:
    """C5: rewound ids come back with other content; lineage and next may go down."""
    other = Insert(QUEUE, ids((8, 11)), batch(ids((108, 111))))
    image = run(
        make,
        [STATUS, CREATE, insert(ids((4, 10)))],
        [
            quarantine(ids((8, 10)), 3),
            remove(ids((8, 10))),
            PutQueue(QUEUE, SPEC, ((1, 1), (4, 8)), 8),
            other,
            PutStatus(CLUSTER, 4, False),
        ],
    )
    assert held(image) == {i: payload(i if i < 8 else i + 100) for i in range(4, 12)}
    assert (image.queues[0].lineage, image.queues[0].next) == (((1, 1), (4, 8)), 12)
    assert (image.status.generation, image.status.primary) == (4, False)


def test_dropped_queues_take_their_messages_along(make: Maker) -> None:
    image = run(make, *some_life(), [DropQueue(QUEUE), DropQueue(UUID(int=99))])
    assert [q.queue for q in image.queues] == [OTHER] and len(image.quarantine) == 2
    image = run(make, [CREATE, insert(ids((4, 5)))], [DropQueue(QUEUE), CREATE])
    assert held(image) == {}


def test_quarantine_is_released_by_identity(make: Maker) -> None:
    image = run(make, *some_life(), [Release(QUEUE, 1, ids(8, 40)), Release(QUEUE, 7, ids(9))])
    assert {(q.generation, tuple(q.ids)) for q in image.quarantine} == {(1, (7, 9)), (2, (40,))}
    shelved = next(q for q in image.quarantine if q.generation == 1)
    assert list(shelved.batch) == [payload(7), payload(9)]
    image = run(make, [Release(QUEUE, 1, ids((1, 9))), Release(QUEUE, 2, ids(40))])
    assert not image.quarantine


def test_ids_have_64_bits(make: Maker) -> None:
    top = ids((MESSAGE_ID_MAX - 2, MESSAGE_ID_MAX))
    create = PutQueue(QUEUE, SPEC, ((1, 2**63),), 2**63)
    middle = ids((2**63 - 1, 2**63 + 1))
    image = run(make, [STATUS, create, insert(middle), insert(top)], [remove(ids(2**63))])
    assert set(held(image)) == {2**63 - 1, 2**63 + 1, *top}
    assert image.queues[0].next == MESSAGE_ID_MAX + 1


@pytest.mark.parametrize(
    "wrong",
    [
        [insert(ids((6, 7)))],
        [insert(ids(1), UUID(int=99))],
        [remove(ids(1), UUID(int=99))],
        [Insert(QUEUE, ids((30, 40)), batch(ids(30)))],
    ],
)
def test_a_wrong_change_kills_the_store(make: Maker, wrong: list[Change]) -> None:
    """It is a bug of the caller; the store must not go on with an index that may be wrong."""
    store = make()
    store.open("a")
    store.commit([STATUS, CREATE, insert(ids((4, 6)))])
    with pytest.raises(InvariantError):
        store.commit([remove(ids(4)), *wrong])
    with pytest.raises(StoreFailed):
        store.commit([])
    store.close(clean=True)
    try:
        image = make().open("a")
    except StoreError:
        return
    assert image.status.state is StoreState.DIRTY and set(held(image)) == {4, 5, 6}


def test_nothing_given_is_changed(make: Maker) -> None:
    mine = ids((4, 9))
    store = make()
    store.open("a")
    store.commit([STATUS, CREATE, Insert(QUEUE, mine, batch(mine))])
    store.commit([remove(ids((5, 6)))])
    assert mine == SequenceSet.from_range(4, 9)


def test_both_stores_agree(tmp_path: Path) -> None:
    memory, disk = MemoryStore(), SqliteStore(tmp_path / "s")
    assert plain(run(lambda: memory, *some_life())) == plain(run(lambda: disk, *some_life()))
