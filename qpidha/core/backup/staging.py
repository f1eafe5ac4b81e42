"""Where a backup has the messages of its plan until the flip (C5): in memory, or beyond the limit in its store.

    staged ──► pending ──► set aside ──► dropped from memory ──► adopted by the flip, without being read
               in memory    Stage         `qpidha.core.bodies`     Adopt

With `Settings.memory_bytes_max`, and a store that can set messages aside, what has come is given to the store as soon as
it is an eighth of the limit. From then on it is dropped from memory like other messages, the oldest first. A plan that is
smaller is inserted by the flip, as without a limit.

What is set aside is invisible, and forgotten with the session, as what is in memory: so no rule of the protocol tells
them apart. A store that is opened again has none of it.

Invariants:
  every piece that is not in memory is set aside, and durable
  ``absent_bytes`` is the sum of the sizes of these
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qpidha.core.backup.planned import Piece, Planned
from qpidha.core.bodies import Bodies
from qpidha.core.outbox import Outbox
from qpidha.journal import Change, Stage, Unstage
from qpidha.seq import SequenceSet
from qpidha.types import Generation, QueueId
from qpidha.wire.batch import Batch

PENDING_PART: Final = 8
"""What has come is set aside as soon as it is this part of the limit, as one transaction."""


class Staging:
    """The messages that one session has received, and that are not content yet."""

    __slots__ = ("_bodies", "_out", "_pending", "_pending_bytes", "_stored", "absent_bytes")

    def __init__(self, bodies: Bodies | None, out: Outbox) -> None:
        self._bodies = bodies if bodies is not None and bodies.stages else None
        self._out = out
        self._pending: list[tuple[QueueId, Piece]] = []
        """Those that are only in memory, of queues whose messages need not be."""
        self._pending_bytes = 0
        self._stored = False
        """The store has something set aside."""
        self.absent_bytes = 0
        """Of those that only the store has."""

    def add(
        self,
        queue: QueueId,
        planned: Planned,
        generation: Generation,
        ids: SequenceSet,
        batch: Batch,
        *,
        kept: bool = False,
    ) -> None:
        """These messages came. ``kept``: they stay in memory."""
        piece = planned.add(generation, ids, batch)
        bodies = self._bodies
        if bodies is None or kept:
            return
        piece.counted = True
        bodies.waits(self, piece)
        self._pending.append((queue, piece))
        self._pending_bytes += batch.nbytes
        if self._pending_bytes > bodies.bytes_max // PENDING_PART and not bodies.adopting:
            self._set_aside(bodies)

    def _set_aside(self, bodies: Bodies) -> None:
        for queue, piece in self._pending:
            self._out.persist(Stage(queue, piece.ids, piece.body))
            piece.stored = self._stored = True
            bodies.persisted(self, piece)
        self._pending, self._pending_bytes = [], 0

    def body(self, queue: QueueId, piece: Piece) -> Batch:
        """All messages of a piece. Raises what the store raises."""
        if not piece.absent:
            return piece.body
        assert self._bodies is not None, "without a limit every piece is in memory"
        return self._bodies.read_staged(queue, piece.ids)

    def leave(self, piece: Piece) -> None:
        """It becomes content, or is forgotten."""
        if piece.counted:
            assert self._bodies is not None, "without a limit none is counted"
            self._bodies.went(self, piece)
            piece.counted = False

    def withdraw(self, queue: QueueId, planned: Planned) -> None:
        """The queue was deleted since: its messages need no memory any more."""
        for piece in planned.staged:
            self.leave(piece)
        if self._pending:
            self._pending = [(of, piece) for of, piece in self._pending if of != queue]
            self._pending_bytes = sum(piece.batch.nbytes for _, piece in self._pending)

    def end(self, plan: Mapping[QueueId, Planned]) -> list[Change]:
        """The plan was applied, or is given up. Returns how the store forgets the rest of it."""
        for planned in plan.values():
            for piece in planned.staged:
                self.leave(piece)
        self._pending, self._pending_bytes = [], 0
        forgotten: list[Change] = [Unstage()] if self._stored else []
        self._stored = False
        return forgotten
