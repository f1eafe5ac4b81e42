"""The messages that a COPY makes: computed from the source, on the primary and on each backup alike (U5).

A *replacement* takes the place of its source, in the same queue (an update) or in another one (a move): it carries the
origin of the first message of the chain (U4), and an update keeps the place in the order (U1). A copy whose source stays
(fan-out) is a new message (U6); it has the sequence of the commit that made both (EO7).
"""

from __future__ import annotations

from collections.abc import Sequence

from qpidha.core.lineage import generation_of
from qpidha.core.producers import is_tag
from qpidha.core.queue import ReplicatedQueue
from qpidha.seq import SequenceSet
from qpidha.wire._batch import ORDER, PROPS
from qpidha.wire.batch import Batch


def copied(
    source: ReplicatedQueue,
    ids: SequenceSet,
    *,
    replacement: bool,
    in_place: bool,
    props: Sequence[bytes] | None = None,
) -> Batch:
    """The batch of the copies of these messages, all held by ``source``, in the order of their ids. O(bytes)."""
    batch = Batch.join([piece for _, piece in source.select(ids)])
    if not replacement:
        if not is_tag(batch.origin(0)):  # A commit gives all messages of a batch its sequence, or none.
            batch = batch.without_origins()
        return batch if props is None else _with_props(batch, props)
    queue, lineage = source.queue.bytes, source.lineage
    origins = [batch.origin(i) or (queue, generation_of(lineage, id), id) for i, id in enumerate(ids)]
    if not in_place and props is None and not batch.columns & ORDER:
        return batch.with_origins(origins)
    order = [batch.order(i) or id for i, id in enumerate(ids)] if in_place else None
    kept = [batch.props(i) for i in range(len(batch))] if props is None else props
    return Batch.pack(list(batch), kept, order, origins)


def republished(source: ReplicatedQueue, ids: SequenceSet) -> Batch:
    """These messages as new ones, without origin or place in the order: they go in or out of what is replicated (LV3)."""
    return published(Batch.join([piece for _, piece in source.select(ids)]))


def _with_props(batch: Batch, props: Sequence[bytes]) -> Batch:
    order = [batch.order(i) for i in range(len(batch))] if batch.columns & ORDER else None
    return Batch.pack(list(batch), props, order)


def published(batch: Batch) -> Batch:
    """A batch as it is published: a publisher says neither of what message a copy is (O3), nor where it stands (U1)."""
    if not batch.columns & ORDER:
        return batch.without_origins()
    props = [batch.props(i) for i in range(len(batch))] if batch.columns & PROPS else None
    return Batch.pack(list(batch), props)
