"""The least number of members: with fewer, a primary refuses operations of clients and completes nothing (J4, J5).

    sure     the members of the record, without those that a compare-and-set in flight removes. One that it adds, and the
             joiner, do not count: when an operation is confirmed the record lists enough members (J5)
    short    there are fewer sure members than `Settings.min_in_sync`
    missing  nodes that were members since this process started, or are connected, and are not sure members

Joining, removal and promotion go on while members are missing: they complete nothing (J4).

Invariants (`check`):
  - ``short`` is what the record and the request in flight say
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qpidha.core.manager import Manager
from qpidha.core.outbox import Outbox
from qpidha.core.primary.membership import Membership
from qpidha.core.primary.session import BackupSession
from qpidha.core.ready import EnoughMembers
from qpidha.errors import NotEnoughMembers, ensure
from qpidha.events import TooFewMembers
from qpidha.types import Member, NodeId


@dataclass(frozen=True, slots=True)
class Shortage:
    """Fewer members than ``min_in_sync``. Names are in order."""

    min_in_sync: int
    members: tuple[NodeId, ...]
    """The sure ones."""
    missing: tuple[NodeId, ...]
    """The others that this node knows of."""

    def refusal(self) -> NotEnoughMembers:
        """The error for an operation that is refused because of it."""
        return NotEnoughMembers(self.min_in_sync, members=self.members, missing=self.missing)


class Minimum:
    """Counts the members of one generation, on its primary."""

    __slots__ = ("_manager", "_membership", "_outbox", "_sessions", "_told", "least", "short", "since")

    def __init__(
        self,
        least: int,
        membership: Membership,
        manager: Manager,
        sessions: Mapping[int, BackupSession],
        outbox: Outbox,
    ) -> None:
        self.least = least
        """See `Settings.min_in_sync`."""
        self._membership = membership
        self._manager = manager
        self._sessions = sessions
        self._outbox = outbox
        self._told: Shortage | None = None
        self.short = False
        """There are too few members: operations of clients are refused, and nothing completes."""
        self.since: float | None = None
        """When `look` found this first, in the time of ``now``; None: there are enough members."""
        self.recount()

    @property
    def sure(self) -> frozenset[Member]:
        """The members that count (J5)."""
        members, flight = self._membership.members, self._manager.in_flight
        return members if flight is None else members & flight.new.members

    def recount(self) -> None:
        """Count anew: the record has changed, or a change of it was asked for or is over."""
        if self.least > 1:
            self.short = len(self.sure) < self.least

    def shortage(self) -> Shortage | None:
        """What is missing now; None: nothing. O(members + sessions) if there is something."""
        if not self.short:
            return None
        members = {member.node for member in self.sure}
        connected = {session.node for session in self._sessions.values() if session.sid}
        missing = (self._manager.once_members | connected) - members
        return Shortage(self.least, tuple(sorted(members)), tuple(sorted(missing)))

    @property
    def quiet(self) -> bool:
        """There are enough members, and nothing else was said last."""
        return not self.short and self.since is None and self._told is None

    def look(self, now: float) -> None:
        """Say when there are too few members, when others are missing, and when there are enough again (J4)."""
        found = self.shortage()
        if found is None:
            self.since = None
        elif self.since is None:
            self.since = now
        if found == self._told:
            return
        self._told = found
        if found is None:
            self._outbox.notify(EnoughMembers())
        else:
            self._outbox.notify(TooFewMembers(found.min_in_sync, found.members, found.missing))

    def check(self) -> None:
        """Raise `InvariantError` if an invariant does not hold. For tests."""
        ensure(self.short == (len(self.sure) < self.least), "members are counted when they change")
