"""Stores that fail with the state of a whole broker are each found by the check that is named for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from qpidha.journal import Change, DropQueue, Insert, PutQueue, Remove, StoreImage
from qpidha.stores import MemoryStore
from qpidha.testing.conformance import RuleBroken
from qpidha.types import QueueId
from qpidha.wire.batch import Batch
from tests.unit.testing.conformance.test_store import checks


class Changed(MemoryStore):
    """Changes what it is given."""

    def change(self, change: Change) -> list[Change]:
        return [change]

    def commit(self, changes: Sequence[Change]) -> None:
        super().commit([made for change in changes for made in self.change(change)])


class OneKind(Changed):
    """Knows one kind of queues only."""

    def change(self, change: Change) -> list[Change]:
        if isinstance(change, PutQueue):
            return [PutQueue(change.queue, replace(change.spec, kind="fifo"), change.lineage, change.next)]
        return [change]


class ShortHistory(Changed):
    """Keeps the last hundred entries of a history."""

    def change(self, change: Change) -> list[Change]:
        if isinstance(change, PutQueue):
            return [PutQueue(change.queue, change.spec, change.lineage[-100:], change.next)]
        return [change]


class PlainNames(Changed):
    """Has a column of 100 ASCII characters for names."""

    def change(self, change: Change) -> list[Change]:
        if isinstance(change, PutQueue):
            name = change.spec.name.encode("ascii", "replace").decode()[:100]
            return [PutQueue(change.queue, replace(change.spec, name=name), change.lineage, change.next)]
        return [change]


class NoOrder(Changed):
    """Has no column for order keys."""

    def change(self, change: Change) -> list[Change]:
        if isinstance(change, Insert):
            batch = change.batch
            props = [bytes(batch.props(n)) for n in range(len(batch))]
            return [Insert(change.queue, change.ids, Batch.pack(list(batch), props))]
        return [change]


class OneContent(Changed):
    """Stores a fan-out once, and forgets it when the first queue does."""

    def __init__(self) -> None:
        super().__init__()
        self.sharing: dict[int, list[QueueId]] = {}

    def change(self, change: Change) -> list[Change]:
        if isinstance(change, Insert):
            self.sharing.setdefault(id(change.batch), []).append(change.queue)
        if isinstance(change, Remove):
            for queues in self.sharing.values():
                if change.queue in queues:
                    return [Remove(queue, change.ids) for queue in queues]
        return [change]


class DropsLast(MemoryStore):
    """Deletes queues at the end of a commit, by their names."""

    def commit(self, changes: Sequence[Change]) -> None:
        dropped = [change for change in changes if isinstance(change, DropQueue)]
        super().commit([change for change in changes if not isinstance(change, DropQueue)])
        if dropped and self._contents is not None:
            queues = self._contents.queues
            names = {queues[change.queue].spec.name for change in dropped if change.queue in queues}
            super().commit(
                [DropQueue(queue) for queue, held in list(queues.items()) if held.spec.name in names]
            )


class Opened(MemoryStore):
    """Changes what comes back."""

    def opened(self, image: StoreImage) -> None:
        """Change the image."""

    def open(self, node: str, *, refuse_dirty: bool = False) -> StoreImage:
        image = super().open(node, refuse_dirty=refuse_dirty)
        self.opened(image)
        return image


class ShortIds(Opened):
    """Has 127 bits for the id of a queue."""

    def opened(self, image: StoreImage) -> None:
        for queue in image.queues:
            queue.queue = UUID(int=queue.queue.int & (2**127 - 1))


class QuarantineOfQueues(Opened):
    """Keeps quarantine with its queue."""

    def opened(self, image: StoreImage) -> None:
        known = {queue.queue for queue in image.queues}
        image.quarantine = [shelved for shelved in image.quarantine if shelved.queue in known]


class FewQueues(Opened):
    """Reads one page of its table of queues."""

    def opened(self, image: StoreImage) -> None:
        del image.queues[64:]


class OnePage(MemoryStore):
    """Writes as much of a commit as fits into its buffer."""

    def commit(self, changes: Sequence[Change]) -> None:
        super().commit(list(changes)[:64])


class DropsSteps(MemoryStore):
    """Forgets a commit that is under way when another one comes."""

    def _finish(self) -> None:
        self._under_way = None


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (OneKind, "a-keyed-queue-keeps-the-last-value-of-each-key"),
        (ShortHistory, "a-history-is-kept-however-long"),
        (ShortIds, "ids-of-queues-come-back"),
        (PlainNames, "names-and-kinds-come-back"),
        (DropsLast, "a-deleted-queue-goes-with-its-content"),
        (QuarantineOfQueues, "a-queue-that-was-undone-is-kept-in-quarantine"),
        (OneContent, "a-fan-out-shares-nothing-that-is-changed"),
        (NoOrder, "updated-messages-keep-their-order-keys"),
        (FewQueues, "many-queues-come-back"),
        (OnePage, "a-large-operation-is-whole"),
        (DropsSteps, "a-commit-in-steps-is-one-commit"),
    ],
)
def test_each_broken_store_is_found(kind: type[MemoryStore], name: str) -> None:
    [check] = [check for check in checks(kind) if str(check) == name]
    with pytest.raises(RuleBroken):
        check()
