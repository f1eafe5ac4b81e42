"""What a plan says about one queue, as far as it has arrived, and whether it contradicts itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from qpidha.core.backup.keys import check_keys
from qpidha.core.keyed import KEYED, KeyedQueue
from qpidha.core.lineage import generation_of
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import RemoteProtocolError
from qpidha.seq import SequenceSet
from qpidha.types import Generation, QueueId
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


def check_planned_keys(known: ReplicatedQueue | None, planned: Planned) -> Iterator[None]:
    """The same for the keys of a table or of the configuration, step by step."""
    assert planned.meta is not None
    if planned.meta.spec.kind in KEYED:
        keyed = known if isinstance(known, KeyedQueue) else None
        yield from check_keys(keyed, planned.drop, fresh(planned))


def fresh(planned: Planned) -> Iterator[tuple[SequenceSet, Batch]]:
    """The staged messages that were not dequeued since they were sent."""
    for _, ids, batch in planned.staged:
        left = ids - planned.staged_drop if planned.staged_drop else ids
        if len(left) == len(ids):
            yield ids, batch
        elif left:
            at = ids.first
            yield left, batch.gather([(ids.count(at, a) - 1, ids.count(at, b)) for a, b in left.runs()])
