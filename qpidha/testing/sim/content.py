"""What a simulated disk holds: a reference for the stores, with one Python object for each message.

It applies every change in the simplest way, so that the real stores and the memory of a replica can be compared with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from typing import NamedTuple, TypeAlias

from qpidha.journal import (
    Adopt,
    Audit,
    Change,
    DropQueue,
    Insert,
    PutQueue,
    PutStatus,
    Quarantine,
    QueueImage,
    Release,
    Remove,
    Skip,
    Stage,
    StoreImage,
    StoreState,
    StoreStatus,
    Unstage,
)
from qpidha.seq import SequenceSet
from qpidha.testing.sim.touched import Touched
from qpidha.types import Entry, Fate, Generation, Level, MessageId, QueueId, QueueSpec, level_of
from qpidha.wire.batch import Batch

RawOrigin = tuple[bytes, int, int]


class Message(NamedTuple):
    """One durable message."""

    data: bytes
    props: bytes
    origin: RawOrigin | None
    order: int = 0
    """Its place in the order, if that is another than its id (U1); 0: it is not."""

    @property
    def value(self) -> str:
        """What the publisher called it: the data up to the padding. Of an entry of a keyed queue: nothing readable."""
        return self.data.rstrip(b".").decode(errors="backslashreplace")


Fact: TypeAlias = tuple[MessageId, Entry, list[tuple[Generation, MessageId, Message]]]
"""Of one queue: next id, newest entry of the lineage with an id, and every message with its identity, in order."""
Facts: TypeAlias = dict[QueueId, Fact]


def newest_entry(lineage: tuple[Entry, ...], next: MessageId) -> Entry:
    """Return the last entry with an id, or the first one: an entry without ids says nothing about a message."""
    for entry in reversed(lineage):
        if entry[1] < next:
            return entry
    return lineage[0]


@dataclass(slots=True)
class DiskQueue:
    """One durable queue: messages by id, and the next id."""

    spec: QueueSpec
    lineage: tuple[Entry, ...]
    next: MessageId
    held: dict[MessageId, Message] = field(default_factory=dict)

    @property
    def keyed(self) -> bool:
        """It is a table, or the configuration: its messages are entries, not what publishers gave a value."""
        return self.spec.kind.startswith("$")

    def generation_of(self, id: MessageId) -> Generation:
        """Return the generation of an id, by a linear search (compare `qpidha.core.lineage.generation_of`)."""
        found = 0
        for generation, first in self.lineage:
            if first <= id:
                found = generation
        return found

    def identified(self) -> Iterator[tuple[Generation, MessageId, Message]]:
        """Every message with its identity, in order: `generation_of` for ascending ids, in one pass."""
        of, at, entries = 0, 0, len(self.lineage)
        for id in sorted(self.held):
            while at < entries and self.lineage[at][1] <= id:
                of = self.lineage[at][0]
                at += 1
            yield of, id, self.held[id]


@dataclass(slots=True)
class Content:
    """Everything durable on one disk."""

    status: StoreStatus
    queues: dict[QueueId, DiskQueue] = field(default_factory=dict)
    """Those whose messages are replicated."""
    local: dict[QueueId, DiskQueue] = field(default_factory=dict)
    """Those whose messages are not (LV1)."""
    shelf: dict[tuple[QueueId, Generation, MessageId], tuple[str, Fate, Message]] = field(
        default_factory=dict
    )
    staged: dict[QueueId, dict[MessageId, Message]] = field(default_factory=dict)
    """What is set aside, by queue (rule C5)."""
    values: Counter[str] = field(default_factory=Counter)
    """How often each value is held, over all queues; the shelf does not count."""
    audit: list[Audit] = field(default_factory=list)
    dropped: dict[QueueId, DiskQueue] = field(default_factory=dict)
    """Queues that the last transaction dropped, as they were."""
    touched: Touched = field(default_factory=Touched)

    def facts(self, only: Container[QueueId] | None = None) -> Facts:
        """Everything two nodes must agree on at the same position (R-a); of all queues, or of ``only`` these."""
        return {
            name: (
                queue.next,
                newest_entry(queue.lineage, queue.next),
                list(queue.identified()),
            )
            for name, queue in self.queues.items()
            if only is None or name in only
        }

    def entries_removed(self, changes: Sequence[Change]) -> dict[bytes | None, bytes]:
        """By key, the entries of tables and of the configuration that these changes will remove."""
        removed: dict[bytes | None, bytes] = {}
        for change in changes:
            queue = self.queues.get(change.queue) if isinstance(change, Remove) else None
            if isinstance(change, Remove) and queue is not None and queue.keyed:
                gone = (queue.held[id] for id in change.ids if id in queue.held)
                removed.update({message.props: message.data for message in gone})
        return removed

    def apply(self, changes: Sequence[Change]) -> None:  # noqa: C901, PLR0912 - one case each
        """Apply one transaction."""
        self.dropped = {}
        for change in changes:
            match change:
                case PutStatus(cluster, generation, primary):
                    self.status = self.status.with_(cluster=cluster, generation=generation, primary=primary)
                case PutQueue(name, spec, lineage, next):
                    known = self._with(name).get(name)
                    if known is None:
                        self._with(name)[name] = DiskQueue(spec, lineage, next)
                    else:
                        known.spec, known.lineage, known.next = spec, lineage, next
                case DropQueue(name):
                    self.dropped[name] = queue = self._with(name).pop(name)
                    for message in queue.held.values():
                        self._gone(name, queue, message)
                case Stage(name, ids, batch):
                    aside = self.staged.setdefault(name, {})
                    assert aside.keys().isdisjoint(ids), "set aside twice"
                    aside.update(zip(ids, messages(batch), strict=True))
                case Unstage():
                    self.staged.clear()
                case Adopt():
                    for insert in self.adopted([change]):
                        self._insert(insert)
                    self.staged.pop(change.queue, None)
                case Insert():
                    self._insert(change)
                case Remove(name, ids):
                    queue = self._with(name)[name]
                    for id in ids:
                        if id in queue.held:
                            self._gone(name, queue, queue.held.pop(id))
                    if ids:
                        queue.next = max(queue.next, ids.last + 1)
                case Skip(name, next):
                    queue = self._with(name)[name]
                    queue.next = max(queue.next, next)
                case Quarantine(name, label, generation, ids, batch, fate):
                    for id, message in zip(ids, messages(batch), strict=True):
                        self.shelf[name, generation, id] = (label, fate, message)
                case Release(name, generation, ids):
                    for id in ids:
                        self.shelf.pop((name, generation, id), None)
                case Audit():
                    self.audit.append(change)

    def _insert(self, change: Change) -> None:
        assert isinstance(change, Insert)
        name, ids, queue = change.queue, change.ids, self._with(change.queue)[change.queue]
        for id, message in zip(ids, messages(change.batch), strict=True):
            assert id not in queue.held, f"inserted twice: {id}"
            queue.held[id] = message
            if queue.keyed:
                self.touched.keys.add(message.props)
            elif name in self.queues:
                self.values[message.value] += 1
                self.touched.values.add(message.value)
        queue.next = max(queue.next, ids.last + 1)

    def adopted(self, changes: Sequence[Change]) -> list[Change]:
        """Return these changes with an Insert in place of each Adopt, and without what is set aside."""
        aside = {name: dict(held) for name, held in self.staged.items()}
        found: list[Change] = []
        for change in changes:
            match change:
                case Stage(name, ids, batch):
                    aside.setdefault(name, {}).update(zip(ids, messages(batch), strict=True))
                case Unstage():
                    aside.clear()
                case Adopt(name, ids):
                    held = aside.pop(name, {})
                    if ids:
                        found.append(Insert(name, ids, packed([held[id] for id in ids])))
                case _:
                    found.append(change)
        return found

    def copy(self) -> Content:
        """Return an independent copy; costs time and memory in the number of messages."""
        queues, local = (
            {name: replace(queue, held=dict(queue.held)) for name, queue in some.items()}
            for some in (self.queues, self.local)
        )
        values, audit, shelf = self.values.copy(), list(self.audit), dict(self.shelf)
        staged = {name: dict(held) for name, held in self.staged.items()}
        new = replace(
            self, queues=queues, local=local, shelf=shelf, values=values, audit=audit, staged=staged
        )
        new.touched = Touched(whole=True)
        return new

    def _with(self, queue: QueueId) -> dict[QueueId, DiskQueue]:
        """The queues of the same level as this one."""
        return self.queues if level_of(queue) is Level.MESSAGES else self.local

    def _gone(self, name: QueueId, queue: DiskQueue, message: Message) -> None:
        if queue.keyed:
            self.touched.keys.add(message.props)
        if queue.keyed or level_of(name) is not Level.MESSAGES:
            return
        self.touched.values.add(message.value)
        self.values[message.value] -= 1
        if not self.values[message.value]:
            del self.values[message.value]

    def image(self) -> StoreImage:
        """Return the image that a store loads at the start, in batches of up to three messages."""
        sound = StoreState.DIRTY if self.status.cluster else StoreState.EMPTY
        state = StoreState.DAMAGED if self.status.state is StoreState.DAMAGED else sound
        queues = []
        for name, queue in chain(self.queues.items(), self.local.items()):
            held = [(SequenceSet(part), packed([queue.held[i] for i in part])) for part in thirds(queue.held)]
            queues.append(QueueImage(name, queue.spec, queue.lineage, queue.next, held))
        shelf = [
            Quarantine(name, label, generation, SequenceSet([id]), packed([message]), fate)
            for (name, generation, id), (label, fate, message) in self.shelf.items()
        ]
        return StoreImage(self.status.with_(state=state), queues, shelf)


@lru_cache(4096)
def messages(batch: Batch) -> tuple[Message, ...]:
    """Return the messages of a batch, in order. Cached."""
    return tuple(
        Message(batch.data(i), batch.props(i), batch.origin(i), batch.order(i)) for i in range(len(batch))
    )


def packed(some: Sequence[Message]) -> Batch:
    """Return the messages as a batch, without empty columns."""
    return Batch.pack(
        [m.data for m in some],
        [m.props for m in some] if any(m.props for m in some) else None,
        [m.order for m in some] if any(m.order for m in some) else None,
        [m.origin for m in some] if any(m.origin for m in some) else None,
    )


def thirds(held: dict[MessageId, Message]) -> list[list[MessageId]]:
    """Return the ids in ascending order, in lists of three."""
    ids = sorted(held)
    return [ids[i : i + 3] for i in range(0, len(ids), 3)]
