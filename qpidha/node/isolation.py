"""A primary that is cut off from the cluster manager and from all other members leaves its role to others.

It can confirm nothing, and when its session has ended the others may have promoted one of themselves, of which it hears
nothing. Clients that still reach it would wait for as long as that lasts. To step down is always safe (K1).

While a link to any member is open it stays: only changes of the members need the manager. When the manager answers again
and still names it, it is promoted again, in a new generation.
"""

from __future__ import annotations

from uuid import uuid4

from qpidha.errors import PromotionRefused
from qpidha.node.place import Place
from qpidha.node.runtime import Runtime
from qpidha.types import Generation


class Isolation:
    """Watches one node."""

    def __init__(self, runtime: Runtime, place: Place) -> None:
        self._runtime = runtime
        self._place = place
        self._since: float | None = None
        """Since when it has no link to a member, and no answer of the manager; None: it has."""
        self._left: Generation | None = None
        """The generation that it left; None: that is over."""

    def tick(self, now: float) -> None:
        """With every heartbeat."""
        replica = self._runtime.replica
        if replica.primary is None:
            self._since = None
            self._come_back()
        elif not self._is_alone():
            self._since = None
        elif self._since is None or not replica.manager.waits:
            self._since = now
            replica.manager.ask(now)
        elif now - self._since > self._runtime.settings.session_ttl_s:
            self._left = replica.primary.generation
            replica.step_down(
                f"no link to another member and no answer of the cluster manager for {now - self._since:.1f} s:"
                " another node may lead by now"
            )

    def paused(self) -> None:
        """This process was paused: the others have not had time to answer (T42)."""
        self._since = None

    def _is_alone(self) -> bool:
        replica = self._runtime.replica
        assert replica.primary is not None
        others = {member.node for member in replica.primary.membership.members} - {replica.node}
        return bool(others) and others.isdisjoint(s.node for s in replica.primary.sessions.values())

    def _come_back(self) -> None:
        """Be promoted again if the record still names this node: its live session keeps the others from it."""
        replica, record = self._runtime.replica, self._runtime.replica.record
        if self._left is None or replica.stopped:
            return
        mine = record is not None and record.primary == (replica.node, replica.boot)
        if record is None or not mine or record.generation != self._left:
            self._left = None
        elif not replica.manager.waits and self._place.stands:
            try:
                replica.promote(found_as=uuid4())
            except PromotionRefused:
                self._left = None
