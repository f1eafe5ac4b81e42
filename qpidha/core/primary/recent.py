"""What a primary did last, as far as an operator may ask for it: accepts that are not safe, and what was just completed.

A primary without backups completes an operation in the same `Ready` that makes it durable, so what was just completed is
safe only when that `Ready` was performed. Nothing decides by what is here.

Invariants (`check`):
  - accepts are kept in the order of their positions, all of which are above ``safe``
"""

from __future__ import annotations

from collections import deque
from itertools import chain, takewhile
from typing import TypeAlias

from qpidha.errors import ensure
from qpidha.seq import SequenceSet
from qpidha.types import MessageId, Position, QueueId

Accepted: TypeAlias = tuple[Position, QueueId, SequenceSet]


class Recent:
    """See the module. O(1) for each operation."""

    __slots__ = ("_accepts", "_completed", "_settled")

    def __init__(self) -> None:
        self._accepts: deque[Accepted] = deque()
        self._settled: list[Accepted] = []
        self._completed: dict[QueueId, tuple[MessageId, MessageId]] = {}
        """(last id that was complete before, last id that is complete now) of the queues of the last round."""

    def accepted(self, queue: QueueId, ids: SequenceSet, position: Position) -> None:
        """Messages were accepted by the operation at this position; in a local queue it may be below others."""
        accepts = self._accepts
        if not accepts or accepts[-1][0] <= position:
            accepts.append((position, queue, ids))
            return
        later = sum(1 for _ in takewhile(lambda accept: accept[0] > position, reversed(accepts)))
        accepts.insert(len(accepts) - later, (position, queue, ids))

    def begin(self, safe: Position) -> None:
        """A round of completions begins, up to this position."""
        if self._settled:
            self._settled = []
        if self._completed:
            self._completed = {}
        accepts = self._accepts
        while accepts and accepts[0][0] <= safe:
            self._settled.append(accepts.popleft())

    def completed(self, queue: QueueId, before: MessageId, upto: MessageId) -> None:
        """In this round the publishes with ids above ``before``, up to ``upto``, are complete."""
        known = self._completed.get(queue)
        self._completed[queue] = (before if known is None else known[0], upto)

    def accepted_at(self, queue: QueueId, id: MessageId, settled: Position) -> Position | None:
        """The operation that accepted this message, if it is above this position. O(accepts).

        ``settled`` is not below what was safe before the last round: older accepts are forgotten.
        """
        accepts = chain(self._accepts, self._settled)
        return next((at for at, of, ids in accepts if at > settled and of == queue and id in ids), None)

    def just_completed(self, queue: QueueId, id: MessageId) -> bool:
        """Whether the last round has completed the publish of this message."""
        before, upto = self._completed.get(queue, (0, 0))
        return before < id <= upto

    def check(self, safe: Position) -> None:
        """Raise `InvariantError` if the invariant does not hold. O(accepts)."""
        positions = [position for position, _, _ in self._accepts]
        ensure(positions == sorted(positions), "accepts out of order")
        ensure(not positions or positions[0] > safe, "an accept that is safe is kept")
