"""Removals of members: never for the time that the primary's own disk or event loop took (J1).

A member that is removed for being late owes the acknowledgement of an operation that left the primary, after its
own disk, at least the shortest time-out ago.
"""

from __future__ import annotations

from collections.abc import Callable

from qpidha.core.primary.deadlines import INTERVAL_S
from qpidha.core.primary.primary import Primary
from qpidha.core.ready import CompareAndSet, Request
from qpidha.settings import Settings
from qpidha.testing.invariants.checker import Checker
from qpidha.testing.sim.node import SimNode
from qpidha.testing.sim.scheduler import Scheduler
from qpidha.types import Generation, Member, Position


class Removals:
    """Checks the requests in which a primary removes members from the record."""

    def __init__(
        self, checker: Checker, scheduler: Scheduler, settings: Settings, sometimes: Callable[[str], None]
    ) -> None:
        """Start with no requests seen.

        Args:
            checker: Told of violations.
            scheduler: Its clock, in virtual seconds.
            settings: The time-outs.
            sometimes: Counts removals.
        """
        self._checker = checker
        self._scheduler = scheduler
        self._settings = settings
        self._sometimes = sometimes
        self._left: dict[tuple[str, Generation], list[tuple[Position, float]]] = {}
        self._seen: set[bytes] = set()
        """Requests by nonce: each is checked when it is made, not when it is sent or repeated."""

    def durable(self, node: SimNode, generation: Generation, position: Position) -> None:
        """Operations up to here are durable on their primary, which sends them now."""
        self._left.setdefault((node.host, generation), []).append((position, self._scheduler.now))

    def proposed(self, node: SimNode) -> None:
        """A transaction begins: check the request that follows it now, by what the primary knows now."""
        if (request := node.replica.manager.in_flight) is not None:
            self.requested(node, request)

    def requested(self, node: SimNode, request: Request) -> None:
        """Check a request, unless `proposed` checked it before. Raises `Violation` (J1)."""
        primary, record = node.replica.primary, node.replica.record
        if not isinstance(request, CompareAndSet) or request.new.nonce in self._seen:
            return
        self._seen.add(request.new.nonce)
        if primary is None or record is None or request.new.generation != record.generation:
            return
        nodes = {member.node for member in request.new.members}
        for member in record.members - request.new.members:
            reborn = any(s.node == member.node and s.epoch != member.epoch for s in primary.sessions.values())
            linked = any(session.node == member.node for session in primary.sessions.values())
            if member.node in node.replica.state.gone and not linked:
                self._sometimes("removed as gone")
            elif not reborn and member.node not in nodes:
                self._sometimes("removed for being late")
                self._late(node, primary, member)

    def _late(self, node: SimNode, primary: Primary, member: Member) -> None:
        acked = primary.acked_by(member)
        left = self._left.get((node.host, primary.generation), [])
        since = next((at for position, at in left if position > acked), None)
        limits = self._settings
        shortest_s = min(limits.ack_timeout_s, limits.rejoin_timeout_s) - 2 * INTERVAL_S
        waited_s = 0.0 if since is None else (self._scheduler.now - since) * node.clock.rate_max
        if waited_s < shortest_s:
            self._checker.fail("J1", f"{node.name} removes {member.node} that owed it for {waited_s:.2f} s")
