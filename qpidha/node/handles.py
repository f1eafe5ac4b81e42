"""The queues of a node by id and by name, and the handles that were asked for in the current term.

A handle is made when it is first requested, so a change of the role costs nothing for queues that are not used, however
many there are. A handle that is made later in a term lacks nothing: every publish goes through a handle, so before the
handle exists no publish of this term is pending.
"""

from __future__ import annotations

from itertools import islice

from qpidha.checks import shown
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import UnknownQueue
from qpidha.node.handle import DELETED
from qpidha.node.queue import Queue
from qpidha.node.runtime import Runtime
from qpidha.types import Level, QueueId, level_of


class Handles:
    """See the module."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._queues: dict[QueueId, ReplicatedQueue] = {}
        self._names: dict[str, QueueId] = {}
        self._made: dict[QueueId, Queue] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def __contains__(self, queue: QueueId) -> bool:
        return queue in self._queues

    def add(self, replicated: ReplicatedQueue) -> None:
        """Add a queue. If two have the same name, the name refers to the one added last, or to the one of the cluster.

        A queue of this node alone may have a name that another primary gave to a queue of the cluster. A queue may have
        been here before: its deletion was undone. The handle of then does not read what is here now.
        """
        self._made.pop(replicated.queue, None)
        name = replicated.spec.name
        self._queues[replicated.queue] = replicated
        if level_of(replicated.queue) is Level.NONE and name in self._names:
            return
        self._names[name] = replicated.queue

    def remove(self, queue: QueueId) -> None:
        """It is gone. Unknown ones are fine. Its handle goes on to complete what is pending in it (Q6)."""
        gone = self._queues.pop(queue, None)
        if gone is not None and self._names.get(gone.spec.name) == queue:
            self._name_again(gone.spec.name)
        if (handle := self._made.get(queue)) is not None:
            handle._deleted()
            self.completed(handle)

    def _name_again(self, name: str) -> None:
        """The queue of this name is gone: the name is free, or that of a queue of this node alone that has it, too."""
        own = self._runtime.replica.local.named(name, Level.NONE)
        if own is not None and own.queue in self._queues:
            self._names[name] = own.queue
        else:
            del self._names[name]

    def completed(self, handle: Queue) -> None:
        """More of this queue is safe. The handle of a deleted one is forgotten when nothing is pending any more."""
        if handle.generation == DELETED and not handle.pending:
            self._made.pop(handle.id, None)

    def of(self, queue: QueueId) -> Queue:
        """The handle of a queue that is there. One object for each term."""
        handle = self._made.get(queue)
        if handle is None:
            handle = self._made[queue] = Queue(
                self._runtime, self, self._queues[queue], self._runtime.serving_generation
            )
        return handle

    def named(self, name: str) -> Queue | None:
        """The same by name; None if there is none."""
        queue = self._names.get(name)
        return None if queue is None else self.of(queue)

    def require(self, name: str) -> Queue:
        """The same, which must be there. Raises `UnknownQueue`."""
        handle = self.named(name)
        if handle is None:
            raise UnknownQueue(f"no queue {shown(name)} on node {self._runtime.id!r}")
        return handle

    def made(self, queue: QueueId) -> Queue | None:
        """The handle, if it was asked for in this term."""
        return self._made.get(queue)

    def all_made(self) -> list[Queue]:
        """All handles that were given out."""
        return list(self._made.values())

    def new_term(self) -> None:
        """Begin a term: callers get new handles from now on; earlier handles can only read."""
        self._made = {}

    def all(self) -> list[Queue]:
        """A handle of every queue."""
        return [self.of(queue) for queue in self._queues]

    def first(self, count: int | None = None) -> list[ReplicatedQueue]:
        """At most ``count`` queues, in the order in which they were added; None: all. No handle is made."""
        return list(islice(self._queues.values(), None if count is None else min(count, len(self._queues))))
