"""The broker's queue listeners of one node: called for inserted and removed messages, disconnected when they fail.

A listener gets the same content on every node and at every start, so a message that makes one raise makes all of them
raise. The node continues without the listener, which is not called any more because it has missed a change.
`Listeners.renew`, or the next start of the node, asks the broker for a new one.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import Inserted, Removed
from qpidha.errors import StoreError
from qpidha.events import ListenerCutOff
from qpidha.interfaces import Broker, QueueListener
from qpidha.node.callbacks import call, described
from qpidha.node.runtime import Runtime
from qpidha.seq import SequenceSet
from qpidha.types import QueueId


class Listeners:
    """At most one for each queue."""

    def __init__(self, runtime: Runtime, broker: Broker) -> None:
        self._runtime = runtime
        self._broker = broker
        self._listeners: dict[QueueId, tuple[str, QueueListener]] = {}
        """With the name of the queue, which may be gone from the core when notices of before are told."""
        self._failed: dict[QueueId, str] = {}
        """The names of the queues whose listener was cut off."""

    @property
    def asks(self) -> bool:
        """The broker has ``on_queue``."""
        return getattr(self._broker, "on_queue", None) is not None

    def ask(self, replicated: ReplicatedQueue) -> None:
        """Ask the broker whether it wants to follow this queue."""
        on_queue = getattr(self._broker, "on_queue", None)
        if on_queue is None:
            return
        queue, found = replicated.queue, list[QueueListener]()

        def ask() -> None:
            listener = on_queue(queue, replicated.spec)
            if listener is not None:
                found.append(listener)

        if (error := call(ask, name="on_queue")) is not None:
            self._cut_off(queue, replicated.spec.name, "on_queue", error)
        elif found:
            self._listeners[queue] = replicated.spec.name, found[0]

    def load(self, replicated: ReplicatedQueue) -> Iterator[None]:
        """`ask`, then give the listener the content that is there already, in steps: no notice follows for it."""
        self.ask(replicated)
        queue = replicated.queue
        held = replicated.held.copy() if queue in self._listeners else SequenceSet()
        for ids, batch in replicated.select(held):
            if queue not in self._listeners:
                return  # It failed at the piece before this one.
            self._tell(queue, "inserted", ids, batch)
            yield

    def changed(self, notice: Inserted | Removed) -> None:
        """The content of a queue has changed."""
        if notice.queue not in self._listeners:
            return
        if isinstance(notice, Inserted):
            try:
                batch = self._runtime.replica.read_again(notice)
            except StoreError:
                return  # The node ends (`Replica.unreadable`).
            self._tell(notice.queue, "inserted", notice.ids, batch)
        else:
            self._tell(notice.queue, "removed", notice.ids)

    def renew(self, replicated: ReplicatedQueue) -> bool:
        """Ask the broker for another listener in place of one that was cut off. True if it follows the queue now."""
        if self._failed.pop(replicated.queue, None) is not None:
            self._runtime.troubles.clear(ListenerCutOff, replicated.spec.name)
            for _ in self.load(replicated):
                pass  # At once: nothing may change in between.
        return replicated.queue in self._listeners

    def ended(self, queue: QueueId) -> None:
        """The queue is gone, and that is durable: the last call of its listener, if that has `EndingListener.deleted`."""
        name = self._failed.pop(queue, None)
        if (
            name is not None and name not in self._failed.values()
        ):  # Its successor of this name may have failed, too.
            self._runtime.troubles.clear(ListenerCutOff, name)
        _, listener = self._listeners.pop(queue, ("", None))
        if (deleted := getattr(listener, "deleted", None)) is not None:
            call(deleted, name="queue listener's deleted")

    def _tell(self, queue: QueueId, what: str, *arguments: object) -> None:
        name, listener = self._listeners[queue]
        error = call(lambda: getattr(listener, what)(*arguments), name=f"queue listener's {what}")
        if error is not None:
            self._cut_off(queue, name, what, error)

    def _cut_off(self, queue: QueueId, name: str, what: str, error: BaseException) -> None:
        self._listeners.pop(queue, None)
        self._failed[queue] = name
        self._runtime.troubles.report(ListenerCutOff(name, what, described(error)))
