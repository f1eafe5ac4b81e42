"""The flip: a backup becomes equal to the primary, over all queues, in one transaction (rule C5).

What it takes out is judged by the *primary's* history (W1): dequeued there, and erased; never there, and
quarantined as rewound; older than the primary remembers, and quarantined as unknown. A queue that the
primary does not have is judged by its birth in the primary's configuration (Q4): deleted there, and erased; never
declared there, and quarantined whole. It is never deleted because it is absent (R-f).

What is keyed is not quarantined: a put of an object or of a table's entry that was undone is no message, and it was
never confirmed. The audit record names it.

Queues of groups that the primary found equal stay as they are, and are not looked at (C8).

With many queues the flip would block the event loop too long, so it is done in slices. Meanwhile nothing else changes
the queues: frames from the primary wait, and a session that ends finishes its flip first. It is still one transaction,
because all its changes are persisted together when the last queue is done.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from qpidha.core.backup.kept import Kept
from qpidha.core.backup.planned import Piece, Planned, check_planned, check_planned_keys, fresh
from qpidha.core.backup.staging import Staging
from qpidha.core.births import birth_of
from qpidha.core.configuration import births_of_old_queues
from qpidha.core.histories import Histories
from qpidha.core.keyed import KeyedQueue
from qpidha.core.lineage import Lineage, by_generation
from qpidha.core.local import LocalQueues
from qpidha.core.outbox import Outbox
from qpidha.core.quarantine import Quarantined
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.queues import Queues
from qpidha.core.ready import Inserted, Notice, QueueAdded, QueueRemoved, Removed
from qpidha.core.resync import judge_all
from qpidha.errors import RemoteProtocolError
from qpidha.events import Resynchronised
from qpidha.journal import Adopt, Audit, Change, DropQueue, Insert, PutQueue, Quarantine, Remove
from qpidha.seq import SequenceSet
from qpidha.types import Entry, Fate, Generation, MessageId, QueueId
from qpidha.wire.batch import Batch
from qpidha.wire.events import PlanQueue

KEYS_PER_STEP: Final = 16
"""Messages of a keyed queue that are inserted in one step: about as much work as to visit a queue."""


@dataclass(slots=True)
class Flipped:
    """What the flip changed."""

    changes: list[Change] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    inserted: int = 0
    nbytes: int = 0
    erased: int = 0
    discarded: int = 0

    @property
    def resynchronised(self) -> Resynchronised:
        """The event that reports how much was changed."""
        return Resynchronised(self.inserted, self.nbytes, erased=self.erased, quarantined=self.discarded)


class Flip:
    """A complete plan, while it is being applied."""

    def __init__(
        self,
        queues: Queues,
        local: LocalQueues,
        plan: dict[QueueId, Planned],
        count: int,
        quarantined: Quarantined,
        configuration: QueueId,
        generation: Generation,
        kept: Kept | None = None,
        staging: Staging | None = None,
    ) -> None:
        """Raises `RemoteProtocolError` if plan and ``kept`` do not name as many queues as the plan says."""
        self._kept = Kept(queues) if kept is None else kept
        """Queues that stay as they are, where the plan does not name them."""
        named = len(plan) + self._kept.unplanned(plan)
        if named != count:
            raise RemoteProtocolError(f"the plan names {named} queues and ends with {count}")
        self.done = False
        self.result = Flipped()
        self._queues = queues
        self._local = local
        self._generation = generation
        self._plan = plan
        self._staging = Staging(None, Outbox()) if staging is None else staging
        self._quarantined = quarantined
        self._histories = Histories(self._past_of, self._past_of(configuration))
        """The primary's."""
        self._configuration = configuration
        own = queues.get(configuration)
        self._knew_objects = own is not None
        self._own_objects = own if isinstance(own, KeyedQueue) else None
        self._old_births: dict[QueueId, Entry] | None = None
        """By this node's configuration before the flip; None: nothing has asked yet."""
        self._steps = self._work()

    def advance(self, steps: int) -> None:
        """Do up to ``steps`` more steps of the work; each handles one queue or one quarantined batch.

        Raises:
            RemoteProtocolError: The plan contradicts itself. Nothing was changed.
        """
        for _ in itertools.islice(self._steps, steps):
            pass

    def finish(self) -> Flipped:
        """Do the rest of the work at once. Raises what `advance` raises, also if `advance` has raised it before."""
        for _ in self._steps:
            pass
        if not self.done:
            raise RemoteProtocolError("the plan contradicts itself")
        return self.result

    def _work(self) -> Iterator[None]:
        queues, plan, result = self._queues, self._plan, self.result
        for queue, planned in plan.items():
            known_as = queues.get(queue)
            check_planned(known_as, queue, planned)
            yield from check_planned_keys(known_as, planned, partial(self._staging.body, queue))
            yield
        # From here on nothing can fail, but the store, and queues change.
        if queues.bodies is not None:
            queues.bodies.hold()
        for known in self._kept.others():
            if known.queue not in plan:
                self._forget(known)
                del queues[known.queue]
                yield
        touched = self._objects_touched()
        for planned in plan.values():
            assert planned.meta is not None
            _become(queues, planned, planned.meta, result, self._quarantined)
            yield from self._fill(queues[planned.meta.queue], planned)
            yield
        yield from self._follow_objects(touched)
        for release in self._quarantined.release_alive(self._histories):
            if release is not None:
                result.changes.append(release)
            yield
        result.changes += self._staging.end(plan)
        if queues.bodies is not None:
            queues.bodies.release()
        self.done = True

    def _fill(self, queue: ReplicatedQueue, planned: Planned) -> Iterator[None]:
        """What was staged becomes content; in the store, what it has set aside stays where it is."""
        result, adopted = self.result, SequenceSet()
        for piece, left in fresh(planned):
            result.inserted += len(left)
            if piece.absent and queue.can_adopt(piece.ids):
                result.nbytes += piece.batch.nbytes
                yield from self._adopt(queue, piece, left)
                result.notices.append(Inserted(queue.queue, left, None))
            else:
                batch = piece.part(left, self._staging.body(queue.queue, piece))
                self._staging.leave(piece)
                result.nbytes += batch.nbytes
                yield from _insert(queue, left, batch)
                result.notices.append(Inserted(queue.queue, left, batch))
                if piece.absent:
                    yield
                elif not piece.stored:
                    result.changes.append(Insert(queue.queue, left, batch))
            if piece.stored:
                adopted |= left
        if adopted:
            result.changes.append(Adopt(queue.queue, adopted))

    def _adopt(self, queue: ReplicatedQueue, piece: Piece, left: SequenceSet) -> Iterator[None]:
        """Hold messages that only the store has."""
        outline, bodies = piece.outline, queue.bodies
        assert bodies is not None, "without a limit every piece is in memory"
        batch = None
        if queue.looks_at(outline):
            batch = piece.part(left, self._staging.body(queue.queue, piece))
            yield
        self._staging.leave(piece)
        queue.adopt(piece.ids, left, outline, batch)
        bodies.adopted(queue, outline)

    def _objects_touched(self) -> list[bytes]:
        """The keys of the objects that the plan puts or deletes. O(these)."""
        planned, known = self._plan.get(self._configuration), self._queues.get(self._configuration)
        keys = known.keys_of(planned.drop) if planned is not None and isinstance(known, KeyedQueue) else []
        for piece in planned.staged if planned is not None else ():
            keys += [piece.body.props(i) for i in range(len(piece.body))]
        return keys

    def _follow_objects(self, touched: list[bytes]) -> Iterator[None]:
        """Queues of level configuration go and come with their objects; a flip changes nothing else in them (LV1)."""
        objects, result = self._queues.get(self._configuration), self.result
        if not isinstance(objects, KeyedQueue):
            return
        for start in range(0, len(touched), KEYS_PER_STEP):
            keys = touched[start : start + KEYS_PER_STEP]
            for change, notice in self._local.follow(objects, keys, self._generation):
                result.changes.append(change)
                if notice is not None:
                    result.notices.append(notice)
            yield

    def _past_of(self, queue: QueueId) -> tuple[Lineage, MessageId] | None:
        planned = self._plan.get(queue)
        if planned is None:
            known = self._queues.get(queue) if queue in self._kept else None
            return None if known is None else (known.lineage, known.next)
        return (planned.meta.lineage, planned.meta.next) if planned.meta else None

    def _old_birth(self, queue: QueueId) -> Entry | None:
        """The birth that this node's configuration knows of a queue whose uuid does not tell it.

        Those are looked up only if there is such a queue: a configuration has many objects, and a failover is in a hurry.
        """
        if birth_of(queue) is not None:
            return None
        if self._old_births is None:
            self._old_births = births_of_old_queues(self._own_objects)
        return self._old_births.get(queue)

    def _forget(self, queue: ReplicatedQueue) -> None:
        """The primary has no such queue: it was deleted there, or its declaration is undone (Q4)."""
        result = self.result
        deleted = self._histories.deleted(queue.queue, self._old_birth(queue.queue))
        if isinstance(queue, KeyedQueue) or deleted:
            result.erased += len(queue)
            line = f"{'deleted' if deleted else 'undone'}: {len(queue)} messages"
            result.changes.append(Audit("erased", queue.lineage[-1][0], queue.spec.name, line))
        else:
            known = deleted is False or not self._knew_objects
            for change in _quarantine_whole(queue, Fate.REWOUND if known else Fate.UNKNOWN, result):
                self._quarantined.add(change)
                result.changes.append(change)
        result.changes.append(DropQueue(queue.queue))
        result.notices.append(QueueRemoved(queue.queue))


def flip(
    queues: Queues,
    plan: dict[QueueId, Planned],
    count: int,
    quarantined: Quarantined,
    configuration: QueueId,
    local: LocalQueues | None = None,
    generation: Generation = 1,
) -> Flipped:
    """Apply a complete plan to ``queues``. Returns the changes that the store must make in one transaction.

    Raises:
        RemoteProtocolError: The plan contradicts itself. Nothing was changed.
    """
    own = LocalQueues(queues.make) if local is None else local
    return Flip(queues, own, plan, count, quarantined, configuration, generation).finish()


def _become(
    queues: Queues,
    planned: Planned,
    meta: PlanQueue,
    result: Flipped,
    quarantined: Quarantined,
) -> None:
    """Make one queue as the plan says, but for the messages that come."""
    known = queue = queues.get(meta.queue)
    if queue is None:
        queue = queues[meta.queue] = queues.make(meta.queue, meta.spec, meta.lineage, meta.next)
        result.notices.append(QueueAdded(meta.queue, meta.spec))
    if planned.drop and isinstance(queue, KeyedQueue):
        _undo(queue, planned.drop, meta, result)
    elif planned.drop:
        for change in _quarantine(queue, planned.drop, meta.lineage, meta.next, result):
            quarantined.add(change)
            result.changes.append(change)
    if planned.drop:
        queue.remove(planned.drop)
        result.changes.append(Remove(meta.queue, planned.drop))
        result.notices.append(Removed(meta.queue, planned.drop))
    # The old content is gone: only now may ids below the old next be inserted again.
    if known is None or (queue.next, queue.lineage, queue.spec) != (meta.next, meta.lineage, meta.spec):
        queue.next, queue.lineage = meta.next, meta.lineage
        result.changes.append(PutQueue(meta.queue, meta.spec, meta.lineage, meta.next))


def _insert(queue: ReplicatedQueue, ids: SequenceSet, batch: Batch) -> Iterator[None]:
    """Insert messages. Each key is entered into an index, so a table or configuration gets a few in each step."""
    if not isinstance(queue, KeyedQueue) or len(batch) <= KEYS_PER_STEP:
        queue.insert(ids, batch)
        return
    every = list(ids)
    for start in range(0, len(every), KEYS_PER_STEP):
        stop = min(start + KEYS_PER_STEP, len(every))
        queue.insert(ids.slice(every[start], every[stop - 1]), batch.cut(start, stop))
        yield


def _undo(queue: KeyedQueue, ids: SequenceSet, meta: PlanQueue, result: Flipped) -> None:
    """Say in the audit record which puts of a keyed queue the primary never had."""
    result.erased += len(ids)
    for generation, verdict in judge_all(meta.lineage, meta.next, queue.lineage, ids):
        if verdict.rewound:
            line = f"undone: {len(verdict.rewound)} puts, {verdict.rewound!r}"
            result.changes.append(Audit("rewound", generation, queue.spec.name, line))


def _quarantine_whole(queue: ReplicatedQueue, fate: Fate, result: Flipped) -> Iterator[Quarantine]:
    """All that a queue holds which the primary does not have."""
    for generation, ids in by_generation(queue.lineage, queue.held):
        yield from _kept(queue, generation, ids, fate, result)


def _quarantine(
    queue: ReplicatedQueue, ids: SequenceSet, lineage: Lineage, next: MessageId, result: Flipped
) -> Iterator[Quarantine]:
    """Judge messages that are about to be removed, and yield those to keep in quarantine, with their fate (W1)."""
    for generation, verdict in judge_all(lineage, next, queue.lineage, ids):
        result.erased += len(verdict.dequeued)
        for fate, doomed in ((Fate.REWOUND, verdict.rewound), (Fate.UNKNOWN, verdict.unknown)):
            if doomed:
                yield from _kept(queue, generation, doomed, fate, result)


def _kept(
    queue: ReplicatedQueue, generation: Generation, ids: SequenceSet, fate: Fate, result: Flipped
) -> Iterator[Quarantine]:
    """What goes into quarantine, and a line in the audit record."""
    result.discarded += len(ids)
    line = f"{fate.value}: {len(ids)} messages, {ids!r}"
    result.changes.append(Audit("rewound", generation, queue.spec.name, line))
    for part, batch in queue.select(ids):
        yield Quarantine(queue.queue, queue.spec.name, generation, part.copy(), batch, fate)
