"""Any list of changes gives the same image in every store, and in a twin too simple to be wrong.

The twin keeps one dictionary entry a message. The stores are closed, killed and opened again in between.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qpidha.journal import (
    Adopt,
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
from qpidha.stores import MemoryStore, SqliteStore, inspect
from qpidha.types import Entry, Fate, QueueSpec
from qpidha.wire.batch import Batch

QUEUES = [UUID(int=n) for n in (1, 2, 3)]
CLUSTER = UUID(int=9)
GENERATION = 7
HOME = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A directory in which an fsync costs nothing: power cuts are not tested here."""
WINDOW = 60
"""Ids above a queue's base that a test uses: few, so that batches meet and interleave."""


@dataclass
class TwinQueue:
    spec: QueueSpec
    lineage: tuple[Entry, ...]
    next: int
    messages: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Twin:
    """What the stores must hold, message by message."""

    generation: int = 0
    primary: bool = False
    queues: dict[UUID, TwinQueue] = field(default_factory=dict)
    shelf: dict[tuple[UUID, int, int], bytes] = field(default_factory=dict)
    staged: dict[UUID, dict[int, bytes]] = field(default_factory=dict, compare=False)


def pairs(of: SequenceSet, batch: Batch) -> list[tuple[int, bytes]]:
    return list(zip(of, batch, strict=True))


def as_twin(image: StoreImage) -> Twin:
    twin = Twin(image.status.generation, image.status.primary)
    for q in image.queues:
        firsts = [ids.first for ids, _ in q.held]
        assert firsts == sorted(firsts)
        every = [pair for ids, batch in q.held for pair in pairs(ids, batch)]
        assert len(every) == len(dict(every)), "disjoint"
        twin.queues[q.queue] = TwinQueue(q.spec, q.lineage, q.next, dict(every))
    for shelved in image.quarantine:
        for id, data in pairs(shelved.ids, shelved.batch):
            twin.shelf[shelved.queue, shelved.generation, id] = data
    return twin


class StoresAgree(RuleBasedStateMachine):
    """Changes are collected, and committed to both stores now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=HOME))
        self.directory = self.home / "store"
        self.disk, self.memory = SqliteStore(self.directory), MemoryStore()
        self.twin, self.pending, self.serial = Twin(), list[Change](), 0

    @initialize(base=st.sampled_from([0, 1, 2**32 - 20, 2**63 - 20, 2**64 - 80]))
    def start(self, base: int) -> None:
        self.base = base
        self.disk.open("a")
        self.memory.open("a")
        self.record(PutStatus(CLUSTER, GENERATION, False))
        self.twin.generation = GENERATION

    def record(self, change: Change) -> None:
        self.pending.append(change)

    def batch(self, count: int) -> Batch:
        self.serial += count
        return Batch.pack([b"%d" % (self.serial - count + n) for n in range(count)])

    def window(self, offsets: Iterable[int]) -> set[int]:
        return {self.base + offset for offset in offsets}

    queue = st.sampled_from(QUEUES)
    some = st.one_of(
        st.tuples(st.integers(0, WINDOW - 1), st.integers(1, 20)).map(
            lambda t: set(range(t[0], min(t[0] + t[1], WINDOW)))
        ),
        st.sets(st.integers(0, WINDOW - 1), min_size=1, max_size=20),
    )

    # --- changes -----------------------------------------------------------------------------------

    @rule(queue=queue, name=st.text(min_size=1, max_size=5), entries=st.integers(0, 3), lower=st.booleans())
    def put_queue(self, queue: UUID, name: str, entries: int, lower: bool) -> None:
        known = self.twin.queues.get(queue)
        least = max(known.messages, default=self.base - 1) + 1 if known else self.base
        next = least if lower or known is None else known.next
        lineage = tuple((2 * n + 1, min(self.base + n, next)) for n in range(entries))
        spec = QueueSpec(name=name)
        self.record(PutQueue(queue, spec, lineage, next))
        self.twin.queues[queue] = TwinQueue(spec, lineage, next, known.messages if known else {})

    @rule(queue=queue, offsets=some)
    def insert(self, queue: UUID, offsets: set[int]) -> None:
        twin = self.twin.queues.get(queue)
        fresh = self.window(offsets) - set(twin.messages if twin else ())
        if twin is None or not fresh:
            return
        ids, batch = SequenceSet(sorted(fresh)), self.batch(len(fresh))
        self.record(Insert(queue, ids, batch))
        twin.messages.update(pairs(ids, batch))
        twin.next = max(twin.next, ids.last + 1)

    @rule(queue=queue, offsets=some)
    def remove(self, queue: UUID, offsets: set[int]) -> None:
        if twin := self.twin.queues.get(queue):
            gone = self.window(offsets)
            self.record(Remove(queue, SequenceSet(sorted(gone))))
            twin.messages = {id: data for id, data in twin.messages.items() if id not in gone}
            twin.next = max(twin.next, max(gone) + 1)

    @rule(queue=queue, offset=st.integers(0, WINDOW))
    def skip(self, queue: UUID, offset: int) -> None:
        if twin := self.twin.queues.get(queue):
            self.record(Skip(queue, self.base + offset))
            twin.next = max(twin.next, self.base + offset)

    @rule(queue=queue)
    def drop(self, queue: UUID) -> None:
        self.record(DropQueue(queue))
        self.twin.queues.pop(queue, None)

    @rule(queue=queue, offsets=some)
    def stage(self, queue: UUID, offsets: set[int]) -> None:
        aside = self.twin.staged.setdefault(queue, {})
        if fresh := self.window(offsets) - aside.keys():
            ids, batch = SequenceSet(sorted(fresh)), self.batch(len(fresh))
            self.record(Stage(queue, ids, batch))
            aside.update(pairs(ids, batch))

    @rule(queue=queue, offsets=some, everything=st.booleans())
    def adopt(self, queue: UUID, offsets: set[int], everything: bool) -> None:
        twin, aside = self.twin.queues.get(queue), self.twin.staged.get(queue, {})
        if twin is None:
            return
        self.twin.staged.pop(queue, None)
        taken = (set(aside) if everything else self.window(offsets) & aside.keys()) - twin.messages.keys()
        self.record(Adopt(queue, SequenceSet(sorted(taken))))
        if taken:
            twin.messages.update({id: aside[id] for id in taken})
            twin.next = max(twin.next, max(taken) + 1)

    @rule()
    def unstage(self) -> None:
        self.record(Unstage())
        self.twin.staged.clear()

    @precondition(lambda self: not self.pending)
    @rule(queue=queue)
    def read_staged(self, queue: UUID) -> None:
        if aside := self.twin.staged.get(queue):
            found = self.disk.read_staged(queue, SequenceSet(sorted(aside)))
            assert list(found) == [data for _, data in sorted(aside.items())]

    @rule(queue=queue, generation=st.integers(1, 2), offsets=some)
    def quarantine(self, queue: UUID, generation: int, offsets: set[int]) -> None:
        known = {id for q, g, id in self.twin.shelf if (q, g) == (queue, generation)}
        if fresh := self.window(offsets) - known:
            ids, batch = SequenceSet(sorted(fresh)), self.batch(len(fresh))
            self.record(Quarantine(queue, "q", generation, ids, batch, Fate.UNKNOWN))
            self.twin.shelf.update({(queue, generation, id): data for id, data in pairs(ids, batch)})

    @rule(queue=queue, generation=st.integers(1, 2), offsets=some)
    def release(self, queue: UUID, generation: int, offsets: set[int]) -> None:
        gone = self.window(offsets)
        self.record(Release(queue, generation, SequenceSet(sorted(gone))))
        for id in gone:
            self.twin.shelf.pop((queue, generation, id), None)

    @rule(more=st.integers(0, 3), primary=st.booleans())
    def status(self, more: int, primary: bool) -> None:
        self.twin.generation += more
        self.twin.primary = primary
        self.record(PutStatus(CLUSTER, self.twin.generation, primary))

    # --- commits and lives -------------------------------------------------------------------------

    @rule()
    def commit(self) -> None:
        self.disk.commit(self.pending)
        self.memory.commit(self.pending)
        self.pending = []

    @precondition(lambda self: self.serial)
    @rule(kill=st.booleans(), clean=st.booleans())
    def restart(self, kill: bool, clean: bool) -> None:
        self.commit()
        if kill:
            copy = Path(tempfile.mkdtemp(dir=self.home)) / "store"
            shutil.copytree(self.directory, copy)
            self.disk.close(clean=clean)
            self.memory.crash()
            self.directory = copy
        else:
            self.disk.close(clean=clean)
            self.memory.close(clean=clean)
        self.disk = SqliteStore(self.directory)
        self.twin.staged.clear()
        image, twin = self.disk.open("a"), self.memory.open("a")
        assert as_twin(image) == as_twin(twin) == self.twin
        assert image.status.state == twin.status.state

    @invariant()
    def indexes_are_sound(self) -> None:
        for store in (self.disk, self.memory):
            if store._contents is not None:
                for queue in store._contents.queues.values():
                    queue.rows.check()

    def teardown(self) -> None:
        if not self.pending and self.directory.exists():
            report = inspect(self.directory)
            assert not report.damage
            assert {q.queue: q.held for q in report.queues} == {
                key: len(q.messages) for key, q in self.twin.queues.items()
            }
        self.disk.close(clean=False)
        shutil.rmtree(self.home)


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
