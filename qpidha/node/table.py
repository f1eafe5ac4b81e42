"""A table as the embedder uses it: bytes by key, the same on all nodes: `Node.table`."""

from __future__ import annotations

from collections.abc import Iterator

from qpidha.checks import CALLBACK
from qpidha.core.keyed import KeyedQueue
from qpidha.core.steps import Erase, Put
from qpidha.errors import UnknownQueue
from qpidha.node.caller import as_bytes, stale
from qpidha.node.commit import Commits
from qpidha.node.keywatches import KeyChanged
from qpidha.node.op import Op
from qpidha.node.runtime import Runtime
from qpidha.types import BytesLike, Generation, QueueId


class Table:
    """The handle of one table on one node, for one term: retained messages, sessions, subscriptions, offsets.

    Made while the node is primary, it can change the table in that generation only; every handle can always read.
    Each change has an `Op`, which is safe when every member has made it durable. The content is there before
    ``on_promote`` is called. Methods must be called from the node's event loop; properties may be read from any thread.
    """

    def __init__(self, runtime: Runtime, commits: Commits, queue: KeyedQueue, generation: Generation) -> None:
        self._runtime = runtime
        self._commits = commits
        self._found = queue
        self.generation = generation
        """The term it belongs to; 0: it was made on a backup, and only reads."""

    @property
    def id(self) -> QueueId:
        """The id of the table, the same on all nodes."""
        return self._found.queue

    @property
    def _queue(self) -> KeyedQueue:
        """The table as this node has it now: a deletion that is undone brings it back. Else as it was at its end."""
        there = self._runtime.replica.queues.get(self.id)
        return there if isinstance(there, KeyedQueue) else self._found

    @property
    def name(self) -> str:
        """The name under which the table was declared."""
        return self._found.spec.name

    def put(self, key: BytesLike, value: BytesLike) -> Op:
        """Set the value of a key. O(bytes).

        Raises:
            NotPrimary: Only the primary changes tables.
            NotEnoughMembers: Fewer than ``min_in_sync`` nodes are members. Nothing was stored.
            StaleHandle: This handle is of an earlier term.
            UnknownQueue: The table was deleted.
            ArgumentError: Not bytes, or more of them than ``message_bytes_max``, key and value together.
            WrongThread: Called from another thread than the event loop's.
        """
        self._require_term("Table.put")
        value, key = self._commits.message(value, key, "value", "key")
        _, op = self._commits.commit([Put(self.id, key, value)])
        return op

    def remove(self, key: BytesLike) -> Op:
        """Remove a key. If it is not there, the op is safe when everything before it is: so the answer is true then.

        Raises:
            NotPrimary, NotEnoughMembers, StaleHandle, UnknownQueue, ArgumentError, WrongThread: As for `put`.
        """
        self._require_term("Table.remove")
        _, op = self._commits.commit([Erase(self.id, as_bytes("key", key))])
        return op

    def get(self, key: BytesLike) -> bytes | None:
        """The value of a key; None if it has none. O(1). What it says may not be safe yet.

        Raises:
            ArgumentError: Not bytes.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Table.get")
        return self._queue.get(as_bytes("key", key))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of all keys as they are now, in the order of their puts. O(keys)."""
        self._here("Table.items")
        return iter(list(self._queue.items()))

    def __iter__(self) -> Iterator[bytes]:
        """All keys as they are now, in the order of their puts. O(keys)."""
        return (key for key, _ in self.items())

    def __len__(self) -> int:
        """How many keys there are. O(1)."""
        return len(self._queue)

    def __bool__(self) -> bool:
        """True, also without keys: it is a table."""
        return True

    def __contains__(self, key: object) -> bool:
        """Whether this key has a value. O(1)."""
        self._here("Table.__contains__")
        return isinstance(key, bytes) and self._queue.id_of(key) is not None

    def on_change(self, callback: KeyChanged) -> None:
        """Call ``callback(key, value)`` for each key that was put, or removed (value None), on every node.

        It is called at the end of the turn of the event loop, once for each key however often it changed, and may use
        the node. What it tells may not be safe yet, and a failover may take it back: it is called for that, too. Calls
        continue in later terms, until the table is deleted or the node stops.

        Raises:
            ArgumentError: It cannot be called.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Table.on_change")
        CALLBACK("callback", callback)
        self._commits.watches.watch(self.id, callback)

    def __repr__(self) -> str:
        return f"<Table {self.name!r} of node {self._runtime.id!r}, generation {self.generation}>"

    def _require_term(self, what: str) -> None:
        """The check of every method that changes the table."""
        runtime = self._runtime
        self._here(what)
        self._commits.require_serving()
        if runtime.replica.queue(self.id) is None:
            raise UnknownQueue(f"table {self.name!r} was deleted")
        if self.generation != runtime.serving_generation:
            what = f"this handle of table {self.name!r} was made"
            then = f"get a new one with node.table({self.name!r})"
            raise stale(what, self.generation, runtime.serving_generation, then)

    def _here(self, what: str) -> None:
        self._runtime.require_thread(what)
