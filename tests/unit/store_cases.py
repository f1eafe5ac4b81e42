"""What the tests of the stores share: short ways to say changes, and images as plain values."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from qpidha.journal import (
    Audit,
    Change,
    Insert,
    PutQueue,
    PutStatus,
    Quarantine,
    Remove,
    StoreImage,
)
from qpidha.seq import SequenceSet
from qpidha.stores import SqliteStore
from qpidha.types import Fate, QueueSpec, Settle
from qpidha.wire.batch import Batch

CLUSTER = UUID(int=0xC1)
QUEUE, OTHER = UUID(int=0xA1), UUID(int=0xA2)
SPEC, OTHER_SPEC = QueueSpec(name="orders"), QueueSpec(name="mails", settle=Settle.IMMEDIATE, kind="ring")
STATUS = PutStatus(CLUSTER, 3, True)
CREATE = PutQueue(QUEUE, SPEC, ((1, 1), (3, 4)), 4)
Plain = tuple[object, ...]


@pytest.fixture(autouse=True)
def release_stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes what a test leaves open: a test file that imports this fixture may leave stores as they are."""
    stores: list[SqliteStore] = []
    take = SqliteStore.open

    def remember(self: SqliteStore, node: str, *, refuse_dirty: bool = False) -> StoreImage:
        stores.append(self)
        return take(self, node, refuse_dirty=refuse_dirty)

    monkeypatch.setattr(SqliteStore, "open", remember)
    yield
    for store in stores:
        store.close(clean=False)


def ids(*items: int | tuple[int, int]) -> SequenceSet:
    return SequenceSet(items)


def payload(id: int) -> bytes:
    return b"message %d" % id


def batch(of: SequenceSet) -> Batch:
    return Batch.pack([payload(id) for id in of])


def insert(of: SequenceSet, queue: UUID = QUEUE) -> Insert:
    return Insert(queue, of, batch(of))


def remove(of: SequenceSet, queue: UUID = QUEUE) -> Remove:
    return Remove(queue, of)


def quarantine(of: SequenceSet, generation: int = 1, queue: UUID = QUEUE) -> Quarantine:
    return Quarantine(queue, SPEC.name, generation, of, batch(of), Fate.REWOUND)


def some_life() -> list[list[Change]]:
    """Commits that leave something of every kind behind."""
    return [
        [STATUS, CREATE, PutQueue(OTHER, OTHER_SPEC, (), 1)],
        [insert(ids((4, 13))), insert(ids((14, 20))), insert(ids(1, 3, 5), OTHER)],
        [remove(ids(5, (14, 16))), insert(ids(2, 4, 9), OTHER)],
        [quarantine(ids((7, 9))), quarantine(ids(40), 2), Audit("rewound", 3, "orders", "3 messages")],
        [remove(ids(1, (4, 5)), OTHER)],
    ]


def plain(image: StoreImage) -> Plain:
    """Everything in an image but epoch and stop, as values that compare."""
    s = image.status
    queues = {q.queue: (q.spec, q.lineage, q.next, messages(q.held)) for q in image.queues}
    shelf = sorted(
        (q.queue, q.generation, q.name, q.fate.value, i, data)
        for q in image.quarantine
        for i, data in messages([(q.ids, q.batch)]).items()
    )
    return (s.node, s.cluster, s.generation, s.primary, queues, shelf)


def messages(held: Iterable[tuple[SequenceSet, Batch]]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    lowest = -1
    for of, batch in held:
        assert len(of) == len(batch) and of.first > lowest, "ascending order of first ids"
        lowest = of.first
        for id, data in zip(of, batch, strict=True):
            assert id not in found, "disjoint"
            found[id] = data
    return found


def lived_forever(directory: Path) -> None:
    """The main program of another process: some life, then waiting to be killed."""
    store = SqliteStore(directory)
    store.open("a")
    for changes in some_life():
        store.commit(changes)
    sys.stdout.write("committed\n")
    sys.stdout.flush()
    time.sleep(60)
