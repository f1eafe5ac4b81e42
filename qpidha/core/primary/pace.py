"""Slows publishers while a backup catches up and they outrun it, by completing operations later.

    made     bytes of all operations so far; a frame of operations may complete once every newcomer allows that many
    allowed  for each newcomer: it rises by ``share`` of the bytes that this backup has staged. Unused, it lapses
    share    1 − left / (rate × time left until `Settings.catch_up_time_max_s`), between `SHARE_MIN` and 1

A publisher waits for confirmations before it publishes more, so it publishes as fast as operations complete. To complete
an operation later is always safe: no rule depends on this module, and nothing is refused.

A backup is a newcomer from when its catch-up has to wait for it, because as many bytes are under way as the limits allow,
until it has flipped. While it flips, lags, or is quiet for another reason, operations complete at `SHARE_MIN` of its
average rate. After ``ack_timeout_s`` without progress it is not waited for, until it makes progress again.

Invariants (`check`):
  - without a newcomer nothing is held back
  - positions and bytes of the frames that are held back ascend
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from qpidha.core.legality import SessionState
from qpidha.core.outbox import Outbox
from qpidha.core.primary.session import BackupSession
from qpidha.core.queue import ReplicatedQueue
from qpidha.core.ready import FullSpeed
from qpidha.errors import ensure
from qpidha.events import PublishersSlowed
from qpidha.settings import Settings
from qpidha.types import NodeId, Position, QueueId

Queues: TypeAlias = Mapping[QueueId, ReplicatedQueue]

SHARE_MIN = 0.25
"""Operations complete at this share of the rate of the copy at least: then it copies a third more than without them."""
LOOK_S = 0.05
"""How often ``share`` is computed anew."""
LOOK_PER_QUEUE_S = 1e-4
"""The same, for each queue: the look itself takes about a hundredth of that."""
QUIET_S = 0.1
"""A backup that has staged nothing for this long is quiet."""


@dataclass(frozen=True, slots=True)
class Slowdown:
    """Publishers are slowed for this backup."""

    backup: NodeId
    since: float
    """Since when its catch-up has had to wait for it, in the time of ``now``."""
    bytes_per_s: int
    """Operations complete at about this rate."""
    staged_bytes: int
    """What it has received and staged since then, in all its sessions."""
    left_bytes: int
    """About what it still lacks."""


@dataclass(slots=True)
class Newcomer:
    """One backup that catches up."""

    since: float
    """Since when its catch-up has had to wait for it."""
    allowed: float
    """Operations may complete as long as ``made`` is not above this."""
    sid: int
    staged: int = 0
    """Bytes that the backup has staged in this session."""
    staged_before: int = 0
    """The same of its earlier sessions since ``since``: it was told to subscribe again, and still catches up."""
    moved_at: float = field(init=False)
    """When it made progress last."""
    seen_at: float = field(init=False)
    looked_at: float = float("-inf")
    share: float = SHARE_MIN
    left: int = 0
    """About how many bytes are still to be copied."""

    def __post_init__(self) -> None:
        self.moved_at = self.seen_at = self.since

    def rate(self, now: float) -> float:
        """Bytes a second that it has staged on average."""
        return (self.staged_before + self.staged) / max(now - self.since, QUIET_S)


class Pace:
    """How far operations may complete, on the primary of one generation."""

    def __init__(self, settings: Settings, sessions: Mapping[int, BackupSession], outbox: Outbox) -> None:
        self._settings = settings
        self._sessions = sessions
        self._outbox = outbox
        self._made = 0
        self._held: deque[tuple[Position, int]] = deque()
        """Frames made since there is a newcomer that are not allowed yet: the position before the first operation, and
        ``made`` after the last."""
        self._newcomers: dict[NodeId, Newcomer] = {}
        self._waited_for: frozenset[NodeId] = frozenset()
        """The newcomers that have made progress lately."""
        self._told: frozenset[NodeId] = frozenset()
        """The backups that the last `PublishersSlowed` named."""

    # --- what is made, and what may complete -----------------------------------------------------

    def made(self, before: Position, nbytes: int) -> None:
        """A frame of operations was made, or one that no frame holds. ``before``: the position before the first."""
        self._made += nbytes
        if self._newcomers:
            self._held.append((before, self._made))

    @property
    def idle(self) -> bool:
        """Nobody is slowed, and nothing is held back."""
        return not (self._newcomers or self._held or self._told)

    def upto(self, lowest: Position) -> Position:
        """How far operations may complete, of those that are safe up to ``lowest``. Says so when it holds any back."""
        held = self._held
        if not held:
            return lowest
        allowed = min((self._newcomers[node].allowed for node in self._waited_for), default=self._made)
        while held and held[0][1] <= allowed:
            held.popleft()
        if not held or held[0][0] >= lowest:
            return lowest
        if self._told != self._waited_for:
            self._told = self._waited_for
            self._tell()
        return held[0][0]

    def _tell(self) -> None:
        self._outbox.notify(PublishersSlowed(tuple(sorted(self._told))) if self._told else FullSpeed())

    def slowdowns(self) -> Iterator[Slowdown]:
        """For whom publishers are slowed now, in order of the names."""
        for node in sorted(self._told):
            n = self._newcomers[node]
            rate = int(n.share * n.rate(n.seen_at))
            yield Slowdown(node, n.since, rate, n.staged_before + n.staged, n.left)

    # --- who catches up --------------------------------------------------------------------------

    def look(self, now: float, queues: Queues) -> None:
        """See how far each newcomer has come. O(sessions), and now and then O(queues that are still to be copied)."""
        if self._settings.catch_up_time_max_s is None:
            return
        outside = {session.node: session for session in self._sessions.values() if not is_in(session)}
        for node in self._newcomers.keys() - outside.keys():
            del self._newcomers[node]
        for node, session in outside.items():
            newcomer = self._newcomers.get(node)
            if newcomer is not None:
                self._follow(newcomer, session, now, queues)
            elif session.held_up:
                self._newcomers[node] = Newcomer(now, allowed=self._made, sid=session.sid)
        patience_s, newcomers = self._settings.ack_timeout_s, self._newcomers
        self._waited_for = frozenset(n for n in newcomers if now - newcomers[n].moved_at <= patience_s)
        if over := self._told - self._waited_for:
            self._told -= over
            self._tell()

    def _follow(self, newcomer: Newcomer, session: BackupSession, now: float, queues: Queues) -> None:
        if session.sid != newcomer.sid:
            newcomer.staged_before += newcomer.staged
            newcomer.sid, newcomer.staged, newcomer.moved_at = session.sid, 0, now
        staged = session.staged_bytes
        if staged > newcomer.staged:
            newcomer.allowed += newcomer.share * (staged - newcomer.staged)
            newcomer.staged, newcomer.moved_at = staged, now
        elif now - newcomer.moved_at > QUIET_S:
            rate = max(newcomer.rate(now), self._settings.link_bytes_per_s_min)
            newcomer.allowed += SHARE_MIN * rate * (now - newcomer.seen_at)
        newcomer.allowed = min(newcomer.allowed, self._made + self._settings.window_bytes_max // 4)
        newcomer.seen_at = now
        if now - newcomer.looked_at > max(LOOK_S, LOOK_PER_QUEUE_S * session.described):
            newcomer.looked_at = now
            newcomer.left = session.left_bytes(queues)
            newcomer.share = self._share(newcomer, now)

    def _share(self, newcomer: Newcomer, now: float) -> float:
        """What operations may take of the rate of the copy, so that it ends in time."""
        within_s = self._settings.catch_up_time_max_s
        assert within_s is not None  # Without it there are no newcomers.
        could_copy = newcomer.rate(now) * (newcomer.since + within_s - now)
        if could_copy <= 0:
            return SHARE_MIN
        return max(SHARE_MIN, 1.0 - newcomer.left / could_copy)

    def check(self) -> None:
        """Raise `InvariantError` if an invariant does not hold. For tests."""
        held = list(self._held)
        ensure(held == sorted(held), "frames that are held back do not ascend")
        ensure(self._waited_for <= self._newcomers.keys(), "waits for a backup that does not catch up")
        ensure(self._told <= self._waited_for, "publishers are slowed for no backup")


def is_in(session: BackupSession) -> bool:
    """The backup follows: it has flipped, and does not lag."""
    return session.flipped and session.state is SessionState.STREAMING
