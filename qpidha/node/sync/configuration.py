"""The cluster's objects, for threads: the counterpart of `Configuration`."""

from __future__ import annotations

from qpidha.node.configuration import Configuration
from qpidha.node.sync.caller import LoopCaller
from qpidha.node.sync.op import SyncOp, make
from qpidha.types import BytesLike, Level


class SyncConfiguration:
    """Objects of any kind that the embedder has: `Configuration`, for any thread.

    Each method does what the method of this name of `Configuration` does, in the event loop, and raises the same errors,
    and those that `SyncNode` lists.
    """

    def __init__(self, caller: LoopCaller, configuration: Configuration) -> None:
        self._caller = caller
        self._configuration = configuration

    def put(self, kind: str, name: str, value: BytesLike, *, replicate: Level | None = None) -> SyncOp:
        """Create an object, or replace its value."""
        return make(self._caller, self._configuration.put, kind, name, value, replicate=replicate)

    def delete(self, kind: str, name: str, *, replicate: Level | None = None) -> SyncOp:
        """Delete an object. One that is not there is fine."""
        return make(self._caller, self._configuration.delete, kind, name, replicate=replicate)

    def get(self, kind: str, name: str, *, replicate: Level | None = None) -> bytes | None:
        """The value of an object; None if there is none. What it says may not be safe yet."""
        return self._caller.read(self._configuration.get, kind, name, replicate=replicate)

    def level(self, kind: str, name: str) -> Level | None:
        """The level of the object that `get` returns; None if there is none."""
        return self._caller.read(self._configuration.level, kind, name)

    def objects(
        self, kind: str | None = None, *, replicate: Level | None = None
    ) -> list[tuple[str, str, bytes]]:
        """(kind, name, value) of all objects, or of those of one kind: the cluster's first, then this node's own."""
        return self._caller.read(self._configuration.objects, kind, replicate=replicate)
