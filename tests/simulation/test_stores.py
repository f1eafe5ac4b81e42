"""The real stores, given exactly what whole clusters make durable, hold exactly what the simulated disks hold.

Method: random walks, with every transaction of every disk committed to a real store as well. At the end each
store is opened again, and its image must be the disk's, message by message, quarantine included. The lists of
changes are those the core really makes: flips that reuse ids, batches with holes, undone queues.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from qpidha.interfaces import MessageStore
from qpidha.journal import Change, StoreImage
from qpidha.stores import MemoryStore, SqliteStore
from qpidha.testing import Walk
from qpidha.testing.sim.content import Content, messages

HOME = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A directory in which an fsync costs nothing: power cuts are not tested here."""

Plain = dict[object, object]


def of_image(image: StoreImage) -> Plain:
    plain: Plain = {}
    for q in image.queues:
        held = {
            id: message for ids, batch in q.held for id, message in zip(ids, messages(batch), strict=True)
        }
        plain[q.queue] = (q.spec, tuple(q.lineage), q.next, held)
    for kept in image.quarantine:
        for id, message in zip(kept.ids, messages(kept.batch), strict=True):
            plain[kept.queue, kept.generation, id] = (kept.name, kept.fate, message)
    plain["status"] = (image.status.cluster, image.status.generation, image.status.primary)
    return plain


def of_disk(content: Content) -> Plain:
    plain: Plain = {
        name: (queue.spec, tuple(queue.lineage), queue.next, dict(sorted(queue.held.items())))
        for name, queue in content.queues.items()
    }
    plain.update(content.shelf)
    plain["status"] = (content.status.cluster, content.status.generation, content.status.primary)
    return plain


def compare(make: Callable[[UUID], MessageStore], seeds: Sequence[int], patch: pytest.MonkeyPatch) -> int:
    """Run these walks with a store beside each disk. Returns how many stores were compared."""
    stores: dict[UUID, tuple[MessageStore, Content]] = {}
    apply = Content.apply

    def apply_both(self: Content, changes: Sequence[Change]) -> None:
        apply(self, changes)
        epoch = self.status.epoch
        if epoch not in stores:
            stores[epoch] = (make(epoch), self)
            stores[epoch][0].open(self.status.node)
        if stores[epoch][1] is self:  # Not an older copy of the store that a fault put in its place.
            stores[epoch][0].commit(changes)

    patch.setattr(Content, "apply", apply_both)
    compared = 0
    for seed in seeds:
        Walk(seed, wire=False).run()
        for store, content in stores.values():
            store.close(clean=False)
            assert of_image(store.open(content.status.node)) == of_disk(content), f"seed {seed}"
            store.close(clean=True)
            compared += 1
        stores.clear()
    return compared


def test_memory_store(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compare(lambda epoch: MemoryStore(), range(70_000, 70_030), monkeypatch) > 60


def test_sqlite_store(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir=HOME) as home:
        assert (
            compare(lambda epoch: SqliteStore(Path(home) / epoch.hex), range(71_000, 71_006), monkeypatch)
            > 10
        )
