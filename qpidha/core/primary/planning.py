"""What a primary sends of one queue to a backup that catches up: copies of what it lacks, then the plan (C4)."""

from __future__ import annotations

from collections.abc import Iterator

from qpidha.core.chunks import plan_chunks, split_ids
from qpidha.core.entering import entered_lineage
from qpidha.core.primary.described import Described, Resync
from qpidha.core.primary.inflight import InFlight
from qpidha.core.queue import ReplicatedQueue
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.types import MESSAGE_ID_MAX, Generation
from qpidha.wire.events import Event, PlanDrop, PlanMessages, PlanQueue


def copied(
    queue: ReplicatedQueue, described: Described, in_flight: InFlight, resync: Resync, settings: Settings
) -> Iterator[Event]:
    """Send what is wanted from the cursor on, as much as may be under way."""
    assert described.keep is not None and described.staged is not None
    if queue.next <= described.cursor:
        return
    wanted = queue.held.slice(described.cursor, MESSAGE_ID_MAX) - described.keep
    bytes_max, runs_max = settings.plan_chunk_bytes, settings.ids_runs_per_chunk_max
    for generation, ids, batch in plan_chunks(queue, wanted, bytes_max, runs_max) if wanted else ():
        if in_flight.is_full:
            return
        in_flight.sent(batch.nbytes)
        resync.messages += len(batch)
        resync.bytes += batch.nbytes
        described.staged |= ids
        described.cursor = ids.last + 1
        described.told = True
        yield PlanMessages(queue=queue.queue, generation_of=generation, ids=ids, batch=batch)
    described.cursor = queue.next


def planned(
    queue: ReplicatedQueue, described: Described, resync: Resync, entered: Generation, settings: Settings
) -> Iterator[Event]:
    """The plan of one queue as it is now, as far as it was not sent at an earlier visit.

    The last PlanQueue of a queue counts. Its PlanDrops add up, because a dropped message never comes back.
    ``entered``: the generation that the lineage has to end with; 0: the backup enters it itself (P3).
    """
    assert described.keep is not None and described.staged is not None
    described.told = True
    lineage = entered_lineage(queue, entered)
    yield PlanQueue(queue=queue.queue, spec=queue.spec, lineage=lineage, next=queue.next, held=len(queue))
    held, staged = described.history.held, described.staged
    if gone := held - (described.keep & queue.held):
        resync.dropped += gone.count()  # Not len(): a peer may claim more ids than len() can return.
        held -= gone
        yield from _drops(queue, gone, settings, staged=False)
    if gone := staged - queue.held:
        staged -= gone
        yield from _drops(queue, gone, settings, staged=True)


def _drops(
    queue: ReplicatedQueue, ids: SequenceSet, settings: Settings, *, staged: bool
) -> Iterator[PlanDrop]:
    for part in split_ids(ids, settings.ids_runs_per_chunk_max):
        yield PlanDrop(queue=queue.queue, ids=part, staged=staged)
