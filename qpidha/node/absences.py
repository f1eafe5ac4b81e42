"""Which nodes are gone, as far as this one knows: their session has ended, or their machine refuses connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from uuid import UUID

from qpidha.node.live import LiveNodes
from qpidha.types import NodeId, NodeInfo

GRACE_S = 0.5
"""A session that was lost, as after a pause of a whole machine, may be renewed in this time. A process that was killed
does not use it up: its machine refuses connections."""


class Absences:
    """What is known about nodes that are gone. A hint: no decision about safety depends on it.

    A node that this one has never seen alive is not gone: after a power failure it is still starting.
    """

    def __init__(self, live: LiveNodes, now: Callable[[], float]) -> None:
        """``now``: the clock, in seconds."""
        self._live = live
        self._now = now
        self._infos: dict[NodeId, NodeInfo | None] = {}
        """What each node that was ever alive published last; None: something unreadable."""
        self._missing: dict[NodeId, float] = {}
        """Since when each of them has no session."""
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

    def info_of(self, node: NodeId) -> NodeInfo | None:
        """What the node published last, also if its session has ended since."""
        return self._infos.get(node)

    def gone(self) -> frozenset[NodeId]:
        """The nodes that are gone. O(nodes). Call it whenever the live nodes have changed."""
        self._look()
        now = self._now()
        expired = {node for node, since in self._missing.items() if now - since >= GRACE_S}
        return frozenset(expired | {node for node in self._refused if self._has_ended(node)})

    def _look(self) -> None:
        if not self._live.known:
            return
        names = set(self._live.names)
        for node in names:
            self._infos[node] = self._live.info_of(node)
            self._missing.pop(node, None)
        for node in self._infos.keys() - names:
            self._missing.setdefault(node, self._now())

    def _has_ended(self, node: NodeId) -> bool:
        """Whether what the node published last is of the process that has ended."""
        info = self._infos.get(node)
        return info is not None and info.boot == self._refused[node]

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
