"""Messages and ids of a queue in pieces that fit a frame."""

from __future__ import annotations

from collections.abc import Iterator

from qpidha.core.lineage import generation_of
from qpidha.core.queue import ReplicatedQueue
from qpidha.seq import SequenceSet
from qpidha.types import Generation
from qpidha.wire.batch import Batch

MESSAGES_PER_CHUNK = 65_536


def chunked(
    queue: ReplicatedQueue, wanted: SequenceSet, bytes_max: int, runs_max: int
) -> Iterator[tuple[Generation, SequenceSet, Batch]]:
    """These held messages as chunks of one generation each. Large stored batches go as they are."""
    ids, batches, size, generation = SequenceSet(), list[Batch](), 0, 0
    for piece_ids, piece in pieces(queue, wanted, runs_max):
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


def pieces(queue: ReplicatedQueue, wanted: SequenceSet, runs_max: int) -> Iterator[tuple[SequenceSet, Batch]]:
    """These held messages as they are stored; what has more holes than a frame can name is cut."""
    for ids, batch in queue.select(wanted):
        if ids.run_count <= runs_max:
            yield ids, batch
            continue
        at = 0
        for part in split(ids, runs_max):
            yield part, batch.cut(at, at + len(part))
            at += len(part)


def split(ids: SequenceSet, runs_max: int) -> Iterator[SequenceSet]:
    """The same ids as sets of at most this many runs, ascending. Nothing for an empty set."""
    if not ids:
        return
    if ids.run_count <= runs_max:
        yield ids
        return
    for chunk in ids.encode_chunks(runs_max):
        yield SequenceSet.decode(chunk)
