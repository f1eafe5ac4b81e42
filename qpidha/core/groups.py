"""Groups of queues, each compared by one digest (C8).

Both ends form the same groups: the number of a group is the number that the uuid is, modulo the number of groups. The
digest of a group is over the *text* of each of its queues, in the order of the uuids. The text has everything that
`SubscribeQueue` and `PlanQueue` would say of the queue, so queues with equal texts are queues of which nothing has to
be planned. A text tells its own end: two groups have one concatenation only if they have the same texts.

    text     uuid, u64 next, u32 L, u32 H, u32 S, lineage (L bytes), held ids (H bytes), spec (S bytes)
    lineage  16 bytes an entry: u64 generation, u64 first id
    spec     u8 settle, u8 size of the kind, kind, name

The digest is keyed, and the key is drawn for each session. So nobody who chooses names of queues can prepare two groups
with the same digest; by chance that happens once in 2¹²⁸ comparisons of unequal groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from uuid import UUID

from qpidha.core.lineage import Lineage
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.resync import History
from qpidha.seq import SequenceSet
from qpidha.types import QueueId
from qpidha.wire.groups import DIGEST_BYTES, GROUPS_MAX, KEY_BYTES

_HEAD = Struct("<16sQIII")
_ENTRY = Struct("<QQ")


def group_count(queues: int, queues_per_digest: int) -> int:
    """Into how many groups so many queues are divided: at least one."""
    return max(1, min(GROUPS_MAX, -(-queues // queues_per_digest)))


def group_of(queue: QueueId, groups: int) -> int:
    """The number of the group of a queue: from 0 on, and below ``groups``."""
    return queue.int % groups


def divided(queues: Iterable[ReplicatedQueue], groups: int) -> list[list[ReplicatedQueue]]:
    """The queues of each group."""
    found: list[list[ReplicatedQueue]] = [[] for _ in range(groups)]
    for q in queues:
        found[q.queue.int % groups].append(q)
    return found


def session_key(secret: bytes, boot: UUID, session: int) -> bytes:
    """The key of one session of one process, which only who knows the secret can tell in advance."""
    return blake2b(
        boot.bytes + session.to_bytes(8, "little"), digest_size=KEY_BYTES, key=secret[:64]
    ).digest()


def joined(queues: Iterable[ReplicatedQueue]) -> bytes:
    """The texts of the queues of one group, in the order of their uuids. O(runs).

    A failover is as long as this takes for all queues, so it has no call for each of them that it can do without.
    """
    texts = list[bytes]()
    pack = _HEAD.pack
    known: Lineage = ()
    lineage = b""
    for queue in queues:
        if queue.lineage is not known:  # Most queues have one of the same few lineages.
            known, lineage = queue.lineage, _lineage_bytes(queue.lineage)
        spec, held = queue.spec, queue.held.encode()
        named = _kind_bytes(spec.settle, spec.kind) + spec.name.encode()
        uuid = queue.queue.int.to_bytes(16, "big")
        texts.append(pack(uuid, queue.next, len(lineage), len(held), len(named)) + lineage + held + named)
    texts.sort()
    return b"".join(texts)


def digest(key: bytes, text: bytes) -> bytes:
    """Of the texts of one group."""
    return blake2b(text, digest_size=DIGEST_BYTES, key=key).digest()


def history_in(text: bytes, queue: QueueId) -> History | None:
    """What the texts of a group say of one queue; None: they do not name it. O(queues of the group)."""
    wanted, at = queue.bytes, 0
    while at < len(text):
        uuid, next, lineage, held, spec = _HEAD.unpack_from(text, at)
        at += _HEAD.size
        if uuid == wanted:
            entries = tuple(_ENTRY.iter_unpack(text[at : at + lineage]))
            return History(entries, next, SequenceSet.decode(text[at + lineage : at + lineage + held]))
        at += lineage + held + spec
    return None


@lru_cache(maxsize=1024)
def _lineage_bytes(lineage: Lineage) -> bytes:
    """Most queues have one of the same few lineages."""
    return b"".join([_ENTRY.pack(*entry) for entry in lineage])


@lru_cache(maxsize=64)
def _kind_bytes(settle: int, kind: str) -> bytes:
    raw = kind.encode()
    return bytes([settle, len(raw)]) + raw
