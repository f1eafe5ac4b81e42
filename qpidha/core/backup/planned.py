"""What a plan says about one queue, as far as it has arrived, and whether it contradicts itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from qpidha.core.backup.keys import check_keys
from qpidha.core.keyed import KEYED, KeyedQueue
from qpidha.core.lineage import generation_of
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.stored import Stored
from qpidha.errors import RemoteProtocolError
from qpidha.seq import SequenceSet
from qpidha.types import Generation, QueueId
from qpidha.wire.batch import Batch
from qpidha.wire.events import PlanQueue


class Piece(Stored):
    """Messages of one generation that came together, and that are not content yet."""

    __slots__ = ("counted", "generation", "stored")

    def __init__(self, generation: Generation, ids: SequenceSet, batch: Batch) -> None:
        super().__init__(ids, batch)
        self.generation = generation
        self.counted = False
        """`qpidha.core.bodies` counts it: it may leave memory once it is stored."""
        self.stored = False
        """The store has it, or gets it with the next commit: it is adopted, not inserted."""

    def part(self, left: SequenceSet, batch: Batch) -> Batch:
        """Those of its messages that are left, of ``batch``, which has all of them."""
        if len(left) == len(self.ids):
            return batch
        at, before = self.ids.first, self.ids.count
        return batch.gather([(before(at, a) - 1, before(at, b)) for a, b in left.runs()])


@dataclass(slots=True)
class Planned:
    """What the plan says about one queue, as far as it has arrived."""

    meta: PlanQueue | None = None
    drop: SequenceSet = field(default_factory=SequenceSet)
    staged_drop: SequenceSet = field(default_factory=SequenceSet)
    staged_ids: SequenceSet = field(default_factory=SequenceSet)
    staged: list[Piece] = field(default_factory=list)

    def add(self, generation: Generation, ids: SequenceSet, batch: Batch) -> Piece:
        """These messages were staged, and none of them before."""
        piece = Piece(generation, ids, batch)
        self.staged_ids |= ids
        self.staged.append(piece)
        return piece


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
    for piece in planned.staged:
        if generation_of(meta.lineage, piece.ids.first) != piece.generation:
            raise RemoteProtocolError("a staged message is not of the generation it was sent as")


def check_planned_keys(
    known: ReplicatedQueue | None, planned: Planned, body: Callable[[Piece], Batch]
) -> Iterator[None]:
    """The same for the keys of a table or of the configuration, step by step. ``body``: the messages of a piece."""
    assert planned.meta is not None
    if planned.meta.spec.kind in KEYED:
        keyed = known if isinstance(known, KeyedQueue) else None
        batches = ((left, piece.part(left, body(piece))) for piece, left in fresh(planned))
        yield from check_keys(keyed, planned.drop, batches)


def fresh(planned: Planned) -> Iterator[tuple[Piece, SequenceSet]]:
    """The pieces, each with the ids of its messages that were not dequeued since they were sent."""
    for piece in planned.staged:
        left = piece.ids - planned.staged_drop if planned.staged_drop else piece.ids
        if left:
            yield piece, left
