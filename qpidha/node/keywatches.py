"""Calls those who watch the keys of tables and of the configuration, at the end of each turn in which keys changed.

A put is two changes of a keyed queue, the new message and the old one. At the end of the turn both are made, so a watcher
sees one key with its value, and a commit of many keys as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from qpidha.core.keyed import CONFIGURATION, KeyedQueue
from qpidha.core.ready import Inserted, Removed
from qpidha.node.callbacks import call
from qpidha.node.runtime import Runtime
from qpidha.types import QueueId

KeysChanged: TypeAlias = Callable[[KeyedQueue, tuple[bytes, ...]], None]
"""Called with the queue, and its keys that were put or removed, in order."""


class KeyWatches:
    """See the module. One for each node; watches last until the node stops, on a backup and on a primary."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._watchers: dict[QueueId | str, tuple[KeysChanged, ...]] = {}
        self._changed: dict[QueueId, KeyedQueue] = {}

    def watch(self, queue: QueueId | str, watcher: KeysChanged) -> None:
        """Watch a table; or the configuration, by its name, which a node has before it knows its cluster."""
        self._watchers[queue] = (*self._watchers.get(queue, ()), watcher)

    def forget(self, queue: QueueId) -> None:
        """The table was deleted. Unknown ones are fine."""
        self._watchers.pop(queue, None)
        self._changed.pop(queue, None)

    def noticed(self, notice: Inserted | Removed) -> None:
        """The core tells of a change. Those of queues without keys are ignored."""
        queue = self._runtime.replica.queues.get(notice.queue)
        if isinstance(queue, KeyedQueue):
            self.changed(queue)

    def changed(self, queue: KeyedQueue) -> None:
        """Keys of this queue may have changed in this turn."""
        if not self._changed:
            self._runtime.flush_later(self)
        self._changed[queue.queue] = queue

    def flush(self) -> None:
        """Nothing is collected here that is to be published."""

    def end_of_turn(self) -> None:
        """Call the watchers. What they change themselves is told in the next turn."""
        changed, self._changed = self._changed, {}
        for queue in changed.values():
            keys = queue.take_touched()
            name = CONFIGURATION if queue.spec.kind == CONFIGURATION else queue.queue
            for watcher in self._watchers.get(name, ()) if keys else ():
                call(watcher, queue, keys)
