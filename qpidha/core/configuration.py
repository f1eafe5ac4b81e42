"""The cluster's objects: queues, tables, and whatever else the broker has, as the messages of one keyed queue (Q1).

An object has a key (kind, name) and a content: bytes that only the embedder understands. For queues and tables the
content is ours: uuid, spec, level of replication, arguments, and the birth if the uuid does not tell it (`births`).
So differences, rewinds, completion, missed deletions and races with a plan are those of messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgpack

from qpidha.checks import QUEUE_KIND
from qpidha.core.births import ID_MAX
from qpidha.core.keyed import CONFIGURATION, OWN_NAMES, KeyedQueue
from qpidha.errors import RemoteProtocolError
from qpidha.types import (
    GENERATION_MAX,
    QUEUE_NAME_BYTES_MAX,
    Entry,
    Level,
    QueueId,
    QueueSpec,
    Settle,
    level_of,
    uuid_of,
)
from qpidha.wire.batch import Batch

MALFORMED: Final = (ValueError, TypeError, IndexError, KeyError, OverflowError, msgpack.UnpackException)
"""What reading an object may raise."""
KNOWN_KEY_BYTES_MAX: Final = 2048
"""Longer keys are read each time."""
QUEUE: Final = "queue"
"""Kind of the objects that declare queues."""
SPEC: Final = QueueSpec(name=CONFIGURATION, settle=Settle.REPLICATED, kind=CONFIGURATION)
"""Of the queue that holds the configuration."""


def object_key(kind: str, name: str) -> bytes:
    """The key of an object."""
    key: bytes = msgpack.packb([kind, name])
    return key


def read_key(key: bytes) -> tuple[str, str]:
    """(kind, name) of a key."""
    kind, name = msgpack.unpackb(key)
    return kind, name


def is_object_key(key: bytes) -> bool:
    """Whether this is the key of an object that an embedder may put: of any kind but that of queues (Q2).

    Kinds that begin with "$" are the library's own.
    """
    try:
        entry: list[object] = msgpack.unpackb(key)
        kind, name = entry
        if not isinstance(kind, str) or not isinstance(name, str):
            return False
        return kind != QUEUE and not kind.startswith("$") and object_key(kind, name) == key
    except (ValueError, TypeError, msgpack.UnpackException):
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueObject:
    """What the configuration says of one queue or table."""

    queue: QueueId
    spec: QueueSpec
    level: Level = Level.MESSAGES
    arguments: bytes = b""
    """The embedder's own."""
    birth: Entry | None = None
    """Only of queues whose uuid does not tell it."""

    @property
    def key(self) -> bytes:
        """Its key in the configuration."""
        return object_key(QUEUE, self.spec.name)

    def encode(self) -> bytes:
        """Its content in the configuration."""
        spec = self.spec
        return _packed(self.queue, spec.settle, spec.kind, self.level, self.arguments, self.birth)

    @classmethod
    def decode(cls, key: bytes, content: bytes) -> QueueObject:
        """The inverse of `key` and `encode`."""
        queue, settle, kind, level, arguments, birth = _values(content)
        return cls(
            queue=queue,
            spec=QueueSpec(name=read_key(key)[1], settle=settle, kind=kind),
            level=level,
            arguments=arguments,
            birth=birth,
        )

    @staticmethod
    def level_in(content: bytes) -> Level:
        """The level of the queue whose object has this content, without decoding all of it."""
        return level_of(_uuid(msgpack.unpackb(content)[0]))


def _packed(
    queue: UUID, settle: Settle, kind: str, level: Level, arguments: bytes, birth: Entry | None
) -> bytes:
    packed: bytes = msgpack.packb([queue.bytes, int(settle), kind, int(level), arguments, birth])
    return packed


def _values(content: bytes) -> tuple[UUID, Settle, Any, Level, Any, Entry | None]:
    """The arguments of `_packed`: what a peer may have sent, so raises `MALFORMED`."""
    queue, settle, kind, level, arguments, birth = msgpack.unpackb(content)
    known = None if birth is None else (birth[0], birth[1])
    return _uuid(queue), _SETTLES[settle], kind, _LEVELS[level], arguments, known


def _uuid(raw: bytes) -> UUID:
    if len(raw) != 16:
        raise ValueError("a uuid has 16 bytes")
    return uuid_of(int.from_bytes(raw, "big"))


_SETTLES: Final = {int(settle): settle for settle in Settle}
_LEVELS: Final = {int(level): level for level in Level}
"""Not by calls of the enumerations, which are slow: a backup decodes each object of a queue."""


def check_objects(batch: Batch) -> None:
    """Raises `RemoteProtocolError` if a peer says that these are objects, and one of them is not. O(objects).

    What a primary writes has one encoding: any other would be another key for the same name, or differ between nodes.
    """
    for index in range(len(batch)):
        key = batch.props(index)
        kind = _known_kind_of(key) if len(key) <= KNOWN_KEY_BYTES_MAX else _kind_of(key)
        if kind is None or (kind == QUEUE and not _is_queue(key, batch.data(index))):
            raise RemoteProtocolError(f"a malformed object of the configuration, with the key {key[:40]!r}")


def _kind_of(key: bytes) -> str | None:
    """The kind of the object with this key; None if it is no key of an object."""
    try:
        entry: Any = read_key(key)
        kind, name = entry
        sound = isinstance(kind, str) and isinstance(name, str) and object_key(kind, name) == key
    except MALFORMED:
        return None
    return kind if sound else None


_known_kind_of = lru_cache(maxsize=256)(_kind_of)  # A producer's entry is put with each of its operations.


_QUEUE_KEY_BYTES_MIN: Final = len(object_key(QUEUE, "n"))
_QUEUE_KEY_BYTES_MAX: Final = len(object_key(QUEUE, "n" * QUEUE_NAME_BYTES_MAX))
"""The size of a key, which has one encoding, tells that of the name."""


def _is_queue(key: bytes, content: bytes) -> bool:
    """Whether this is the content of a queue's object, with a key of this kind, and a store could keep the queue.

    The kinds of the library's own queues are in no object: nobody declares another configuration.
    """
    try:
        queue, settle, kind, level, arguments, birth = _values(content)
        texts = QUEUE_KIND.fits(kind) and kind not in OWN_NAMES and isinstance(arguments, bytes)
        named = _QUEUE_KEY_BYTES_MIN <= len(key) <= _QUEUE_KEY_BYTES_MAX
        sound = texts and named and level is level_of(queue) and (birth is None or _is_birth(*birth))
        return sound and _packed(queue, settle, kind, level, arguments, birth) == content
    except MALFORMED:
        return False


def _is_birth(generation: object, id: object) -> bool:
    """Whether these can be the identity of a message of the configuration."""
    if type(generation) is not int or type(id) is not int:
        return False
    return 0 < generation <= GENERATION_MAX and 0 < id <= ID_MAX


def queue_object(configuration: KeyedQueue, name: str) -> QueueObject | None:
    """The object of the queue with this name; None if there is none."""
    key = object_key(QUEUE, name)
    content = configuration.get(key)
    return None if content is None else QueueObject.decode(key, content)


def queue_objects(configuration: KeyedQueue) -> list[QueueObject]:
    """The objects of all queues. O(objects)."""
    prefix = object_key(QUEUE, "")[:-1]
    return [
        QueueObject.decode(key, content) for key, content in configuration.items() if key.startswith(prefix)
    ]


def births_of_old_queues(configuration: KeyedQueue | None) -> dict[QueueId, Entry]:
    """The births of the queues whose uuids do not tell them, as far as this configuration knows. O(objects)."""
    if configuration is None:
        return {}
    return {o.queue: o.birth for o in queue_objects(configuration) if o.birth is not None}
