"""Operations that a backup applies: whole or not at all, each with its change of the store and its notice (C6, O3)."""

from __future__ import annotations

from uuid import UUID

import pytest

from qpidha import Batch, SequenceSet
from qpidha.core.backup.applying import Applier, Flow
from qpidha.core.local import LocalQueues
from qpidha.core.outbox import Outbox
from qpidha.core.queues import Queues
from qpidha.core.ready import Inserted, QueueAdded, QueueRemoved, Removed
from qpidha.errors import RemoteProtocolError
from qpidha.journal import DropQueue, Insert, PutQueue, Remove, Skip
from qpidha.types import QueueSpec
from qpidha.wire.events import Copy, Declare, Dequeue, Drop, Enqueue, Operation, SkipIds

Q, OTHER, OBJECTS = UUID(int=1), UUID(int=2), UUID(int=3)
SPEC = QueueSpec(name="q")
GENERATION = 2


class Backup:
    def __init__(self) -> None:
        self.queues, self.out, self.flow = Queues(), Outbox(), Flow()
        self.queues[Q] = self.queues.make(Q, SPEC, ((1, 1),), 1)
        self._applier = Applier(
            self.queues, LocalQueues(self.queues.make), OBJECTS, self.out, self.flow, GENERATION
        )

    def apply(self, *parts: object) -> tuple[list[type], list[type]]:
        """The kinds of changes and notices."""
        operation: Operation = parts  # type: ignore[assignment]
        self._applier.apply(operation)
        ready = self.out.take()
        return [type(c) for c in ready.persist], [type(n) for n in ready.notify]


def enqueue(first: int, *values: bytes) -> Enqueue:
    return Enqueue(queue=Q, first=first, batch=Batch.pack(list(values)))


def test_each_part_changes_the_queue_and_the_store() -> None:
    backup = Backup()
    assert backup.apply(enqueue(1, b"a", b"b")) == ([PutQueue, Insert], [Inserted]), (
        "P3: the generation is entered"
    )
    assert backup.queues[Q].lineage[-1] == (GENERATION, 1)
    declare = Declare(queue=OTHER, spec=QueueSpec(name="other"), lineage=((2, 1),), next=1)
    copy = Copy(queue=OTHER, first=1, source=Q, ids=SequenceSet([2]), replacement=False)
    assert backup.apply(declare, copy, Dequeue(queue=Q, ids=SequenceSet([1]))) == (
        [PutQueue, Insert, Remove], [QueueAdded, Inserted, Removed],
    )  # fmt: skip
    assert backup.apply(SkipIds(queue=Q, first=3, last=7)) == ([Skip], []) and backup.queues[Q].next == 8
    assert backup.apply(Dequeue(queue=Q, ids=SequenceSet([1]))) == ([Remove], []), "O2: it is gone already"
    assert backup.apply(Drop(queue=OTHER)) == ([DropQueue], [QueueRemoved])
    assert list(backup.queues) == [Q] and list(backup.queues[Q].held) == [2]
    assert (backup.flow.messages, backup.flow.bytes > 0) == (3, True)


def test_an_operation_that_cannot_be_applied_changes_nothing() -> None:
    backup = Backup()
    with pytest.raises(RemoteProtocolError):
        backup.apply(enqueue(1, b"a"), Drop(queue=OTHER))
    assert backup.queues[Q].next == 1 and backup.out.empty
