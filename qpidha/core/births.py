"""When a queue was declared, told by its uuid: the identity that the declaration's object got in the configuration (Q3).

The uuid of a queue is (generation, id) of its object's first message in the configuration, as 16 bytes. So it is new at
every declaration, it is chosen by the primary, and every node that has a message of the queue, or its quarantine, knows
when the queue was declared. Whether a history has that birth says whether a queue that is missing there was deleted or
was never declared (Q4, Q5).

Queues whose messages are not replicated are told apart by their uuids, too (`qpidha.types.level_of`): a queue of level
configuration has its birth with the first bit set, one of level none has no birth (LV4) and a number of its own.

Queues that were declared by releases without a configuration have random uuids (RFC 4122). Their objects carry the birth.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from uuid import UUID, uuid5

from qpidha.types import Entry, Generation, Level, MessageId, QueueId, uuid_of

ID_BITS: Final = 64
ID_MAX: Final = 2**63 - 1
"""Ids of the configuration are below this: the first bit of the second half of a uuid is set in every random one."""

UNREPLICATED: Final = 1 << 127
"""Set in the uuid of a queue of level configuration."""
OWN: Final = 3 << 62
"""Set in the uuid of a queue of level none: a bit more than in a random uuid."""


def born(generation: Generation, id: MessageId, level: Level = Level.MESSAGES) -> QueueId:
    """The uuid of the queue that is declared by this message of the configuration. Not for ``Level.NONE``.

    >>> birth_of(born(3, 17)), birth_of(born(3, 17, Level.CONFIGURATION))
    ((3, 17), (3, 17))
    """
    mark = UNREPLICATED if level is Level.CONFIGURATION else 0
    return uuid_of(mark | (generation << ID_BITS) | id)


def own_id(generation: Generation, number: int) -> QueueId:
    """The uuid of the queue of level none that the primary of this generation declared with this number, from 1 on."""
    return UUID(int=(generation << ID_BITS) | OWN | number)


OWN_OBJECTS: Final = own_id(0, 1)
"""The uuid of the queue of level none that holds one node's own objects: no primary has generation 0."""


def birth_of(queue: QueueId) -> Entry | None:
    """When this queue was declared; None for a queue of a release without a configuration.

    >>> birth_of(UUID("12345678-1234-4678-9234-567812345678"))
    """
    generation, id = divmod(queue.int & ~UNREPLICATED, 1 << ID_BITS)
    return (generation, id) if generation and 0 < id <= ID_MAX else None


@lru_cache(maxsize=64)  # Every change of an object asks for it.
def configuration_id(cluster: UUID) -> QueueId:
    """The uuid of the configuration of this cluster, the same on all nodes. Like random ones it names no birth."""
    return uuid5(cluster, "qpidha.configuration")
