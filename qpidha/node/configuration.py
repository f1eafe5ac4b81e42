"""The cluster's objects as the embedder uses them: `Node.configuration`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qpidha.checks import CALLBACK, instance_of
from qpidha.core.configuration import QUEUE, object_key, read_key
from qpidha.core.keyed import KeyedQueue
from qpidha.core.steps import Erase, Put
from qpidha.errors import ArgumentError
from qpidha.node.callbacks import name_of
from qpidha.node.commit import Commits
from qpidha.node.keywatches import OBJECTS
from qpidha.node.op import Op
from qpidha.node.runtime import Runtime
from qpidha.types import BytesLike

TEXT = instance_of(str, what="text")

ObjectChanged = Callable[[str, str, bytes | None], Any]
"""Called with the kind and the name of an object, and its value; None: it is gone."""


def is_reserved(kind: str) -> bool:
    """Whether objects of this kind are the library's own: of queues, producers, and the patterns of levels."""
    return kind == QUEUE or kind.startswith("$")


def checked_key(kind: str, name: str) -> bytes:
    """The key of an embedder's object. Raises `ArgumentError`: not text, or a kind that is the library's own."""
    TEXT("kind", kind)
    TEXT("name", name)
    if is_reserved(kind):
        raise ArgumentError(
            f"kind {kind!r} is reserved: node.declare and node.delete change the objects of queues"
        )
    try:
        return object_key(kind, name)
    except UnicodeEncodeError as error:  # A lone surrogate.
        raise ArgumentError(f"kind and name must be text that UTF-8 can encode: {error}") from None


class Configuration:
    """Objects of any kind that the embedder has: exchanges, bindings, users, links. The same on all nodes.

    An object has a kind, a name, and bytes as its value. Only the primary changes them; each change has an `Op`, which is
    safe when every member has made it durable. Every node can read them and watch them. They are there before
    ``on_promote`` is called.

    It may be used in every term of the node. Methods must be called from the node's event loop.
    """

    def __init__(self, runtime: Runtime, commits: Commits) -> None:
        self._runtime = runtime
        self._commits = commits

    def put(self, kind: str, name: str, value: BytesLike) -> Op:
        """Create an object, or replace its value. O(bytes).

        Raises:
            NotPrimary: Only the primary changes objects.
            NotEnoughMembers: Fewer than ``min_in_sync`` nodes are members. Nothing was stored.
            ArgumentError: A kind that is reserved ("queue", or one that begins with "$"), not text, not bytes, or more
                bytes than ``message_bytes_max``, kind, name and value together.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Configuration.put")
        value, key = self._commits.message(value, checked_key(kind, name), "value", "key")
        self._commits.require_serving()
        _, op = self._commits.commit([Put(self._objects().queue, key, value)])
        return op

    def delete(self, kind: str, name: str) -> Op:
        """Delete an object. If there is none, the op is safe when everything before it is: so the answer is true then.

        Raises:
            NotPrimary, NotEnoughMembers, ArgumentError, WrongThread: As for `put`.
        """
        self._here("Configuration.delete")
        key = checked_key(kind, name)
        self._commits.require_serving()
        _, op = self._commits.commit([Erase(self._objects().queue, key)])
        return op

    def get(self, kind: str, name: str) -> bytes | None:
        """The value of an object; None if there is none. O(1). On every node; what it says may not be safe yet.

        Raises:
            ArgumentError: Not text, or a kind that is reserved.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Configuration.get")
        key, objects = checked_key(kind, name), self._commits.configuration
        return None if objects is None else objects.get(key)

    def objects(self, kind: str | None = None) -> list[tuple[str, str, bytes]]:
        """(kind, name, value) of all objects, or of those of one kind, in the order of their puts. O(objects).

        Raises:
            ArgumentError: Not text.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Configuration.objects")
        if kind is not None:
            TEXT("kind", kind)
        objects = self._commits.configuration
        found = [] if objects is None else [(*read_key(key), value) for key, value in objects.items()]
        return [each for each in found if not is_reserved(each[0]) and kind in (None, each[0])]

    def on_change(self, callback: ObjectChanged) -> None:
        """Call ``callback(kind, name, value)`` for each object that was put, or deleted (value None), on every node.

        It is called at the end of the turn of the event loop, once for each object however often it changed, and may use
        the node. What it tells may not be safe yet, and a failover may take it back: it is called for that, too.

        Raises:
            ArgumentError: It cannot be called.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Configuration.on_change")
        CALLBACK("callback", callback)

        def changed(key: bytes, value: bytes | None) -> None:
            kind, name = read_key(key)
            if not is_reserved(kind):
                callback(kind, name, value)

        self._commits.watches.watch(OBJECTS, changed, name=name_of(callback))

    def _objects(self) -> KeyedQueue:
        objects = self._commits.configuration
        assert objects is not None, "the activation of a primary makes the configuration"
        return objects

    def _here(self, what: str) -> None:
        self._runtime.require_thread(what)
