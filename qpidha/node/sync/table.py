"""One table, for threads: the counterpart of `Table`."""

from __future__ import annotations

from collections.abc import Iterator

from qpidha.node.sync.caller import LoopCaller
from qpidha.node.sync.op import SyncOp, make
from qpidha.node.table import Table
from qpidha.types import BytesLike, Generation, QueueId


class SyncTable:
    """The handle of one table for one term: `Table`, for any thread. Several threads may use one.

    Each method does what the method of this name of `Table` does, in the event loop, and raises the same errors, and
    those that `SyncNode` lists.
    """

    def __init__(self, caller: LoopCaller, table: Table) -> None:
        self._caller = caller
        self._table = table

    @property
    def id(self) -> QueueId:
        """The id of the table, the same on all nodes."""
        return self._table.id

    @property
    def name(self) -> str:
        """The name under which the table was declared."""
        return self._table.name

    @property
    def generation(self) -> Generation:
        """The term it belongs to: see `Table.generation`."""
        return self._table.generation

    def put(self, key: BytesLike, value: BytesLike) -> SyncOp:
        """Set the value of a key."""
        return make(self._caller, self._table.put, key, value)

    def remove(self, key: BytesLike) -> SyncOp:
        """Remove a key. One that is not there is fine."""
        return make(self._caller, self._table.remove, key)

    def get(self, key: BytesLike) -> bytes | None:
        """The value of a key; None if it has none. What it says may not be safe yet."""
        return self._caller.read(self._table.get, key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of all keys as they are now, in the order of their puts."""
        return self._caller.read(self._table.items)

    def __iter__(self) -> Iterator[bytes]:
        """All keys as they are now, in the order of their puts."""
        return (key for key, _ in self.items())

    def __len__(self) -> int:
        """How many keys there are. Does not wait."""
        return len(self._table)

    def __bool__(self) -> bool:
        """True, also without keys: it is a table."""
        return True

    def __contains__(self, key: object) -> bool:
        """Whether this key has a value."""
        return self._caller.read(self._table.__contains__, key)

    def __repr__(self) -> str:
        return f"<SyncTable of {self._table!r}>"
