"""The watermarks that complete operations: which ops wait for one, and what the outcome of each is.

An op costs almost nothing until its outcome is requested: it refers to the watermark that covers it, and only an op that
is awaited or has a callback is entered here. The values of a receipt are stored once for all ops that complete together.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque
from operator import itemgetter
from typing import Protocol

from qpidha.errors import InDoubt, QpidhaError
from qpidha.node.home import NOWHERE, Home
from qpidha.node.opdeadlines import OpDeadlines
from qpidha.seq import SequenceSet
from qpidha.types import Generation, NodeId

NO_NODES: frozenset[NodeId] = frozenset()
_cover = itemgetter(0)


class Waiter(Protocol):
    """An op that waits for a watermark: `Op`."""

    _cover: int

    def _tell(self, error: QpidhaError | None) -> None:
        """It is safe, or in doubt."""


class Outcome:
    """The outcome of operations that complete together. Written once, by the ledger."""

    __slots__ = ("consumed", "nodes")

    def __init__(self) -> None:
        self.nodes: frozenset[NodeId] = NO_NODES
        """The nodes that had made them durable when they completed."""
        self.consumed: SequenceSet | None = None
        """Published messages that were consumed before that."""


class Ledger:
    """One watermark of one generation, and the ops that wait for it, lowest first."""

    __slots__ = (
        "_count",
        "_doubt",
        "_expected",
        "_waiting",
        "deadlines",
        "generation",
        "home",
        "nodes",
        "upto",
    )

    def __init__(
        self,
        generation: Generation,
        upto: int = 0,
        *,
        home: Home = NOWHERE,
        nodes: frozenset[NodeId] = NO_NODES,
        deadlines: OpDeadlines | None = None,
    ) -> None:
        self.deadlines = deadlines
        """The deadlines of waits for its ops; None: made for the first wait with a deadline."""
        self.generation = generation
        self.upto = upto
        self.nodes = nodes
        self.home = home
        self._waiting: list[tuple[int, int, Waiter]] | None = None
        """None when empty: most ledgers belong to idle queues."""
        self._expected: deque[tuple[int, Outcome]] | None = None
        """The same."""
        self._count = 0
        self._doubt: InDoubt | None = None

    def expect(self, cover: int, outcome: Outcome) -> Outcome:
        """Note the outcome when this is covered. Covers come in ascending order."""
        if cover <= self.upto:
            outcome.nodes = self.nodes
        elif self._doubt is None:
            if self._expected is None:
                self._expected = deque()
            self._expected.append((cover, outcome))
        return outcome

    def covering(self, cover: int) -> Outcome:
        """The outcome of what is covered here, if it is that of an earlier op, or of everything up to now."""
        expected = self._expected
        index = bisect_left(expected, cover, key=_cover) if expected else 0
        if not expected or cover <= self.upto or index == len(expected):
            return self.expect(cover, Outcome())
        return expected[index][1]

    def advance(self, upto: int, nodes: frozenset[NodeId], consumed: SequenceSet | None = None) -> None:
        """Everything up to here is safe on these nodes, or was consumed first."""
        self.upto = upto
        self.nodes = nodes
        expected, waiting = self._expected, self._waiting
        while expected and expected[0][0] <= upto:
            outcome = expected.popleft()[1]
            outcome.nodes, outcome.consumed = nodes, consumed
        if not expected:
            self._expected = None
        while waiting and waiting[0][0] <= upto:
            heapq.heappop(waiting)[2]._tell(None)
        if not waiting and self._waiting is waiting:
            self._waiting = None

    def doubt(self, error: InDoubt) -> None:
        """End the generation: every operation that is not safe now is in doubt (K1)."""
        self._doubt = error
        waiting, self._waiting, self._expected = self._waiting, None, None
        for _, _, op in waiting or ():
            op._tell(error)

    @property
    def error(self) -> InDoubt | None:
        """The error of operations that are not safe, once the generation is over; None before."""
        return self._doubt

    def enter(self, op: Waiter) -> None:
        """Complete this op when its watermark is reached."""
        if self._waiting is None:
            self._waiting = []
        self._count += 1
        heapq.heappush(self._waiting, (op._cover, self._count, op))
