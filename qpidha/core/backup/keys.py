"""What a backup checks of the keys of tables and of the configuration: each is held once (rule Q1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from qpidha.core.keyed import KEYED, KeyedQueue
from qpidha.core.queue import ReplicatedQueue
from qpidha.errors import RemoteProtocolError
from qpidha.seq import SequenceSet
from qpidha.types import QueueId
from qpidha.wire.batch import Batch
from qpidha.wire.events import Copy, Declare, Dequeue, Enqueue, Operation, Part

LOOKED_AT_ONCE: Final = 1000
"""Keys that are looked at in one step of a flip."""


def check_keys(
    queue: KeyedQueue | None, gone: SequenceSet, batches: Iterable[tuple[SequenceSet, Batch]]
) -> Iterator[None]:
    """Check that each key has one message afterwards, step by step. O(messages that come). Nothing is changed.

    Args:
        queue: What is there before; None: nothing.
        gone: Messages that leave, of those that are there or come.
        batches: Messages that come.

    Raises:
        RemoteProtocolError: A key would have two messages.
    """
    seen = set[bytes]()
    looked_at = 0
    for ids, batch in batches:
        for index, id in enumerate(ids):
            looked_at += 1
            if looked_at % LOOKED_AT_ONCE == 0:
                yield
            if id in gone:
                continue
            key = batch.props(index)
            before = None if queue is None else queue.id_of(key)
            if key in seen or (before is not None and before not in gone):
                raise RemoteProtocolError("two messages of one key")
            seen.add(key)


def check_keys_of(queues: Mapping[QueueId, ReplicatedQueue], operation: Operation) -> None:
    """The same for an operation, whose ids were checked. Raises `RemoteProtocolError`. O(parts, and keys put)."""
    declared = {part.queue for part in operation if isinstance(part, Declare) and part.spec.kind in KEYED}
    about = [
        part
        for part in operation
        if not isinstance(part, Declare)
        and (isinstance(queues.get(part.queue), KeyedQueue) or (declared and part.queue in declared))
    ]
    if _is_sound_put(queues, about):
        return
    come: dict[QueueId, list[tuple[SequenceSet, Batch]]] = {}
    gone: dict[QueueId, SequenceSet] = {}
    for part in about:
        if isinstance(part, Copy):
            raise RemoteProtocolError("an operation copies messages to a table")
        if isinstance(part, Enqueue):
            ids = SequenceSet.from_range(part.first, part.first + len(part.batch) - 1)
            come.setdefault(part.queue, []).append((ids, part.batch))
        elif isinstance(part, Dequeue):
            gone[part.queue] = gone.get(part.queue, SequenceSet()) | part.ids
    for id, batches in come.items():
        known = queues.get(id)
        keyed = known if isinstance(known, KeyedQueue) else None
        for _ in check_keys(keyed, gone.get(id, SequenceSet()), batches):
            pass


def _is_sound_put(queues: Mapping[QueueId, ReplicatedQueue], parts: Sequence[Part]) -> bool:
    """Whether they put one key, which has no other message afterwards: most operations do. Else look closer."""
    put, *others = parts or (None,)
    if not isinstance(put, Enqueue) or len(put.batch) != 1:
        return False
    queue = queues.get(put.queue)
    before = queue.id_of(put.batch.props(0)) if isinstance(queue, KeyedQueue) else None
    if before is None:
        return not others
    old = others[0] if len(others) == 1 else None
    return isinstance(old, Dequeue) and old.queue == put.queue and before in old.ids
