"""The cluster's objects, for threads: the counterpart of `Configuration`."""

from __future__ import annotations

from qpidha.node.configuration import Configuration
from qpidha.node.sync.caller import LoopCaller
from qpidha.node.sync.op import SyncOp, make
from qpidha.types import BytesLike


class SyncConfiguration:
    """Objects of any kind that the embedder has: `Configuration`, for any thread.

    Each method does what the method of this name of `Configuration` does, in the event loop, and raises the same errors,
    and those that `SyncNode` lists.
    """

    def __init__(self, caller: LoopCaller, configuration: Configuration) -> None:
        self._caller = caller
        self._configuration = configuration

    def put(self, kind: str, name: str, value: BytesLike) -> SyncOp:
        """Create an object, or replace its value."""
        return make(self._caller, self._configuration.put, kind, name, value)

    def delete(self, kind: str, name: str) -> SyncOp:
        """Delete an object. One that is not there is fine."""
        return make(self._caller, self._configuration.delete, kind, name)

    def get(self, kind: str, name: str) -> bytes | None:
        """The value of an object; None if there is none. What it says may not be safe yet."""
        return self._caller.read(self._configuration.get, kind, name)

    def objects(self, kind: str | None = None) -> list[tuple[str, str, bytes]]:
        """(kind, name, value) of all objects, or of those of one kind, in the order of their puts."""
        return self._caller.read(self._configuration.objects, kind)
