"""Messages that a flip took out of a queue, until their fate is settled (rules W1, W2).

A discarded message may still come back: another *member* may hold it and be promoted. So it is kept, durably,
until the generation that lacks it is *established*; then nothing can bring it back, and it is handed over to the
embedder. A message that is part of a later primary's history leaves quarantine silently: it is alive.

A message that was moved carries its origin, the identity that its publish was given. Whether only its move was
undone, or its publish as well, depends on whether the established history has that origin. This is decided when the
message is handed over, because the history that was followed at the flip may never be established.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

from qpidha.core.births import born
from qpidha.core.histories import Histories, Past
from qpidha.core.producers import IN_COMMIT, RawOrigin, epoch_of, is_tag
from qpidha.core.resync import had, judge
from qpidha.journal import Audit, Change, Quarantine, Release
from qpidha.seq import SequenceSet
from qpidha.types import Discarded, Fate, Generation, MessageId, Origin, ProducerSequence, QueueId


@dataclass(slots=True)
class Kept:
    """One quarantined batch and which of its messages are still in quarantine."""

    change: Quarantine
    left: SequenceSet
    offered: bool = False
    """Offered to the embedder, which has not confirmed yet that it took them."""


class Quarantined:
    """What this node keeps in quarantine. Every change of it is also a change of the store."""

    def __init__(self, changes: list[Quarantine]) -> None:
        self._kept = [Kept(c, c.ids.copy()) for c in changes]

    def __len__(self) -> int:
        return sum(len(k.left) for k in self._kept)

    def add(self, change: Quarantine) -> None:
        """Take in one quarantined batch."""
        self._kept.append(Kept(change, change.ids.copy()))

    def release_alive(self, histories: Histories) -> Iterator[Release | None]:
        """A flip follows this history: what is in it is alive or was settled, and leaves silently (W2).

        So does what was in a queue that lived there and was deleted (Q5).
        A step for each batch, for there may be many; None: it stays. Others may leave between two steps.
        """
        for kept in self._kept:
            queue, history = kept.change.queue, histories.of(kept.change.queue)
            if history is not None:
                alive = judge(*history, kept.change.generation, kept.left).dequeued
            else:
                alive = kept.left.copy() if histories.deleted(queue) else SequenceSet()
            if alive:
                kept.left -= alive
                yield Release(kept.change.queue, kept.change.generation, alive)
            else:
                yield None
        self._forget_empty()

    def _forget_empty(self) -> None:
        """Remove all empty batches in one pass: a pass for each of them would cost the square of their number."""
        self._kept = [kept for kept in self._kept if kept.left]

    def due(self, histories: Histories, messages_max: float = inf) -> Iterator[Discarded]:
        """The generation now followed, of this history, is established: everything left is dead (W2).

        At least one batch, and no further batch after ``messages_max`` messages.
        """
        for kept in self._kept:
            if kept.offered:
                continue
            if messages_max <= 0:
                return
            kept.offered = True
            messages_max -= len(kept.left)
            yield from self._messages(kept, histories)

    def with_id(self, queue: QueueId | str, id: MessageId) -> Iterator[tuple[Kept, int]]:
        """The batches of a queue, given by its uuid or its name, that have this id, each with its index in the batch."""
        for kept in self._kept:
            if id in kept.left and queue in (kept.change.queue, kept.change.name):
                yield kept, kept.change.ids.count(kept.change.ids.first, id) - 1

    @staticmethod
    def _messages(kept: Kept, histories: Histories) -> Iterator[Discarded]:
        for index, id in enumerate(kept.change.ids):
            if id in kept.left:
                yield judged(kept.change, index, id, histories)

    @property
    def waiting(self) -> bool:
        """Whether some messages have not been offered to the embedder yet."""
        return any(not kept.offered for kept in self._kept)

    def withdraw(self) -> None:
        """The embedder did not take what was offered (an error, a crash): offer it again later."""
        for kept in self._kept:
            kept.offered = False

    def taken(self, messages: tuple[Discarded, ...], followed: Generation) -> Iterator[Change]:
        """The embedder took these messages in this generation: they leave quarantine, and the audit record says so."""
        gone: dict[tuple[QueueId, Generation], SequenceSet] = {}
        for message in messages:
            gone.setdefault((message.queue, message.generation), SequenceSet()).add(message.id)
        for kept in self._kept:
            taken = gone.get((kept.change.queue, kept.change.generation))
            if taken is not None:
                kept.left -= taken
        self._forget_empty()
        for (queue, generation), ids in gone.items():
            yield Release(queue, generation, ids)
        for name, count in Counter(message.queue_name for message in messages).items():
            yield Audit("handed over", followed, name, f"{count} messages")


def judged(change: Quarantine, index: int, id: MessageId, histories: Histories) -> Discarded:
    """One message of a batch in quarantine, with what became of it by this history."""
    raw = change.batch.origin(index)
    if raw is not None and is_tag(raw):
        return sequenced(change, index, id, raw, histories)
    origin, own, fate = as_origin(raw), histories.of(change.queue), change.fate
    if origin is not None:  # Also if the flip could not tell: the history may remember the origin.
        fate = fate_of_copy(origin, histories)
    elif fate is Fate.REWOUND and own is not None and had(*own, change.generation, id) is None:
        fate = Fate.UNKNOWN  # The established history has forgotten what the history at the flip still knew.
    return discarded(change, index, id, fate, origin)


def discarded(
    change: Quarantine, index: int, id: MessageId, fate: Fate, origin: Origin | None, **of_sequence: Any
) -> Discarded:
    """One message of a batch in quarantine, as it is handed over."""
    return Discarded(
        queue=change.queue,
        queue_name=change.name,
        generation=change.generation,
        id=id,
        fate=fate,
        data=change.batch.data(index),
        props=change.batch.props(index),
        origin=origin,
        **of_sequence,
    )


def sequenced(
    change: Quarantine, index: int, id: MessageId, tag: RawOrigin, histories: Histories
) -> Discarded:
    """A message that was published with a sequence: its producer repeats it, too (EO7).

    If the established history has the sequence, that says what publishing it again would: the sequence is used. That
    holds for a copy that a move or update made, too, for its publish has the sequence (U4).
    """
    epoch, number = epoch_of(tag), tag[2]
    origin, found = Origin(queue=born(*epoch), generation=epoch[0], id=number), histories.producer(epoch)
    if found is None:
        # Forgotten: which sequences it had is not known any more. Never registered: that was rewound with the publish.
        fate = Fate.REWOUND if histories.forgotten(epoch) is False else Fate.UNKNOWN
        return discarded(change, index, id, fate, origin, in_commit=tag[1] == IN_COMMIT)
    name, entry = found
    return discarded(
        change,
        index,
        id,
        Fate.SEQUENCE_USED if number <= entry.last else Fate.REWOUND,
        origin,
        sequence=ProducerSequence(name, epoch, number),
        in_commit=tag[1] == IN_COMMIT,
    )


def fate_of_copy(origin: Origin, histories: Histories) -> Fate:
    """What became of a message whose copy was rewound, by the established history of its origin's queue (W2, U4)."""
    past: Past | None = histories.of(origin.queue)
    if past is None:
        # Deleted: which messages it had is not known any more. Never declared: the origin was rewound with its queue.
        return Fate.REWOUND if histories.deleted(origin.queue) is False else Fate.UNKNOWN
    known = had(*past, origin.generation, origin.id)
    if known is None:
        return Fate.UNKNOWN
    return Fate.UNDONE_MOVE if known else Fate.REWOUND


def as_origin(raw: tuple[bytes, int, int] | None) -> Origin | None:
    """The origin column of a batch as a value; None for a message that was never moved."""
    if raw is None:
        return None
    queue, generation, id = raw
    return Origin(queue=QueueId(bytes=bytes(queue)), generation=generation, id=id)
