"""What fits a frame: the one set of rules by which messages and ids are cut.

    published batch    at most half of ``frame_bytes_max``; a larger one becomes several operations (`split_batch`)
    operation          at most three quarters of it; a larger one is not sent in a frame, but by the next plan (TX2)
    copies             the same for each batch of copies, which is stored as one (`split_for_copy`)
    plan chunk         about ``plan_chunk_bytes``, messages of one generation (`plan_chunks`)
    ids                at most ``ids_runs_per_chunk_max`` runs in one event (`split_ids`)

The last quarter of a frame is room for the header, the ids, and the operations that share the frame.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpidha.core.lineage import generation_of
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import ArgumentError
from qpidha.seq import SequenceSet
from qpidha.settings import Settings
from qpidha.types import Generation
from qpidha.wire.batch import Batch

MESSAGES_PER_CHUNK = 65_536
COPY_BYTES = 72
"""More bytes of a message that replaces another one: at most those of its origin and of its place in the order."""


def publish_bytes_max(settings: Settings) -> int:
    """Bytes of the largest batch that is published as one operation."""
    return settings.frame_bytes_max // 2


def operation_bytes_max(settings: Settings) -> int:
    """Bytes of messages that one operation may carry."""
    return settings.frame_bytes_max * 3 // 4


def split_batch(batch: Batch, bytes_max: int, added: int = 0) -> Iterator[Batch]:
    """Halve the batch until each part has at most ``bytes_max`` bytes. A small enough batch comes back unchanged.

    Args:
        added: Bytes that each message gets besides. A single message may exceed the limit by them.

    Raises:
        ArgumentError: A single message has more bytes.
    """
    if batch.nbytes + added * len(batch) <= bytes_max + (added if len(batch) == 1 else 0):
        yield batch
    elif len(batch) == 1:
        raise ArgumentError(
            f"a message must have at most {bytes_max} bytes (half of frame_bytes_max), not {batch.nbytes}"
        )
    else:
        middle = len(batch) // 2
        yield from split_batch(batch.cut(0, middle), bytes_max, added)
        yield from split_batch(batch.cut(middle, len(batch)), bytes_max, added)


def plan_chunks(
    queue: ReplicatedQueue, wanted: SequenceSet, bytes_max: int, runs_max: int
) -> Iterator[tuple[Generation, SequenceSet, Batch]]:
    """Split held messages into ascending chunks of one generation each. Large stored batches are shared, not copied.

    A chunk has at most ``runs_max`` runs of ids, and at most ``bytes_max`` bytes unless a single stored batch has more.
    """
    ids, batches, size, generation = SequenceSet(), list[Batch](), 0, 0
    for piece_ids, piece in stored_pieces(queue, wanted, runs_max):
        of = generation_of(queue.lineage, piece_ids.first)
        full = size + piece.nbytes > bytes_max or len(ids) + len(piece) > MESSAGES_PER_CHUNK
        full = full or ids.run_count + piece_ids.run_count > runs_max
        if batches and (full or of != generation):
            yield generation, ids, batches[0] if len(batches) == 1 else Batch.join(batches)
            ids, batches, size = SequenceSet(), [], 0
        generation = of
        ids |= piece_ids
        batches.append(piece)
        size += piece.nbytes
    if batches:
        yield generation, ids, batches[0] if len(batches) == 1 else Batch.join(batches)


def stored_pieces(
    queue: ReplicatedQueue, wanted: SequenceSet, runs_max: int
) -> Iterator[tuple[SequenceSet, Batch]]:
    """These held messages as they are stored; a stored batch with more than ``runs_max`` runs is cut."""
    for ids, batch in queue.select(wanted):
        if ids.run_count <= runs_max:
            yield ids, batch
            continue
        at = 0
        for part in split_ids(ids, runs_max):
            yield part, batch.cut(at, at + len(part))
            at += len(part)


def split_for_copy(
    queue: ReplicatedQueue, ids: SequenceSet, bytes_max: int, runs_max: int, props_bytes: int = 0
) -> Iterator[SequenceSet]:
    """Split held ids so that the copies of each part make one batch of at most ``bytes_max`` bytes, and fit one plan.

    No part has messages of two stored batches, so that no large batch is joined of many. ``props_bytes``: of the longest
    new props that the copies get. O(messages) where a stored batch has to be cut, else O(stored batches).
    """
    added = COPY_BYTES + props_bytes
    for piece_ids, batch in stored_pieces(queue, ids, runs_max):
        if batch.nbytes + added * len(batch) <= bytes_max:
            yield piece_ids.copy()
            continue
        part, size = SequenceSet(), 0
        for index, id in enumerate(piece_ids):
            nbytes = batch.size(index) + len(batch.props(index)) + added
            if part and size + nbytes > bytes_max:
                yield part
                part, size = SequenceSet(), 0
            part.add(id)
            size += nbytes
        yield part


def split_ids(ids: SequenceSet, runs_max: int) -> Iterator[SequenceSet]:
    """Split ids into ascending sets of at most ``runs_max`` runs. Yields nothing for an empty set."""
    if not ids:
        return
    if ids.run_count <= runs_max:
        yield ids
        return
    for chunk in ids.encode_chunks(runs_max):
        yield SequenceSet.decode(chunk)


def split_count(ids: SequenceSet, runs_max: int) -> int:
    """How many sets `split_ids` gives. O(1)."""
    return -(-ids.run_count // runs_max)
