"""Changes of the checks of stores, and images of stores as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias
from uuid import UUID

from qpidha.journal import (
    Adopt,
    Audit,
    Change,
    DropQueue,
    Insert,
    PutQueue,
    PutStatus,
    Quarantine,
    Release,
    Remove,
    Skip,
    Stage,
    StoreImage,
    Unstage,
)
from qpidha.seq import SequenceSet
from qpidha.types import Fate, QueueSpec, Settle
from qpidha.wire.batch import Batch

CLUSTER = UUID(int=0xC1)
QUEUE, OTHER = UUID(int=0xA1), UUID(int=0xA2)
SPEC, OTHER_SPEC = QueueSpec(name="orders"), QueueSpec(name="mails", settle=Settle.IMMEDIATE, kind="ring")
STATUS = PutStatus(CLUSTER, 3, True)
CREATE = PutQueue(QUEUE, SPEC, ((1, 1), (3, 4)), 4)
Plain: TypeAlias = tuple[object, ...]


def ids(*items: int | tuple[int, int]) -> SequenceSet:
    """Return a set of these ids and (first, last) ranges."""
    return SequenceSet(items)


def payload(id: int) -> bytes:
    """Return the data of the message with this id."""
    return b"message %d" % id


def batch(of: SequenceSet) -> Batch:
    """Pack the data of these messages, in the order of their ids."""
    return Batch.pack([payload(id) for id in of])


def insert(of: SequenceSet, queue: UUID = QUEUE) -> Insert:
    """Insert these messages, with the data that `payload` gives them."""
    return Insert(queue, of, batch(of))


def remove(of: SequenceSet, queue: UUID = QUEUE) -> Remove:
    """Remove these messages."""
    return Remove(queue, of)


def quarantine(of: SequenceSet, generation: int = 1, queue: UUID = QUEUE) -> Quarantine:
    """Quarantine these messages as rewound."""
    return Quarantine(queue, SPEC.name, generation, of, batch(of), Fate.REWOUND)


def some_commits() -> list[list[Change]]:
    """Return commits whose result has something of every kind."""
    return [
        [STATUS, CREATE, PutQueue(OTHER, OTHER_SPEC, (), 1)],
        [insert(ids((4, 13))), insert(ids((14, 20))), insert(ids(1, 3, 5), OTHER)],
        [remove(ids(5, (14, 16))), insert(ids(2, 4, 9), OTHER)],
        [quarantine(ids((7, 9))), quarantine(ids(40), 2), Audit("rewound", 3, "orders", "3 messages")],
        [remove(ids(1, (4, 5)), OTHER)],
    ]


def plain(image: StoreImage) -> Plain:
    """Return all of an image except epoch, state and stop id, as values that can be compared."""
    s = image.status
    queues = {q.queue: (q.spec, q.lineage, q.next, messages(q.held)) for q in image.queues}
    shelf = sorted(
        (q.queue, q.generation, q.name, q.fate.value, i, data)
        for q in image.quarantine
        for i, data in messages([(q.ids, q.batch)]).items()
    )
    return (s.node, s.cluster, s.generation, s.primary, queues, shelf)


def messages(held: Iterable[tuple[SequenceSet, Batch]]) -> dict[int, bytes]:
    """Return the data of each message by id.

    Raises:
        ValueError: The sets are not disjoint, or not in the ascending order that a `QueueImage` promises.
    """
    found: dict[int, bytes] = {}
    lowest = -1
    for of, batch in held:
        if len(of) != len(batch):
            raise ValueError(f"{len(of)} ids with {len(batch)} messages")
        if of.first <= lowest:
            raise ValueError(f"ids from {of.first} on come after those from {lowest} on")
        lowest = of.first
        for id, data in zip(of, batch, strict=True):
            if id in found:
                raise ValueError(f"id {id} is held twice")
            found[id] = data
    return found


def said(changes: Iterable[Change]) -> str:
    """Describe a commit in few words, for a report."""
    return f"commit({', '.join(map(_said, changes))})"


def _said(change: Change) -> str:
    match change:
        case PutStatus(_, generation, primary):
            return f"PutStatus generation {generation}{' primary' if primary else ''}"
        case PutQueue(queue, _, lineage, next):
            return f"PutQueue {queue.hex[-2:]} lineage {lineage} next {next}"
        case DropQueue(queue):
            return f"DropQueue {queue.hex[-2:]}"
        case Insert(queue, ids) | Remove(queue, ids) | Stage(queue, ids) | Adopt(queue, ids):
            return f"{type(change).__name__} {queue.hex[-2:]} {runs(ids)}"
        case Skip(queue, next):
            return f"Skip {queue.hex[-2:]} to {next}"
        case Quarantine(queue, _, generation, ids) | Release(queue, generation, ids):
            return f"{type(change).__name__} {queue.hex[-2:]} generation {generation} {runs(ids)}"
        case Unstage():
            return "Unstage"
        case Audit(event):
            return f"Audit {event}"


def runs(of: SequenceSet) -> str:
    """Describe a set of ids: 1-3,7."""
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in of.runs())
