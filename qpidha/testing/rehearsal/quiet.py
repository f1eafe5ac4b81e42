"""A rehearsal at rest: no faults, everything was delivered, and all nodes have the same content. Own checks see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from qpidha.stores.memory import MemoryStore
from qpidha.testing.rehearsal.ledger import Ledger
from qpidha.types import Address, Level, MessageId, NodeId, QueueId, level_of

Content: TypeAlias = "dict[QueueId, tuple[str, dict[MessageId, tuple[bytes, bytes]]]]"
"""By queue: its name, and data and props of its messages."""


@dataclass(frozen=True)
class Quiet:
    """What an own check gets."""

    final: bool
    """The run is over."""
    addresses: Sequence[Address]
    """The client address of each node."""
    nodes: Mapping[NodeId, Any]
    """The `Node` of each node that runs, as their brokers have shown them with `NodeParts.show`. Only read them."""
    ledger: Ledger
    """What clients published, and what they were told."""


OwnCheck: TypeAlias = Callable[[Quiet], Awaitable[None]]
"""Checks what your broker promises. Raises AssertionError, with what is wrong."""


def content_of(disk: MemoryStore) -> Content:
    """Everything that a disk has in replicated queues. O(messages)."""
    if disk._contents is None:
        return {}
    return {
        image.queue: (
            image.spec.name,
            {
                id: (bytes(batch.data(n)), bytes(batch.props(n)))
                for ids, batch in image.held
                for n, id in enumerate(ids)
            },
        )
        for image in disk._contents.image().queues
        if level_of(image.queue) is Level.MESSAGES
    }
