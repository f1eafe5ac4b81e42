"""Finds out soon whether a node that should be linked, and is not, has ended.

A process that was killed leaves two traces. Its session in the cluster manager expires, which takes seconds where
sessions are leases. And its machine refuses connections at once, which a machine that is cut off does not do, nor one on
which the process is only stopped. So this node connects to the addresses that the other one published, and sends nothing:
if all of them refuse, twice, the process has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from qpidha.node.absences import Absences
from qpidha.node.links import Links
from qpidha.node.runtime import Runtime
from qpidha.system.backoff import Backoff
from qpidha.system.within import until_set
from qpidha.types import NodeId, NodeInfo

BETWEEN_S = 0.02
"""Between the two refusals that count: a listener that is being replaced is back by then."""
INTERVAL_MAX_S = 0.5
"""The longest time between two looks at the same nodes."""


class Prober:
    """Watches the nodes that this one has no link to but should have, and tells the core which of them are gone."""

    def __init__(self, runtime: Runtime, links: Links) -> None:
        self.absences = Absences(runtime.live, runtime.now)
        self._runtime = runtime
        self._links = links
        self._wake = asyncio.Event()
        self._told: frozenset[NodeId] = frozenset()
        interval_s = runtime.settings.reconnect_interval_s
        self._backoff = Backoff(min(interval_s, INTERVAL_MAX_S), INTERVAL_MAX_S)

    def look(self) -> None:
        """A link, the live nodes, the record or the role changed."""
        self._tell()
        self._backoff.reset()
        self._wake.set()

    async def run(self) -> None:
        """Never returns."""
        while True:
            self._wake.clear()
            suspects = self._suspects()
            for node in self.absences.ended.keys() - suspects:
                self.absences.answered(node)
            await asyncio.gather(*(self._examine(node, info) for node, info in suspects.items()))
            self._tell()
            await until_set(self._wake, self._backoff.delay() if suspects else None)

    def _tell(self) -> None:
        gone = self.absences.gone() - {self._runtime.id}
        if gone != self._told:
            self._told = gone
            self._runtime.replica.nodes_gone(gone)
            self._runtime.poke()

    def _suspects(self) -> Mapping[NodeId, NodeInfo]:
        """The nodes that should be linked to this one, and are not: a backup's primary, and the members of a primary."""
        replica = self._runtime.replica
        record = replica.record
        if replica.stopped or record is None:
            return {}
        if replica.primary is not None:
            linked = {session.node for session in replica.primary.sessions.values()}
            wanted = {member.node for member in record.members} - linked
        elif record.primary is not None and replica.follower.link is None:
            wanted = {record.primary[0]}
        else:
            return {}
        infos = ((node, self.absences.info_of(node)) for node in sorted(wanted - {self._runtime.id}))
        return {node: info for node, info in infos if info is not None}

    async def _examine(self, node: NodeId, info: NodeInfo) -> None:
        if await self._links.refused(info):
            await asyncio.sleep(BETWEEN_S)
            if await self._links.refused(info):
                self.absences.refused(node, info.boot)
                return
        self.absences.answered(node)
