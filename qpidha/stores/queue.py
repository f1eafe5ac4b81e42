"""One queue as a store knows it: its facts and the index of its rows; and what is set aside for it."""

from __future__ import annotations

from qpidha.journal import QueueImage
from qpidha.stores.row import Row
from qpidha.stores.rows import NO_ROWS, RowIndex
from qpidha.stores.schema import Value, lineage_fault, unsigned
from qpidha.types import Entry, Generation, MessageId, QueueId, QueueSpec


class Queue:
    """One queue: its facts and the index of its rows.

    Invariant: every live id of every row is below ``next``.
    """

    __slots__ = ("crc", "digest", "key", "lineage", "next", "queue", "rows", "spec")

    def __init__(
        self, key: int, queue: QueueId, spec: QueueSpec, lineage: tuple[Entry, ...], next: MessageId
    ) -> None:
        self.key = key
        """A small number that stands for the queue in the rows of a database."""
        self.queue = queue
        self.spec = spec
        self.lineage = lineage
        self.next = next
        self.rows: RowIndex = NO_ROWS
        """The index of its messages; `add` makes it."""
        self.digest = 0
        """Sum of the checksums of its rows, modulo 2**32. Kept by the stores that have a disk."""
        self.crc = 0
        """Checksum of its own row, likewise; 0: not stored yet."""

    def raise_next(self, next: MessageId) -> None:
        """Move ``next`` up to at least this."""
        self.next = max(self.next, next)

    def lineage_fault(self, generation: Generation | None) -> str | None:
        """What is wrong with its lineage; None: nothing.

        A store that was never in a cluster has no generation (None) that could bound it.
        """
        if generation is None:
            generation = self.lineage[-1][0] if self.lineage else 0
        return lineage_fault(self.lineage, self.next, generation)

    def add(self, row: Row) -> None:
        """See `RowIndex.add`."""
        if self.rows is NO_ROWS:
            self.rows = RowIndex()
        self.rows.add(row)

    def image(self) -> QueueImage:
        """The queue as a value, with the live messages only, lowest id first. O(rows log rows)."""
        if not self.rows.held:
            return QueueImage(self.queue, self.spec, self.lineage, self.next)
        held = sorted(((row.live, row.live_batch()) for row in self.rows), key=lambda pair: pair[0].first)
        return QueueImage(self.queue, self.spec, self.lineage, self.next, held)


class Aside:
    """What is set aside for one queue, which need not be there yet: messages of a plan that is not complete (C5)."""

    __slots__ = ("key", "rows")

    def __init__(self, key: int) -> None:
        self.key = key
        """Of the queue: it has this key, or gets it when it is put."""
        self.rows = RowIndex()


def where(queue: Queue | None, key: Value, first: Value, count: Value) -> str:
    """The name of a batch in a finding, with the identities it says it holds. Its values may be anything: see `Value`."""
    name = repr(queue.spec.name) if queue is not None else "(unknown)"
    ids = ""
    if isinstance(first, int) and isinstance(count, int):
        ids = f", {count} messages from id {unsigned(first)}"
    return f"batch {key!r} of queue {name}{ids}"
