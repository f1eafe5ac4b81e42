"""What the calls of a transaction return: ids and queues, which are known after the commit."""

from __future__ import annotations

from typing import Protocol

from qpidha.core.steps import Committed, Made
from qpidha.errors import UnknownQueue
from qpidha.node.handles import Handles
from qpidha.node.queue import Queue
from qpidha.seq import SequenceSet

NOTHING = Made(SequenceSet())


class Committing(Protocol):
    """A transaction."""

    _handles: Handles

    def _committed_or_raise(self) -> Committed:
        """The commit. Raises `LocalProtocolError` before it."""


class StepResult:
    """What one call of a transaction returns: it is known after the commit."""

    __slots__ = ("_step", "_transaction")

    def __init__(self, transaction: Committing, step: int) -> None:
        self._transaction = transaction
        self._step = step

    @property
    def _made(self) -> Made:
        made = self._transaction._committed_or_raise().made
        return made[self._step] if made else NOTHING  # A repetition of which nothing more is known.


class Part(StepResult):
    """One call of a transaction that gives out ids: known after the commit."""

    __slots__ = ("_count", "_offset")

    def __init__(self, transaction: Committing, step: int, offset: int = 0, count: int | None = None) -> None:
        self._transaction = transaction
        self._step = step
        self._offset = offset
        self._count = count

    @property
    def ids(self) -> range:
        """The new ids: of a publish to several queues, in the first of them; of a move, in the target; of an update.

        Raises:
            LocalProtocolError: The transaction was not committed.
        """
        ids = self._made.ids
        if not ids:
            return range(0)
        first = ids.first + self._offset
        return range(first, ids.last + 1 if self._count is None else first + self._count)


class NewQueue(StepResult):
    """A queue that a transaction declares: its other calls may name it; after the commit, ``queue`` is its handle."""

    __slots__ = ("name",)

    def __init__(self, transaction: Committing, step: int, name: str) -> None:
        super().__init__(transaction, step)
        self.name = name

    @property
    def queue(self) -> Queue:
        """The handle of the queue.

        Raises:
            LocalProtocolError: The transaction was not committed.
            UnknownQueue: The queue was deleted since.
        """
        id, handles = self._made.queue, self._transaction._handles
        if id is None:  # A repetition: the queue of this name, whoever has declared it.
            return handles.require(self.name)
        if id not in handles:
            raise UnknownQueue(f"queue {self.name!r} was deleted")
        return handles.of(id)
