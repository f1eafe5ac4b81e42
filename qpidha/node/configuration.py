"""The objects of the cluster and of this node as the embedder uses them: `Node.configuration`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qpidha.checks import CALLBACK, instance_of
from qpidha.core.configuration import QUEUE, object_key, read_key
from qpidha.core.steps import EraseObject, PutObject
from qpidha.errors import ArgumentError
from qpidha.node.callbacks import name_of
from qpidha.node.commit import Commits
from qpidha.node.keywatches import OBJECTS
from qpidha.node.op import Op
from qpidha.node.runtime import Runtime
from qpidha.settings import Settings, check_level
from qpidha.types import BytesLike, Level, level_of

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


def checked_level(replicate: Level | None) -> Level | None:
    """The level that a caller names. Raises `ArgumentError`."""
    if replicate is not None:
        check_level(replicate)
    return replicate


def put_step(
    settings: Settings, commits: Commits, kind: str, name: str, value: BytesLike, replicate: Level | None
) -> PutObject:
    """The step of a put of an embedder's object. Raises `ArgumentError`."""
    value, key = commits.message(value, checked_key(kind, name), "value", "key")
    return PutObject(key, value, checked_level(replicate), settings.object_level(kind, name))


class Configuration:
    """Objects of any kind that the embedder has: exchanges, bindings, users, links.

    An object has a kind, a name, and bytes as its value. Only the primary changes them; each change has an `Op`, which is
    safe when every member has made it durable. Every node can read them and watch them. They are there before
    ``on_promote`` is called.

    An object has one of two levels. `Level.NONE`: it is this node's own, kept in its store and never sent; its change is
    safe when this node has it on disk. `Level.CONFIGURATION` and `Level.MESSAGES` mean the same for an object, as it has
    no messages: every node has it. Both levels share their names.

    It may be used in every term of the node. Methods must be called from the node's event loop.
    """

    def __init__(self, runtime: Runtime, commits: Commits) -> None:
        self._runtime = runtime
        self._commits = commits

    def put(self, kind: str, name: str, value: BytesLike, *, replicate: Level | None = None) -> Op:
        """Create an object, or replace its value. O(bytes).

        Args:
            replicate: Its level. None: what ``Settings.replicate`` says of its kind and name, if it is created; if it
                exists, what it has.

        Raises:
            ObjectMismatch: It exists with another level. Nothing was stored.
            NotPrimary: Only the primary changes objects.
            NotEnoughMembers: Fewer than ``min_in_sync`` nodes are members. Nothing was stored.
            ArgumentError: A kind that is reserved ("queue", or one that begins with "$"), not text, not bytes, or more
                bytes than ``message_bytes_max``, kind, name and value together.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Configuration.put")
        step = put_step(self._runtime.settings, self._commits, kind, name, value, replicate)
        self._commits.require_serving()
        _, op = self._commits.commit([step])
        return op

    def delete(self, kind: str, name: str, *, replicate: Level | None = None) -> Op:
        """Delete an object. If there is none, the op is safe when everything before it is: so the answer is true then.

        Args:
            replicate: Delete only an object of this level. None: the one that `get` returns.

        Raises:
            NotPrimary, NotEnoughMembers, ArgumentError, WrongThread: As for `put`.
        """
        self._here("Configuration.delete")
        step = EraseObject(checked_key(kind, name), checked_level(replicate))
        self._commits.require_serving()
        _, op = self._commits.commit([step])
        return op

    def get(self, kind: str, name: str, *, replicate: Level | None = None) -> bytes | None:
        """The value of an object; None if there is none. O(1). On every node; what it says may not be safe yet.

        Args:
            replicate: Only an object of this level. None: that of the cluster, or else this node's own.

        Raises:
            ArgumentError: Not text, or a kind that is reserved.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Configuration.get")
        key = checked_key(kind, name)
        return self._commits.objects.get(key, checked_level(replicate))

    def level(self, kind: str, name: str) -> Level | None:
        """The level of the object that `get` returns: `Level.MESSAGES` or `Level.NONE`; None if there is none. O(1).

        Raises:
            ArgumentError: Not text, or a kind that is reserved.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Configuration.level")
        found = self._commits.objects.of(checked_key(kind, name))
        return None if found is None else level_of(found.queue)

    def objects(
        self, kind: str | None = None, *, replicate: Level | None = None
    ) -> list[tuple[str, str, bytes]]:
        """(kind, name, value) of all objects, or of those of one kind. O(objects).

        Those of the cluster come first, then this node's own, each in the order of their puts.

        Args:
            replicate: Only objects of this level. None: of two with the same kind and name, that of the cluster.

        Raises:
            ArgumentError: Not text.
            WrongThread: Called from another thread than the event loop's.
        """
        self._here("Configuration.objects")
        if kind is not None:
            TEXT("kind", kind)
        found = [
            (*read_key(key), value) for key, value in self._commits.objects.items(checked_level(replicate))
        ]
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

    def _here(self, what: str) -> None:
        self._runtime.require_thread(what)
