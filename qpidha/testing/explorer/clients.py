"""The clients of an explored cluster: what they published, what they were told, and so what they are owed.

In a state they are a tuple (`qpidha.testing.explorer.scope`); messages are numbers, sets of messages are bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from qpidha.core.ready import Completion, Doubtful, Safe, Settled, Stored
from qpidha.testing.explorer.nodes import NodeView
from qpidha.testing.explorer.scope import (
    ACKED,
    COMMITS,
    CONFIRMED,
    CONSUMED,
    DEAD,
    DELETING,
    FANNED,
    FORGOTTEN,
    GONE,
    HAVE,
    KEPT,
    MARKS,
    NAMES,
    OBJECT,
    PRODUCED,
    PUBLISHED,
    PUTS,
    SETTLES,
    WAITING,
)  # fmt: skip
from qpidha.testing.invariants.violation import Violation
from qpidha.types import Discarded, Fate, Generation, MessageId, Position, QueueId


class Promise(NamedTuple):
    """What clients know once an operation is complete. Messages, marks and queues are bits."""

    acked: int = 0
    """Messages that are published."""
    settled: int = 0
    """Messages that are gone."""
    marks: int = 0
    """Marks of commits that are there."""
    object: int = -1
    """The put whose object is there, unless a later one was tried."""
    declared: int = 0
    """Queues that are there, unless a deletion was tried."""
    gone: int = 0
    """Queues that are deleted."""
    late: bool = False
    """The producer published it first after a client was told that the producer is forgotten."""
    forgotten: bool = False
    """The producer is forgotten."""


class Clients:
    """A mutable copy of the clients' part of a state."""

    def __init__(
        self,
        fields: Sequence[Any],
        queues: Sequence[QueueId],
        members: Callable[[], dict[int, NodeView]],
    ) -> None:
        """Copy the fields.

        Args:
            fields: The clients' part of a state.
            queues: Queues by index.
            members: Returns what the members of the record are now, by the index of the node.
        """
        self.fields: list[Any] = list(fields)
        self._queues = queues
        self._members = members

    def next_message(self) -> int:
        """Count a publish, and return the number of its message."""
        message: int = self.fields[PUBLISHED]
        self.fields[PUBLISHED] += 1
        return message

    def published(self, node: int, generation: Generation, queue: int, id: MessageId) -> None:
        """The message that was counted last got this id on a primary, which owes an answer now.

        Raises:
            Violation: I1.
        """
        message = self.fields[PUBLISHED] - 1
        self.named(generation, queue, id, message)
        self.fields[WAITING] = (*self.fields[WAITING], (node, generation, queue, id, message))

    def named(self, generation: Generation, queue: int, id: MessageId, message: int) -> None:
        """A message got an identity. Raises `Violation` (I1) if another one had it."""
        names = self.fields[NAMES]
        if any(name[:3] == (queue, generation, id) for name in names):
            raise Violation(f"I1: id {id} of generation {generation} is given out twice in queue {queue}")
        self.fields[NAMES] = tuple(sorted((*names, (queue, generation, id, message))))

    def accepted(self, node: int, message: int, generation: Generation, position: Position) -> None:
        """A consumer accepted a message; it is told when the primary completes this position."""
        bit = 1 << message
        self.fields[CONSUMED] |= bit
        self.operated(node, generation, position, Promise(settled=bit & ~self.fields[FANNED]))

    def operated(self, node: int, generation: Generation, position: Position, promise: Promise) -> None:
        """A primary made an operation; when it completes this position, clients are promised something."""
        self.fields[SETTLES] = (*self.fields[SETTLES], (node, generation, position, tuple(promise)))

    @property
    def consumed(self) -> int:
        """Messages that a consumer accepted, alone or in a commit, or that went with their queue."""
        bits: int = self.fields[CONSUMED]
        for _, taken in self.fields[COMMITS]:
            bits |= 0 if taken < 0 else 1 << taken
        return bits

    @property
    def produced(self) -> int:
        """Messages of the producer: it may publish them again."""
        return sum(1 << message for message in self.fields[PRODUCED])

    def complete(self, node: int, completion: Completion) -> None:
        """Tell clients of a node that operations are safe, settled or in doubt.

        Raises:
            Violation: S3. S1 is checked with the whole state.
        """
        generation = completion.generation
        kept = []
        if isinstance(completion, Safe):
            queue = self._queues.index(completion.queue)
            for one in self.fields[WAITING]:
                if one[:3] == (node, generation, queue) and one[3] <= completion.upto:
                    self.fields[ACKED] |= 1 << one[4]
                else:
                    kept.append(one)
            self.fields[WAITING] = tuple(kept)
        elif isinstance(completion, Settled):
            for one in self.fields[SETTLES]:
                if one[:2] == (node, generation) and one[2] <= completion.upto:
                    self._promised(Promise(*one[3]))
                else:
                    kept.append(one)
            self.fields[SETTLES] = tuple(kept)
        elif isinstance(completion, Stored):
            self.fields[KEPT] = tuple(
                (*one[:4], one[4] or (one[:2] == (node, generation) and one[2] <= completion.upto))
                for one in self.fields[KEPT]
            )
        elif isinstance(completion, Doubtful):
            self.in_doubt(node)

    def kept(self, node: int, generation: Generation, stored: int) -> None:
        """A primary put the object of its own: the operation with this number of those that it made alone."""
        number = len(self.fields[KEPT])
        self.fields[KEPT] = (*self.fields[KEPT], (node, generation, stored, number, False))

    def _promised(self, promise: Promise) -> None:
        if any(member.disk & promise.settled for member in self._members().values()):
            raise Violation("S3: a settle is confirmed, but a member still holds the message")
        if promise.late:
            raise Violation("EO6: a publish is answered whose producer was forgotten before it")
        self.fields[FORGOTTEN] |= promise.forgotten
        self.fields[CONFIRMED] |= promise.settled
        self.fields[ACKED] |= promise.acked
        self.fields[MARKS] |= promise.marks
        self.fields[HAVE] |= promise.declared & ~self.fields[DELETING]
        self.fields[GONE] |= promise.gone
        if promise.object >= 0 and promise.object == self.fields[PUTS] - 1:
            self.fields[OBJECT] = promise.object

    def in_doubt(self, node: int) -> None:
        """All that is pending on a node is in doubt: it will never be answered."""
        self.fields[KEPT] = tuple(
            (one[0], one[1] if one[4] else 0, *one[2:]) if one[0] == node else one
            for one in self.fields[KEPT]
        )
        for what in (WAITING, SETTLES):
            if self.fields[what]:
                self.fields[what] = tuple(one for one in self.fields[what] if one[0] != node)

    def hand_over(self, view: NodeView, messages: Sequence[Discarded]) -> None:
        """Check the messages that a node hands over to its broker.

        Raises:
            Violation: I1, R-b or R-g.
        """
        followed = view.primary or (view.following[0] if view.following else 0)
        for one in messages:
            message, queue = int(one.data[1:]), self._queues.index(one.queue)
            if (queue, one.generation, one.id, message) not in self.fields[NAMES]:
                raise Violation(f"I1: v{message} is handed over as {one.id}@{one.generation}")
            if one.fate is not Fate.REWOUND:
                if one.fate is Fate.UNDONE_MOVE and not (view.disk | self.consumed) >> message & 1:
                    raise Violation(f"R-g: v{message} is called an undone move, and is nowhere")
                continue
            if (self.fields[ACKED] & ~self.consumed) >> message & 1:
                raise Violation(f"R-b: v{message} was acknowledged and is handed over as rewound")
            if self.produced >> message & 1:
                continue  # Its producer may have published it again since.
            if any(member.disk >> message & 1 for member in self._members().values()):
                raise Violation(f"R-g: v{message} is handed over, and a member may bring it back")
            if all(dead != message for dead, _ in self.fields[DEAD]):
                self.fields[DEAD] = tuple(sorted((*self.fields[DEAD], (message, followed))))
