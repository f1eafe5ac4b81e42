"""A simulated disk: a reference for the stores, with commits that complete later and crashes that lose them.

It keeps one Python object per message and applies every change in the simplest way, so that the real
stores and the memory of the replica can be compared with it. What it holds is what is
*durable*: a commit that has not completed is not in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from typing import Literal, NamedTuple, TypeAlias
from uuid import UUID

from qpidha.driver import Done
from qpidha.errors import StoreFailed
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
from qpidha.types import Entry, Fate, Generation, Level, MessageId, NodeId, QueueId, QueueSpec, level_of
from qpidha.wire.batch import Batch

RawOrigin = tuple[bytes, int, int]
Failing = Literal["before", "after", "torn"]


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
                    self.apply(self.adopted([change]))
                    self.staged.pop(change.queue, None)
                case Insert(name, ids, batch):
                    queue = self._with(name)[name]
                    for id, message in zip(ids, messages(batch), strict=True):
                        assert id not in queue.held, f"inserted twice: {id}"
                        queue.held[id] = message
                        if queue.keyed:
                            self.touched.keys.add(message.props)
                        elif name in self.queues:
                            self.values[message.value] += 1
                            self.touched.values.add(message.value)
                    queue.next = max(queue.next, ids.last + 1)
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


class SimDisk:
    """The disk of one node. At most one commit is under way, as the driver promises."""

    def __init__(self, node: NodeId, new_uuid: Callable[[], UUID]) -> None:
        self.node = node
        self._new_uuid = new_uuid
        self.content = Content(StoreStatus(node=node, epoch=new_uuid()))
        self.failing: Failing | None = None
        """How the next commit fails: before it is durable, after it, or as ``tear`` decides."""
        self.reading = False
        """What reads now is the node, not a check of the simulator: it may fail."""
        self.read_fails_in = 0
        """So many more reads of the node, and the last of them fails; 0: none does."""
        self.full = False
        """No commit succeeds, and no store opens: opening it is a write (D5)."""
        self.damage = ""
        """The error of the store's verification at the next start; "" for none."""
        self.armed: Callable[[], None] | None = None
        """Called once, when the next commit begins."""
        self.tear: Callable[[Content, Sequence[Change]], bool] = lambda content, changes: False
        """Whether an interrupted transaction is durable (`qpidha.testing.sim.media`)."""
        self.committed: Callable[[list[Change]], None] = lambda changes: None
        """Called when a commit is durable, before the driver's callback."""
        self.displaced: dict[bytes | None, bytes] = {}
        """By key, the entries of tables and of the configuration that the last durable transaction removed."""
        self._pending: tuple[list[Change], Done] | None = None

    @property
    def epoch(self) -> UUID:
        """The epoch of the store on this disk."""
        return self.content.status.epoch

    @property
    def pending(self) -> list[Change] | None:
        """The changes of the commit in progress; None without one."""
        return self._pending[0] if self._pending else None

    def image(self) -> StoreImage:
        """Open the store and return its image.

        Raises:
            StoreFailed: The disk is full.
        """
        if self.full:
            raise StoreFailed("simulated: the disk is full")
        self.content.staged.clear()
        image = self.content.image()
        if self.damage:
            return StoreImage(image.status.with_(state=StoreState.DAMAGED))
        return image

    def begin(self, changes: list[Change], done: Done) -> None:
        """Begin a commit; `finish` completes it, `crash` may lose it. At most one at a time."""
        assert self._pending is None, "two commits at once"
        self._pending = (changes, done)
        if self.armed is not None:
            armed, self.armed = self.armed, None
            armed()

    def finish(self) -> list[Change]:
        """Complete the commit in progress, and call back. Returns what became durable."""
        if self._pending is None:
            return []
        (changes, done), self._pending = self._pending, None
        if self.failing or self.full:
            torn = self.failing == "torn" and self.tear(self.content, changes)
            if self.failing == "after" or torn:
                self.content.apply(changes)
            self.failing = None
            done(StoreFailed("simulated: the disk is full" if self.full else "simulated: the disk failed"))
            return []
        plain = self.content.adopted(changes)
        self.displaced = self.content.entries_removed(plain)
        self.content.apply(changes)
        self.committed(plain)
        done(None)
        return plain

    def spoiled(self) -> bool:
        """Whether the read that the node makes now fails."""
        if not self.reading or not self.read_fails_in:
            return False
        self.read_fails_in -= 1
        return not self.read_fails_in

    def crash(self, *, keep: bool) -> None:
        """End the process. ``keep``: a commit in progress is durable; else it is lost as a whole."""
        self.read_fails_in = 0
        if self._pending is not None:
            changes, _ = self._pending
            self._pending = None
            if keep:
                self.content.apply(changes)

    def wipe(self) -> None:
        """Replace the disk by an empty one with another epoch (rule J3)."""
        self._pending = None
        self.failing, self.full, self.damage, self.armed = None, False, "", None
        self.content = Content(StoreStatus(node=self.node, epoch=self._new_uuid()))

    def snapshot(self) -> Content:
        """Return a copy of the durable content, for `restore`."""
        return self.content.copy()

    def restore(self, content: Content) -> None:
        """Replace the content by an older copy of the same disk (scenario T39)."""
        self._pending = None
        self.content = content.copy()
