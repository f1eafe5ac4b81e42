"""Which nodes are gone, as far as this one knows: their session has ended, or their machine refuses connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from uuid import UUID

from qpidha.node.live import LiveNodes
from qpidha.types import NodeId


class Absences:
    """What is known about nodes that are gone. A hint: no decision about safety depends on it.

    A node that this one has never seen alive is not gone: after a power failure it is still starting.
    """

    def __init__(self, live: LiveNodes) -> None:
        self._live = live
        self._seen: set[NodeId] = set()
        self._refused: dict[NodeId, UUID] = {}
        """By node, the boot id of the process whose machine refused connections."""
        self._changed = asyncio.Event()

    def refused(self, node: NodeId, boot: UUID) -> None:
        """The machine of this process refuses connections to each of its addresses: it has ended."""
        if self._refused.get(node) != boot:
            self._refused[node] = boot
            self._changed.set()

    def answered(self, node: NodeId) -> None:
        """The node is there, or its machine does not answer at all, which says nothing."""
        if self._refused.pop(node, None) is not None:
            self._changed.set()

    def gone(self) -> frozenset[NodeId]:
        """The nodes that are gone. O(nodes)."""
        names = set(self._live.names) if self._live.known else set()
        self._seen |= names
        expired = self._seen - names if self._live.known else set()
        return frozenset(expired | {node for node in self._refused if self._has_ended(node)})

    def _has_ended(self, node: NodeId) -> bool:
        """Whether the session that the node still has belongs to the process that has ended."""
        info = self._live.info_of(node)
        return info is None or info.boot == self._refused[node]

    @property
    def ended(self) -> Mapping[NodeId, UUID]:
        """By node, the process that has ended although its session may still stand."""
        return dict(self._refused)

    async def watch(self) -> AsyncIterator[Mapping[NodeId, UUID]]:
        """`ended`, now and after each change. For one reader at a time."""
        while True:
            self._changed.clear()
            yield self.ended
            await self._changed.wait()
