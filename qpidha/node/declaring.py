"""What an embedder declares: the spec and level of a queue or table, checked, and compared with one that exists."""

from __future__ import annotations

from qpidha.core.keyed import OWN_NAMES, TABLE
from qpidha.errors import ArgumentError, QueueMismatch
from qpidha.node.queue import Queue
from qpidha.settings import Settings, check_level, check_spec
from qpidha.types import Level, QueueId, QueueSpec, Settle, level_of


def queue_spec(name: str, settle: Settle, kind: str) -> QueueSpec:
    """The spec of a queue as an embedder declares it. Raises `ArgumentError`."""
    spec = _checked(QueueSpec(name=name, settle=settle, kind=kind))
    if kind.startswith("$"):
        raise ArgumentError(
            f"kind must be a kind of queues of your own, not {kind!r}: '$' begins the library's own kinds"
        )
    return spec


def table_spec(name: str) -> QueueSpec:
    """The spec of a table. Raises `ArgumentError`."""
    return _checked(QueueSpec(name=name, settle=Settle.REPLICATED, kind=TABLE))


def _checked(spec: QueueSpec) -> QueueSpec:
    check_spec(spec)
    if spec.name in OWN_NAMES:
        raise ArgumentError(
            f"queue name must be another than {spec.name!r}: a queue of the library itself has this name"
        )
    return spec


def level_for(name: str, replicate: Level | None, settings: Settings) -> Level:
    """The level to declare something of this name with. Raises `ArgumentError`."""
    if replicate is None:
        return settings.level(name)
    check_level(replicate)
    return replicate


def require_same(queue: QueueId, there: QueueSpec, asked: QueueSpec, replicate: Level | None) -> None:
    """Raise `QueueMismatch` unless the queue was declared in this way. None: with any level."""
    level = level_of(queue)
    if replicate is not None:
        check_level(replicate)
    if (there.kind == TABLE) != (asked.kind == TABLE):
        have, want = ("table" if spec.kind == TABLE else "queue" for spec in (there, asked))
        raise QueueMismatch(f"{there.name!r} is a {have}, no {want}", existing=there, asked=asked)
    if there != asked:
        raise QueueMismatch(
            f"queue {there.name!r} exists with settle {there.settle.name} and kind {there.kind!r}; it cannot be declared "
            f"with settle {asked.settle.name} and kind {asked.kind!r}: node.queue(name) returns it as it is",
            existing=there,
            asked=asked,
        )
    if replicate is not None and level is not replicate:
        raise QueueMismatch(
            f"{there.name!r} exists with level {level.name}; it cannot be declared with level {replicate.name}:"
            " delete it first, or name no level",
            existing=there,
            asked=asked,
        )


def check_arguments(arguments: bytes, level: Level) -> bytes:
    """The arguments of a declaration. Raises `ArgumentError` if nothing would keep them."""
    if arguments and level is Level.NONE:
        raise ArgumentError(
            "arguments must be empty for level NONE: such a queue has no object that keeps them"
        )
    return arguments


def same_arguments(queue: Queue, asked: QueueSpec, arguments: bytes) -> Queue:
    """The queue, if it was declared with these arguments. Raises `QueueMismatch`."""
    if queue.arguments != arguments:
        raise QueueMismatch(
            f"queue {queue.name!r} exists with other arguments: node.queue(name) returns it as it is",
            existing=queue.spec,
            asked=asked,
        )
    return queue
