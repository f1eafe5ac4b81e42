"""The flip: a backup becomes equal to the primary, over all queues, in one transaction (rule C5).

Messages that it removes are judged by the *primary's* history (W1). Those dequeued there are erased. Those that were
never there are quarantined as rewound, and those older than the primary's lineage are quarantined as unknown. A queue
that the primary does not have is quarantined whole, never deleted because it is absent (R-f).

With many queues the flip would block the event loop too long, so it is done in slices. Meanwhile nothing else changes
the queues: frames from the primary wait, and a session that ends finishes its flip first. It is still one transaction,
because all its changes are persisted together when the last queue is done.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from qpidha.core.lineage import Lineage, generation_of
from qpidha.core.quarantine import Quarantined
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import Inserted, Notice, QueueAdded, QueueRemoved, Removed
from qpidha.core.resync import judge_all
from qpidha.errors import RemoteProtocolError
from qpidha.events import Resynchronised
from qpidha.journal import Audit, Change, DropQueue, Insert, PutQueue, Quarantine, Remove
from qpidha.seq import SequenceSet
from qpidha.types import Fate, Generation, MessageId, QueueId
from qpidha.wire.batch import Batch
from qpidha.wire.events import PlanQueue


@dataclass(slots=True)
class Planned:
    """What the plan says about one queue, as far as it has arrived."""

    meta: PlanQueue | None = None
    drop: SequenceSet = field(default_factory=SequenceSet)
    staged_drop: SequenceSet = field(default_factory=SequenceSet)
    staged_ids: SequenceSet = field(default_factory=SequenceSet)
    staged: list[tuple[Generation, SequenceSet, Batch]] = field(default_factory=list)


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
        queues: dict[QueueId, ReplicatedQueue],
        plan: dict[QueueId, Planned],
        count: int,
        quarantined: Quarantined,
    ) -> None:
        """Raises `RemoteProtocolError` if the plan does not name as many queues as it says."""
        if len(plan) != count:
            raise RemoteProtocolError(f"the plan names {len(plan)} queues and ends with {count}")
        self.done = False
        self.result = Flipped()
        self._queues = queues
        self._plan = plan
        self._quarantined = quarantined
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
            check_planned(queues.get(queue), queue, planned)
            yield
        # From here on nothing can fail, and queues change.
        for known in list(queues.values()):
            if known.queue not in plan:
                _forget(known, result, self._quarantined)
                del queues[known.queue]
                yield
        for planned in plan.values():
            assert planned.meta is not None
            _become(queues, planned, planned.meta, result, self._quarantined)
            yield
        for release in self._quarantined.release_alive(self._history_of):
            if release is not None:
                result.changes.append(release)
            yield
        self.done = True

    def _history_of(self, queue: QueueId) -> tuple[Lineage, MessageId] | None:
        planned = self._plan.get(queue)
        return (planned.meta.lineage, planned.meta.next) if planned and planned.meta else None


def flip(
    queues: dict[QueueId, ReplicatedQueue], plan: dict[QueueId, Planned], count: int, quarantined: Quarantined
) -> Flipped:
    """Apply a complete plan to ``queues``. Returns the changes that the store must make in one transaction.

    Raises:
        RemoteProtocolError: The plan contradicts itself. Nothing was changed.
    """
    return Flip(queues, plan, count, quarantined).finish()


def check_planned(known: ReplicatedQueue | None, queue: QueueId, planned: Planned) -> None:
    """Refuse a plan that contradicts itself, before anything is touched. ``known``: the queue as it is here."""
    meta = planned.meta
    if meta is None:
        raise RemoteProtocolError(f"messages for queue {queue}, which the plan does not have")
    held = known.held if known is not None else SequenceSet()
    if not planned.drop <= held or not planned.staged_drop <= planned.staged_ids:
        raise RemoteProtocolError("the plan drops messages that this backup does not have")
    kept = held - planned.drop
    fresh = planned.staged_ids - planned.staged_drop
    if not kept.isdisjoint(fresh):
        raise RemoteProtocolError("the plan sends a message that this backup keeps")
    if len(kept) + len(fresh) != meta.held:
        raise RemoteProtocolError(f"the plan leaves {len(kept) + len(fresh)} messages, not {meta.held}")
    if max((s.last for s in (kept, fresh) if s), default=0) >= meta.next:
        raise RemoteProtocolError("the plan holds ids at or above next")
    for generation, ids, _ in planned.staged:
        if generation_of(meta.lineage, ids.first) != generation:
            raise RemoteProtocolError("a staged message is not of the generation it was sent as")


def _forget(queue: ReplicatedQueue, result: Flipped, quarantined: Quarantined) -> None:
    """The primary has no such queue: its creation is undone, its content quarantined."""
    for change in _quarantine(queue, queue.held, (), 0, result):
        quarantined.add(change)
        result.changes.append(change)
    result.changes.append(DropQueue(queue.queue))
    result.notices.append(QueueRemoved(queue.queue))


def _become(
    queues: dict[QueueId, ReplicatedQueue],
    planned: Planned,
    meta: PlanQueue,
    result: Flipped,
    quarantined: Quarantined,
) -> None:
    queue = queues.get(meta.queue)
    if queue is None:
        queue = queues[meta.queue] = ReplicatedQueue(meta.queue, meta.spec, meta.lineage, meta.next)
        result.notices.append(QueueAdded(meta.queue, meta.spec))
    if planned.drop:
        for change in _quarantine(queue, planned.drop, meta.lineage, meta.next, result):
            quarantined.add(change)
            result.changes.append(change)
        queue.remove(planned.drop)
        result.changes.append(Remove(meta.queue, planned.drop))
        result.notices.append(Removed(meta.queue, planned.drop))
    # The old content is gone: only now may ids below the old next be inserted again.
    queue.next, queue.lineage = meta.next, meta.lineage
    result.changes.append(PutQueue(meta.queue, meta.spec, meta.lineage, meta.next))
    for ids, batch in _fresh(planned):
        queue.insert(ids, batch)
        result.changes.append(Insert(meta.queue, ids, batch))
        result.notices.append(Inserted(meta.queue, ids, batch))
        result.inserted += len(batch)
        result.nbytes += batch.nbytes


def _fresh(planned: Planned) -> Iterator[tuple[SequenceSet, Batch]]:
    """The staged messages that were not dequeued since they were sent."""
    for _, ids, batch in planned.staged:
        left = ids - planned.staged_drop if planned.staged_drop else ids
        if len(left) == len(ids):
            yield ids, batch
        elif left:
            at = ids.first
            yield left, batch.gather([(ids.count(at, a) - 1, ids.count(at, b)) for a, b in left.runs()])


def _quarantine(
    queue: ReplicatedQueue, ids: SequenceSet, lineage: Lineage, next: MessageId, result: Flipped
) -> Iterator[Quarantine]:
    """Judge messages that are about to be removed, and yield those to keep in quarantine, with their fate (W1)."""
    for generation, verdict in judge_all(lineage, next, queue.lineage, ids):
        result.erased += len(verdict.dequeued)
        for fate, doomed in ((Fate.REWOUND, verdict.rewound), (Fate.UNKNOWN, verdict.unknown)):
            if not doomed:
                continue
            result.discarded += len(doomed)
            result.changes.append(
                Audit(
                    "rewound",
                    generation,
                    queue.spec.name,
                    f"{fate.value}: {len(doomed)} messages, {doomed!r}",
                )
            )
            for part, batch in queue.select(doomed):
                yield Quarantine(queue.queue, queue.spec.name, generation, part.copy(), batch, fate)
