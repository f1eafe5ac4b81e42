"""Who must acknowledge: the members of the record, and the one backup that is becoming a member (J1–J3).

    remove   compare-and-set; only after its success do completions stop waiting for the node (J1)
    add      (a) from t0 on every completion waits for the joiner too; target := position at t0
             (b) the compare-and-set is sent once the joiner acknowledged the target
             (c) until it is *sent* a disconnect cancels the joining; afterwards only M2 ends it

In doubt, a removal counts as not done and an addition as done (M3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from qpidha.core.legality import SessionState
from qpidha.core.primary.session import BackupSession
from qpidha.settings import Settings
from qpidha.types import Member, NodeId, Position, Record


@dataclass(slots=True)
class Joining:
    """A backup that is becoming a member."""

    member: Member
    sid: int
    target: Position
    proposed: bool = False
    """Its compare-and-set was sent: from then on only the resolution of that ends the joining (J2c)."""


@dataclass(slots=True)
class Delay:
    """How long a removed member must wait before it may be added again (T44)."""

    seconds: float
    until: float


class Membership:
    """The membership of one generation, on its primary."""

    def __init__(self, node: NodeId, members: frozenset[Member], settings: Settings) -> None:
        self.node = node
        self.members = members
        self.joining: Joining | None = None
        self.required: frozenset[Member] = frozenset()
        """The members other than this node, and the joiner: a completion waits for all of them (O4)."""
        self.holders: frozenset[NodeId] = frozenset()
        """The nodes that have every message whose publish is complete."""
        self._settings = settings
        self._delays: dict[NodeId, Delay] = {}
        self._become(members, None)

    def _become(self, members: frozenset[Member], joining: Joining | None) -> None:
        self.members = members
        self.joining = joining
        others = frozenset(m for m in members if m.node != self.node)
        self.required = others | {joining.member} if joining else others
        self.holders = frozenset(m.node for m in members) | {self.node}

    # --- what the record says --------------------------------------------------------------------

    def recorded(self, members: frozenset[Member], *, settled: bool) -> None:
        """The record names this node primary and has these members. ``settled``: no compare-and-set is in flight."""
        over = settled and self.joining and self.joining.proposed
        self._become(members, None if over else self.joining)

    # --- what should change ----------------------------------------------------------------------

    def removal(
        self, record: Record, late: frozenset[Member], sessions: Iterable[BackupSession], now: float
    ) -> Record | None:
        """The record without members that are late, or whose store began a new life (J1, J3)."""
        epochs = {s.node: s.epoch for s in sessions if s.sid}
        wiped = {m for m in record.members if m.node in epochs and epochs[m.node] != m.epoch}
        gone = (late | wiped) & record.members if late or wiped else late
        if not gone:
            return None
        for member in gone & late:
            self._delay(member.node, now)
        return replace(record, members=record.members - gone)

    def all_sessions_are_members(self, record: Record, sessions: Iterable[BackupSession]) -> bool:
        """True if the record needs no addition and no store began a new life: every session belongs to a member."""
        return self.joining is None and record.members.issuperset(s.member for s in sessions)

    def addition(
        self, record: Record, sessions: Iterable[BackupSession], position: Position, now: float
    ) -> Record | None:
        """The record with the joiner, once that acknowledged its target. Chooses a joiner if there is none (J2)."""
        flipped = {s.node: s for s in sessions if s.flipped}
        if self.joining is None:
            for session in flipped.values():
                streams = (
                    session.state is SessionState.STREAMING
                )  # Not LAGGING: that will subscribe again (C7).
                if streams and session.member not in record.members and self._may_join(session.node, now):
                    self._become(self.members, Joining(session.member, session.sid, position))
                    break
        joining = self.joining
        if joining is None or joining.proposed:
            return None
        candidate = flipped.get(joining.member.node)
        if candidate is None or candidate.sid != joining.sid or candidate.acked < joining.target:
            return None
        joining.proposed = True
        others = frozenset(m for m in record.members if m.node != joining.member.node)
        return replace(record, members=others | {joining.member})

    def give_up_joining(self, late: frozenset[Member], now: float) -> None:
        """Cancel the joining of a late node whose compare-and-set was not sent yet: it must not block publishers (L4)."""
        joining = self.joining
        if joining and not joining.proposed and joining.member in late:
            self._become(self.members, None)
            self._delay(joining.member.node, now)

    def session_over(self, node: NodeId, sid: int) -> None:
        """The session is closed or replaced: cancel its joining if its compare-and-set was not sent yet (J2c)."""
        joining = self.joining
        if joining and not joining.proposed and joining.member.node == node and joining.sid == sid:
            self._become(self.members, None)

    # --- flapping --------------------------------------------------------------------------------

    def _delay(self, node: NodeId, now: float) -> None:
        limits = self._settings
        last = self._delays.get(node)
        fresh = last is None or now - last.until > limits.readmission_delay_max_s
        seconds = limits.readmission_delay_s if fresh or last is None else last.seconds * 2
        seconds = min(seconds, limits.readmission_delay_max_s)
        self._delays[node] = Delay(seconds, now + seconds)

    def _may_join(self, node: NodeId, now: float) -> bool:
        delay = self._delays.get(node)
        return delay is None or now >= delay.until
