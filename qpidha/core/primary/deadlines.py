"""How long the primary waits for an acknowledgement. Delays of the primary itself are not counted against a backup.

    left    (position, time): operations up to this position had left this node by this time. They leave when their
            `Ready` was performed, after this node's own disk: a stall of that disk is not counted against a backup
    turn    for each session that does not stream yet: since when the backup waits for this node
    late    members whose acknowledgement was overdue at the last `find_late`

A time-out grows with the bytes that have to cross the link before the acknowledgement can be sent, at
``link_bytes_per_s_min``, so that a slow link is not taken for a dead one. It never grows without bound: see
`allowance_s`.

Invariants (`check`):
  - positions and times in ``left`` ascend; every position in it is above safe
  - a member is late only for a position that has left
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from qpidha.core.primary.session import BackupSession
from qpidha.errors import ensure
from qpidha.settings import Settings
from qpidha.types import Member, Position

NO_MEMBERS: Final[frozenset[Member]] = frozenset()
INTERVAL_S = 0.01
"""Time-outs are measured to this accuracy."""
STALL_SHARE = 0.25
"""A backup that waited for this node for longer than this share of ``ack_timeout_s`` gets a fresh time-out."""


class Deadlines:
    """The time-outs of one generation."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._shortest_s = min(settings.ack_timeout_s, settings.rejoin_timeout_s)
        self._stall_s = STALL_SHARE * settings.ack_timeout_s
        self._left: deque[tuple[Position, float]] = deque()
        self._taken: Position = 0
        """The newest operation in the `Ready` that is being performed."""
        self._newest: Position = 0
        """The newest operation that has left."""
        self._late: dict[Member, Position] = {}
        """The position that each late member owed at the last `find_late`."""

    # --- what leaves -----------------------------------------------------------------------------

    def taken(self, position: Position, sessions: Iterable[BackupSession]) -> None:
        """The `Ready` taken now contains every operation up to this position, and every answer to these sessions."""
        self._taken = position
        for session in sessions:
            turn = session.turn
            if turn.asked_at is not None and not session.unfinished:
                turn.answered_since, turn.asked_at = turn.asked_at, None

    def performed(self, now: float, safe: Position, sessions: Iterable[BackupSession]) -> None:
        """The `Ready` of the last `taken` was performed: its operations and answers have left."""
        position = self._taken
        if position > self._newest:
            self._newest = position
            if position > safe:
                left = self._left
                if left and now - left[-1][1] < INTERVAL_S:
                    left[-1] = (position, left[-1][1])
                else:
                    left.append((position, now))
        for session in sessions:
            turn = session.turn
            if turn.answered_since is not None:
                if now - turn.answered_since > self._stall_s:
                    turn.fresh_at = now
                turn.answered_since = None

    def complete(self, safe: Position) -> None:
        """Every acknowledgement up to this position has arrived."""
        left = self._left
        while left and left[0][0] <= safe:
            left.popleft()

    def restart(self, now: float) -> None:
        """The clock jumped, or this process was paused: every member gets a fresh time-out (T42)."""
        self._left = deque((position, now) for position, _ in self._left)
        self._late = {}

    @property
    def newest(self) -> Position:
        """The newest operation that has left this node: it is durable here, and was sent."""
        return self._newest

    # --- who is late -----------------------------------------------------------------------------

    def oldest(self, acked: Position) -> tuple[Position, float] | None:
        """The oldest operations that have left and are not covered by this acknowledgement, and when they left."""
        return next((mark for mark in self._left if mark[0] > acked), None)

    def find_late(
        self,
        now: float,
        required: frozenset[Member],
        acked: Mapping[Member, Position],
        sessions: Iterable[BackupSession],
    ) -> None:
        """Find the late members (L4). Call it only after everything that had arrived by ``now`` was received (T42)."""
        self._late = {}
        if not self._left or now - self._left[0][1] <= self._shortest_s:
            return  # Nothing is that old.
        settings = self._settings
        by_node = {session.node: session for session in sessions}
        for member in required:
            owed = self.oldest(acked.get(member, 0))
            if owed is None:
                continue
            since, limit = owed[1], settings.ack_timeout_s
            if member not in acked:
                limit = settings.rejoin_timeout_s
            session = by_node.get(member.node)
            if session is not None:
                if now - session.turn.since(now) > self._stall_s:
                    continue  # It waits for this node.
                since = max(since, session.turn.fresh_at)
                limit += allowance_s(session.bytes_ahead, settings)
            if now - since > limit:
                self._late[member] = owed[0]

    def late(self, acked: Mapping[Member, Position]) -> frozenset[Member]:
        """Members that were late at the last `find_late` and still have not acknowledged what they owed then."""
        if not self._late:
            return NO_MEMBERS
        return frozenset(m for m, position in self._late.items() if acked.get(m, 0) < position)

    def check(self, safe: Position) -> None:
        """Raise `InvariantError` if an invariant does not hold. For tests."""
        marks = list(self._left)
        ensure(marks == sorted(marks), "marks do not ascend")
        ensure(all(position > safe for position, _ in marks), "mark not above safe")
        ensure(
            all(position <= self._newest for position in self._late.values()),
            "late for a position that has not left",
        )


def allowance_s(nbytes: int, settings: Settings) -> float:
    """How much longer an acknowledgement may take because of the bytes ahead of it.

    At most ``(window_bytes_max + frame_bytes_max) / link_bytes_per_s_min``.
    """
    nbytes_max = settings.window_bytes_max + settings.frame_bytes_max
    return min(nbytes, nbytes_max) / settings.link_bytes_per_s_min
