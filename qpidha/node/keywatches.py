"""Calls those who watch the keys of tables and of the configuration, at the end of each turn in which keys changed.

A put is two changes of a keyed queue, the new message and the old one. At the end of the turn both are made, so a watcher
sees one key with its value, and a commit of many keys as a whole.

A table is watched by its id until it is deleted; or by its name, whatever table has it, now or later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from qpidha.core.keyed import CONFIGURATION, TABLE, KeyedQueue
from qpidha.core.keyed import OBJECTS as OWN
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import Inserted, Removed
from qpidha.node.callbacks import call, name_of
from qpidha.node.runtime import Runtime
from qpidha.types import QueueId

KeyChanged: TypeAlias = Callable[[bytes, bytes | None], Any]
"""Called with a key and its value; None: it is gone."""
Named: TypeAlias = tuple[str, str]
"""Kind and name."""
OBJECTS: Final[Named] = (CONFIGURATION, CONFIGURATION)
"""The configuration, which a node has before it knows the id; and the objects of this node alone."""
OBJECT_QUEUES: Final[tuple[Named, ...]] = (OBJECTS, (OWN, OWN))


def table_named(name: str) -> Named:
    """Any table of this name."""
    return TABLE, name


@dataclass(frozen=True, slots=True)
class Watcher:
    """A callback, and its name in log lines."""

    callback: KeyChanged
    name: str

    def tell(self, key: bytes, value: bytes | None) -> None:
        """Call it. One that raises is told of the other keys, too."""
        call(self.callback, key, value, name=self.name)


class KeyWatches:
    """See the module. One for each node; watches last until the node stops, on a backup and on a primary."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._watchers: dict[QueueId | Named, tuple[Watcher, ...]] = {}
        self._changed: dict[QueueId, KeyedQueue] = {}
        self._named: dict[QueueId, KeyedQueue] = {}
        """The tables that are here and watched by name."""
        self._gone: list[tuple[Named, tuple[bytes, ...]]] = []
        """Of those: what was deleted in this turn, with its keys."""

    def watch(self, queue: QueueId | Named, callback: KeyChanged, *, name: str = "") -> None:
        """Watch a table, by id or name, or `OBJECTS`. ``name``: that of the callback, if it is not its own."""
        watcher = Watcher(callback, name or name_of(callback))
        self._watchers[queue] = (*self._watchers.get(queue, ()), watcher)

    def watch_table(self, name: str, callback: KeyChanged) -> None:
        """Watch whatever table has this name, and tell the callback at once what is in it."""
        self.watch(table_named(name), callback)
        id = self._runtime.replica.find(name)
        if id is not None:
            self.added(self._runtime.replica.queues[id])
        if id in self._named:
            watcher = self._watchers[table_named(name)][-1]
            for key, value in list(self._named[id].items()):
                watcher.tell(key, value)

    def added(self, queue: ReplicatedQueue) -> None:
        """There is another queue or table. Its keys are told as changes."""
        if isinstance(queue, KeyedQueue) and _named(queue) in self._watchers:
            self._named[queue.queue] = queue

    def forget(self, queue: QueueId) -> None:
        """The table was deleted. Unknown ones are fine."""
        self._watchers.pop(queue, None)
        self._changed.pop(queue, None)
        if (gone := self._named.pop(queue, None)) is not None:
            self._later()
            self._gone.append(
                (_named(gone), tuple({**dict.fromkeys(gone.take_touched()), **dict.fromkeys(gone.keys())}))
            )

    def noticed(self, notice: Inserted | Removed) -> None:
        """The core tells of a change. Those of queues without keys are ignored."""
        queue = self._runtime.replica.queues.get(notice.queue)  # Those with keys are replicated.
        if isinstance(queue, KeyedQueue) and queue.touched:
            self.changed(queue)

    def changed(self, queue: KeyedQueue) -> None:
        """Keys of this queue may have changed in this turn."""
        self._later()
        self._changed[queue.queue] = queue

    def flush(self) -> None:
        """Nothing is collected here that is to be published."""

    def end_of_turn(self) -> None:
        """Call the watchers. What they change themselves is told in the next turn."""
        changed, self._changed = self._changed, {}
        gone, self._gone = self._gone, []
        for named, keys in gone:  # Before what is there now: another table may have the name.
            for watcher in self._watchers.get(named, ()):
                for key in keys:
                    watcher.tell(key, None)
        for queue in changed.values():
            if _named(queue) in OBJECT_QUEUES:
                self._tell_objects(changed)
                continue
            keys = queue.take_touched()
            for watcher in (*self._watchers.get(queue.queue, ()), *self._watchers.get(_named(queue), ())):
                for key in keys:
                    watcher.tell(key, queue.get(key))

    def _tell_objects(self, changed: dict[QueueId, KeyedQueue]) -> None:
        """Tell of the objects of the cluster and of this node: each once, with the value that it has now."""
        keys: dict[bytes, None] = {}
        objects = self._runtime.replica.state.objects
        for queue in changed.values():
            if _named(queue) in OBJECT_QUEUES:
                hidden = queue is objects.own  # By those of the cluster that have their names.
                told = (key for key in queue.take_touched() if not hidden or objects.of(key) in (None, queue))
                keys.update(dict.fromkeys(told))
        for watcher in self._watchers.get(OBJECTS, ()):
            for key in keys:
                watcher.tell(key, objects.get(key))

    def _later(self) -> None:
        if not self._changed and not self._gone:
            self._runtime.flush_later(self)


def _named(queue: ReplicatedQueue) -> Named:
    return queue.spec.kind, queue.spec.name
